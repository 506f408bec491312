// SPDX-License-Identifier: Apache-2.0
//! What dropping a future means for real containers. Run by `check container`, as root:
//! $BERTH_RUST_IMAGE is an OCI layout with a shell, $BERTH_ROOT and $BERTH_RUN are this run's own.

mod common;

use berth::*;
use common::{both, run};
use std::future::Future;
use std::time::Duration;

const FORCE: RemoveOptions = RemoveOptions { force: true, volumes: true };
const WAITS: &str = "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done";

fn container() -> Berth {
    Berth::open("container", &Options::default()).unwrap()
}

fn shell(name: &str, line: &str) -> String {
    let image = std::env::var("BERTH_RUST_IMAGE").expect("an OCI layout in $BERTH_RUST_IMAGE");
    let line = line.replace('"', "\\\"");
    format!(
        r#"{{"name": "{name}", "image": "oci:{image}:1", "network": "none", "command": ["/bin/sh", "-c", "{line}"]}}"#
    )
}

/// Poll a future until it waits for the first time, then drop it. False: it did not wait.
async fn leave_early<F: Future>(future: F) -> bool {
    let mut future = Box::pin(future);
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not after ten seconds");
}

#[test]
#[ignore = "it needs root and an image: check container"]
fn a_dropped_start_is_undone_and_can_be_made_again() {
    run(async {
        let runtime = container();
        let h = runtime.create(&shell("rust-start", WAITS)).await.unwrap();
        assert!(leave_early(runtime.start(&h)).await, "a start that waits for nothing");
        until("it is created", async || runtime.status(&h).await.unwrap().word == Word::Created).await;
        runtime.start(&h).await.unwrap();
        assert_eq!(runtime.status(&h).await.unwrap().state, State::Running);
        runtime.remove(&h, FORCE).await.unwrap();
    });
}

#[test]
#[ignore = "it needs root and an image: check container"]
fn a_dropped_create_leaves_nothing() {
    run(async {
        let runtime = container();
        assert!(
            leave_early(runtime.create(&shell("rust-create", WAITS))).await,
            "a create that loads nothing"
        );
        assert_eq!(runtime.find("rust-create").await.unwrap_err().code, Code::NotFound);
        let h = runtime.create(&shell("rust-create", WAITS)).await.unwrap();
        runtime.remove(&h, FORCE).await.unwrap();
    });
}

#[test]
#[ignore = "it needs root and an image: check container"]
fn a_dropped_exec_is_killed() {
    run(async {
        let runtime = container();
        let h = runtime.create(&shell("rust-exec", WAITS)).await.unwrap();
        runtime.start(&h).await.unwrap();
        let exec = runtime.exec(&h, &["/bin/sleep", "1000"]);
        assert!(tokio::time::timeout(Duration::from_millis(300), exec).await.is_err());
        until("no exec", async || runtime.exec_list(&h).await.unwrap().trim() == "[]").await;
        runtime.remove(&h, FORCE).await.unwrap();
    });
}

#[test]
#[ignore = "it needs root and an image: check container"]
fn a_dropped_stop_goes_on() {
    run(async {
        let runtime = container();
        let h = runtime
            .create(&shell("rust-stop", "trap '' TERM; echo ready; while :; do sleep 1; done"))
            .await
            .unwrap();
        runtime.start(&h).await.unwrap();
        assert!(leave_early(runtime.stop(&h, Some(Duration::from_millis(200)))).await);
        assert_eq!(runtime.wait(&h).await.unwrap().state, State::Stopped);
        runtime.remove(&h, FORCE).await.unwrap();
    });
}

#[test]
#[ignore = "it needs root and an image: check container"]
fn a_log_is_followed_to_the_end() {
    run(async {
        let runtime = container();
        let line = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; exit 5";
        let h = runtime.create(&shell("rust-logs", line)).await.unwrap();
        runtime.start(&h).await.unwrap();
        let mut log = runtime.logs(&h, LogOptions { follow: true, ..Default::default() }).await.unwrap();
        let (log, status) = both(log.rest(), runtime.wait(&h)).await;
        let wanted: String = (0..2000).map(|i| format!("line {i}\n")).collect();
        assert_eq!(String::from_utf8(log.unwrap()).unwrap(), wanted);
        assert_eq!(status.unwrap().exit_code, Some(5));
        runtime.remove(&h, FORCE).await.unwrap();
    });
}
