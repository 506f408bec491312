// SPDX-License-Identifier: Apache-2.0
//! The engine, its pool, and compiled code mapped from a descriptor.

use crate::ffi::{CError, Code, Fail, fail, freed, guard};
use crate::page::{Page, PageRef};
use crate::settings::Settings;
use std::ffi::c_int;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Enabled, InstanceAllocationStrategy, Module, PoolingAllocationConfig, Precompiled};

/// struct berth_wasm_needs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Needs {
    size: usize,
    memories: u32,
    tables: u32,
    memory_bytes: u64,
    table_elements: u64,
}

/// struct berth_wasm_limits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Limits {
    size: usize,
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

/// struct berth_wasm_engine_options.
#[repr(C)]
pub struct Options {
    size: usize,
    settings: Settings,
    limits: Limits,
    needs: Needs,
    concurrency: u32,
    page: *mut Page,
}

pub struct Engine {
    pub engine: wasmtime::Engine,
    pub limits: Limits,
    pub page: PageRef,
    /// Linear memory of all instances, where there is a limit to it.
    pub total: AtomicU64,
}

pub enum Loaded {
    Core(Module),
    Component(Component),
}

pub struct Compiled {
    pub engine: Arc<Engine>,
    pub code: Loaded,
}

const MIB: u64 = 1 << 20;
/// Private memory that idle slots of the pool may keep, so that an idle worker stays small.
const KEPT: u64 = 6 * MIB;
/// A slot that costs more than this to wipe by hand is left to the kernel.
const WIPED: u64 = MIB;

/// A pool in which an instance of this very module costs no system call: what it dirties is wiped by hand and kept,
/// as far as the memory for that lasts.
fn pool(o: &Options, limits: &Limits) -> PoolingAllocationConfig {
    let n = o.concurrency;
    let memories = o.needs.memories.max(1);
    let tables = o.needs.tables.max(1);
    let mut p = PoolingAllocationConfig::new();
    p.total_component_instances(n)
        .total_core_instances(n.saturating_mul(limits.instances))
        .max_core_instances_per_component(limits.instances)
        .total_stacks(n)
        .total_gc_heaps(n)
        .total_memories(n.saturating_mul(memories))
        .max_memories_per_component(memories)
        .max_memories_per_module(memories)
        .total_tables(n.saturating_mul(tables))
        .max_tables_per_component(tables)
        .max_tables_per_module(tables)
        .max_core_instance_size(16 << 20)
        .max_component_instance_size(16 << 20)
        .max_memory_size(limits.memory_bytes.min(4096 * MIB) as usize)
        .table_elements(limits.table_elements.max(o.needs.table_elements) as usize);
    let kept = o.needs.memory_bytes;
    if kept <= WIPED {
        let table = (o.needs.table_elements * 8).next_multiple_of(4096);
        p.linear_memory_keep_resident(kept as usize).table_keep_resident(table as usize).async_stack_keep_resident(64 << 10);
        let slot = kept * memories as u64 + table * tables as u64 + (64 << 10);
        p.max_unused_warm_slots((KEPT / slot).clamp(1, 1000) as u32);
    } else if PoolingAllocationConfig::is_pagemap_scan_available() {
        // The kernel tells which pages were written; the rest of a large memory is not touched.
        p.pagemap_scan(Enabled::Auto).linear_memory_keep_resident((4 * MIB) as usize).max_unused_warm_slots(2);
    } // else (there is no /proc) nothing is kept: the kernel takes back what was written, and no more than that is written again
    p
}

fn new(o: &Options) -> Result<Engine, Fail> {
    if o.size != size_of::<Options>() {
        return fail(Code::Invalid, "engine", "options of another version");
    }
    let limits = o.limits;
    let mut c = o.settings.config()?;
    c.max_wasm_stack(limits.stack_bytes as usize);
    c.async_stack_size((limits.stack_bytes + MIB) as usize);
    if o.concurrency > 0 {
        c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(o, &limits)));
    }
    c.with_custom_code_memory(Some(Arc::new(Publish)));
    let engine = wasmtime::Engine::new(&c).map_err(|e| Fail {
        code: Code::Unsupported,
        object: "limits".into(),
        message: format!("the engine can't have these limits: {e:#}"),
    })?;
    let page = unsafe { PageRef::new(o.page) };
    page.get().pool.store(o.concurrency, Relaxed);
    Ok(Engine { engine, limits, page, total: AtomicU64::new(0) })
}

