// SPDX-License-Identifier: Apache-2.0
//! One container through the ten verbs, asynchronous: `doc/examples/one.c` in Rust.
//!
//!     cargo run --example one -- IMAGE

use berth::{Berth, ExecOptions, LogOptions, Options, RemoveOptions, Runtime};
use std::time::Duration;

type Failure = Box<dyn std::error::Error>;

async fn one(runtime: &dyn Runtime, image: &str) -> Result<(), Failure> {
    let spec = format!(
        r#"{{"name": "example-one", "image": "{image}", "network": "none", "resources": {{"memory": "64Mi"}},
            "command": ["/bin/sh", "-c", "echo hello; trap 'exit 0' TERM; while :; do sleep 1; done"]}}"#
    );
    let handle = runtime.create(&spec).await?;
    runtime.start(&handle).await?;

    let options = ExecOptions { stdin: b"from outside\n".to_vec(), ..Default::default() };
    let output = runtime.exec_with(&handle, &["/bin/sh", "-c", "echo inside; cat; exit 3"], options).await?;
    print!("exec ended with {} and said: {}", output.exit_code, String::from_utf8_lossy(&output.stdout));

    let stats = runtime.stats(&handle).await?;
    println!("it uses {} kB of memory and used {} us of CPU", stats.memory_bytes / 1000, stats.cpu_usec);

    runtime.stop(&handle, Some(Duration::from_secs(5))).await?;
    let log = runtime.logs(&handle, LogOptions::default()).await?.rest().await?;
    print!("{}", String::from_utf8_lossy(&log));
    let status = runtime.status(&handle).await?;
    println!("{} is {}, exit code {:?}", handle.name(), status.state, status.exit_code);
    runtime.remove(&handle, RemoveOptions::default()).await?;
    Ok(())
}

fn main() -> Result<(), Failure> {
    let Some(image) = std::env::args().nth(1) else {
        eprintln!("usage: one IMAGE");
        std::process::exit(2);
    };
    let tokio = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    tokio.block_on(async { one(&Berth::open("container", &Options::default())?, &image).await })
}
