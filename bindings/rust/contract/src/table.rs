// SPDX-License-Identifier: Apache-2.0
//! The table: each verb of `struct berth_engine` by the trait's method.
//!
//! SAFETY of it all: the front desk hands over what the header promises: live pointers, checked handles,
//! options of full size, and `me` is what `open` returned.

use crate::convert::{self, answer};
use crate::job::{self, OnCancel, Outcome, Work};
use crate::own;
use crate::reactor::Reactor;
use berth::ffi::*;
use berth::*;
use libc::{c_char, c_int, c_void, size_t};
use std::ffi::CStr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

pub struct Engine {
    /// What this table is called.
    pub name: &'static str,
    /// What the runtime behind it is called.
    inner: &'static str,
    pub runtime: Box<dyn Runtime>,
    pub reactor: Reactor,
}

const NAMES: [(&CStr, &str); 4] = [
    (c"rust-container", "container"),
    (c"rust-fake", "fake"),
    (c"rust-wasm", "wasm"),
    (c"rust-docker", "docker"),
];

unsafe fn engine<'a>(me: *mut c_void) -> &'a Arc<Engine> {
    &*me.cast::<Arc<Engine>>()
}

fn open_engine(which: usize, options: &Options) -> Result<Engine> {
    let (name, inner) = NAMES[which];
    let name = name.to_str().expect("ASCII");
    let runtime: Box<dyn Runtime> = Box::new(Berth::open(inner, options)?);
    let reactor = Reactor::new()?;
    own::open(runtime.as_ref(), &reactor)?;
    Ok(Engine { name, inner, runtime, reactor })
}

unsafe extern "C" fn open<const WHICH: usize>(
    options: *const berth_options, ret: *mut *mut c_void, err: *mut berth_error,
) -> c_int {
    let opened = open_engine(WHICH, &convert::open_options(&*options));
    answer(
        opened.map(|engine| {
            *ret = Box::into_raw(Box::new(Arc::new(engine))).cast();
            0
        }),
        err,
    )
}

unsafe extern "C" fn close(me: *mut c_void) {
    own::close(engine(me).runtime.as_ref());
    drop(Box::from_raw(me.cast::<Arc<Engine>>()));
}

impl Engine {
    fn inside(&self, handle: *const berth_handle) -> Handle {
        Handle::from_raw(convert::renamed(unsafe { &*handle }, self.inner))
    }

    fn block<T>(&self, future: Pending<'_, T>) -> T {
        self.reactor.block_on(future)
    }
}

fn timeout(msec: i64) -> Option<Duration> {
    (msec != BERTH_TIMEOUT_SPEC).then(|| Duration::from_millis(msec as u64))
}

/* verbs that are calls */

unsafe extern "C" fn create(
    me: *mut c_void, spec: *const c_char, ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let engine = engine(me).clone();
    let spec = match convert::text("spec", spec) {
        Ok(spec) => spec,
        Err(failure) => return answer(Err(failure), err),
    };
    let owner = engine.clone();
    let work: Work = Box::pin(async move {
        let handle = owner.runtime.create(&spec).await?;
        Ok(Outcome { handle: Some(handle), ..Default::default() })
    });
    job::future(&engine, work, OnCancel::UndoCreate, None, ret, err)
}

/// A verb over one workload.
unsafe fn over<Verb, Done>(
    me: *mut c_void, handle: *const berth_handle, on_cancel: OnCancel, verb: Verb, ret: *mut *mut berth_call,
    err: *mut berth_error,
) -> c_int
where
    Verb: FnOnce(Arc<Engine>, Handle) -> Done,
    Done: std::future::Future<Output = Result<Outcome>> + Send + 'static,
{
    let engine = engine(me);
    let handle = engine.inside(handle);
    let work: Work = Box::pin(verb(engine.clone(), handle));
    job::future(engine, work, on_cancel, Some(handle), ret, err)
}

fn plain(result: Result<()>) -> Result<Outcome> {
    result.map(|_| Outcome::default())
}

fn with_status(result: Result<Status>) -> Result<Outcome> {
    result.map(|status| Outcome { status: Some(status), ..Default::default() })
}

