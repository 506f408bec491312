// SPDX-License-Identifier: Apache-2.0
//! What the tests share: a tokio of one thread, and a runtime of a folder of its own.
#![allow(dead_code)]

use berth::{Berth, Options};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// Run on one thread, with an end for what would wait for ever.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future).await.expect("not over after 60 s")
    })
}

pub fn fake() -> Berth {
    Berth::open("fake", &Options::default()).unwrap()
}

/// A spec whose program is steps of fake.h.
pub fn spec(name: &str, steps: &[&str]) -> String {
    let steps: Vec<String> = steps.iter().map(|s| format!("\"{s}\"")).collect();
    format!(
        "{{\"name\": \"{name}\", \"image\": \"any\", \"network\": \"none\", \"command\": [{}]}}",
        steps.join(", ")
    )
}

/// Descriptors of this process.
pub fn count_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Threads of this process.
pub fn count_threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Poll a future that may have its value already.
fn poll_into<F: Future>(future: &mut Pin<Box<F>>, value: &mut Option<F::Output>, context: &mut Context<'_>) {
    if value.is_none() {
        if let Poll::Ready(ready) = future.as_mut().poll(context) {
            *value = Some(ready);
        }
    }
}

/// Both, side by side on this thread (tokio's own needs its compiler plugins).
pub async fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut of_a, mut of_b) = (None, None);
    std::future::poll_fn(|context| {
        poll_into(&mut a, &mut of_a, context);
        poll_into(&mut b, &mut of_b, context);
        match (of_a.is_some(), of_b.is_some()) {
            (true, true) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    (of_a.unwrap(), of_b.unwrap())
}
