// SPDX-License-Identifier: Apache-2.0
//! One answer and the instance behind it. The instance lives in the answer: who drops the answer, because the client
//! is gone or the time is up, ends the instance with it.

use crate::page::{add, take};
use crate::serve::Thread;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// How an instance's call ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Verdict {
    Done,
    Trapped,
    OutOfTime,
}

/// An instance at work.
pub struct Run {
    pub future: Pin<Box<dyn Future<Output = Verdict>>>,
    pub thread: Rc<Thread>,
    pub request: u64,
}

impl Run {
    /// Let it compute until it waits. A panic of the engine's is this instance's trap, and nobody else's.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        let begin = Instant::now();
        let done = catch_unwind(AssertUnwindSafe(|| self.future.as_mut().poll(cx)));
        add(&self.thread.slot.cpu_nsec, begin.elapsed().as_nanos() as u64);
        done.unwrap_or_else(|_| {
            add(&self.thread.slot.traps, 1);
            self.thread.say(0, self.request, "the engine failed: the request was given up");
            Poll::Ready(Verdict::Trapped)
        })
    }
}

/// A request that is under way, for the counters and the line in the log.
pub struct Active {
    pub thread: Rc<Thread>,
    pub request: u64,
    pub line: Option<String>,
    pub begin: Option<Instant>,
    pub status: u16,
    pub bytes: u64,
    /// Its instance has come to its own end.
    pub over: bool,
}

impl Drop for Active {
    fn drop(&mut self) {
        let slot = self.thread.slot;
        take(&slot.active_requests, 1);
        if !self.over {
            add(&slot.cancelled, 1);
        }
        self.thread.touched();
        if let (Some(line), Some(begin)) = (&self.line, self.begin) {
            let end = if self.over { "" } else { " cancelled" };
            let usec = begin.elapsed().as_micros();
            let text = format!(
                "r{} {line} {} {} bytes {}.{:03} ms{end}\n",
                self.request,
                self.status,
                self.bytes,
                usec / 1000,
                usec % 1000
            );
            self.thread.out.put(text.into_bytes());
        }
    }
}

/// A body: text of ours, or what the guest writes while it goes on.
pub struct Reply {
    inner: Option<HyperOutgoingBody>,
    run: Option<Run>,
    failed: bool,
    /// Frames that are here already, and whether they are all.
    here: VecDeque<Frame<Bytes>>,
    whole: bool,
    left: u64,
    active: Option<Active>,
}

const AT_ONCE: usize = 16;

impl Reply {
    pub fn text(text: &'static str, active: Option<Active>) -> Reply {
        let here = [Frame::data(Bytes::from_static(text.as_bytes()))].into();
        Reply { inner: None, run: None, failed: false, here, whole: true, left: u64::MAX, active }
    }

    /// `run`: None when the guest has ended, and then its answer most often is complete, and its length known.
    pub fn guest(body: HyperOutgoingBody, run: Option<Run>, active: Active, limit: u64) -> Reply {
        let left = if limit == 0 { u64::MAX } else { limit };
        let here = VecDeque::new();
        let mut reply = Reply { inner: Some(body), run, failed: false, here, whole: false, left, active: Some(active) };
        if reply.run.is_none() {
            reply.gather();
        }
        reply
    }

    fn gather(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let Some(body) = &mut self.inner else { return };
        while self.here.len() < AT_ONCE {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => self.here.push_back(frame),
                Poll::Ready(Some(Err(_))) => self.failed = true,
                Poll::Ready(None) => self.whole = true,
                Poll::Pending => return,
            }
            if self.whole || self.failed {
                return;
            }
        }
    }

    fn advance(&mut self, cx: &mut Context<'_>) {
        let Some(run) = &mut self.run else { return };
        if let Poll::Ready(verdict) = run.poll(cx) {
            self.run = None;
            self.failed |= verdict != Verdict::Done;
            if let Some(a) = &mut self.active {
                a.over = true;
            }
        }
    }

    /// The answer is out, the guest still has something to do: it does that without a client.
    fn leave(&mut self) {
        if let (Some(mut run), Some(mut active)) = (self.run.take(), self.active.take()) {
            tokio::task::spawn_local(async move {
                std::future::poll_fn(|cx| run.poll(cx)).await;
                let active = &mut active;
                active.over = true;
            });
        }
    }

    fn counted(&mut self, frame: Frame<Bytes>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let n = frame.data_ref().map_or(0, |d| d.len() as u64);
        if let Some(a) = &mut self.active {
            a.bytes += n;
        }
        if n > self.left {
            self.run = None;
            self.failed = true;
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(None))));
        }
        self.left -= n;
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.here.pop_front() {
            return self.counted(frame);
        }
        if self.whole {
            return Poll::Ready(None);
        }
        self.advance(cx);
        let Some(body) = &mut self.inner else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => self.counted(frame),
            Poll::Ready(Some(Err(e))) => Poll::Ready(Some(Err(e))),
            // A body that broke off must not look like one that ended.
            Poll::Ready(None) if self.failed => Poll::Ready(Some(Err(Error::HttpResponseIncomplete))),
            Poll::Ready(None) => {
                self.leave();
                self.whole = true;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole && self.here.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let data = |f: &Frame<Bytes>| f.data_ref().map(|d| d.len() as u64);
        match self.here.iter().map(data).sum::<Option<u64>>() {
            Some(n) if self.whole => SizeHint::with_exact(n),
            _ => SizeHint::default(),
        }
    }
}

impl Thread {
    /// An instance has begun or ended: the moment that idleness is counted from.
    pub fn touched(&self) {
        self.shared.last_msec.store(self.shared.born.elapsed().as_millis() as u64, Relaxed);
    }
}
