// SPDX-License-Identifier: Apache-2.0
//! What a guest sees and what it may take: its world, its limits, and the check that all it imports is there.

use crate::engine::{self, Loaded};
use crate::ffi::{Code, Fail, guard, text, texts};
use crate::log::{Output, Sink, Who};
use crate::net::{self, Use};
use crate::settings::Settings;
use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncWrite;
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UnknownImportError};
use wasmtime_wasi::cli::{IsTerminal, OutputFile, StdoutStream};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::p2::OutputStream;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// struct berth_wasm_limits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    pub memory_bytes: u64,
    pub memory_total_bytes: u64,
    pub table_elements: u64,
    pub stack_bytes: u64,
    pub fuel: u64,
    pub time_usec: u64,
    pub host_bytes: u64,
    pub instances: u32,
    pub handles: u32,
}

/// struct berth_wasm_options.
#[repr(C)]
pub struct Options {
    size: usize,
    pub settings: Settings,
    code_fd: c_int,
    pub concurrency: u32,
    pub memories: u32,
    pub tables: u32,
    pub memory_bytes: u64,
    pub table_elements: u64,
    pub limits: Limits,
    slots: *const Slot,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    folders: *const *const c_char,
    read_only_folders: *const *const c_char,
    sockets: bool,
    http: bool,
}

/// struct berth_wasm_slot. Written by one thread each, so a load and a store make an addition.
#[repr(C)]
pub struct Slot {
    pub instances: AtomicU64,
    pub instantiations: AtomicU64,
    pub requests: AtomicU64,
    pub active_requests: AtomicU64,
    pub waiting: AtomicU64,
    pub traps: AtomicU64,
    pub timeouts: AtomicU64,
    pub memory_outs: AtomicU64,
    pub rejected: AtomicU64,
    pub bad_requests: AtomicU64,
    pub cancelled: AtomicU64,
    pub memory_bytes: AtomicU64,
    pub memory_peak_bytes: AtomicU64,
    pub cpu_nsec: AtomicU64,
    pub connections: AtomicU64,
    reserved: [u64; 1],
}

pub fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

pub fn take(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).saturating_sub(n), Relaxed);
}

// ---- the world

/// A command's standard output: the process's own, without a buffer in between. It stays open.
struct Standard(ManuallyDrop<OutputFile>, RawFd);

impl Standard {
    fn new(fd: RawFd) -> Standard {
        Standard(ManuallyDrop::new(OutputFile::new(unsafe { File::from_raw_fd(fd) })), fd)
    }
}

impl IsTerminal for Standard {
    fn is_terminal(&self) -> bool {
        unsafe { libc::isatty(self.1) == 1 }
    }
}

impl StdoutStream for Standard {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        self.0.p2_stream()
    }
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        self.0.async_stream()
    }
}

/// Everything a world is made of.
struct Environment {
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: String,
    folders: Vec<(String, FsPerms)>,
    sockets: bool,
}

impl Environment {
    unsafe fn read(o: &Options) -> Environment {
        let split = |setting: String| setting.split_once('=').map(|(name, value)| (name.to_string(), value.to_string()));
        unsafe {
            let writable = texts(o.folders).into_iter().map(|path| (path, FsPerms::ReadWrite));
            let read_only = texts(o.read_only_folders).into_iter().map(|path| (path, FsPerms::ReadOnly));
            Environment {
                args: texts(o.argv),
                env: texts(o.env).into_iter().filter_map(split).collect(),
                cwd: text(o.cwd),
                folders: writable.chain(read_only).collect(),
                sockets: o.sockets,
            }
        }
    }

