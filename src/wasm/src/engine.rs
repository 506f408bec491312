// SPDX-License-Identifier: Apache-2.0
//! The engine, its pool, and compiled code mapped from a descriptor.

use crate::ffi::{Code, Fail};
use crate::guest::Options;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use wasmtime::component::Component;
use wasmtime::{CustomCodeMemory, Engine, InstanceAllocationStrategy, Module, PoolingAllocationConfig};

const MIB: u64 = 1 << 20;
/// Private memory that idle slots of the pool may keep, so that an idle worker stays small.
const KEPT: u64 = 6 * MIB;
/// A pool of at least so many slots is parted by threads: each gets back the slots that are still in its core's cache.
const PARTED: u32 = 128;

/// A pool in which an instance of this very module costs no system call: what it dirties is wiped by hand and kept,
/// as far as the memory for that lasts.
fn pool(o: &Options) -> PoolingAllocationConfig {
    let (n, limits, kept) = (o.concurrency.max(PARTED), &o.limits, o.memory_bytes);
    let (memories, tables) = (o.memories.max(1), o.tables.max(1));
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
        .table_elements(limits.table_elements.max(o.table_elements) as usize);
    if kept <= MIB {
        let table = (o.table_elements * 8).next_multiple_of(4096);
        p.linear_memory_keep_resident(kept as usize).table_keep_resident(table as usize).async_stack_keep_resident(64 << 10);
        let slot = kept * memories as u64 + table * tables as u64 + (64 << 10);
        p.max_unused_warm_slots((KEPT / slot).clamp(1, 1000) as u32);
    } // else nothing is kept: the kernel takes back what was written, which costs less than to wipe it all
    p
}

pub fn new(o: &Options) -> Result<Engine, Fail> {
    let mut c = o.settings.config()?;
    c.max_wasm_stack(o.limits.stack_bytes as usize);
    c.async_stack_size((o.limits.stack_bytes + MIB) as usize);
    if o.concurrency > 0 {
        c.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(o)));
    }
    c.with_custom_code_memory(Some(Arc::new(Publish)));
    Engine::new(&c).map_err(|e| Fail::new(Code::Unsupported, "limits", format!("the engine can't have these limits: {e:#}")))
}

pub enum Loaded {
    Core(Module),
    Component(Component),
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
fn mapped(file: &File) -> std::io::Result<NonNull<[u8]>> {
    let length = file.metadata()?.len() as usize;
    let at = unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    match NonNull::new(at.cast::<u8>()) {
        Some(at) if at.as_ptr().cast() != libc::MAP_FAILED => Ok(NonNull::slice_from_raw_parts(at, length)),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The engine maps a component only by a path; the descriptor has one where /proc is, and then its data is shared too, else only
/// its code.
fn component(engine: &Engine, file: &File) -> wasmtime::Result<Component> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    match File::open(&path) {
        Ok(_) => unsafe { Component::deserialize_file(engine, path) },
        Err(_) => unsafe { Component::deserialize_raw(engine, mapped(file)?) },
    }
}

/// Mapped, so that all who run it share it. Initial memories now, because one may take a file without a name, which is forbidden
/// afterwards.
fn mapped_code(engine: &Engine, file: File) -> wasmtime::Result<Loaded> {
    if let Ok(m) = unsafe { Module::deserialize_open_file(engine, file.try_clone()?) } {
        m.initialize_copy_on_write_image()?;
        return Ok(Loaded::Core(m));
    }
    let c = component(engine, &file)?;
    c.initialize_copy_on_write_image()?;
    Ok(Loaded::Component(c))
}

pub fn load(engine: &Engine, code: BorrowedFd<'_>) -> Result<Loaded, Fail> {
    let file = File::from(code.try_clone_to_owned()?);
    mapped_code(engine, file).map_err(|e| Fail::new(Code::Corrupt, "code", format!("compiled code can't be used: {e:#}")))
}