unsafe extern "C" fn start(
    me: *mut c_void, h: *const berth_handle, ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let verb = |e: Arc<Engine>, h: Handle| async move { plain(e.runtime.start(&h).await) };
    over(me, h, OnCancel::UndoStart, verb, ret, err)
}

unsafe extern "C" fn stop(
    me: *mut c_void, h: *const berth_handle, msec: i64, ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let verb = move |e: Arc<Engine>, h: Handle| async move { plain(e.runtime.stop(&h, timeout(msec)).await) };
    over(me, h, OnCancel::GoOn, verb, ret, err)
}

unsafe extern "C" fn restart(
    me: *mut c_void, h: *const berth_handle, msec: i64, ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let verb =
        move |e: Arc<Engine>, h: Handle| async move { plain(e.runtime.restart(&h, timeout(msec)).await) };
    over(me, h, OnCancel::GoOn, verb, ret, err)
}

unsafe extern "C" fn remove(
    me: *mut c_void, h: *const berth_handle, options: *const berth_remove_options, ret: *mut *mut berth_call,
    err: *mut berth_error,
) -> c_int {
    let options = RemoveOptions { force: (*options).force, volumes: (*options).volumes };
    let verb = move |e: Arc<Engine>, h: Handle| async move { plain(e.runtime.remove(&h, options).await) };
    over(me, h, OnCancel::GoOn, verb, ret, err)
}

unsafe extern "C" fn wait(
    me: *mut c_void, h: *const berth_handle, ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let verb = |e: Arc<Engine>, h: Handle| async move { with_status(e.runtime.wait(&h).await) };
    over(me, h, OnCancel::Drop, verb, ret, err)
}

unsafe extern "C" fn status_call(
    me: *mut c_void, h: *const berth_handle, ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let verb = |e: Arc<Engine>, h: Handle| async move { with_status(e.runtime.status(&h).await) };
    over(me, h, OnCancel::Drop, verb, ret, err)
}

unsafe fn begin_session(
    me: *mut c_void, make: impl FnOnce(&Engine) -> Result<Box<dyn Session>>, ret: *mut *mut berth_call,
    err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let _inside = engine.reactor.handle().enter();
    match make(engine) {
        Ok(session) => job::session(engine, session, ret, err),
        Err(failure) => answer(Err(failure), err),
    }
}

unsafe extern "C" fn exec(
    me: *mut c_void, h: *const berth_handle, argv: *const *const c_char, raw: *const berth_exec_options,
    ret: *mut *mut berth_call, err: *mut berth_error,
) -> c_int {
    let (argv, options) =
        match convert::list("argv", argv).and_then(|a| Ok((a, convert::exec_options(&*raw)?))) {
            Ok(both) => both,
            Err(failure) => return answer(Err(failure), err),
        };
    if (*raw).stream {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        return begin_session(me, |e| e.runtime.session(&e.inside(h), &argv, options), ret, err);
    }
    let verb = move |e: Arc<Engine>, h: Handle| async move {
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let output = e.runtime.exec_with(&h, &argv, options).await?;
        Ok(Outcome { exec: Some(output), ..Default::default() })
    };
    over(me, h, OnCancel::Drop, verb, ret, err)
}

unsafe extern "C" fn attach(
    me: *mut c_void, h: *const berth_handle, options: *const berth_attach_options, ret: *mut *mut berth_call,
    err: *mut berth_error,
) -> c_int {
    let options = convert::attach_options(&*options);
    begin_session(me, |e| e.runtime.attach(&e.inside(h), options), ret, err)
}

/* streams: the crate's bytes, copied into a pipe by the reactor */

struct Pump {
    engine: Arc<Engine>,
    task: tokio::task::JoinHandle<()>,
}

unsafe extern "C" fn pump_free(data: *mut c_void) {
    let pump = Box::from_raw(data.cast::<Pump>());
    pump.task.abort();
    let _ = pump.engine.reactor.block_on(pump.task);
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: two new descriptors, nobody else's
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } < 0 {
        return Err(Error::io("pipe2", &std::io::Error::last_os_error()));
    }
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

