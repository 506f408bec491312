// SPDX-License-Identifier: Apache-2.0
//! One export, called by name: numbers for core modules, WAVE for components. What is asked is checked against the
//! export's type before any code of the guest runs.

use crate::ffi::{CError, Code, Fail, fail, guard, text, texts};
use crate::guest::{Guest, Ready, State};
use crate::page::CEnd;
use std::ffi::{c_char, c_int};
use std::io::Write;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::wasm_wave::untyped::UntypedFuncCall;
use wasmtime::component::{Component, ComponentExportIndex};
use wasmtime::{ExternType, FuncType, Module, Store, Val, ValType};

fn invalid<T>(object: &str, message: impl Into<String>) -> Result<T, Fail> {
    fail(Code::Invalid, object, message)
}

fn print(results: &[String]) -> wasmtime::Result<i32> {
    let line = match results {
        [] => return Ok(0),
        all => all.join("\n") + "\n",
    };
    std::io::stdout().write_all(line.as_bytes())?;
    std::io::stdout().flush()?;
    Ok(0)
}

fn not_found<T>(name: &str, there: Vec<String>) -> Result<T, Fail> {
    let list = if there.is_empty() { "none can be called".into() } else { there.join(", ") };
    fail(Code::NotFound, name, format!("export {name}: there is none; there are: {list}"))
}

// ---- core modules

fn core_func(m: &Module, name: &str) -> Result<FuncType, Fail> {
    match m.get_export(name) {
        Some(ExternType::Func(t)) => Ok(t),
        _ => {
            let funcs = m.exports().filter(|e| matches!(e.ty(), ExternType::Func(_)));
            not_found(name, funcs.take(50).map(|e| e.name().to_string()).collect())
        }
    }
}

fn number(t: &ValType, text: &str) -> Result<Val, Fail> {
    let bad = |_| Fail { code: Code::Invalid, object: text.into(), message: format!("argument \"{text}\" is no {t}") };
    let float = |e: std::num::ParseFloatError| bad(e.to_string());
    let int = |e: std::num::ParseIntError| bad(e.to_string());
    Ok(match t {
        ValType::I32 => Val::I32(text.parse::<i32>().or_else(|_| text.parse::<u32>().map(|n| n as i32)).map_err(int)?),
        ValType::I64 => Val::I64(text.parse::<i64>().or_else(|_| text.parse::<u64>().map(|n| n as i64)).map_err(int)?),
        ValType::F32 => Val::F32(text.parse::<f32>().map_err(float)?.to_bits()),
        ValType::F64 => Val::F64(text.parse::<f64>().map_err(float)?.to_bits()),
        _ => return invalid(text, format!("an argument of type {t} can't be written down")),
    })
}

fn shown(v: &Val) -> String {
    match v {
        Val::I32(n) => n.to_string(),
        Val::I64(n) => n.to_string(),
        Val::F32(n) => f32::from_bits(*n).to_string(),
        Val::F64(n) => f64::from_bits(*n).to_string(),
        other => format!("{other:?}"),
    }
}

fn core_arguments(call: &str, args: &[String], t: &FuncType) -> Result<Vec<Val>, Fail> {
    let inner = call.split_once('(').map(|(_, rest)| rest.trim_end().trim_end_matches(')'));
    let written: Vec<&str> = match inner {
        Some(i) => i.split(',').map(str::trim).filter(|a| !a.is_empty()).collect(),
        None => args.iter().map(String::as_str).collect(),
    };
    if written.len() != t.params().len() {
        return invalid(call, format!("{call}: it takes {} arguments, not {}", t.params().len(), written.len()));
    }
    t.params().zip(written).map(|(t, a)| number(&t, a)).collect()
}

async fn call_core(
    store: &mut Store<State>, pre: &wasmtime::InstancePre<State>, name: &str, args: &[Val], n: usize,
) -> wasmtime::Result<i32> {
    let instance = pre.instantiate_async(&mut *store).await?;
    if let Some(first) = instance.get_func(&mut *store, "_initialize") {
        first.call_async(&mut *store, &[], &mut []).await?;
    }
    let mut results = vec![Val::I32(0); n];
    let func = instance.get_func(&mut *store, name).expect("checked");
    func.call_async(&mut *store, args, &mut results).await?;
    print(&results.iter().map(shown).collect::<Vec<_>>())
}

