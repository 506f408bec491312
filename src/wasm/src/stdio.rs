// SPDX-License-Identifier: Apache-2.0
//! A command's standard descriptors: the process's own, without a thread or a buffer in between.

use bytes::{Bytes, BytesMut};
use std::io::{Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

const BLOCK: usize = 64 << 10;

#[derive(Clone, Copy)]
pub struct Standard(pub RawFd);

impl Standard {
    /// A view of the descriptor, which stays open.
    fn file(&self) -> ManuallyDrop<std::fs::File> {
        ManuallyDrop::new(unsafe { std::fs::File::from_raw_fd(self.0) })
    }

    /// A read would not wait. What can't be polled (a file) never waits.
    fn readable(&self) -> bool {
        let mut p = libc::pollfd { fd: self.0, events: libc::POLLIN, revents: 0 };
        unsafe { libc::poll(&mut p, 1, 0) != 0 }
    }
}

impl AsRawFd for Standard {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

fn failed(e: std::io::Error) -> StreamError {
    match e.kind() {
        std::io::ErrorKind::BrokenPipe => StreamError::Closed,
        _ => StreamError::LastOperationFailed(e.into()),
    }
}

impl IsTerminal for Standard {
    fn is_terminal(&self) -> bool {
        unsafe { libc::isatty(self.0) == 1 }
    }
}

impl StdinStream for Standard {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(*self)
    }
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty()) // only preview 3 asks for it
    }
}

impl StdoutStream for Standard {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(*self)
    }
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }
}

#[async_trait::async_trait]
impl Pollable for Standard {
    async fn ready(&mut self) {
        // Output always is: the write itself waits for the reader, as any program's does.
        if self.0 != 0 || self.readable() {
            return;
        }
        let Ok(waits) = (unsafe { AsyncFd::register_with_interest(*self, Interest::READABLE) }) else { return };
        while let Ok(mut now) = waits.readable().await {
            if self.readable() {
                return;
            }
            now.clear_ready();
        }
    }
}

impl InputStream for Standard {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 || !self.readable() {
            return Ok(Bytes::new());
        }
        let mut block = BytesMut::zeroed(size.min(BLOCK));
        let n = self.file().read(&mut block).map_err(failed)?;
        block.truncate(n);
        if n == 0 { Err(StreamError::Closed) } else { Ok(block.freeze()) }
    }
}

impl OutputStream for Standard {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.file().write_all(&bytes).map_err(failed)
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(BLOCK)
    }
}
