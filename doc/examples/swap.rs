// SPDX-License-Identifier: Apache-2.0
//! swap.c through the Rust crate: one caller, any engine, the same spec but for runtime and image.
//! `&dyn Runtime` is all that it knows; what an engine cannot do it says by UNSUPPORTED.
//!
//!     bindings/rust/run run --example swap -- fake any
//!     bindings/rust/run run --example swap -- container example:1
//!     bindings/rust/run run --example swap -- wasm guest.wasm steps

use berth::{Berth, Code, Error, Handle, LogOptions, Options, RemoveOptions, Runtime};
use std::time::Duration;

const FORCE: RemoveOptions = RemoveOptions {
    force: true,
    volumes: false,
};

/// What an engine does not do is no failure.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Err(e) if e.code == Code::Unsupported => Ok(None),
        other => other.map(Some),
    }
}

async fn print_log(
    runtime: &dyn Runtime,
    handle: &Handle,
) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(mut log) = optional(runtime.logs(handle, LogOptions::default()).await)? {
        print!("  it said: {}", String::from_utf8_lossy(&log.rest().await?));
    }
    Ok(())
}

/// One more program beside it. Programs are the one thing that engines differ in: fake's are steps, as a module's may be.
async fn run_beside(runtime: &dyn Runtime, handle: &Handle, steps: bool) -> Result<(), Error> {
    let (shell, script) = (
        ["/bin/sh", "-c", "echo beside; exit 3"],
        ["print beside", "exit 3"],
    );
    let argv: &[&str] = if steps { &script } else { &shell };
    if let Some(output) = optional(runtime.exec(handle, argv).await)? {
        print!(
            "  exec ended with {} and said: {}",
            output.exit_code,
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(())
}

async fn print_state(runtime: &dyn Runtime, handle: &Handle) -> Result<(), Error> {
    let status = runtime.status(handle).await?;
    println!("  {} is {}", status.handle.name(), status.word);
    if status.word == berth::Word::Running {
        if let Some(stats) = optional(runtime.stats(handle).await)? {
            println!("  it is {} processes", stats.pids);
        }
    }
    Ok(())
}

async fn swap(
    runtime: &dyn Runtime,
    image: &str,
    steps: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let command = if steps {
        r#"["print hello", "wait"]"#
    } else {
        r#"["/bin/sh", "-c", "trap 'exit 0' TERM; echo hello; while :; do sleep 1; done"]"#
    };
    println!("{}", runtime.name());
    let spec = format!(
        r#"{{"name": "swap", "image": "{image}", "network": "host", "command": {command}}}"#
    );
    let handle = runtime.create(&spec).await?;
    print_state(runtime, &handle).await?;
    runtime.start(&handle).await?;
    print_state(runtime, &handle).await?;
    run_beside(runtime, &handle, steps).await?;
    runtime.stop(&handle, Some(Duration::from_secs(2))).await?;
    print_log(runtime, &handle).await?;
    print_state(runtime, &handle).await?;
    runtime.remove(&handle, FORCE).await?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [engine, image, more @ ..] = words.as_slice() else {
        eprintln!("usage: swap RUNTIME IMAGE [steps]");
        std::process::exit(2);
    };
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let steps = engine == "fake" || !more.is_empty();
    tokio.block_on(async { swap(&Berth::open(engine, &Options::default())?, image, steps).await })
}