// ---- components

struct Found {
    index: ComponentExportIndex,
    t: ComponentFunc,
}

/// Every function that can be called: with its interface's name, or NULL.
fn functions(c: &Component) -> Vec<(Option<String>, String)> {
    let (mut all, engine, t) = (Vec::new(), c.engine(), c.component_type());
    for (name, e) in t.exports(engine) {
        match &e.ty {
            ComponentItem::ComponentFunc(_) => all.push((None, name.to_string())),
            ComponentItem::ComponentInstance(i) => {
                let inner = i.exports(engine).filter(|(_, e)| matches!(e.ty, ComponentItem::ComponentFunc(_)));
                all.extend(inner.map(|(n, _)| (Some(name.to_string()), n.to_string())));
            }
            _ => (),
        }
    }
    all
}

fn joined((interface, name): &(Option<String>, String)) -> String {
    interface.as_ref().map_or(name.clone(), |i| format!("{i}#{name}"))
}

fn component_func(c: &Component, interface: Option<&str>, name: &str) -> Result<Found, Fail> {
    let all = functions(c);
    let fits: Vec<_> = all.iter().filter(|(i, n)| n == name && (interface.is_none() || interface == i.as_deref())).collect();
    let [one] = fits[..] else {
        let several =
            if fits.is_empty() { all.iter().take(50).map(joined).collect() } else { fits.into_iter().map(joined).collect() };
        return not_found(name, several);
    };
    let outer = one.0.as_ref().and_then(|i| c.get_export_index(None, i));
    match c.get_export(outer.as_ref(), name) {
        Some((ComponentItem::ComponentFunc(t), index)) => Ok(Found { index, t }),
        _ => not_found(name, Vec::new()),
    }
}

type Value = wasmtime::component::Val;

fn component_arguments(call: &str, t: &ComponentFunc) -> Result<Vec<Value>, Fail> {
    let types: Vec<_> = t.params().map(|(_, t)| t).collect();
    let parsed = UntypedFuncCall::parse(call).map_err(|e| Fail {
        code: Code::Invalid,
        object: call.into(),
        message: format!("{call}: {e}"),
    })?;
    parsed.to_wasm_params(types.iter()).or_else(|e| invalid(call, format!("{call}: {e}")))
}

async fn call_component(
    store: &mut Store<State>, pre: &wasmtime::component::InstancePre<State>, found: &Found, args: &[Value],
) -> wasmtime::Result<i32> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let func = instance.get_func(&mut *store, found.index).expect("checked");
    let mut results = vec![Value::Bool(false); found.t.results().len()];
    func.call_async(&mut *store, args, &mut results).await?;
    print(&results.iter().map(|v| v.to_wave()).collect::<wasmtime::Result<Vec<_>>>()?)
}

fn invoke(guest: &Guest, call: &str, args: &[String]) -> Result<crate::page::End, Fail> {
    let (interface, local) = match call.split_once('#') {
        Some((i, rest)) if !i.contains('(') => (Some(i), rest),
        _ => (None, call),
    };
    let name = local.split('(').next().unwrap_or(local).trim();
    match &guest.ready {
        Ready::Core(pre) => {
            let t = core_func(pre.module(), name)?;
            let values = core_arguments(call, args, &t)?;
            guest.once(async |s| call_core(s, pre, name, &values, t.results().len()).await)
        }
        Ready::Component(pre) => {
            let found = component_func(pre.component(), interface, name)?;
            let whole = if local.contains('(') { local.to_string() } else { format!("{local}({})", args.join(", ")) };
            let values = component_arguments(&whole, &found.t)?;
            guest.once(async |s| call_component(s, pre, &found, &values).await)
        }
    }
}

/// # Safety
/// berth_wasm.h says what the arguments are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn berth_wasm_invoke(
    guest: *const Guest, call: *const c_char, args: *const *const c_char, ret: *mut CEnd, err: *mut CError,
) -> c_int {
    guard(err, || {
        let (call, args) = unsafe { (text(call, "call")?, texts(args, "argument")?) };
        invoke(unsafe { &*guest }, call, &args)?.write(unsafe { &mut *ret });
        Ok(0)
    })
}
