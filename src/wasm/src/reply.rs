// SPDX-License-Identifier: Apache-2.0
//! One answer and the instance behind it. The instance lives in the answer: who drops the answer, because the client
//! is gone or the time is up, ends the instance with it.

use crate::guest::{add, take};
use crate::serve::Thread;
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;
use wasmtime_wasi_http::Error;
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

/// How an instance's call ended, and what to answer if nothing was.
pub type Verdict = Result<(), StatusCode>;

/// A request that is under way: its instance, the counters and the line in the log.
pub struct Active {
    pub thread: Rc<Thread>,
    pub request: u64,
    /// Until its instance has come to its own end.
    pub run: Option<Pin<Box<dyn Future<Output = Verdict>>>>,
    pub verdict: Verdict,
    pub line: Option<(String, Instant)>,
    pub status: u16,
    pub bytes: u64,
}

impl Active {
    /// Let it compute until it waits. A panic of the engine's is this instance's trap, and nobody else's.
    pub fn advance(&mut self, cx: &mut Context<'_>) {
        let Some(run) = &mut self.run else { return };
        let (begin, slot) = (Instant::now(), self.thread.slot);
        let done = catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx)));
        add(&slot.cpu_nsec, begin.elapsed().as_nanos() as u64);
        let done = done.unwrap_or_else(|_| {
            add(&slot.traps, 1);
            self.thread.say(0, self.request, "the engine failed: the request was given up");
            Poll::Ready(Err(StatusCode::INTERNAL_SERVER_ERROR))
        });
        if let Poll::Ready(verdict) = done {
            (self.run, self.verdict) = (None, verdict);
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let slot = self.thread.slot;
        let cancelled = self.run.take().is_some();
        take(&slot.active_requests, 1);
        add(&slot.cancelled, cancelled as u64);
        self.thread.shared.touch();
        if let Some((line, begin)) = &self.line {
            let (end, msec) = (if cancelled { " cancelled" } else { "" }, begin.elapsed().as_secs_f64() * 1000.0);
            let text = format!("r{} {line} {} {} bytes {msec:.3} ms{end}\n", self.request, self.status, self.bytes);
            self.thread.out.put(text.into_bytes());
        }
    }
}

/// A body: what the guest writes while it goes on.
pub struct Reply {
    inner: HyperOutgoingBody,
    active: Option<Active>,
    /// The body itself broke.
    broken: bool,
    /// Frames that are here already, and whether they are all.
    here: VecDeque<Frame<Bytes>>,
    whole: bool,
    left: u64,
}

const AT_ONCE: usize = 16;

impl Reply {
    /// At most `limit` bytes, 0 for any number. When the guest has ended its answer most often is complete, and its length known.
    pub fn new(inner: HyperOutgoingBody, active: Active, limit: u64) -> Reply {
        let (left, ended) = (if limit == 0 { u64::MAX } else { limit }, active.run.is_none());
        let mut reply = Reply { inner, active: Some(active), broken: false, here: VecDeque::new(), whole: false, left };
        if ended {
            reply.gather();
        }
        reply
    }

    fn gather(&mut self) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while self.here.len() < AT_ONCE && !self.whole && !self.broken {
            match Pin::new(&mut self.inner).poll_frame(&mut cx) {
                Poll::Ready(Some(Ok(frame))) => self.here.push_back(frame),
                Poll::Ready(Some(Err(_))) => self.broken = true,
                Poll::Ready(None) => self.whole = true,
                Poll::Pending => return,
            }
        }
    }

    /// The answer is out. If the guest still has something to do, it does that without a client.
    fn leave(&mut self) {
        if let Some(mut active) = self.active.take_if(|a| a.run.is_some()) {
            tokio::task::spawn_local(std::future::poll_fn(move |cx| {
                active.advance(cx);
                if active.run.is_none() { Poll::Ready(()) } else { Poll::Pending }
            }));
        }
    }

    fn counted(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Error> {
        let n = frame.data_ref().map_or(0, |d| d.len() as u64);
        if n > self.left {
            self.active = None;
            self.broken = true;
            return Err(Error::HttpResponseBodySize(None));
        }
        self.left -= n;
        if let Some(a) = &mut self.active {
            a.bytes += n;
        }
        Ok(frame)
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.here.pop_front() {
            return Poll::Ready(Some(self.counted(frame)));
        }
        if self.whole {
            return Poll::Ready(None);
        }
        if let Some(active) = &mut self.active {
            active.advance(cx);
        }
        match std::task::ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => Poll::Ready(Some(self.counted(frame))),
            // A body that broke off must not look like one that ended.
            None if self.broken || self.active.as_ref().is_some_and(|a| a.verdict.is_err()) => {
                Poll::Ready(Some(Err(Error::HttpResponseIncomplete)))
            }
            None => {
                self.leave();
                self.whole = true;
                Poll::Ready(None)
            }
            failed => Poll::Ready(failed),
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
