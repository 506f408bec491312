// SPDX-License-Identifier: Apache-2.0
//! From a module of anybody's to machine code, and to a list of what it needs.

use crate::ffi::{CError, Code, Fail, clean, fail, guard};
use crate::settings::Settings;
use std::ffi::c_int;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd;
use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;
use wasmtime::{Engine, ExternType, Module, ResourcesRequired};

const CORE: [u8; 4] = [1, 0, 0, 0];
const COMPONENT: [u8; 4] = [0x0d, 0, 1, 0];

/// An interface of preview 3 that the bytes name, for one word in place of a riddle about a feature.
fn preview3(wasm: &[u8]) -> Option<String> {
    let mut rest = wasm;
    while let Some(at) = rest.windows(5).position(|w| w == b"wasi:") {
        let name: Vec<u8> = rest[at..].iter().take(80).take_while(|b| b.is_ascii_graphic()).copied().collect();
        let name = String::from_utf8_lossy(&name).into_owned();
        if let Some(v) = name.find("@0.3.") {
            let end = name[v + 5..].find(|c: char| !c.is_ascii_digit()).map_or(name.len(), |n| v + 5 + n);
            return Some(name[..end].to_string());
        }
        rest = &rest[at + 5..];
    }
    None
}

fn word(name: &str) -> String {
    clean(name, false).replace(' ', "\\x20")
}

fn kind(t: &ExternType) -> &'static str {
    match t {
        ExternType::Func(_) => "func",
        ExternType::Memory(_) => "memory",
        ExternType::Table(_) => "table",
        ExternType::Global(_) => "global",
        ExternType::Tag(_) => "tag",
    }
}

fn item(t: &ComponentItem) -> &'static str {
    match t {
        ComponentItem::ComponentFunc(_) => "func",
        ComponentItem::CoreFunc(_) => "core-func",
        ComponentItem::Module(_) => "module",
        ComponentItem::Component(_) => "component",
        ComponentItem::ComponentInstance(_) => "instance",
        ComponentItem::Type(_) => "type",
        ComponentItem::Resource(_) => "resource",
    }
}

fn needs(out: &mut String, r: Option<ResourcesRequired>) {
    let Some(r) = r else { return };
    let bytes = r.max_initial_memory_size.unwrap_or(0).saturating_mul(65536);
    let elements = r.max_initial_table_size.unwrap_or(0);
    let _ = writeln!(out, "memories {} {bytes}\ntables {} {elements}", r.num_memories, r.num_tables);
    let _ = writeln!(out, "needs m{}.b{bytes}.t{}.e{elements}", r.num_memories, r.num_tables);
}

fn module_meta(m: &Module) -> String {
    let mut out = String::from("format 1\nkind module\n");
    let starts = m.get_export("_start").is_some_and(|e| matches!(e, ExternType::Func(_)));
    let _ = writeln!(out, "guest {}", if starts { "command1" } else { "reactor" });
    for i in m.imports() {
        let _ = writeln!(out, "import {} {} {}", word(i.module()), word(i.name()), kind(&i.ty()));
    }
    for e in m.exports() {
        let _ = writeln!(out, "export {} {}", word(e.name()), kind(&e.ty()));
    }
    needs(&mut out, Some(m.resources_required()));
    out
}

fn component_meta(c: &Component) -> String {
    let mut out = String::from("format 1\nkind component\n");
    let (engine, t) = (c.engine(), c.component_type());
    let guests = [("wasi:http/incoming-handler@0.2.", "http"), ("wasi:cli/run@0.2.", "command2")];
    let mut plain = true;
    for (name, _) in t.exports(engine) {
        for (interface, guest) in guests.iter().filter(|g| name.starts_with(g.0)) {
            debug_assert!(!interface.is_empty());
            let _ = writeln!(out, "guest {guest}");
            plain = false;
        }
    }
    if plain {
        out.push_str("guest reactor\n");
    }
    for (name, i) in t.imports(engine) {
        let _ = writeln!(out, "import {} {}", word(name), item(&i.ty));
    }
    for (name, e) in t.exports(engine) {
        let _ = writeln!(out, "export {} {}", word(name), item(&e.ty));
        if let ComponentItem::ComponentInstance(instance) = &e.ty {
            for (inner, i) in instance.exports(engine) {
                let _ = writeln!(out, "export {}#{} {}", word(name), word(inner), item(&i.ty));
            }
        }
    }
    needs(&mut out, c.resources_required());
    out
}

fn compile(s: &Settings, wasm: &[u8]) -> Result<(Vec<u8>, String), Fail> {
    let invalid = |e: String| Fail { code: Code::Invalid, object: "module".into(), message: format!("not a valid module: {e}") };
    let engine = Engine::new(&s.config()?)?;
    let binary = if wasm.starts_with(b"\0asm") {
        wasm.into()
    } else {
        if std::str::from_utf8(wasm).is_err() {
            return fail(Code::Invalid, "module", "not a WebAssembly module: neither binary nor text format");
        }
        wat::parse_bytes(wasm).map_err(|e| invalid(e.to_string()))?
    };
    let explain = |e: wasmtime::Error| match preview3(&binary) {
        Some(name) => {
            Fail { code: Code::Unsupported, object: name.clone(), message: format!("{name}: preview 3 is not supported") }
        }
        None => invalid(format!("{e:#}")),
    };
    match binary.get(4..8).and_then(|v| v.try_into().ok()) {
        Some(CORE) => {
            let m = Module::from_binary(&engine, &binary).map_err(explain)?;
            Ok((m.serialize()?, module_meta(&m)))
        }
        Some(COMPONENT) => {
            let c = Component::from_binary(&engine, &binary).map_err(explain)?;
            Ok((c.serialize()?, component_meta(&c)))
        }
        Some(v) => fail(Code::Unsupported, "module", format!("a module of version {v:02x?}, which nothing here can read")),
        None => fail(Code::Invalid, "module", "not a WebAssembly module: cut off in its first eight bytes"),
    }
}

fn write(fd: c_int, data: &[u8]) -> Result<(), Fail> {
    let mut file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    Ok(file.write_all(data)?)
}

/// # Safety
/// berth_wasm.h says what the arguments are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_compile(
    s: *const Settings, wasm: *const u8, length: usize, code_fd: c_int, meta_fd: c_int, err: *mut CError,
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
