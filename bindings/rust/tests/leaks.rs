// SPDX-License-Identifier: Apache-2.0
//! Descriptors and threads of the process: one test in a program of its own, so that no other's are
//! counted.

mod common;

use berth::*;
use common::{count_fds, count_threads, fake, run, spec};
use std::time::Duration;

#[test]
fn nothing_is_left_open_and_no_thread_is_started() {
    run(async {
        let runtime = fake();
        let h = runtime.create(&spec("one", &["wait"])).await.unwrap();
        runtime.start(&h).await.unwrap();
        let (before, threads) = (count_fds(), count_threads());
        for _ in 0..50 {
            let follow = LogOptions { follow: true, ..Default::default() };
            drop(runtime.logs(&h, follow).await.unwrap());
            let _ = tokio::time::timeout(Duration::from_millis(1), runtime.wait(&h)).await;
            runtime.exec(&h, &["exit 0"]).await.unwrap();
            drop(runtime.session(&h, &["cat"], ExecOptions::default()).unwrap());
        }
        assert_eq!(count_fds(), before);
        assert_eq!(count_threads(), threads);
    });
}
