// SPDX-License-Identifier: Apache-2.0
//! What served instances print: whole lines with instance and request, from many of them into one pipe.
//!
//! A record is at most what a pipe takes in one piece, so lines never mix. Who prints more than the reader
//! takes waits at its own stream; nobody else does.

use bytes::Bytes;
use std::collections::VecDeque;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWrite, Interest};
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

const RECORD: usize = libc::PIPE_BUF;
/// Records that may wait for a reader without a stream of their own.
const BACKLOG: usize = 1000;

/// One of a thread's two outputs. `backlog` is what has no stream of its own to wait in, and how many found no room there.
pub struct Sink {
    fd: RawFd,
    waits: Option<AsyncFd<BorrowedFd<'static>>>,
    backlog: Mutex<(VecDeque<Vec<u8>>, u64)>,
    more: Notify,
}

impl Sink {
    /// Within a runtime. Descriptors that can't be polled (files) are written at once.
    pub fn new(fd: RawFd) -> Sink {
        unsafe { libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) | libc::O_NONBLOCK) };
        let waits = unsafe { AsyncFd::register_with_interest(BorrowedFd::borrow_raw(fd), Interest::WRITABLE) }.ok();
        Sink { fd, waits, backlog: Mutex::default(), more: Notify::new() }
    }

    /// Write it whole or not at all. Gone readers take everything.
    fn offer(&self, record: &[u8]) -> bool {
        let n = unsafe { libc::write(self.fd, record.as_ptr().cast(), record.len()) };
        n >= 0 || std::io::Error::last_os_error().kind() != std::io::ErrorKind::WouldBlock
    }

    /// What is taken now; true: all of it.
    fn offer_all(&self, queue: &mut VecDeque<Vec<u8>>) -> bool {
        while queue.front().is_some_and(|record| self.offer(record)) {
            queue.pop_front();
        }
        queue.is_empty()
    }

    /// Until `all` of something is written.
    async fn wait_for(&self, mut all: impl FnMut() -> bool) {
        while !all() {
            let Some(waits) = &self.waits else { return };
            let Ok(mut ready) = waits.writable().await else { return };
            if all() {
                return;
            }
            ready.clear_ready();
        }
    }

    /// A record of the worker's own, or of a stream that is gone: never waits, is counted when there is no room.
    pub fn put(&self, record: Vec<u8>) {
        let mut b = self.backlog.lock().unwrap();
        if b.0.is_empty() && self.offer(&record) {
            return;
        }
        if b.0.len() < BACKLOG {
            b.0.push_back(record);
        } else {
            b.1 += 1;
        }
        self.more.notify_one();
    }

    fn flush(&self) -> bool {
        let mut b = self.backlog.lock().unwrap();
        if b.1 > 0 && b.0.len() < BACKLOG {
            let text = format!("berth-wasm: {} lines are lost: nobody read them in time\n", std::mem::take(&mut b.1));
            b.0.push_back(text.into_bytes());
        }
        self.offer_all(&mut b.0)
    }

    /// For ever: what could not be written at once follows when there is room.
    pub async fn pump(&self) {
        loop {
            self.more.notified().await;
            self.wait_for(|| self.flush()).await;
        }
    }
}

/// Whose lines they are; the same object for one instance after another.
#[derive(Default)]
pub struct Who {
    pub instance: AtomicU64,
    pub request: AtomicU64,
}

impl Who {
    pub fn new(instance: u64, request: u64) -> Who {
        Who { instance: instance.into(), request: request.into() }
    }

    /// The lines of `text`, each with whose it is, cut where a pipe would.
    pub fn records(&self, text: &[u8]) -> VecDeque<Vec<u8>> {
        let head = format!("i{} r{} ", self.instance.load(Relaxed), self.request.load(Relaxed));
        let mut out = VecDeque::new();
        for line in text.split_inclusive(|b| *b == b'\n') {
            let mut rest = line.strip_suffix(b"\n").unwrap_or(line);
            loop {
                let (piece, more) = rest.split_at(rest.len().min(RECORD - head.len() - 1));
                out.push_back([head.as_bytes(), piece, b"\n"].concat());
                rest = more;
                if rest.is_empty() {
                    break;
                }
            }
        }
        out
    }
}

/// What the guest's get-stdout gives.
pub struct Output {
    pub sink: Arc<Sink>,
    pub who: Arc<Who>,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        let who = Who::new(self.who.instance.load(Relaxed), self.who.request.load(Relaxed));
        Box::new(Lines { sink: self.sink.clone(), who, line: Vec::new(), queue: VecDeque::new() })
    }
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink()) // only preview 3 asks for it
    }
}

struct Lines {
    sink: Arc<Sink>,
    who: Who,
    line: Vec<u8>,
    queue: VecDeque<Vec<u8>>,
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.line.extend_from_slice(&bytes);
        let end = match self.line.iter().rposition(|b| *b == b'\n') {
            Some(n) => n + 1,
            None if self.line.len() >= RECORD => self.line.len(),
            None => return Ok(()),
        };
        self.queue.extend(self.who.records(&self.line[..end]));
        self.line.drain(..end);
        self.sink.offer_all(&mut self.queue);
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.sink.offer_all(&mut self.queue) { 4 * RECORD } else { 0 })
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {
        let (sink, queue) = (&self.sink, &mut self.queue);
        sink.wait_for(|| sink.offer_all(queue)).await;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let rest = self.who.records(&self.line);
        self.queue.drain(..).chain(rest).for_each(|record| self.sink.put(record));
    }
}
