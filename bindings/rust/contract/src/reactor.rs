// SPDX-License-Identifier: Apache-2.0
//! The thread that waits for tokio's descriptors, and wakers that are descriptors.

use berth::{Error, Result};
use std::future::Future;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::task::Wake;
use std::thread::JoinHandle;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

pub struct Reactor {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A write to a pipe that nobody reads is an error here, not the program's end; other signals are the
/// program's own business.
fn block_signals() {
    // SAFETY: the set is ours
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &all, std::ptr::null_mut());
    }
}

impl Reactor {
    pub fn new() -> Result<Reactor> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build();
        let runtime = runtime.map_err(|e| Error::io("tokio", &e))?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().spawn(move || {
            block_signals();
            let _ = runtime.block_on(stopped);
        });
        let thread = thread.map_err(|e| Error::io("thread", &e))?;
        Ok(Reactor { handle, stop: Some(stop), thread: Some(thread) })
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.handle.block_on(future)
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A waker whose wake makes a descriptor readable. It is closed by its owner: tokio may keep a clone
/// of the waker for a moment longer.
pub struct Bell(Mutex<Option<OwnedFd>>);

impl Bell {
    pub fn new() -> Result<(Arc<Bell>, RawFd)> {
        // SAFETY: a new descriptor is nobody else's
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(Error::io("eventfd", &std::io::Error::last_os_error()));
        }
        Ok((Arc::new(Bell(Mutex::new(Some(unsafe { OwnedFd::from_raw_fd(fd) })))), fd))
    }

    fn with(&self, act: impl FnOnce(RawFd)) {
        if let Some(fd) = self.0.lock().unwrap().as_ref() {
            act(fd.as_raw_fd());
        }
    }

    /// Until the next wake it is not readable.
    pub fn calm(&self) {
        let mut count = 0u64;
        // SAFETY: eight bytes
        self.with(|fd| unsafe {
            libc::read(fd, (&raw mut count).cast(), 8);
        });
    }

    pub fn ring(&self) {
        let one = 1u64;
        // SAFETY: eight bytes
        self.with(|fd| unsafe {
            libc::write(fd, (&raw const one).cast(), 8);
        });
    }

    pub fn close(&self) {
        self.0.lock().unwrap().take();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
