// SPDX-License-Identifier: Apache-2.0
//! A call of the library as something to poll: its descriptor on tokio's reactor, its drop a cancel.

use crate::error::{empty, Code, Error, Result};
use crate::ffi;
use crate::stream::Lent;
use crate::types::{ExecOutput, Handle, Status};
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

/// An open runtime of the library, closed when the last call and stream of it is gone.
pub(crate) struct Open(pub *mut ffi::berth_runtime);

// SAFETY: "A runtime may be used by many threads at once" (berth.h)
unsafe impl Send for Open {}
unsafe impl Sync for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: calls and streams hold an Arc of this, so none is left
        unsafe { ffi::berth_close(self.0) };
    }
}

/// What a finished call brings.
pub(crate) struct Outcome {
    pub handle: Handle,
    pub exec: Option<ExecOutput>,
    pub status: Option<Status>,
}

pub(crate) struct Call {
    raw: *mut ffi::berth_call,
    watch: Option<AsyncFd<Lent>>,
    _open: Arc<Open>,
}

// SAFETY: "a call or a stream by one [thread] at a time" (berth.h): &mut says so
unsafe impl Send for Call {}

unsafe fn bytes(data: *const libc::c_char, size: usize) -> Vec<u8> {
    if data.is_null() {
        return Vec::new();
    }
    std::slice::from_raw_parts(data.cast::<u8>(), size).to_vec()
}

/// Copy a result and give back what it owned.
unsafe fn take_result(raw: &ffi::berth_result) -> Outcome {
    let exec = raw.exec.as_ref().map(|e| ExecOutput {
        exit_code: e.exit_code,
        signal: (e.signal != 0).then_some(e.signal),
        exec_id: e.exec_id,
        stdout: bytes(e.out, e.out_size),
        stderr: bytes(e.err, e.err_size),
    });
    let status = raw.status.as_ref().map(|s| Status::from_raw(s));
    ffi::berth_exec_result_free(raw.exec);
    ffi::berth_status_free(raw.status);
    Outcome { handle: Handle::from_raw(raw.handle), exec, status }
}

impl Call {
    /// What `begin` makes: a call of `open`, or its failure.
    pub fn begin(
        open: &Arc<Open>,
        begin: impl FnOnce(*mut ffi::berth_runtime, *mut *mut ffi::berth_call, *mut ffi::berth_error) -> i32,
    ) -> Result<Call> {
        let (mut raw, mut err) = (std::ptr::null_mut(), empty());
        let r = begin(open.0, &mut raw, &mut err);
        if r < 0 {
            return Err(Error::from_raw(r, &err));
        }
        Ok(Call { raw, watch: None, _open: open.clone() })
    }

    fn finish(&mut self) -> Poll<Result<Outcome>> {
        // SAFETY: the call is live; the result is all zero before, and filled on success
        let (mut result, mut err) = (unsafe { std::mem::zeroed() }, empty());
        match unsafe { ffi::berth_call_finish(self.raw, &mut result, &mut err) } {
            r if r == Code::Again.number() => Poll::Pending,
            r if r < 0 => Poll::Ready(Err(Error::from_raw(r, &err))),
            _ => Poll::Ready(Ok(unsafe { take_result(&result) })),
        }
    }

    fn watch(&mut self) -> Result<()> {
        // SAFETY: the call is live; the descriptor stays its own
        let fd = unsafe { ffi::berth_call_fd(self.raw) };
        if fd < 0 {
            return Err(Error::new(Code::from_number(fd), "", "the call has no descriptor"));
        }
        // SAFETY: the descriptor is open until the call is freed, which is after the watch (drop)
        let watch = unsafe { AsyncFd::register_with_interest(Lent(fd), Interest::READABLE) };
        self.watch = Some(watch.map_err(|e| Error::io("watch a call", &e.into()))?);
        Ok(())
    }

    /// Many calls finish at once and never see the reactor. The others are asked again whenever their
    /// descriptor is readable; the reactor tells that once, so what stays readable is looked for.
    pub fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<Outcome>> {
        if let Poll::Ready(outcome) = self.finish() {
            return Poll::Ready(outcome);
        }
        if self.watch.is_none() {
            self.watch()?;
        }
        loop {
            let watch = self.watch.as_ref().expect("made above");
            let Poll::Ready(guard) = watch.poll_read_ready(context) else {
                if is_readable(watch.get_ref().0) {
                    context.waker().wake_by_ref();
                }
                return Poll::Pending;
            };
            guard.map_err(|e| Error::io("poll a call", &e))?.clear_ready();
            if let Poll::Ready(outcome) = self.finish() {
                return Poll::Ready(outcome);
            }
        }
    }

    pub async fn outcome(mut self) -> Result<Outcome> {
        std::future::poll_fn(|context| self.poll_finish(context)).await
    }

    pub fn descriptor(&self, number: usize) -> Option<BorrowedFd<'_>> {
        // SAFETY: the descriptor is the call's, which is borrowed as long
        match unsafe { ffi::berth_call_stream_fd(self.raw, number as i32) } {
            fd if fd < 0 => None,
            fd => Some(unsafe { BorrowedFd::borrow_raw(fd) }),
        }
    }

    /// The call for the library's functions on it.
    pub fn raw(&mut self) -> *mut ffi::berth_call {
        self.raw
    }
}

fn is_readable(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry
    unsafe { libc::poll(&mut poll, 1, 0) > 0 }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.watch = None;
        // SAFETY: live, and nobody else's; one that is under way is cancelled by this
        unsafe { ffi::berth_call_free(self.raw) };
    }
}