async fn copy(mut from: ByteStream, to: OwnedFd) {
    let Ok(mut to) = Pipe::new(to) else { return };
    while let Ok(Some(bytes)) = from.chunk().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

unsafe fn pump(
    engine: &Arc<Engine>, stream: Result<ByteStream>, ret: *mut *mut berth_stream, err: *mut berth_error,
) -> c_int {
    let (stream, (read, write)) = match stream.and_then(|stream| Ok((stream, pipe()?))) {
        Ok(both) => both,
        Err(failure) => return answer(Err(failure), err),
    };
    let task = engine.reactor.handle().spawn(copy(stream, write));
    let data = Box::into_raw(Box::new(Pump { engine: engine.clone(), task }));
    berth_stream_new(read.into_raw_fd(), Some(pump_free), data.cast(), ret, err)
}

unsafe extern "C" fn logs(
    me: *mut c_void, h: *const berth_handle, options: *const berth_logs_options, ret: *mut *mut berth_stream,
    err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let handle = engine.inside(h);
    let stream = engine.block(engine.runtime.logs(&handle, convert::log_options(&*options)));
    pump(engine, stream, ret, err)
}

unsafe extern "C" fn events(
    me: *mut c_void, options: *const berth_events_options, ret: *mut *mut berth_stream, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let stream =
        convert::event_options(&*options).and_then(|options| engine.block(engine.runtime.events(options)));
    pump(engine, stream, ret, err)
}

/* verbs that answer at once */

unsafe extern "C" fn status(
    me: *mut c_void, h: *const berth_handle, ret: *mut *mut berth_status, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let status = engine.block(engine.runtime.status(&engine.inside(h)));
    answer(
        status.map(|status| {
            *ret = convert::status(&status, engine.name);
            0
        }),
        err,
    )
}

unsafe extern "C" fn stats(
    me: *mut c_void, h: *const berth_handle, ret: *mut berth_stats, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let stats = engine.block(engine.runtime.stats(&engine.inside(h)));
    answer(
        stats.map(|stats| {
            *ret = convert::stats(&stats);
            0
        }),
        err,
    )
}

unsafe extern "C" fn resolve_host_port(
    me: *mut c_void, h: *const berth_handle, port: *const berth_port, ret: *mut berth_host_port,
    err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let found = engine.block(engine.runtime.host_port(&engine.inside(h), convert::port(&*port)));
    answer(
        found.map(|found| {
            let Some(found) = found else { return 0 };
            (*ret).port = found.port;
            text::write_text(&mut (*ret).address, &found.address);
            1
        }),
        err,
    )
}

unsafe extern "C" fn resolve_container_address(
    me: *mut c_void, h: *const berth_handle, port: *const berth_port, network: *const c_char,
    ret: *mut c_char, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let found = convert::optional("network", network).and_then(|network| {
        engine.block(engine.runtime.container_address(
            &engine.inside(h),
            convert::port(&*port),
            network.as_deref(),
        ))
    });
    answer(
        found.map(|found| {
            let Some(found) = found else { return 0 };
            text::write_text(std::slice::from_raw_parts_mut(ret, BERTH_ADDRESS_TEXT), &found);
            1
        }),
        err,
    )
}

unsafe extern "C" fn find(
    me: *mut c_void, name: *const c_char, ret: *mut berth_handle, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let found = convert::text("name", name).and_then(|name| engine.block(engine.runtime.find(&name)));
    answer(
        found.map(|handle| {
            *ret = convert::renamed(handle.as_raw(), engine.name);
            0
        }),
        err,
    )
}

unsafe extern "C" fn list(
    me: *mut c_void, ret: *mut *mut berth_handle, ret_count: *mut size_t, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    answer(
        engine.block(engine.runtime.list()).map(|handles| {
            *ret = convert::malloc_handles(&handles, engine.name);
            *ret_count = handles.len();
            0
        }),
        err,
    )
}

unsafe extern "C" fn signal(
    me: *mut c_void, h: *const berth_handle, number: c_int, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    answer(engine.block(engine.runtime.signal(&engine.inside(h), number)).map(|_| 0), err)
}

unsafe extern "C" fn pause(me: *mut c_void, h: *const berth_handle, err: *mut berth_error) -> c_int {
    let engine = engine(me);
    answer(engine.block(engine.runtime.pause(&engine.inside(h))).map(|_| 0), err)
}

unsafe extern "C" fn unpause(me: *mut c_void, h: *const berth_handle, err: *mut berth_error) -> c_int {
    let engine = engine(me);
    answer(engine.block(engine.runtime.unpause(&engine.inside(h))).map(|_| 0), err)
}

unsafe extern "C" fn update(
    me: *mut c_void, h: *const berth_handle, patch: *const c_char, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let patch = convert::text("patch", patch);
    answer(
        patch.and_then(|patch| engine.block(engine.runtime.update(&engine.inside(h), &patch))).map(|_| 0),
        err,
    )
}

unsafe extern "C" fn rename(
    me: *mut c_void, h: *const berth_handle, name: *const c_char, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    let name = convert::text("name", name);
    answer(
        name.and_then(|name| engine.block(engine.runtime.rename(&engine.inside(h), &name))).map(|_| 0),
        err,
    )
}

unsafe fn json(result: Result<String>, ret: *mut *mut c_char, err: *mut berth_error) -> c_int {
    answer(
        result.map(|text| {
            *ret = convert::malloc_text(&text);
            0
        }),
        err,
    )
}

unsafe extern "C" fn inspect(
    me: *mut c_void, h: *const berth_handle, ret: *mut *mut c_char, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    json(engine.block(engine.runtime.inspect(&engine.inside(h))), ret, err)
}

unsafe extern "C" fn exec_list(
    me: *mut c_void, h: *const berth_handle, ret: *mut *mut c_char, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    json(engine.block(engine.runtime.exec_list(&engine.inside(h))), ret, err)
}

unsafe extern "C" fn exec_kill(
    me: *mut c_void, h: *const berth_handle, exec_id: u64, number: c_int, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    answer(engine.block(engine.runtime.exec_kill(&engine.inside(h), exec_id, number)).map(|_| 0), err)
}

unsafe extern "C" fn plan(
    me: *mut c_void, spec: *const c_char, ret: *mut *mut c_char, err: *mut berth_error,
) -> c_int {
    let engine = engine(me);
    json(convert::text("spec", spec).and_then(|spec| engine.block(engine.runtime.plan(&spec))), ret, err)
}

/// A table in a static: its pointers are to statics and functions.
#[repr(transparent)]
pub struct Table(pub berth_engine);

// SAFETY: constant
unsafe impl Sync for Table {}

impl std::ops::Deref for Table {
    type Target = berth_engine;
    fn deref(&self) -> &berth_engine {
        &self.0
    }
}

const fn table<const WHICH: usize>() -> Table {
    Table(berth_engine {
        size: std::mem::size_of::<berth_engine>(),
        abi_version: BERTH_ABI_VERSION,
        name: NAMES[WHICH].0.as_ptr(),
        open: Some(open::<WHICH>),
        close: Some(close),
        create: Some(create),
        start: Some(start),
        stop: Some(stop),
        remove: Some(remove),
        status: Some(status),
        logs: Some(logs),
        exec: Some(exec),
        stats: Some(stats),
        resolve_host_port: Some(resolve_host_port),
        resolve_container_address: Some(resolve_container_address),
        find: Some(find),
        list: Some(list),
        wait: Some(wait),
        signal: Some(signal),
        attach: Some(attach),
        pause: Some(pause),
        unpause: Some(unpause),
        update: Some(update),
        rename: Some(rename),
        restart: Some(restart),
        events: Some(events),
        inspect: Some(inspect),
        exec_list: Some(exec_list),
        exec_kill: Some(exec_kill),
        plan: Some(plan),
        status_call: Some(status_call),
    })
}

pub static ENGINES: [Table; 4] = [table::<0>(), table::<1>(), table::<2>(), table::<3>()];
