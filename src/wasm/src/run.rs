// SPDX-License-Identifier: Apache-2.0
//! A command: one instance, one thread, to its end; and what every end is called.

use crate::ffi::{CError, Code, Fail, clean, fail, guard};
use crate::guest::{Guest, Ready, State, World};
use crate::page::{CEnd, End, Kind, add};
use std::ffi::c_int;
use std::fmt::Write;
use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p2::bindings::CommandPre;

const FRAMES: usize = 32;
const NAME: usize = 120;

/// The event loop of a command: one thread, which the guest may block.
pub fn runtime() -> Result<tokio::runtime::Runtime, Fail> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_io().enable_time().max_blocking_threads(4).build()?)
}

/// A guest's function names are the guest's: cleaned, cut, and only so many.
fn backtrace(error: &wasmtime::Error) -> String {
    let mut out = String::new();
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], |b| b.frames());
    for (n, f) in frames.iter().take(FRAMES).enumerate() {
        let mut name = clean(f.func_name().unwrap_or("?"), false);
        name.truncate(NAME);
        let _ = writeln!(out, "{n:>4}: {name} (function {}, offset {:#x})", f.func_index(), f.module_offset().unwrap_or(0));
    }
    if frames.len() > FRAMES {
        let _ = writeln!(out, "      {} more", frames.len() - FRAMES);
    }
    out
}

fn trap_end(trap: Trap, refused: Option<u64>, text: String) -> End {
    let (kind, code) = match (trap, refused) {
        (Trap::OutOfFuel | Trap::Interrupt, _) => (Kind::Time, 134),
        (_, Some(_)) => (Kind::Memory, 137),
        _ => (Kind::Trap, 134),
    };
    let full = trap.to_string();
    let name = match trap {
        Trap::OutOfFuel => "out of fuel",
        Trap::UnreachableCodeReached => "unreachable",
        _ => full.strip_prefix("wasm trap: ").unwrap_or(&full),
    };
    let asked = if kind == Kind::Memory { refused.unwrap_or(0) } else { 0 };
    End { kind, code, asked, name: name.into(), text }
}

/// Why the guest's call came back with an error.
pub fn end_of(error: &wasmtime::Error, refused: Option<u64>) -> End {
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return End { kind: Kind::Exit, code: exit.0 & 0xff, asked: 0, name: String::new(), text: String::new() };
    }
    let text = backtrace(error);
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return trap_end(*trap, refused, text);
    }
    // No trap of the machine's: the host's side refused (a limit, an address that is not the guest's), or its
    // memory did not fit when it was born.
    let why = clean(&error.root_cause().to_string(), false);
    match refused {
        Some(asked) => End { kind: Kind::Memory, code: 137, asked, name: why, text },
        None if text.is_empty() => End { kind: Kind::Failed, code: 134, asked: 0, name: why, text },
        None => End { kind: Kind::Trap, code: 134, asked: 0, name: why, text },
    }
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
    /// Run one call in a fresh instance; `f` gives the exit code.
    pub fn once(&self, f: impl AsyncFnOnce(&mut Store<State>) -> wasmtime::Result<i32>) -> Result<End, Fail> {
        let slot = self.engine.page.slot(0);
        let mut store = self.store(World::for_command(&self.environment)?, None, slot);
        if self.engine.engine.get_epoch_interruption() {
            store.set_epoch_deadline(u64::MAX / 2);
        }
        let runtime = runtime()?;
        let result = runtime.block_on(f(&mut store));
        // A thread of it may hang in a system call; the process ends anyhow.
        runtime.shutdown_background();
        let end = match result {
            Ok(code) => End { kind: Kind::Exit, code, asked: 0, name: String::new(), text: String::new() },
            Err(e) => end_of(&e, store.data().taken.refused),
        };
        match end.kind {
            Kind::Trap => add(&slot.traps, 1),
            Kind::Memory => add(&slot.memory_outs, 1),
            Kind::Time => add(&slot.timeouts, 1),
            _ => (),
        }
        self.engine.page.end(&end);
        Ok(end)
    }
}

fn starts(guest: &Guest) -> Result<(), Fail> {
    let ok = match &guest.ready {
        Ready::Core(pre) => pre.module().get_export("_start").is_some(),
        Ready::Component(pre) => CommandPre::new(pre.clone()).is_ok(),
    };
    if ok { Ok(()) } else { fail(Code::Invalid, "module", "it is no command: nothing in it can be started") }
}

/// # Safety
/// berth_wasm.h says what the arguments are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_run(guest: *const Guest, ret: *mut CEnd, err: *mut CError) -> c_int {
    guard(err, || {
        let guest = unsafe { &*guest };
        starts(guest)?;
        guest.once(async |store| call(store, &guest.ready).await)?.write(unsafe { &mut *ret });
        Ok(0)
    })
}
