// SPDX-License-Identifier: Apache-2.0
//! Who computes next: of the instances that the clock made give way, one goes on each time that the loop has looked for
//! what else there is to do, and more where that took longer. So who needs little waits for one of them, and not for all.

use crate::wire::send_all;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tokio::sync::Notify;

/// Of one loop. Who stands first in `waiting` has the number `given`.
#[derive(Default)]
struct Turns {
    waiting: RefCell<VecDeque<Waker>>,
    given: Cell<u64>,
    asked: Notify,
}

thread_local!(static TURNS: Rc<Turns> = Rc::default());

/// Ready when it is this instance's turn.
#[derive(Default)]
pub struct Turn(Option<u64>);

impl Future for Turn {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        TURNS.with(|t| {
            let mut waiting = t.waiting.borrow_mut();
            let mine = *self.0.get_or_insert_with(|| {
                waiting.push_back(Waker::noop().clone());
                t.asked.notify_one();
                t.given.get() + waiting.len() as u64 - 1
            });
            let Some(before) = mine.checked_sub(t.given.get()) else {
                send_all();
                return Poll::Ready(());
            };
            waiting[before as usize].clone_from(cx.waker()); // it may have become another task's
            Poll::Pending
        })
    }
}

/// For ever: once in each loop, and again until those who waited have computed as long as all others have in it.
pub async fn give() {
    let (t, mut end) = (TURNS.with(Rc::clone), 0);
    let computed = || unsafe {
        let mut t: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut t);
        t.tv_sec * 1_000_000_000 + t.tv_nsec
    };
    loop {
        t.asked.notified().await;
        while !t.waiting.borrow().is_empty() {
            let begun = computed();
            if begun >= end {
                tokio::task::yield_now().await; // comes back when nothing else is ready, and the sockets were asked
                end = 2 * computed() - begun;
            }
            t.given.set(t.given.get() + 1);
            let next = t.waiting.borrow_mut().pop_front();
            next.map(Waker::wake);
            let _ = tokio::task::spawn_local(async {}).await; // behind whom we woke
        }
    }
}
