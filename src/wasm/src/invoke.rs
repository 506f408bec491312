// SPDX-License-Identifier: Apache-2.0
//! One export, called by name with values in WAVE. What is asked is checked against the export's type before any code of
//! the guest runs.

use crate::ffi::{Code, Fail, guard, text, texts};
use crate::guest::{Guest, Ready};
use std::ffi::{c_char, c_int, c_void};
use std::io::Write;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::wasm_wave::wasm::WasmValue;
use wasmtime::component::{self, Component, ComponentExportIndex, wasm_wave};
use wasmtime::{ExternType, FuncType, Module, Val};

fn not_found(name: &str, there: Vec<String>) -> Fail {
    let list = if there.is_empty() { "none can be called".into() } else { there[..there.len().min(50)].join(", ") };
    Fail::new(Code::NotFound, name, format!("export {name}: there is none; there are: {list}"))
}

/// The values in "(1, 2)".
fn values<V: WasmValue + 'static>(name: &str, written: &str, types: &[V::Type]) -> Result<Vec<V>, Fail> {
    UntypedFuncCall::parse(&format!("f{written}"))
        .and_then(|c| c.to_wasm_params(types))
        .map_err(|e| Fail::new(Code::Invalid, name, format!("{name}{written}: {e}")))
}

/// A line for each result. The exit code is 0.
fn print<V: WasmValue>(results: &[V]) -> wasmtime::Result<i32> {
    let mut out = std::io::stdout().lock();
    for value in results {
        writeln!(out, "{}", wasm_wave::to_string(value)?)?;
    }
    out.flush()?;
    Ok(0)
}

fn core_func(m: &Module, name: &str) -> Result<FuncType, Fail> {
    if let Some(ExternType::Func(t)) = m.get_export(name) {
        return Ok(t);
    }
    let funcs = m.exports().filter(|e| matches!(e.ty(), ExternType::Func(_)));
    Err(not_found(name, funcs.map(|e| e.name().to_string()).collect()))
}

/// Every function that can be called: "name", or "interface#name".
fn functions(c: &Component) -> Vec<String> {
    let (mut all, engine, t) = (Vec::new(), c.engine(), c.component_type());
    for (name, e) in t.exports(engine) {
        match &e.ty {
            ComponentItem::ComponentFunc(_) => all.push(name.to_string()),
            ComponentItem::ComponentInstance(i) => {
                let inner = i.exports(engine).filter(|(_, e)| matches!(e.ty, ComponentItem::ComponentFunc(_)));
                all.extend(inner.map(|(n, _)| format!("{name}#{n}")));
            }
            _ => (),
        }
    }
    all
}

/// One function by its whole name, or by its last part when no other has it.
fn component_func(c: &Component, name: &str) -> Result<(ComponentFunc, ComponentExportIndex), Fail> {
    let all = functions(c);
    let inner = format!("#{name}");
    let fits: Vec<_> = all.iter().filter(|f| *f == name || f.ends_with(&inner)).collect();
    let [one] = fits[..] else {
        return Err(not_found(name, if fits.is_empty() { all } else { fits.into_iter().cloned().collect() }));
    };
    let (interface, name) = one.split_once('#').map_or((None, one.as_str()), |(i, n)| (Some(i), n));
    let interface = interface.and_then(|i| c.get_export_index(None, i));
    match c.get_export(interface.as_ref(), name) {
        Some((ComponentItem::ComponentFunc(t), index)) => Ok((t, index)),
        _ => Err(not_found(name, Vec::new())),
    }
}

fn invoke(guest: &'static Guest, call: &str, args: &[String]) -> Result<c_int, Fail> {
    let (name, written) = match call.find('(') {
        Some(at) => (call[..at].trim(), call[at..].to_string()),
        None => (call.trim(), format!("({})", args.join(", "))),
    };
    match &guest.ready {
        Ready::Core(pre) => {
            let t = core_func(pre.module(), name)?;
            let values: Vec<Val> = values(name, &written, &t.params().collect::<Vec<_>>())?;
            guest.once(async |s| {
                let instance = pre.instantiate_async(&mut *s).await?;
                if let Some(first) = instance.get_func(&mut *s, "_initialize") {
                    first.call_async(&mut *s, &[], &mut []).await?;
                }
                let mut results = vec![Val::I32(0); t.results().len()];
                let func = instance.get_func(&mut *s, name).expect("checked");
                func.call_async(&mut *s, &values, &mut results).await?;
                print(&results)
            })
        }
        Ready::Component(pre) => {
            let (t, index) = component_func(pre.component(), name)?;
            let values: Vec<component::Val> = values(name, &written, &t.params().map(|(_, t)| t).collect::<Vec<_>>())?;
            guest.once(async |s| {
                let instance = pre.instantiate_async(&mut *s).await?;
                let func = instance.get_func(&mut *s, index).expect("checked");
                let mut results = vec![component::Val::Bool(false); t.results().len()];
                func.call_async(&mut *s, &values, &mut results).await?;
                print(&results)
            })
        }
    }
}

/// # Safety
/// berth_wasm.h says what the arguments are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_invoke(
    guest: *const Guest, call: *const c_char, args: *const *const c_char, err: *mut c_void,
) -> c_int {
    guard(err, || unsafe { invoke(&*guest, &text(call), &texts(args)) })
}
