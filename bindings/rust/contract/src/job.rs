// SPDX-License-Identifier: Apache-2.0
//! A future, or a session, as a call of the C table: stepped by whoever polls its descriptor.

use crate::convert::{self, answer};
use crate::reactor::Bell;
use crate::table::Engine;
use berth::ffi;
use berth::*;
use libc::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What a verb brought, whichever it was.
#[derive(Default)]
pub struct Outcome {
    pub handle: Option<Handle>,
    pub exec: Option<ExecOutput>,
    pub status: Option<Status>,
}

pub type Work = Pending<'static, Result<Outcome>>;

/// What a cancel means for the verb.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    /// The future is dropped: what it had begun is killed.
    Drop,
    /// The same; a finished one whose result nobody took is undone.
    UndoCreate,
    /// The same, and the end is told once it is undone: the handle is that of a start.
    UndoStart,
    /// It goes on without the caller.
    GoOn,
}

enum Doing {
    Future(Work),
    Session(Box<dyn Session>),
    Nothing,
}

struct Job {
    engine: Arc<Engine>,
    doing: Doing,
    bell: Arc<Bell>,
    waker: Waker,
    on_cancel: OnCancel,
    handle: Option<Handle>,
    made: Option<Handle>,
}

impl Drop for Job {
    fn drop(&mut self) {
        let _inside = self.engine.reactor.handle().enter();
        self.doing = Doing::Nothing;
        self.bell.close();
    }
}

fn cancelled(handle: Option<&Handle>) -> Error {
    let name = handle.map(|h| h.name()).unwrap_or_default();
    Error::new(Code::Cancelled, &name, "cancelled")
}

