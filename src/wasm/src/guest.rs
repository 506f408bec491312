// SPDX-License-Identifier: Apache-2.0
//! What a guest sees and what it may take: its world, its limits, and the check that all it imports is there.

use crate::engine::{Compiled, Engine, Limits, Loaded};
use crate::ffi::{CError, Code, Fail, fail, freed, guard, text, texts};
use crate::log::{Output, Sink, Who};
use crate::net::{self, Hooks, Names};
use crate::page::{Slot, add, take};
use crate::stdio::Standard;
use std::ffi::{c_char, c_int};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use wasmtime::component::ResourceTable;
use wasmtime::{ResourceLimiter, Store, UnknownImportError};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, I32Exit, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// struct berth_wasm_folder.
#[repr(C)]
pub struct CFolder {
    path: *const c_char,
    guest: *const c_char,
    read_only: bool,
}

/// struct berth_wasm_environment.
#[repr(C)]
pub struct CEnvironment {
    size: usize,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    folders: *const CFolder,
    n_folders: usize,
    sockets: bool,
    http: bool,
    hooks: Hooks,
}

/// Everything a world is made of, checked.
pub struct Environment {
    args: Vec<String>,
    env: Vec<(String, String)>,
    cwd: Option<String>,
    folders: Vec<(String, String, FsPerms)>,
    sockets: bool,
    pub http: bool,
    pub hooks: Hooks,
}

impl Environment {
    unsafe fn read(c: &CEnvironment) -> Result<Environment, Fail> {
        let mut env = Vec::new();
        for setting in unsafe { texts(c.env, "environment variable") }? {
            if let Some((name, value)) = setting.split_once('=') {
                env.push((name.to_string(), value.to_string()));
            }
        }
        let mut folders = Vec::new();
        for i in 0..c.n_folders {
            let f = unsafe { &*c.folders.add(i) };
            let perms = if f.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
            let (path, guest) = unsafe { (text(f.path, "folder")?, text(f.guest, "folder")?) };
            folders.push((path.to_string(), guest.to_string(), perms));
        }
        Ok(Environment {
            args: unsafe { texts(c.argv, "argument") }?,
            env,
            cwd: if c.cwd.is_null() { None } else { Some(unsafe { text(c.cwd, "workdir") }?.to_string()) },
            folders,
            sockets: c.sockets,
            http: c.http,
            hooks: c.hooks,
        })
    }

    /// A world without its outputs. A command has the thread for itself, and may block it.
    fn world(&self, names: &Arc<Names>, alone: bool) -> Result<WasiCtxBuilder, Fail> {
        let mut b = WasiCtxBuilder::new();
        b.args(&self.args).envs(&self.env).allow_blocking_current_thread(alone);
        if let Some(cwd) = &self.cwd {
            b.initial_cwd(cwd);
        }
        for (path, guest, perms) in &self.folders {
            b.preopened_dir(path, guest, *perms).map_err(|e| Fail {
                code: Code::NotFound,
                object: path.clone(),
                message: format!("folder {path}: {e:#}"),
            })?;
        }
        if self.sockets {
            let (hooks, names) = (self.hooks, names.clone());
            b.allow_tcp(true).allow_udp(true).allow_ip_name_lookup(true);
            b.socket_addr_check(move |address, using| {
                let allowed = net::judge(&hooks, &names, address, using);
                Box::pin(async move { allowed })
            });
        } else {
            b.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
        }
        Ok(b)
    }
}

/// A world that serves one instance after another: what is in it does not depend on them.
pub struct World {
    pub ctx: WasiCtx,
    pub who: Arc<Who>,
    pub names: Arc<Names>,
}

impl World {
    pub fn for_command(e: &Environment) -> Result<World, Fail> {
        let (who, names) = (Arc::<Who>::default(), Arc::<Names>::default());
        let mut b = e.world(&names, true)?;
        b.stdin(Standard(0)).stdout(Standard(1)).stderr(Standard(2));
        Ok(World { ctx: b.build(), who, names })
    }

    pub fn for_service(e: &Environment, out: &Arc<Sink>, errors: &Arc<Sink>) -> Result<World, Fail> {
        let (who, names) = (Arc::<Who>::default(), Arc::<Names>::default());
        let mut b = e.world(&names, false)?;
        b.stdout(Output { sink: out.clone(), who: who.clone() });
        b.stderr(Output { sink: errors.clone(), who: who.clone() });
        Ok(World { ctx: b.build(), who, names })
    }
}

/// What one instance has taken, and what it was refused last.
pub struct Taken {
    engine: Arc<Engine>,
    slot: &'static Slot,
    memory: u64,
    pub refused: Option<u64>,
}

impl Taken {
    fn limits(&self) -> &Limits {
        &self.engine.limits
    }

    fn all_fit(&self, more: u64) -> bool {
        let limit = self.limits().memory_total_bytes;
        limit == 0 || self.engine.total.fetch_update(Relaxed, Relaxed, |n| Some(n + more).filter(|n| *n <= limit)).is_ok()
    }
}

