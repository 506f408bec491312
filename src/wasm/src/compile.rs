// SPDX-License-Identifier: Apache-2.0
//! From a module of anybody's to machine code, to a list of what it needs, and to the key of both.

use crate::ffi::{Code, Fail, guard};
use crate::head::clean;
use crate::settings::Settings;
use std::ffi::{c_char, c_int, c_void};
use std::fmt::Write as _;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, ExternType, Module, ResourcesRequired};

const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

fn word(name: &str) -> String {
    clean(name).replace(' ', "\\x20")
}

fn needs(out: &mut String, r: Option<ResourcesRequired>) {
    let Some(r) = r else { return };
    let bytes = r.max_initial_memory_size.unwrap_or(0).saturating_mul(65536);
    let elements = r.max_initial_table_size.unwrap_or(0);
    let _ = writeln!(out, "needs m{}.b{bytes}.t{}.e{elements}", r.num_memories, r.num_tables);
}

fn module_meta(m: &Module) -> String {
    let mut out = String::from("format 1\nkind module\n");
    let starts = matches!(m.get_export("_start"), Some(ExternType::Func(_)));
    let _ = writeln!(out, "guest {}", if starts { "command1" } else { "reactor" });
    for i in m.imports() {
        let _ = writeln!(out, "import {} {}", word(i.module()), word(i.name()));
    }
    for e in m.exports() {
        let _ = writeln!(out, "export {}", word(e.name()));
    }
    needs(&mut out, Some(m.resources_required()));
    out
}

fn component_meta(c: &Component) -> String {
    let mut out = String::from("format 1\nkind component\n");
    let (engine, t) = (c.engine(), c.component_type());
    let has = |interface: &str| t.exports(engine).any(|(name, _)| name.starts_with(interface));
    let (http, runs) = (has("wasi:http/incoming-handler@0.2."), has("wasi:cli/run@0.2."));
    for (_, guest) in [(http, "http"), (runs, "command2"), (!http && !runs, "reactor")].iter().filter(|g| g.0) {
        let _ = writeln!(out, "guest {guest}");
    }
    for (name, _) in t.imports(engine) {
        let _ = writeln!(out, "import {}", word(name));
    }
    for (name, e) in t.exports(engine) {
        let _ = writeln!(out, "export {}", word(name));
        if let ComponentItem::ComponentInstance(instance) = &e.ty {
            for (inner, _) in instance.exports(engine) {
                let _ = writeln!(out, "export {}#{}", word(name), word(inner));
            }
        }
    }
    needs(&mut out, c.resources_required());
    out
}

fn compile(s: &Settings, wasm: &[u8]) -> Result<(Vec<u8>, String), Fail> {
    let invalid = |e: String| Fail::new(Code::Invalid, "module", format!("not a valid module: {e}"));
    let engine = Engine::new(&s.config()?)?;
    let binary = wat::parse_bytes(wasm).map_err(|e| invalid(e.to_string()))?;
    if binary.get(4..8) == Some(&COMPONENT) {
        let c = Component::from_binary(&engine, &binary).map_err(|e| invalid(format!("{e:#}")))?;
        return Ok((c.serialize()?, component_meta(&c)));
    }
    let m = Module::from_binary(&engine, &binary).map_err(|e| invalid(format!("{e:#}")))?;
    Ok((m.serialize()?, module_meta(&m)))
}

fn write(fd: c_int, data: &[u8]) -> Result<(), Fail> {
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    Ok(file.write_all(data)?)
}

/// # Safety
/// berth_wasm.h says what the arguments are, here and below.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_compile(
    s: *const Settings, wasm: *const u8, length: usize, code_fd: c_int, meta_fd: c_int, err: *mut c_void,
) -> c_int {
    guard(err, || {
        let (code, meta) = compile(unsafe { &*s }, unsafe { std::slice::from_raw_parts(wasm, length) })?;
        write(code_fd, &code)?;
        if meta_fd >= 0 {
            write(meta_fd, meta.as_bytes())?;
        }
        Ok(0)
    })
}

/// The lock file is the only truth about what was built.
fn tag(s: &Settings) -> Result<String, Fail> {
    let (lock, engine, mut digest) = (include_str!("../Cargo.lock"), Engine::new(&s.config()?)?, DefaultHasher::new());
    let version = lock.split("name = \"wasmtime\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    (lock, engine.precompile_compatibility_hash()).hash(&mut digest);
    let (profile, fuel) = (if s.serves() { "serve" } else { "command" }, if s.fuel { "-fuel" } else { "" });
    Ok(format!("wasmtime-{}-{profile}{fuel}-{:016x}", version.unwrap_or_default(), digest.finish()))
}

/// # Safety
/// As above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_tag(s: *const Settings, ret: *mut c_char, room: usize, err: *mut c_void) -> c_int {
    guard(err, || {
        let text = tag(unsafe { &*s })? + "\0";
        if text.len() > room {
            return Err(Fail::new(Code::Invalid, "tag", "no room"));
        }
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), ret.cast(), text.len()) };
        Ok(0)
    })
}