/// After a start was dropped: until the workload is back where it was.
async fn start_undone(engine: Arc<Engine>, handle: Handle) -> Result<Outcome> {
    loop {
        let word = engine.runtime.status(&handle).await?.word;
        if !matches!(word, Word::Creating | Word::Running | Word::Stopping | Word::Paused) {
            return Err(cancelled(Some(&handle)));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

impl Job {
    fn poll(&mut self) -> Poll<Result<Outcome>> {
        let _inside = self.engine.reactor.handle().enter();
        let mut context = Context::from_waker(&self.waker);
        match &mut self.doing {
            Doing::Future(future) => future.as_mut().poll(&mut context),
            Doing::Session(session) => session.poll_ended(&mut context).map_ok(|ended| Outcome {
                handle: None,
                exec: ended.exec,
                status: ended.status,
            }),
            Doing::Nothing => Poll::Ready(Err(cancelled(self.handle.as_ref()))),
        }
    }

    /// The library asks nothing more of a call that has ended.
    fn step(&mut self, ret: &mut ffi::berth_result) -> Result<c_int> {
        self.bell.calm();
        let Poll::Ready(outcome) = self.poll() else { return Ok(0) };
        if !matches!(self.doing, Doing::Session(_)) {
            self.doing = Doing::Nothing; // a session's pipes are read after its end
        }
        let outcome = outcome?;
        let name = self.engine.name;
        self.made = outcome.handle;
        // SAFETY: what is made here becomes the receiver's
        unsafe {
            if let Some(handle) = outcome.handle {
                ret.handle = convert::renamed(handle.as_raw(), name);
            }
            ret.exec = outcome.exec.map_or(std::ptr::null_mut(), |exec| convert::exec_result(&exec));
            ret.status = outcome.status.map_or(std::ptr::null_mut(), |status| convert::status(&status, name));
        }
        Ok(1)
    }

    fn cancel(&mut self) {
        let _inside = self.engine.reactor.handle().enter();
        if self.on_cancel == OnCancel::GoOn {
            return;
        }
        self.doing = Doing::Nothing;
        if let (OnCancel::UndoStart, Some(handle)) = (self.on_cancel, self.handle) {
            self.doing = Doing::Future(Box::pin(start_undone(self.engine.clone(), handle)));
        }
        self.bell.ring();
    }

    fn undo(&mut self) {
        if let Some(handle) = self.made.take() {
            let options = RemoveOptions { force: true, volumes: true };
            let _ = self.engine.reactor.block_on(self.engine.runtime.remove(&handle, options));
        }
    }

    fn session(&mut self, what: &str) -> Result<&mut Box<dyn Session>> {
        match &mut self.doing {
            Doing::Session(session) => Ok(session),
            _ => Err(Error::new(Code::Unsupported, what, format!("{what}: this call has no program"))),
        }
    }
}

/* The operations of a call: `data` is the Job that `make` boxed. */

unsafe extern "C" fn step(
    data: *mut c_void, ret: *mut ffi::berth_result, err: *mut ffi::berth_error,
) -> c_int {
    answer((*data.cast::<Job>()).step(&mut *ret), err)
}

unsafe extern "C" fn cancel(data: *mut c_void) {
    (*data.cast::<Job>()).cancel();
}

unsafe extern "C" fn free(data: *mut c_void) {
    drop(Box::from_raw(data.cast::<Job>()));
}

unsafe extern "C" fn undo(data: *mut c_void) {
    (*data.cast::<Job>()).undo();
}

unsafe extern "C" fn stream_fd(data: *mut c_void, number: c_int) -> c_int {
    let job = &mut *data.cast::<Job>();
    let descriptor = match job.session("stream") {
        Ok(session) => session.descriptor(number as usize).map(|fd| fd.as_raw_fd()),
        Err(_) => None,
    };
    descriptor.unwrap_or(-1)
}

unsafe extern "C" fn close_stdin(data: *mut c_void) {
    if let Ok(session) = (*data.cast::<Job>()).session("close_stdin") {
        session.close_stdin();
    }
}

unsafe extern "C" fn resize(data: *mut c_void, rows: u16, columns: u16, err: *mut ffi::berth_error) -> c_int {
    let session = (*data.cast::<Job>()).session("resize");
    answer(session.and_then(|s| s.resize(rows, columns)).map(|_| 0), err)
}

unsafe extern "C" fn signal(data: *mut c_void, number: c_int, err: *mut ffi::berth_error) -> c_int {
    let session = (*data.cast::<Job>()).session("signal");
    answer(session.and_then(|s| s.signal(number)).map(|_| 0), err)
}

unsafe extern "C" fn let_go(data: *mut c_void, err: *mut ffi::berth_error) -> c_int {
    let session = (*data.cast::<Job>()).session("let_go");
    answer(session.and_then(|s| s.let_go()).map(|_| 0), err)
}

/// Of a call whose end nobody can undo: all but create.
const OPS: ffi::berth_call_ops = ffi::berth_call_ops {
    size: std::mem::size_of::<ffi::berth_call_ops>(),
    step: Some(step),
    cancel: Some(cancel),
    free: Some(free),
    stream_fd: Some(stream_fd),
    close_stdin: Some(close_stdin),
    resize: Some(resize),
    signal: Some(signal),
    undo: None,
    let_go: Some(let_go),
};
const CREATE_OPS: ffi::berth_call_ops = ffi::berth_call_ops { undo: Some(undo), ..OPS };

unsafe fn make(
    engine: &Arc<Engine>, doing: Doing, on_cancel: OnCancel, handle: Option<Handle>,
    ret: *mut *mut ffi::berth_call, err: *mut ffi::berth_error,
) -> c_int {
    let (bell, fd): (Arc<Bell>, RawFd) = match Bell::new() {
        Ok(made) => made,
        Err(failure) => return answer(Err(failure), err),
    };
    let waker = Waker::from(bell.clone());
    let job = Job { engine: engine.clone(), doing, bell, waker, on_cancel, handle, made: None };
    let ops = if on_cancel == OnCancel::UndoCreate { &CREATE_OPS } else { &OPS };
    ffi::berth_call_new(ops, Box::into_raw(Box::new(job)).cast(), fd, ret, err)
}

/// A call of a future.
pub unsafe fn future(
    engine: &Arc<Engine>, work: Work, on_cancel: OnCancel, handle: Option<Handle>,
    ret: *mut *mut ffi::berth_call, err: *mut ffi::berth_error,
) -> c_int {
    make(engine, Doing::Future(work), on_cancel, handle, ret, err)
}

/// A call of a session.
pub unsafe fn session(
    engine: &Arc<Engine>, session: Box<dyn Session>, ret: *mut *mut ffi::berth_call,
    err: *mut ffi::berth_error,
) -> c_int {
    make(engine, Doing::Session(session), OnCancel::Drop, None, ret, err)
}