/// What an ELF header of the engine's says it is (wasmtime_environ::obj); loading checks everything.
fn kind(head: &[u8; 64]) -> Option<Precompiled> {
    let flags = u32::from_le_bytes([head[48], head[49], head[50], head[51]]);
    match (head.starts_with(b"\x7fELF") && head[7] == 200, flags & 3) {
        (true, 1) => Some(Precompiled::Module),
        (true, 2) => Some(Precompiled::Component),
        _ => None,
    }
}

/// Makes code of what we mapped ourselves.
struct Publish;
impl CustomCodeMemory for Publish {
    fn required_alignment(&self) -> usize {
        4096
    }
    fn publish_executable(&self, at: *const u8, length: usize) -> wasmtime::Result<()> {
        match unsafe { libc::mprotect(at.cast_mut().cast(), length.next_multiple_of(4096), libc::PROT_READ | libc::PROT_EXEC) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }
    fn unpublish_executable(&self, _: *const u8, _: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}

/// The whole file, for as long as the process lives.
fn mapped(file: &File) -> Result<NonNull<[u8]>, Fail> {
    let length = file.metadata()?.len() as usize;
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    match NonNull::new(at.cast::<u8>()) {
        Some(at) if at.as_ptr().cast() != libc::MAP_FAILED => Ok(NonNull::slice_from_raw_parts(at, length)),
        _ => Err(std::io::Error::last_os_error().into()),
    }
}

/// Mapped, so that all who run it share it. The engine maps a component only by a path; the descriptor has one where
/// /proc is, and then its data is shared too, else only its code.
fn load(engine: &Arc<Engine>, fd: c_int) -> Result<Compiled, Fail> {
    let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if own < 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let file = unsafe { File::from_raw_fd(own) };
    let corrupt = |e: wasmtime::Error| Fail {
        code: Code::Corrupt,
        object: "code".into(),
        message: format!("compiled code can't be used: {e:#}"),
    };
    let mut head = [0; 64];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0)
        .or_else(|_| fail(Code::Corrupt, "code", "compiled code can't be used: it is cut off"))?;
    let e = &engine.engine;
    let code = match kind(&head) {
        Some(Precompiled::Module) => Loaded::Core(unsafe { Module::deserialize_open_file(e, file) }.map_err(corrupt)?),
        Some(Precompiled::Component) => {
            let path = format!("/proc/self/fd/{own}");
            let component = match File::open(&path) {
                Ok(_) => unsafe { Component::deserialize_file(e, path) },
                Err(_) => unsafe { Component::deserialize_raw(e, mapped(&file)?) },
            };
            Loaded::Component(component.map_err(corrupt)?)
        }
        None => return fail(Code::Corrupt, "code", "compiled code can't be used: it is something else"),
    };
    // Now, because it may take a file without a name, which is forbidden afterwards.
    match &code {
        Loaded::Core(m) => m.initialize_copy_on_write_image().map_err(corrupt)?,
        Loaded::Component(c) => c.initialize_copy_on_write_image().map_err(corrupt)?,
    }
    Ok(Compiled { engine: engine.clone(), code })
}

/// # Safety
/// berth_wasm.h says what the arguments are, here and below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_engine_new(o: *const Options, ret: *mut *const Engine, err: *mut CError) -> c_int {
    guard(err, || {
        let engine = Arc::new(new(unsafe { &*o })?);
        unsafe { *ret = Arc::into_raw(engine) };
        Ok(0)
    })
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_load(engine: *const Engine, fd: c_int, ret: *mut *mut Compiled, err: *mut CError) -> c_int {
    guard(err, || {
        let engine = unsafe {
            Arc::increment_strong_count(engine);
            Arc::from_raw(engine)
        };
        unsafe { *ret = Box::into_raw(Box::new(load(&engine, fd)?)) };
        Ok(0)
    })
}

freed!(berth_wasm_engine_free, Arc<Engine>);
freed!(berth_wasm_module_free, Box<Compiled>);
