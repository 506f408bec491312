// SPDX-License-Identifier: Apache-2.0
//! Between the event loop and hyper: streams, timers, tasks.

use crate::head::Heads;
use hyper::rt::{ReadBufCursor, Sleep, Timer};
use std::cell::{Cell, RefCell};
use std::io::{IoSlice, Result};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a connection has to send. Small answers wait until the loop has answered all else that came with them, and go out
/// together: each wakes a client, and one that has the same core would take it from the loop in between.
struct Out {
    fd: RawFd,
    bytes: RefCell<Vec<u8>>,
    /// The connection's task sees to what did not go out.
    blocked: Cell<bool>,
    waker: RefCell<Waker>,
}

thread_local!(static OUTS: RefCell<Vec<Rc<Out>>> = RefCell::default());
/// Bytes that wait; more are sent at once.
const ROOM: usize = 4096;
/// Answers that wait for others.
const TOGETHER: usize = 16;

impl Out {
    fn send(&self) {
        let mut bytes = self.bytes.borrow_mut();
        if !bytes.is_empty() {
            let n = unsafe { libc::send(self.fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) };
            bytes.drain(..n.max(0) as usize);
            self.blocked.set(!bytes.is_empty());
            if self.blocked.get() {
                self.waker.borrow().wake_by_ref();
            }
        }
    }

    fn put(self: &Rc<Self>, from: &[IoSlice<'_>]) {
        let first = self.bytes.borrow().is_empty();
        from.iter().for_each(|s| self.bytes.borrow_mut().extend_from_slice(s));
        let waiting = OUTS.with_borrow_mut(|all| {
            all.extend(first.then(|| self.clone()));
            all.len()
        });
        if waiting >= TOGETHER {
            send_all();
        } else if first && waiting == 1 {
            tokio::task::spawn_local(async {
                send_all(); // comes after all that was ready
                unsafe { libc::sched_yield() }; // another loop may wait for this core
            });
        }
    }
}

/// All that waits: before something takes its time.
pub fn send_all() {
    OUTS.take().iter().for_each(|out| out.send());
}

/// A client's connection.
pub struct Io {
    stream: TcpStream,
    heads: Option<Heads>,
    out: Rc<Out>,
}

impl Io {
    pub fn new(stream: TcpStream, heads: Option<Heads>) -> Io {
        let (fd, waker) = (stream.as_raw_fd(), RefCell::new(Waker::noop().clone()));
        Io { stream, heads, out: Rc::new(Out { fd, bytes: RefCell::default(), blocked: Cell::default(), waker }) }
    }

    /// Until nothing waits.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let mut bytes = self.out.bytes.borrow_mut();
        while !bytes.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes))?;
            bytes.drain(..n);
        }
        self.out.blocked.set(false);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        self.out.send();
        self.out.bytes.take(); // the descriptor may be another's soon
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut to: ReadBufCursor<'_>) -> Poll<Result<()>> {
        // What ReadBuf says is filled has been initialised.
        unsafe {
            let mut buffer = ReadBuf::uninit(to.as_mut());
            let done = Pin::new(&mut self.stream).poll_read(cx, &mut buffer);
            if let Some(heads) = &self.heads {
                heads.remember(buffer.filled());
            }
            let n = buffer.filled().len();
            to.advance(n);
            done
        }
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(from)])
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.out.blocked.get() {
            return self.poll_sent(cx);
        }
        self.out.waker.borrow_mut().clone_from(cx.waker());
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_sent(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<Result<usize>> {
        let n = from.iter().map(|s| s.len()).sum::<usize>();
        if self.out.bytes.borrow().len() + n > ROOM {
            ready!(self.poll_sent(cx))?;
        }
        if n > ROOM {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, from);
        }
        self.out.put(from);
        Poll::Ready(Ok(n))
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
        self.sleep_until(Instant::now() + duration)
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
impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
