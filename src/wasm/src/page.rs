// SPDX-License-Identifier: Apache-2.0
//! wasm/page.h from the writer's side.

use crate::ffi::{clean, put};
use std::ffi::c_char;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::Release};

const SLOTS: usize = 64;

/// struct berth_wasm_slot. Written by one thread each, so a load and a store make an addition.
#[repr(C)]
#[derive(Default)]
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

#[repr(u32)]
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Exit = 1,
    Trap,
    Memory,
    Time,
    Failed,
}

/// How one call of the guest ended, before it is C's.
pub struct End {
    pub kind: Kind,
    pub code: i32,
    pub asked: u64,
    pub name: String,
    pub text: String,
}

/// struct berth_wasm_end.
#[repr(C)]
pub struct CEnd {
    kind: AtomicU32,
    exit_code: i32,
    asked_bytes: u64,
    name: [c_char; 80],
    text: [c_char; 3992],
}

impl End {
    pub fn write(&self, to: &mut CEnd) {
        to.exit_code = self.code;
        to.asked_bytes = self.asked;
        put(&clean(&self.name, false), &mut to.name);
        put(&self.text, &mut to.text);
        to.kind.store(self.kind as u32, Release);
    }
}

/// struct berth_wasm_page.
#[repr(C)]
pub struct Page {
    magic: u32,
    size: u32,
    pub n_slots: AtomicU32,
    pub pool: AtomicU32,
    worker_pid: AtomicU32,
    pub draining: AtomicU32,
    pub end: CEnd,
    slots: [Slot; SLOTS],
}

/// A page of C's, or one that nobody reads.
#[derive(Clone, Copy)]
pub struct PageRef(*mut Page);
// Only atomics are touched from several threads; `end` is written by the one that runs a command.
unsafe impl Send for PageRef {}
unsafe impl Sync for PageRef {}

impl PageRef {
    /// # Safety
    /// NULL, or a zeroed page that outlives every user.
    pub unsafe fn new(page: *mut Page) -> PageRef {
        if page.is_null() {
            let layout = std::alloc::Layout::new::<Page>();
            return PageRef(unsafe { std::alloc::alloc_zeroed(layout) }.cast());
        }
        PageRef(page)
    }

    pub fn get(&self) -> &Page {
        unsafe { &*self.0 }
    }

    pub fn slot(&self, thread: usize) -> &'static Slot {
        let page: &'static Page = unsafe { &*self.0 };
        page.n_slots.fetch_max((thread % SLOTS) as u32 + 1, Relaxed);
        &page.slots[thread % SLOTS]
    }

    /// The last words.
    pub fn end(&self, end: &End) {
        end.write(unsafe { &mut (*self.0).end });
    }
}
