// SPDX-License-Identifier: Apache-2.0
//! A command: one instance, one thread, to its end; and what every end is called.

use crate::ffi::{Code, Fail, cleaned, guard};
use crate::guest::{Guest, Ready, State, add};
use crate::head::clean;
use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write;
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

const FRAMES: usize = 32;
const NAME: usize = 120;

/// enum berth_wasm_end_kind.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Exit = 1,
    Trap,
    Memory,
    Time,
    Failed,
}

unsafe extern "C" {
    fn berth_wasm_ended(kind: Kind, code: c_int, asked: u64, name: *const c_char, text: *const c_char);
}

/// How one call of the guest ended.
pub struct End {
    pub kind: Kind,
    code: i32,
    pub asked: u64,
    pub name: String,
    pub text: String,
}

impl End {
    fn exit(code: i32) -> End {
        End { kind: Kind::Exit, code, asked: 0, name: String::new(), text: String::new() }
    }
}

/// A guest's function names are the guest's: cleaned, cut, and only so many.
fn backtrace(error: &wasmtime::Error) -> String {
    let mut out = String::new();
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], |b| b.frames());
    for (n, f) in frames.iter().take(FRAMES).enumerate() {
        let mut name = clean(f.func_name().unwrap_or("?"));
        name.truncate(NAME);
        let _ = writeln!(out, "{n:>4}: {name} (function {}, offset {:#x})", f.func_index(), f.module_offset().unwrap_or(0));
    }
    if frames.len() > FRAMES {
        let _ = writeln!(out, "      {} more", frames.len() - FRAMES);
    }
    out
}

/// Why the guest's call came back with an error.
pub fn end_of(error: &wasmtime::Error, refused: Option<u64>) -> End {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return End::exit(exit.0 & 0xff);
    }
    let (trap, text) = (error.downcast_ref::<Trap>(), backtrace(error));
    let kind = match (trap, refused) {
        (Some(Trap::OutOfFuel | Trap::Interrupt), _) => Kind::Time,
        (_, Some(_)) => Kind::Memory,
        // The host's side refused: a limit, or an address that is not the guest's.
        (None, _) if text.is_empty() => Kind::Failed,
        _ => Kind::Trap,
    };
    let cause = error.root_cause().to_string();
    let name = match trap {
        Some(Trap::OutOfFuel) => "out of fuel",
        Some(Trap::UnreachableCodeReached) => "unreachable",
        _ => cause.strip_prefix("wasm trap: ").unwrap_or(&cause),
    };
    let (code, asked) = if kind == Kind::Memory { (137, refused.unwrap_or(0)) } else { (134, 0) };
    End { kind, code, asked, name: clean(name), text }
}

async fn call(store: &mut Store<State>, ready: &Ready) -> wasmtime::Result<i32> {
    match ready {
        Ready::Core(pre) => {
            let instance = pre.instantiate_async(&mut *store).await?;
            let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
            start.call_async(&mut *store, ()).await?;
            Ok(0)
        }
        Ready::Component(pre) => {
            let command = CommandPre::new(pre.clone())?.instantiate_async(&mut *store).await?;
            Ok(if command.wasi_cli_run().call_run(&mut *store).await?.is_ok() { 0 } else { 1 })
        }
    }
}

impl Guest {
    /// Run one call in a fresh instance and tell C its end; `f` gives the exit code.
    pub fn once(&'static self, f: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<i32>) -> Result<c_int, Fail> {
        let slot = &self.slots[0];
        let mut store = self.store(self.world()?, None, slot);
        if self.engine.get_epoch_interruption() {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(4).build()?;
        let end = match runtime.block_on(f(&mut store)) {
            Ok(code) => End::exit(code),
            Err(e) => end_of(&e, store.data().taken.refused),
        };
        // A thread of it may hang in a system call; the process ends anyhow.
        runtime.shutdown_background();
        match end.kind {
            Kind::Trap => add(&slot.traps, 1),
            Kind::Memory => add(&slot.memory_outs, 1),
            Kind::Time => add(&slot.timeouts, 1),
            _ => (),
        }
        let (name, text) = (cleaned(&end.name), std::ffi::CString::new(end.text).unwrap_or_default());
        unsafe { berth_wasm_ended(end.kind, end.code, end.asked, name.as_ptr(), text.as_ptr()) };
        Ok(0)
    }
}

/// # Safety
/// berth_wasm.h says what the arguments are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_run(guest: *const Guest, err: *mut c_void) -> c_int {
    guard(err, || {
        let guest: &'static Guest = unsafe { &*guest };
        let starts = match &guest.ready {
            Ready::Core(pre) => pre.module().get_export("_start").is_some(),
            Ready::Component(pre) => CommandPre::new(pre.clone()).is_ok(),
        };
        if !starts {
            return Err(Fail::new(Code::Invalid, "module", "it is no command: nothing in it can be started"));
        }
        guest.once(async |store| call(store, &guest.ready).await)
    })
}