    /// A world without its standard streams. A command has the thread for itself, and may block it.
    fn world(&self, alone: bool) -> Result<WasiCtxBuilder, Fail> {
        let mut b = WasiCtxBuilder::new();
        b.args(&self.args).envs(&self.env).initial_cwd(&self.cwd).allow_blocking_current_thread(alone);
        for (path, perms) in &self.folders {
            b.preopened_dir(path, path, *perms).map_err(|e| Fail::new(Code::NotFound, path, format!("folder {path}: {e:#}")))?;
        }
        b.allow_tcp(self.sockets).allow_udp(self.sockets).allow_ip_name_lookup(self.sockets);
        b.socket_addr_check(|address, using| {
            let allowed = match using {
                SocketAddrUse::TcpConnect => net::allows(None, address, Use::Connect),
                SocketAddrUse::UdpSend => net::allows(None, address, Use::Send),
                SocketAddrUse::UdpReceive => net::allows(None, address, Use::Heard),
                // Where it listens, and who comes there, is inside its own network namespace, which has its own wall.
                SocketAddrUse::TcpBind | SocketAddrUse::TcpListen | SocketAddrUse::TcpAccept | SocketAddrUse::UdpBind => true,
            };
            Box::pin(async move { allowed })
        });
        Ok(b)
    }
}

/// A world that serves one instance after another: what is in it does not depend on them.
pub struct World {
    wasi: WasiP1Ctx,
    pub who: Arc<Who>,
}

// ---- limits

/// What one instance has taken, and what it was refused last.
pub struct Taken {
    guest: &'static Guest,
    slot: &'static Slot,
    memory: u64,
    pub refused: Option<u64>,
}

impl Taken {
    fn all_fit(&self, more: u64) -> bool {
        let (limit, total) = (self.guest.limits.memory_total_bytes, &self.guest.total);
        limit == 0 || total.fetch_update(Relaxed, Relaxed, |n| Some(n + more).filter(|n| *n <= limit)).is_ok()
    }
}

impl ResourceLimiter for Taken {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = (desired - current) as u64;
        let wanted = self.memory + more;
        let own = maximum.is_none_or(|m| desired <= m);
        if !own || wanted > self.guest.limits.memory_bytes || !self.all_fit(more) {
            self.refused = Some(wanted);
            return Ok(false);
        }
        self.refused = None;
        self.memory = wanted;
        add(&self.slot.memory_bytes, more);
        self.slot.memory_peak_bytes.fetch_max(self.slot.memory_bytes.load(Relaxed), Relaxed);
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.guest.limits.table_elements && maximum.is_none_or(|m| desired <= m))
    }

    fn instances(&self) -> usize {
        self.guest.limits.instances as usize
    }
    fn tables(&self) -> usize {
        self.guest.limits.instances as usize
    }
    fn memories(&self) -> usize {
        self.guest.limits.instances as usize
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        take(&self.slot.memory_bytes, self.memory);
        if self.guest.limits.memory_total_bytes > 0 {
            self.guest.total.fetch_sub(self.memory, Relaxed);
        }
        take(&self.slot.instances, 1);
    }
}

// ---- one instance

/// Where worlds wait for their next instance.
pub type Worlds = Mutex<Vec<World>>;

/// The data of one instance's store.
pub struct State {
    pub taken: Taken,
    /// There until the end.
    world: Option<World>,
    back: Option<Arc<Worlds>>,
    http: WasiHttpCtx,
    outgoing: net::Outgoing,
}

impl State {
    fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.world.as_mut().expect("not at its end").wasi
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let (Some(mut world), Some(back)) = (self.world.take(), &self.back) {
            *world.wasi.ctx().table = self.taken.guest.table();
            back.lock().unwrap().push(world);
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi().ctx()
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = &mut self.world.as_mut().expect("not at its end").wasi;
        WasiHttpCtxView { ctx: &mut self.http, table: wasi.ctx().table, hooks: &mut self.outgoing }
    }
}

pub enum Ready {
    Core(wasmtime::InstancePre<State>),
    Component(wasmtime::component::InstancePre<State>),
}

pub struct Guest {
    pub engine: wasmtime::Engine,
    pub limits: Limits,
    pub slots: &'static [Slot],
    pub ready: Ready,
    environment: Environment,
    http: bool,
    /// Linear memory of all instances, where there is a limit to it.
    total: AtomicU64,
}

impl Guest {
    fn table(&self) -> ResourceTable {
        let mut table = ResourceTable::new();
        table.set_max_capacity(self.limits.handles as usize);
        table
    }

