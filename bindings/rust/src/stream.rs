// SPDX-License-Identifier: Apache-2.0
//! Descriptors as asynchronous streams: a log, events, the pipes of a session.

use crate::ffi;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A descriptor that somebody else closes.
pub(crate) struct Lent(pub RawFd);

impl AsRawFd for Lent {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}

fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFL) };
    if flags < 0 || unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A watched descriptor, or one of a file, which is always ready and can't be watched.
enum Watch<T: AsRawFd> {
    Watched(AsyncFd<T>),
    File(T),
}

impl<T: AsRawFd> Watch<T> {
    /// # Safety
    /// The descriptor of `inner` stays open and the same as long as the watch lives.
    unsafe fn new(inner: T) -> io::Result<Watch<T>> {
        set_nonblocking(inner.as_raw_fd())?;
        match AsyncFd::register(inner) {
            Ok(watched) => Ok(Watch::Watched(watched)),
            Err(e) => {
                let (inner, cause) = e.into_parts();
                if cause.raw_os_error() == Some(libc::EPERM) {
                    return Ok(Watch::File(inner));
                }
                Err(cause)
            }
        }
    }

    fn raw(&self) -> RawFd {
        match self {
            Watch::Watched(watched) => watched.get_ref().as_raw_fd(),
            Watch::File(inner) => inner.as_raw_fd(),
        }
    }

    fn poll_read(&self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let fd = self.raw();
        let mut read = || {
            let room = buffer.initialize_unfilled();
            // SAFETY: the room is ours
            let n = unsafe { libc::read(fd, room.as_mut_ptr().cast(), room.len()) };
            if n < 0 {
                return Err(io::Error::last_os_error());
            }
            buffer.advance(n as usize);
            Ok(())
        };
        let Watch::Watched(watched) = self else { return Poll::Ready(read()) };
        loop {
            let mut guard = ready!(watched.poll_read_ready(context))?;
            match guard.try_io(|_| read()) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => continue,
            }
        }
    }

    fn poll_write(&self, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let fd = self.raw();
        let write = || {
            // SAFETY: the data is borrowed for the call
            let n = unsafe { libc::write(fd, data.as_ptr().cast(), data.len()) };
            if n < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(n as usize)
        };
        let Watch::Watched(watched) = self else { return Poll::Ready(write()) };
        loop {
            let mut guard = ready!(watched.poll_write_ready(context))?;
            match guard.try_io(|_| write()) {
                Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => continue,
            }
        }
    }
}

/// One end of a pipe, a terminal or a file, to read from and write to.
pub struct Pipe(Watch<OwnedFd>);

impl Pipe {
    /// Around a descriptor, which is set to non-blocking. Inside a tokio runtime with I/O.
    pub fn new(fd: OwnedFd) -> io::Result<Pipe> {
        // SAFETY: the descriptor is owned
        Ok(Pipe(unsafe { Watch::new(fd)? }))
    }
}

impl AsFd for Pipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Watch::Watched(watched) => watched.get_ref().as_fd(),
            Watch::File(fd) => fd.as_fd(),
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.0.poll_read(context, buffer) {
            // the other end of a terminal is gone
            Poll::Ready(Err(e)) if e.raw_os_error() == Some(libc::EIO) => Poll::Ready(Ok(())),
            other => other,
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.poll_write(context, data)
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a log's frame holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A piece of what the program wrote.
    Data {
        /// 1: standard output, 2: standard error.
        stream: u32,
        /// Microseconds since 1970.
        time_usec: i64,
        #[allow(missing_docs)]
        data: Vec<u8>,
    },
    /// The limits kept less than this reader would have read: so many bytes are gone.
    Lost {
        #[allow(missing_docs)]
        bytes: u64,
    },
}

/// A log or events as bytes: an [`AsyncRead`], or piece by piece with `chunk`.
pub struct ByteStream(Pin<Box<dyn AsyncRead + Send>>);

impl ByteStream {
    /// Of any reader, for those who implement [`crate::Runtime`].
    pub fn new(reader: impl AsyncRead + Send + 'static) -> ByteStream {
        ByteStream(Box::pin(reader))
    }

    /// The next bytes, as many as there are; `None` at the end.
    pub async fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut data = Vec::with_capacity(65536);
        let n = self.read_buf(&mut data).await?;
        Ok((n > 0).then_some(data))
    }

    /// The rest.
    pub async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        self.read_to_end(&mut data).await?;
        Ok(data)
    }

    /// The next frame of a log that was asked for with `frames`; `None` at the end.
    pub async fn frame(&mut self) -> io::Result<Option<Frame>> {
        let mut head = [0u8; std::mem::size_of::<ffi::berth_frame>()];
        let mut have = 0;
        while have < head.len() {
            match self.read(&mut head[have..]).await? {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
        // SAFETY: integers without padding, any bytes are some; the array may lie anywhere
        let head: ffi::berth_frame = unsafe { std::ptr::read_unaligned(head.as_ptr().cast()) };
        if head.stream == ffi::BERTH_FRAME_LOST {
            return Ok(Some(Frame::Lost { bytes: head.length }));
        }
        let mut data = Vec::new();
        self.take(head.length).read_to_end(&mut data).await?;
        if data.len() as u64 != head.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(Frame::Data { stream: head.stream, time_usec: head.time_usec, data }))
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(
        mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(context, buffer)
    }
}

/// A stream of the library. The watch ends before the descriptor is closed.
pub(crate) struct LibraryStream<Owner> {
    watch: Option<Watch<Lent>>,
    raw: *mut ffi::berth_stream,
    _owner: Owner,
}

// SAFETY: a stream is used by one thread at a time, which &mut says; any thread may be that one
unsafe impl<Owner: Send> Send for LibraryStream<Owner> {}

impl<Owner> LibraryStream<Owner> {
    /// Around `raw`, which becomes the stream's also on failure; `owner` outlives it.
    pub fn new(raw: *mut ffi::berth_stream, owner: Owner) -> io::Result<Self> {
        let mut stream = LibraryStream { watch: None, raw, _owner: owner };
        // SAFETY: raw is a live stream, which is freed behind the watch (drop)
        stream.watch = Some(unsafe { Watch::new(Lent(ffi::berth_stream_fd(raw)))? });
        Ok(stream)
    }
}

impl<Owner: Unpin> AsyncRead for LibraryStream<Owner> {
    fn poll_read(
        self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &self.watch {
            Some(watch) => watch.poll_read(context, buffer),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl<Owner> Drop for LibraryStream<Owner> {
    fn drop(&mut self) {
        self.watch = None;
        // SAFETY: raw is live and nobody else's
        unsafe { ffi::berth_stream_free(self.raw) };
    }
}
