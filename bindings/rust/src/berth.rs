// SPDX-License-Identifier: Apache-2.0
//! [`Berth`]: the trait over libberth. Each method makes the library's call and polls it; nothing here
//! decides.

use crate::call::{Call, Open};
use crate::error::{empty, Code, Error, Result};
use crate::ffi;
use crate::runtime::{Ended, Pending, Runtime, Session};
use crate::stream::{ByteStream, LibraryStream};
use crate::text::{c_text, copy_text, read_text, take_text, write_text, CList};
use crate::types::*;
use std::any::Any;
use std::ffi::CString;
use std::mem::{size_of, zeroed};
use std::os::fd::BorrowedFd;
use std::ptr::{null, null_mut};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Where a runtime keeps its things; `None` is the default of `struct berth_options`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// State that lasts.
    pub root: Option<String>,
    /// State of this boot.
    pub run: Option<String>,
    /// berth.toml.
    pub config: Option<String>,
    /// Folder of berth-supervisor and berth-helper.
    pub programs: Option<String>,
    /// Folder of others' engines, NAME.so.
    pub engines: Option<String>,
}

/// A runtime of libberth. Cheap to clone: all clones are the same runtime.
///
/// Its futures must be polled inside a tokio runtime with I/O enabled. No thread is started and none
/// is blocked: a call that isn't over at once is its descriptor in tokio's reactor. stats, logs, the
/// resolve verbs and what stands beside the verbs without waiting (find, list, signal, ...) have no
/// such form in the library: they are answered while polled, in microseconds for engines of this
/// machine.
#[derive(Clone)]
pub struct Berth {
    open: Arc<Open>,
    name: Arc<str>,
}

fn or_null(text: &Option<CString>) -> *const libc::c_char {
    text.as_ref().map_or(null(), |t| t.as_ptr())
}

fn optional(what: &str, text: &Option<String>) -> Result<Option<CString>> {
    text.as_ref().map(|t| c_text(what, t)).transpose()
}

