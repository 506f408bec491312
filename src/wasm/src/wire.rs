// SPDX-License-Identifier: Apache-2.0
//! Between the event loop and hyper: streams, timers, tasks, and the bytes of a request's head that hyper tidies away.

use hyper::rt::{ReadBufCursor, Sleep, Timer};
use std::future::Future;
use std::io::Result;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What was read lately. A request with both lengths must be refused, but hyper drops one of them unseen.
pub type Heads = Arc<Mutex<Vec<u8>>>;
const HEADS: usize = 16 << 10;

fn remember(heads: &Heads, bytes: &[u8]) {
    let mut h = heads.lock().unwrap();
    if h.len() + bytes.len() > 2 * HEADS {
        let gone = (h.len() + bytes.len() - HEADS).min(h.len());
        h.drain(..gone);
    }
    h.extend_from_slice(&bytes[bytes.len().saturating_sub(HEADS)..]);
}

fn has_both(head: &[u8]) -> bool {
    let named = |name: &[u8]| {
        head.split(|b| *b == b'\n').skip(1).any(|l| {
            let end = l.iter().position(|b| *b == b':').unwrap_or(0);
            l[..end].trim_ascii().eq_ignore_ascii_case(name)
        })
    };
    named(b"content-length") && named(b"transfer-encoding")
}

fn find(all: &[u8], what: &[u8]) -> Option<usize> {
    all.windows(what.len()).position(|w| w == what)
}

/// Some head with this request line has Content-Length and Transfer-Encoding; or it is not there any more.
pub fn both_lengths(heads: &Heads, line: &str) -> bool {
    let h = heads.lock().unwrap();
    let (mut rest, mut seen) = (&h[..], false);
    while let Some(at) = find(rest, line.as_bytes()) {
        rest = &rest[at..];
        let end = find(rest, b"\r\n\r\n").or_else(|| find(rest, b"\n\n")).unwrap_or(rest.len());
        if has_both(&rest[..end]) {
            return true;
        }
        seen = true;
        rest = &rest[line.len()..];
    }
    !seen
}

/// A request without a chunked body was answered: what was read before it is of no use.
pub fn forget(heads: &Heads) {
    let mut h = heads.lock().unwrap();
    if h.capacity() > 4096 && h.len() < 512 {
        h.shrink_to(512);
    }
    if h.len() > 2048 {
        let gone = h.len() - 2048;
        h.drain(..gone);
    }
}

pub struct Io<T> {
    inner: T,
    heads: Option<Heads>,
}

impl<T> Io<T> {
    pub fn new(inner: T) -> Io<T> {
        Io { inner, heads: None }
    }
    pub fn watched(inner: T, heads: Heads) -> Io<T> {
        Io { inner, heads: Some(heads) }
    }
}

impl<T: AsyncRead + Unpin> hyper::rt::Read for Io<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut to: ReadBufCursor<'_>) -> Poll<Result<()>> {
        // What ReadBuf says is filled has been initialised.
        unsafe {
            let mut buffer = ReadBuf::uninit(to.as_mut());
            let done = Pin::new(&mut self.inner).poll_read(cx, &mut buffer);
            if let Some(heads) = &self.heads {
                remember(heads, buffer.filled());
            }
            let n = buffer.filled().len();
            to.advance(n);
            done
        }
    }
}

impl<T: AsyncWrite + Unpin> hyper::rt::Write for Io<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, from)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[std::io::IoSlice<'_>]) -> Poll<Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, from)
    }
}

#[derive(Clone)]
pub struct Clock;
struct Until(Pin<Box<tokio::time::Sleep>>);

impl Future for Until {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}
impl Sleep for Until {}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until(Box::pin(tokio::time::sleep(duration))))
    }
    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Until(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Until>() {
            Some(mut until) => until.0.as_mut().reset(deadline.into()),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

/// Tasks of this thread.
#[derive(Clone)]
pub struct Here;
impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(async move {
            task.await;
        });
    }
}