impl ResourceLimiter for Taken {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let more = (desired - current) as u64;
        let wanted = self.memory + more;
        let own = maximum.is_none_or(|m| desired <= m);
        if !own || wanted > self.limits().memory_bytes || !self.all_fit(more) {
            self.refused = Some(wanted);
            return Ok(false);
        }
        self.refused = None;
        self.memory = wanted;
        add(&self.slot.memory_bytes, more);
        let now = self.slot.memory_bytes.load(Relaxed);
        if now > self.slot.memory_peak_bytes.load(Relaxed) {
            self.slot.memory_peak_bytes.store(now, Relaxed);
        }
        Ok(true)
    }

    fn table_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired as u64 <= self.limits().table_elements && maximum.is_none_or(|m| desired <= m))
    }

    fn instances(&self) -> usize {
        self.limits().instances as usize
    }
    fn tables(&self) -> usize {
        self.limits().instances as usize
    }
    fn memories(&self) -> usize {
        self.limits().instances as usize
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        take(&self.slot.memory_bytes, self.memory);
        if self.limits().memory_total_bytes > 0 {
            self.engine.total.fetch_sub(self.memory, Relaxed);
        }
        take(&self.slot.instances, 1);
    }
}

/// Where worlds wait for their next instance.
pub type Worlds = Mutex<Vec<World>>;

/// The data of one instance's store.
pub struct State {
    pub taken: Taken,
    world: Option<World>,
    back: Option<Arc<Worlds>>,
    pub p1: Option<WasiP1Ctx>,
    table: ResourceTable,
    http: WasiHttpCtx,
    outgoing: net::Outgoing,
}

impl State {
    pub fn names(&self) -> Option<Arc<Names>> {
        self.world.as_ref().map(|w| w.names.clone())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let (Some(world), Some(back)) = (self.world.take(), &self.back) {
            world.names.clear();
            back.lock().unwrap().push(world);
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.world.as_mut().expect("a world").ctx, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

pub enum Ready {
    Core(wasmtime::InstancePre<State>),
    Component(wasmtime::component::InstancePre<State>),
}

pub struct Guest {
    pub engine: Arc<Engine>,
    pub environment: Environment,
    pub ready: Ready,
}

impl Guest {
    /// A store for one instance, with its limits.
    pub fn store(&self, world: World, back: Option<Arc<Worlds>>, slot: &'static Slot) -> Store<State> {
        let limits = &self.engine.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles as usize);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(limits.host_bytes.min(1 << 20) as usize);
        add(&slot.instances, 1);
        add(&slot.instantiations, 1);
        let (world, p1) = match &self.ready {
            Ready::Core(_) => (None, Some(p1_of(world.ctx))),
            Ready::Component(_) => (Some(world), None),
        };
        let state = State {
            taken: Taken { engine: self.engine.clone(), slot, memory: 0, refused: None },
            outgoing: net::Outgoing { hooks: self.environment.hooks, allowed: self.environment.http },
            world,
            back,
            p1,
            table,
            http,
        };
        let mut store = Store::new(&self.engine.engine, state);
        store.limiter(|s| &mut s.taken);
        store.set_hostcall_fuel(limits.host_bytes as usize);
        if limits.fuel > 0 {
            let _ = store.set_fuel(limits.fuel);
        }
        store
    }
}

/// The same world for preview 1; only a builder makes one.
fn p1_of(ctx: WasiCtx) -> WasiP1Ctx {
    let mut empty = WasiCtxBuilder::new().build_p1();
    *WasiView::ctx(&mut empty).ctx = ctx;
    empty
}

fn missing<T>(name: String) -> Result<T, Fail> {
    fail(Code::NotFound, &name, format!("import {name}: nothing here has that"))
}

fn link_core(engine: &wasmtime::Engine, module: &wasmtime::Module) -> Result<Ready, Fail> {
    let mut linker = wasmtime::Linker::<State>::new(engine);
    linker.allow_shadowing(true);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |s| s.p1.as_mut().expect("preview 1"))?;
    // The engine's own refuses codes from 126 on; a process has 256.
    linker.func_wrap("wasi_snapshot_preview1", "proc_exit", |code: i32| -> wasmtime::Result<()> { Err(I32Exit(code).into()) })?;
    match linker.instantiate_pre(module) {
        Ok(pre) => Ok(Ready::Core(pre)),
        Err(e) => match e.downcast_ref::<UnknownImportError>() {
            Some(i) => missing(format!("{}.{}", i.module(), i.name())),
            None => missing(import_of(&format!("{e:#}"))),
        },
    }
}

fn link_component(engine: &wasmtime::Engine, component: &wasmtime::component::Component, e: &Environment) -> Result<Ready, Fail> {
    let mut linker = wasmtime::component::Linker::<State>::new(engine);
    linker.allow_shadowing(true);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    net::add_lookup(&mut linker, e.hooks, e.sockets)?;
    match linker.instantiate_pre(component) {
        Ok(pre) => Ok(Ready::Component(pre)),
        Err(error) => missing(import_of(&format!("{error:#}"))),
    }
}

/// The first name in backquotes of what the linker says, or all of it.
fn import_of(error: &str) -> String {
    error.split('`').nth(1).unwrap_or(error).to_string()
}

/// # Safety
/// berth_wasm.h says what the arguments are, here and below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_link(
    m: *const Compiled, e: *const CEnvironment, ret: *mut *mut Guest, err: *mut CError,
) -> c_int {
    guard(err, || {
        let module = unsafe { &*m };
        let environment = unsafe { Environment::read(&*e) }?;
        let engine = &module.engine.engine;
        let ready = match &module.code {
            Loaded::Core(m) => link_core(engine, m)?,
            Loaded::Component(c) => link_component(engine, c, &environment)?,
        };
        World::for_command(&environment)?;
        let guest = Guest { engine: module.engine.clone(), environment, ready };
        unsafe { *ret = Box::into_raw(Box::new(guest)) };
        Ok(0)
    })
}

freed!(berth_wasm_guest_free, Box<Guest>);
