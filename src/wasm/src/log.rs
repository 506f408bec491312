// SPDX-License-Identifier: Apache-2.0
//! What served instances print: whole lines with instance and request, from many of them into one pipe.
//!
//! A record is at most what a pipe takes in one piece, so lines never mix. Who prints more than the reader
//! takes waits at its own stream; nobody else does.

use bytes::Bytes;
use std::collections::VecDeque;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWrite, Interest};
use tokio::sync::Notify;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

const RECORD: usize = libc::PIPE_BUF;
const BACKLOG: usize = 1 << 20;

struct Fd(RawFd);
impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

#[derive(Default)]
struct Backlog {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    lost: u64,
}

/// One of a thread's two outputs. `backlog` is what has no stream of its own to wait in.
pub struct Sink {
    fd: RawFd,
    waits: Option<AsyncFd<Fd>>,
    backlog: Mutex<Backlog>,
    more: Notify,
}

impl Sink {
    /// Within a runtime. Descriptors that can't be polled (files) are written at once.
    pub fn new(fd: RawFd) -> Sink {
        unsafe { libc::fcntl(fd, libc::F_SETFL, libc::fcntl(fd, libc::F_GETFL) | libc::O_NONBLOCK) };
        let waits = unsafe { AsyncFd::register_with_interest(Fd(fd), Interest::WRITABLE) }.ok();
        Sink { fd, waits, backlog: Mutex::default(), more: Notify::new() }
    }

    /// Write it whole or not at all. Gone readers take everything.
    fn offer(&self, record: &[u8]) -> bool {
        let mut rest = record;
        loop {
            let n = unsafe { libc::write(self.fd, rest.as_ptr().cast(), rest.len()) };
            let error = std::io::Error::last_os_error();
            if n >= 0 && (n as usize) < rest.len() {
                rest = &rest[n as usize..]; // a terminal's half; the other half must follow
            } else if n >= 0 {
                return true;
            } else if error.kind() == std::io::ErrorKind::WouldBlock {
                if rest.len() == record.len() {
                    return false;
                }
                let mut p = libc::pollfd { fd: self.fd, events: libc::POLLOUT, revents: 0 };
                unsafe { libc::poll(&mut p, 1, 1000) };
            } else if error.kind() != std::io::ErrorKind::Interrupted {
                return true;
            }
        }
    }

    async fn writable(&self) {
        if let Some(waits) = &self.waits {
            if let Ok(mut now) = waits.writable().await {
                let mut p = libc::pollfd { fd: self.fd, events: libc::POLLOUT, revents: 0 };
                if unsafe { libc::poll(&mut p, 1, 0) } == 0 {
                    now.clear_ready();
                }
            }
        }
    }

    /// A record of the worker's own, or of a stream that is gone: never waits, is counted when there is no room.
    pub fn put(&self, record: Vec<u8>) {
        let mut b = self.backlog.lock().unwrap();
        if b.records.is_empty() && self.offer(&record) {
            return;
        }
        if b.bytes + record.len() > BACKLOG {
            b.lost += 1;
            return;
        }
        b.bytes += record.len();
        b.records.push_back(record);
        self.more.notify_one();
    }

    fn flush(&self) -> bool {
        let mut b = self.backlog.lock().unwrap();
        while let Some(record) = b.records.front() {
            if !self.offer(record) {
                return false;
            }
            let gone = b.records.pop_front().map_or(0, |r| r.len());
            b.bytes -= gone;
        }
        if b.lost > 0 && self.offer(format!("berth-wasm: {} lines are lost: nobody read them in time\n", b.lost).as_bytes()) {
            b.lost = 0;
        }
        true
    }

    /// For ever: what could not be written at once follows when there is room.
    pub async fn pump(&self) {
        loop {
            self.more.notified().await;
            while !self.flush() {
                self.writable().await;
            }
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
    /// The lines of `text`, each with whose it is, cut where a pipe would.
    pub fn records(&self, text: &[u8], each: &mut dyn FnMut(Vec<u8>)) {
        let head = format!("i{} r{} ", self.instance.load(Relaxed), self.request.load(Relaxed));
        for line in text.split_inclusive(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let mut pieces = line.chunks(RECORD - head.len() - 1);
            let mut piece = pieces.next().or(Some(&[]));
            while let Some(p) = piece {
                each([head.as_bytes(), p, b"\n"].concat());
                piece = pieces.next();
            }
        }
    }
}

/// What the guest's get-stdout gives.
#[derive(Clone)]
pub struct Output {
    pub sink: std::sync::Arc<Sink>,
    pub who: std::sync::Arc<Who>,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        let who = Who { instance: self.who.instance.load(Relaxed).into(), request: self.who.request.load(Relaxed).into() };
        Box::new(Lines { sink: self.sink.clone(), who, line: Vec::new(), queue: VecDeque::new() })
    }
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink()) // only preview 3 asks for it
    }
}

struct Lines {
    sink: std::sync::Arc<Sink>,
    who: Who,
    line: Vec<u8>,
    queue: VecDeque<Vec<u8>>,
}

impl Lines {
    fn flush_queue(&mut self) -> bool {
        while let Some(record) = self.queue.front() {
            if !self.sink.offer(record) {
                return false;
            }
            self.queue.pop_front();
        }
        true
    }
}

impl OutputStream for Lines {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.line.extend_from_slice(&bytes);
        let end = match self.line.iter().rposition(|b| *b == b'\n') {
            Some(n) => n + 1,
            None if self.line.len() >= RECORD => self.line.len(),
            None => return Ok(()),
        };
        let queue = &mut self.queue;
        self.who.records(&self.line[..end], &mut |r| queue.push_back(r));
        self.line.drain(..end);
        self.flush_queue();
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(if self.flush_queue() { 4 * RECORD } else { 0 })
    }
}

#[async_trait::async_trait]
impl Pollable for Lines {
    async fn ready(&mut self) {
        while !self.flush_queue() {
            self.sink.writable().await;
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.line);
        let queue = &mut self.queue;
        self.who.records(&line, &mut |r| queue.push_back(r));
        while let Some(record) = self.queue.pop_front() {
            self.sink.put(record);
        }
    }
}