/// A timeout as the library takes it: rounded up, so that a short one is not 0, which kills at once.
fn timeout_msec(timeout: Option<Duration>) -> i64 {
    let Some(timeout) = timeout else { return ffi::BERTH_TIMEOUT_SPEC };
    i64::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// A result of the library that brings nothing.
fn done(call: impl FnOnce(*mut ffi::berth_error) -> i32) -> Result<i32> {
    let mut err = empty();
    match call(&mut err) {
        r if r < 0 => Err(Error::from_raw(r, &err)),
        r => Ok(r),
    }
}

fn port_raw(port: Port) -> ffi::berth_port {
    let (number, protocol) = match port {
        Port::Tcp(number) => (number, "tcp"),
        Port::Udp(number) => (number, "udp"),
    };
    let mut raw = ffi::berth_port { number, protocol: [0; 6] };
    write_text(&mut raw.protocol, protocol);
    raw
}

impl LogOptions {
    /// As the library takes it.
    pub fn to_raw(&self) -> Result<ffi::berth_logs_options> {
        let streams = match (self.no_stdout, self.no_stderr) {
            (false, false) => 0,
            (false, true) => ffi::BERTH_STDOUT,
            (true, false) => ffi::BERTH_STDERR,
            (true, true) => {
                return Err(Error::new(Code::Invalid, "logs", "logs: neither of the two streams"))
            }
        };
        Ok(ffi::berth_logs_options {
            size: size_of::<ffi::berth_logs_options>(),
            follow: self.follow,
            timestamps: self.timestamps,
            frames: self.frames,
            streams,
            has_tail: self.tail.is_some(),
            tail: self.tail.unwrap_or(0),
            since_usec: self.since_usec.unwrap_or(0),
            until_usec: self.until_usec.unwrap_or(0),
        })
    }
}

impl Berth {
    /// Open the engine called `engine` ("container", "fake", ...), or one with others before it
    /// ("trace(container)"). Nothing is made on disk until create.
    pub fn open(engine: &str, options: &Options) -> Result<Berth> {
        let engine = c_text("engine", engine)?;
        let root = optional("root", &options.root)?;
        let run = optional("run", &options.run)?;
        let config = optional("config", &options.config)?;
        let programs = optional("programs", &options.programs)?;
        let engines = optional("engines", &options.engines)?;
        let raw_options = ffi::berth_options {
            size: size_of::<ffi::berth_options>(),
            root: or_null(&root),
            run: or_null(&run),
            config: or_null(&config),
            programs: or_null(&programs),
            engines: or_null(&engines),
        };
        let mut raw = null_mut();
        // SAFETY: all texts live as long as the call
        done(|err| unsafe { ffi::berth_open(engine.as_ptr(), &raw_options, &mut raw, err) })?;
        let open = Arc::new(Open(raw));
        let name = unsafe { copy_text(ffi::berth_name(raw)) }.into();
        Ok(Berth { open, name })
    }

    /// Names of all registered engines.
    pub fn engines() -> Vec<String> {
        let mut names = Vec::new();
        // SAFETY: an array with NULL at its end, valid for the life of the process
        unsafe {
            let mut name = ffi::berth_engines();
            while !(*name).is_null() {
                names.push(copy_text(*name));
                name = name.add(1);
            }
        }
        names
    }

    /// Version of the library at run time.
    pub fn version() -> String {
        // SAFETY: a constant string
        unsafe { copy_text(ffi::berth_version()) }
    }

    /// The JSON Schema of a spec.
    pub fn spec_schema() -> String {
        // SAFETY: a constant string
        unsafe { copy_text(ffi::berth_spec_schema()) }
    }

    /// The library's own object, for headers that this crate does not know. It stays this runtime's.
    pub fn as_raw(&self) -> *mut ffi::berth_runtime {
        self.open.0
    }

    pub(crate) fn opened(&self) -> &Arc<Open> {
        &self.open
    }

    /// The call of `berth_exec_call`.
    fn exec_call(&self, handle: &Handle, argv: &[&str], options: &ExecOptions, stream: bool) -> Result<Call> {
        let argv = CList::new("argv", argv)?;
        let env = CList::new("env", &options.env)?;
        let groups = options.groups.as_ref().map(|g| CList::new("groups", g)).transpose()?;
        let user = optional("user", &options.user)?;
        let workdir = optional("workdir", &options.workdir)?;
        let invoke = optional("invoke", &options.invoke)?;
        let (rows, columns) = options.tty.unwrap_or((0, 0));
        let raw = ffi::berth_exec_options {
            size: size_of::<ffi::berth_exec_options>(),
            env: if options.env.is_empty() { null() } else { env.as_ptr() },
            user: or_null(&user),
            workdir: or_null(&workdir),
            groups: groups.as_ref().map_or(null(), |g| g.as_ptr()),
            stdin_data: if options.stdin.is_empty() { null() } else { options.stdin.as_ptr().cast() },
            stdin_size: options.stdin.len(),
            timeout_msec: i64::try_from(options.timeout_msec.unwrap_or(0)).unwrap_or(i64::MAX),
            output_max_bytes: options.output_max_bytes.unwrap_or(0),
            tty: options.tty.is_some(),
            rows,
            columns,
            detach: options.detach,
            stream,
            privileged: options.privileged,
            invoke: or_null(&invoke),
        };
        // SAFETY: what is borrowed is borrowed for the call, which copies
        Call::begin(&self.open, |r, call, err| unsafe {
            ffi::berth_exec_call(r, handle.as_raw(), argv.as_ptr(), &raw, call, err)
        })
    }

    fn stream(
        &self,
        begin: impl FnOnce(*mut ffi::berth_runtime, *mut *mut ffi::berth_stream, *mut ffi::berth_error) -> i32,
    ) -> Result<ByteStream> {
        let mut raw = null_mut();
        done(|err| begin(self.open.0, &mut raw, err))?;
        let stream =
            LibraryStream::new(raw, self.open.clone()).map_err(|e| Error::io("watch a stream", &e))?;
        Ok(ByteStream::new(stream))
    }

    /// A verb whose call brings nothing.
    fn plain<'a>(
        &'a self,
        begin: impl FnOnce(*mut ffi::berth_runtime, *mut *mut ffi::berth_call, *mut ffi::berth_error) -> i32
            + Send
            + 'a,
    ) -> Pending<'a, Result<()>> {
        Box::pin(async move { Call::begin(&self.open, begin)?.outcome().await.map(|_| ()) })
    }

    /// A call that brings the workload's status.
    fn status_of<'a>(
        &'a self,
        begin: impl FnOnce(*mut ffi::berth_runtime, *mut *mut ffi::berth_call, *mut ffi::berth_error) -> i32
            + Send
            + 'a,
    ) -> Pending<'a, Result<Status>> {
        Box::pin(async move {
            let outcome = Call::begin(&self.open, begin)?.outcome().await?;
            outcome.status.ok_or_else(|| Error::new(Code::Corrupt, "status", "the engine brought no status"))
        })
    }

    /// What the library answers without waiting.
    fn at_once<'a, T: Send + 'a>(
        &'a self, ask: impl FnOnce(*mut ffi::berth_runtime) -> Result<T> + Send + 'a,
    ) -> Pending<'a, Result<T>> {
        Box::pin(async move { ask(self.open.0) })
    }

    fn json<'a>(
        &'a self,
        ask: impl FnOnce(*mut ffi::berth_runtime, *mut *mut libc::c_char, *mut ffi::berth_error) -> i32
            + Send
            + 'a,
    ) -> Pending<'a, Result<String>> {
        self.at_once(move |runtime| {
            let mut text = null_mut();
            done(|err| ask(runtime, &mut text, err))?;
            // SAFETY: a string of malloc(3), ours
            Ok(unsafe { take_text(text) })
        })
    }
}

