// SPDX-License-Identifier: Apache-2.0
//! One caller, any engine: the same program, the same spec but for runtime and image. What differs is
//! data; `&dyn Runtime` is all that the caller knows.
//!
//!     cargo run --example swap -- ENGINE IMAGE [WORD...]
//!
//! The words are the program's argv; none: what the image says.

use berth::{Berth, LogOptions, Options, RemoveOptions, Runtime};

type Failure = Box<dyn std::error::Error>;

fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|w| format!("{:?}", w)).collect();
    words.join(", ")
}

fn spec_of(engine: &str, image: &str, words: &[String]) -> String {
    let command = if words.is_empty() { String::new() } else { format!(r#", "command": [{}]"#, quoted(words)) };
    format!(r#"{{"name": "example-swap", "runtime": "{engine}", "image": "{image}", "network": "none"{command}}}"#)
}

/// From create to remove, and what it said.
async fn run(runtime: &dyn Runtime, spec: &str) -> Result<(), Failure> {
    let handle = runtime.create(spec).await?;
    let told = tell(runtime, &handle).await;
    runtime.remove(&handle, RemoveOptions { force: true, volumes: true }).await?;
    told
}

async fn tell(runtime: &dyn Runtime, handle: &berth::Handle) -> Result<(), Failure> {
    runtime.start(handle).await?;
    let status = runtime.wait(handle).await?;
    let log = runtime.logs(handle, LogOptions::default()).await?.rest().await?;
    print!("{}", String::from_utf8_lossy(&log));
    println!("{}: {} with {:?}", runtime.name(), status.state, status.exit_code);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [engine, image, command @ ..] = words.as_slice() else {
        eprintln!("usage: swap ENGINE IMAGE [WORD...]");
        std::process::exit(2);
    };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio.block_on(async {
        let runtime = Berth::open(engine, &Options::default())?;
        run(&runtime, &spec_of(engine, image, command)).await
    })
}