    fn finish(&self, mut builder: WasiCtxBuilder, who: Arc<Who>) -> World {
        let mut wasi = builder.build_p1();
        *wasi.ctx().table = self.table();
        World { wasi, who }
    }

    /// For a command: with the process's own streams.
    pub fn world(&self) -> Result<World, Fail> {
        let mut b = self.environment.world(true)?;
        b.stdin(std::io::stdin()).stdout(Standard::new(1)).stderr(Standard::new(2));
        Ok(self.finish(b, Arc::default()))
    }

    /// For an instance that answers: what it prints are lines of a log.
    pub fn serving_world(&self, out: &Arc<Sink>, errors: &Arc<Sink>) -> Result<World, Fail> {
        let (who, mut b) = (Arc::<Who>::default(), self.environment.world(false)?);
        b.stdout(Output { sink: out.clone(), who: who.clone() });
        b.stderr(Output { sink: errors.clone(), who: who.clone() });
        Ok(self.finish(b, who))
    }

    /// A store for one instance, with its limits.
    pub fn store(&'static self, world: World, back: Option<Arc<Worlds>>, slot: &'static Slot) -> Store<State> {
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(self.limits.host_bytes.min(1 << 20) as usize);
        add(&slot.instances, 1);
        add(&slot.instantiations, 1);
        let taken = Taken { guest: self, slot, memory: 0, refused: None };
        let state = State { taken, world: Some(world), back, http, outgoing: net::Outgoing { allowed: self.http } };
        let mut store = Store::new(&self.engine, state);
        store.limiter(|s| &mut s.taken);
        store.set_hostcall_fuel(self.limits.host_bytes as usize);
        if self.limits.fuel > 0 {
            let _ = store.set_fuel(self.limits.fuel);
        }
        store
    }
}

// ---- imports

/// The first name in backquotes of what the linker says, or all of it.
fn missing(error: wasmtime::Error) -> Fail {
    let text = format!("{error:#}");
    let name = match error.downcast_ref::<UnknownImportError>() {
        Some(i) => format!("{}.{}", i.module(), i.name()),
        None => text.split('`').nth(1).unwrap_or(&text).to_string(),
    };
    Fail::new(Code::NotFound, &name, format!("import {name}: nothing here has that"))
}

fn link(engine: &wasmtime::Engine, code: &Loaded) -> Result<Ready, Fail> {
    match code {
        Loaded::Core(m) => {
            let mut linker = wasmtime::Linker::<State>::new(engine);
            linker.allow_shadowing(true);
            wasmtime_wasi::p1::add_to_linker_async(&mut linker, State::wasi)?;
            // The engine's own refuses codes from 126 on; a process has 256.
            let exit = |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) };
            linker.func_wrap("wasi_snapshot_preview1", "proc_exit", exit)?;
            linker.instantiate_pre(m).map(Ready::Core).map_err(missing)
        }
        Loaded::Component(c) => {
            let mut linker = wasmtime::component::Linker::<State>::new(engine);
            wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
            wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
            linker.instantiate_pre(c).map(Ready::Component).map_err(missing)
        }
    }
}

fn load(o: &Options) -> Result<Guest, Fail> {
    if o.size != size_of::<Options>() {
        return Err(Fail::new(Code::Invalid, "engine", "options of another version"));
    }
    let engine = engine::new(o)?;
    let code = engine::load(&engine, unsafe { BorrowedFd::borrow_raw(o.code_fd) })?;
    let (ready, environment) = (link(&engine, &code)?, unsafe { Environment::read(o) });
    environment.world(true)?;
    let slots = unsafe { std::slice::from_raw_parts(o.slots, 64) }; // BERTH_WASM_SLOTS
    Ok(Guest { engine, limits: o.limits, slots, ready, environment, http: o.http, total: AtomicU64::new(0) })
}

/// # Safety
/// berth_wasm.h says what the arguments are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_load(o: *const Options, ret: *mut *const Guest, err: *mut c_void) -> c_int {
    guard(err, || {
        let guest = load(unsafe { &*o })?;
        unsafe { *ret = Box::leak(Box::new(guest)) };
        Ok(0)
    })
}