/* SAFETY of what follows: runtime and handle are live for the call; results are written on success
only and begin as zeroes, which every one of these structs may be. */
impl Runtime for Berth {
    fn name(&self) -> &str {
        &self.name
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn create<'a>(&'a self, spec: &'a str) -> Pending<'a, Result<Handle>> {
        Box::pin(async move {
            let spec = c_text("spec", spec)?;
            let call = Call::begin(&self.open, |r, call, err| unsafe {
                ffi::berth_create_call(r, spec.as_ptr(), call, err)
            })?;
            call.outcome().await.map(|outcome| outcome.handle)
        })
    }

    fn start<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<()>> {
        self.plain(|r, call, err| unsafe { ffi::berth_start_call(r, handle.as_raw(), call, err) })
    }

    fn stop<'a>(&'a self, handle: &'a Handle, timeout: Option<Duration>) -> Pending<'a, Result<()>> {
        let msec = timeout_msec(timeout);
        self.plain(move |r, call, err| unsafe { ffi::berth_stop_call(r, handle.as_raw(), msec, call, err) })
    }

    fn remove<'a>(&'a self, handle: &'a Handle, options: RemoveOptions) -> Pending<'a, Result<()>> {
        let raw = ffi::berth_remove_options {
            size: size_of::<ffi::berth_remove_options>(),
            force: options.force,
            volumes: options.volumes,
        };
        self.plain(move |r, call, err| unsafe { ffi::berth_remove_call(r, handle.as_raw(), &raw, call, err) })
    }

    fn status<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<Status>> {
        self.status_of(|r, call, err| unsafe { ffi::berth_status_call(r, handle.as_raw(), call, err) })
    }

    fn logs<'a>(&'a self, handle: &'a Handle, options: LogOptions) -> Pending<'a, Result<ByteStream>> {
        Box::pin(async move {
            let raw = options.to_raw()?;
            self.stream(|r, stream, err| unsafe { ffi::berth_logs(r, handle.as_raw(), &raw, stream, err) })
        })
    }

    fn exec_with<'a>(
        &'a self, handle: &'a Handle, argv: &'a [&'a str], options: ExecOptions,
    ) -> Pending<'a, Result<ExecOutput>> {
        Box::pin(async move {
            let outcome = self.exec_call(handle, argv, &options, false)?.outcome().await?;
            outcome.exec.ok_or_else(|| Error::new(Code::Corrupt, "exec", "the engine brought no exec result"))
        })
    }

    fn stats<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<Stats>> {
        self.at_once(|r| {
            let mut raw: ffi::berth_stats = unsafe { zeroed() };
            raw.size = size_of::<ffi::berth_stats>();
            done(|err| unsafe { ffi::berth_stats(r, handle.as_raw(), &mut raw, err) })?;
            Ok(Stats::from_raw(&raw))
        })
    }

    fn host_port<'a>(
        &'a self, handle: &'a Handle, container_port: Port,
    ) -> Pending<'a, Result<Option<HostPort>>> {
        self.at_once(move |r| {
            let port = port_raw(container_port);
            let mut raw: ffi::berth_host_port = unsafe { zeroed() };
            let found = done(|err| unsafe {
                ffi::berth_resolve_host_port(r, handle.as_raw(), &port, &mut raw, err)
            })?;
            Ok((found > 0).then(|| HostPort { port: raw.port, address: read_text(&raw.address) }))
        })
    }

    fn container_address<'a>(
        &'a self, handle: &'a Handle, container_port: Port, network: Option<&'a str>,
    ) -> Pending<'a, Result<Option<String>>> {
        self.at_once(move |r| {
            let port = port_raw(container_port);
            let network = network.map(|n| c_text("network", n)).transpose()?;
            let mut address = [0; ffi::BERTH_ADDRESS_TEXT];
            let found = done(|err| unsafe {
                let (network, address) = (or_null(&network), address.as_mut_ptr());
                ffi::berth_resolve_container_address(r, handle.as_raw(), &port, network, address, err)
            })?;
            Ok((found > 0).then(|| read_text(&address)))
        })
    }

    fn find<'a>(&'a self, name_or_prefix: &'a str) -> Pending<'a, Result<Handle>> {
        self.at_once(move |r| {
            let name = c_text("name", name_or_prefix)?;
            let mut raw = unsafe { zeroed() };
            done(|err| unsafe { ffi::berth_find(r, name.as_ptr(), &mut raw, err) })?;
            Ok(Handle::from_raw(raw))
        })
    }

    fn list(&self) -> Pending<'_, Result<Vec<Handle>>> {
        self.at_once(|r| {
            let (mut raw, mut count) = (null_mut(), 0);
            done(|err| unsafe { ffi::berth_list(r, &mut raw, &mut count, err) })?;
            let handles = (0..count).map(|i| Handle::from_raw(unsafe { *raw.add(i) })).collect();
            unsafe { libc::free(raw.cast()) };
            Ok(handles)
        })
    }

    fn wait<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<Status>> {
        self.status_of(|r, call, err| unsafe { ffi::berth_wait_call(r, handle.as_raw(), call, err) })
    }

    fn signal<'a>(&'a self, handle: &'a Handle, signal: i32) -> Pending<'a, Result<()>> {
        self.at_once(move |r| {
            done(|err| unsafe { ffi::berth_signal(r, handle.as_raw(), signal, err) }).map(|_| ())
        })
    }

    fn session(&self, handle: &Handle, argv: &[&str], options: ExecOptions) -> Result<Box<dyn Session>> {
        Ok(Box::new(LibrarySession(self.exec_call(handle, argv, &options, true)?)))
    }

    fn attach(&self, handle: &Handle, options: AttachOptions) -> Result<Box<dyn Session>> {
        let (rows, columns) = options.size.unwrap_or((0, 0));
        let raw = ffi::berth_attach_options {
            size: size_of::<ffi::berth_attach_options>(),
            input: options.input,
            rows,
            columns,
            next_start: options.next_start,
            no_output: options.no_output,
        };
        let call = Call::begin(&self.open, |r, call, err| unsafe {
            ffi::berth_attach_call(r, handle.as_raw(), &raw, call, err)
        })?;
        Ok(Box::new(LibrarySession(call)))
    }

    fn pause<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<()>> {
        self.at_once(|r| done(|err| unsafe { ffi::berth_pause(r, handle.as_raw(), err) }).map(|_| ()))
    }

    fn unpause<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<()>> {
        self.at_once(|r| done(|err| unsafe { ffi::berth_unpause(r, handle.as_raw(), err) }).map(|_| ()))
    }

    fn update<'a>(&'a self, handle: &'a Handle, patch: &'a str) -> Pending<'a, Result<()>> {
        self.at_once(move |r| {
            let patch = c_text("patch", patch)?;
            done(|err| unsafe { ffi::berth_update(r, handle.as_raw(), patch.as_ptr(), err) }).map(|_| ())
        })
    }

    fn rename<'a>(&'a self, handle: &'a Handle, name: &'a str) -> Pending<'a, Result<()>> {
        self.at_once(move |r| {
            let name = c_text("name", name)?;
            done(|err| unsafe { ffi::berth_rename(r, handle.as_raw(), name.as_ptr(), err) }).map(|_| ())
        })
    }

    fn restart<'a>(&'a self, handle: &'a Handle, timeout: Option<Duration>) -> Pending<'a, Result<()>> {
        let msec = timeout_msec(timeout);
        self.plain(move |r, call, err| unsafe {
            ffi::berth_restart_call(r, handle.as_raw(), msec, call, err)
        })
    }

    fn events(&self, options: EventOptions) -> Pending<'_, Result<ByteStream>> {
        Box::pin(async move {
            let name = optional("name", &options.name)?;
            let raw = ffi::berth_events_options {
                size: size_of::<ffi::berth_events_options>(),
                follow: options.follow,
                since_usec: options.since_usec.unwrap_or(0),
                until_usec: options.until_usec.unwrap_or(0),
                name: or_null(&name),
            };
            self.stream(|r, stream, err| unsafe { ffi::berth_events(r, &raw, stream, err) })
        })
    }

    fn inspect<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<String>> {
        self.json(|r, text, err| unsafe { ffi::berth_inspect(r, handle.as_raw(), text, err) })
    }

    fn exec_list<'a>(&'a self, handle: &'a Handle) -> Pending<'a, Result<String>> {
        self.json(|r, text, err| unsafe { ffi::berth_exec_list(r, handle.as_raw(), text, err) })
    }

    fn exec_kill<'a>(&'a self, handle: &'a Handle, exec_id: u64, signal: i32) -> Pending<'a, Result<()>> {
        self.at_once(move |r| {
            done(|err| unsafe { ffi::berth_exec_kill(r, handle.as_raw(), exec_id, signal, err) }).map(|_| ())
        })
    }

    fn plan<'a>(&'a self, spec: &'a str) -> Pending<'a, Result<String>> {
        Box::pin(async move {
            let spec = c_text("spec", spec)?;
            self.json(|r, text, err| unsafe { ffi::berth_plan(r, spec.as_ptr(), text, err) }).await
        })
    }
}

struct LibrarySession(Call);

impl Session for LibrarySession {
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<Result<Ended>> {
        self.0.poll_finish(context).map_ok(|outcome| Ended { exec: outcome.exec, status: outcome.status })
    }

    fn descriptor(&self, number: usize) -> Option<BorrowedFd<'_>> {
        self.0.descriptor(number)
    }

    fn close_stdin(&mut self) {
        unsafe { ffi::berth_call_close_stdin(self.0.raw()) };
    }

    fn resize(&mut self, rows: u16, columns: u16) -> Result<()> {
        done(|err| unsafe { ffi::berth_call_resize(self.0.raw(), rows, columns, err) }).map(|_| ())
    }

    fn signal(&mut self, signal: i32) -> Result<()> {
        done(|err| unsafe { ffi::berth_call_signal(self.0.raw(), signal, err) }).map(|_| ())
    }

    fn let_go(&mut self) -> Result<()> {
        done(|err| unsafe { ffi::berth_call_let_go(self.0.raw(), err) }).map(|_| ())
    }
}
