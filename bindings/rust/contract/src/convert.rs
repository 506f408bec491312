// SPDX-License-Identifier: Apache-2.0
//! The crate's values as the C header's, and back.

use berth::ffi;
use berth::text::{copy_text, write_text};
use berth::*;
use libc::{c_char, c_int};
use std::mem::{size_of, zeroed};

/// What a C function returns for `result`; a failure is written down.
///
/// # Safety
/// `err` is NULL or a place for one.
pub unsafe fn answer(result: Result<c_int>, err: *mut ffi::berth_error) -> c_int {
    match result {
        Ok(value) => value,
        Err(failure) => {
            if let Some(place) = err.as_mut() {
                *place = failure.to_raw();
            }
            failure.code.number()
        }
    }
}

/// The handle under the other engine's name.
pub fn renamed(handle: &ffi::berth_handle, runtime: &str) -> ffi::berth_handle {
    let mut copy = *handle;
    write_text(&mut copy.runtime, runtime);
    copy
}

fn invalid(what: &str) -> Error {
    Error::new(Code::Invalid, what, format!("{what}: not UTF-8"))
}

pub unsafe fn text(what: &str, from: *const c_char) -> Result<String> {
    std::ffi::CStr::from_ptr(from).to_str().map(str::to_owned).map_err(|_| invalid(what))
}

pub unsafe fn optional(what: &str, from: *const c_char) -> Result<Option<String>> {
    if from.is_null() {
        return Ok(None);
    }
    text(what, from).map(Some)
}

pub unsafe fn list(what: &str, from: *const *const c_char) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    while !from.is_null() && !(*from.add(texts.len())).is_null() {
        texts.push(text(what, *from.add(texts.len()))?);
    }
    Ok(texts)
}

unsafe fn malloc_bytes(data: &[u8]) -> *mut c_char {
    let copy = libc::malloc(data.len() + 1).cast::<u8>();
    if !copy.is_null() {
        copy.copy_from_nonoverlapping(data.as_ptr(), data.len());
        *copy.add(data.len()) = 0;
    }
    copy.cast()
}

pub unsafe fn malloc_text(text: &str) -> *mut c_char {
    malloc_bytes(text.as_bytes())
}

pub unsafe fn malloc_handles(handles: &[Handle], runtime: &str) -> *mut ffi::berth_handle {
    let size = size_of::<ffi::berth_handle>();
    let array = libc::calloc(handles.len().max(1), size).cast::<ffi::berth_handle>();
    for (i, handle) in handles.iter().enumerate() {
        *array.add(i) = renamed(handle.as_raw(), runtime);
    }
    array
}

pub unsafe fn status(from: &Status, runtime: &str) -> *mut ffi::berth_status {
    let place = libc::calloc(1, size_of::<ffi::berth_status>()).cast::<ffi::berth_status>();
    let raw = &mut *place;
    raw.size = size_of::<ffi::berth_status>();
    raw.handle = renamed(from.handle.as_raw(), runtime);
    raw.state = from.word.number();
    raw.pid = from.pid.unwrap_or(0);
    raw.exit_code = from.exit_code.unwrap_or(-1);
    raw.signal = from.signal.unwrap_or(0);
    raw.oom = match from.oom {
        None => ffi::BERTH_OOM_NONE,
        Some(Oom::Main) => ffi::BERTH_OOM_MAIN,
        Some(Oom::Child) => ffi::BERTH_OOM_CHILD,
    };
    raw.health = match from.health {
        None => ffi::BERTH_HEALTH_NONE,
        Some(Health::Starting) => ffi::BERTH_HEALTH_STARTING,
        Some(Health::Healthy) => ffi::BERTH_HEALTHY,
        Some(Health::Unhealthy) => ffi::BERTH_UNHEALTHY,
    };
    raw.restarts = from.restarts;
    raw.health_failures = from.health_failures;
    raw.created_usec = from.created_usec.unwrap_or(0);
    raw.started_usec = from.started_usec.unwrap_or(0);
    raw.ended_usec = from.ended_usec.unwrap_or(0);
    raw.next_start_usec = from.next_start_usec.unwrap_or(0);
    raw.memory_limit_bytes = from.memory_limit_bytes.unwrap_or(0);
    raw.memory_peak_bytes = from.memory_peak_bytes.unwrap_or(0);
    raw.log_dropped_bytes = from.log_dropped_bytes;
    raw.log_dropped_lines = from.log_dropped_lines;
    write_text(&mut raw.reason, &from.reason);
    write_text(&mut raw.image, &from.image);
    raw.json = malloc_text(&from.json);
    raw.idle = from.idle;
    place
}

pub unsafe fn exec_result(from: &ExecOutput) -> *mut ffi::berth_exec_result {
    let place = libc::calloc(1, size_of::<ffi::berth_exec_result>()).cast::<ffi::berth_exec_result>();
    *place = ffi::berth_exec_result {
        exit_code: from.exit_code,
        signal: from.signal.unwrap_or(0),
        exec_id: from.exec_id,
        out: malloc_bytes(&from.stdout),
        out_size: from.stdout.len(),
        err: malloc_bytes(&from.stderr),
        err_size: from.stderr.len(),
    };
    place
}

pub fn stats(from: &Stats) -> ffi::berth_stats {
    // SAFETY: numbers
    let mut raw: ffi::berth_stats = unsafe { zeroed() };
    raw.size = size_of::<ffi::berth_stats>();
    raw.time_usec = from.time_usec;
    raw.cpu_usec = from.cpu_usec;
    raw.cpu_user_usec = from.cpu_user_usec;
    raw.cpu_system_usec = from.cpu_system_usec;
    raw.cpu_throttled_usec = from.cpu_throttled_usec;
    raw.cpu_limit_cores = from.cpu_limit_cores.unwrap_or(0.0);
    raw.memory_bytes = from.memory_bytes;
    raw.memory_cache_bytes = from.memory_cache_bytes;
    raw.memory_limit_bytes = from.memory_limit_bytes;
    raw.memory_peak_bytes = from.memory_peak_bytes;
    raw.memory_swap_bytes = from.memory_swap_bytes;
    raw.pids = from.pids;
    raw.pids_limit = from.pids_limit;
    stats_network(&mut raw, from.network);
    stats_io(&mut raw, from.io);
    stats_pressure(&mut raw, from.pressure);
    stats_wasm(&mut raw, from.wasm);
    raw
}

fn stats_network(raw: &mut ffi::berth_stats, from: Option<NetworkStats>) {
    raw.has_net = from.is_some();
    let from = from.unwrap_or_default();
    raw.net_rx_bytes = from.rx_bytes;
    raw.net_tx_bytes = from.tx_bytes;
    raw.net_rx_packets = from.rx_packets;
    raw.net_tx_packets = from.tx_packets;
}

fn stats_io(raw: &mut ffi::berth_stats, from: Option<IoStats>) {
    raw.has_io = from.is_some();
    let from = from.unwrap_or_default();
    raw.io_read_bytes = from.read_bytes;
    raw.io_write_bytes = from.write_bytes;
    raw.io_read_ops = from.read_ops;
    raw.io_write_ops = from.write_ops;
}

fn stats_pressure(raw: &mut ffi::berth_stats, from: Option<Pressure>) {
    raw.has_psi = from.is_some();
    let from = from.unwrap_or_default();
    raw.psi_cpu_some_avg10 = from.cpu_some;
    raw.psi_memory_some_avg10 = from.memory_some;
    raw.psi_memory_full_avg10 = from.memory_full;
    raw.psi_io_some_avg10 = from.io_some;
    raw.psi_io_full_avg10 = from.io_full;
}

fn stats_wasm(raw: &mut ffi::berth_stats, from: Option<WasmStats>) {
    raw.has_wasm = from.is_some();
    let from = from.unwrap_or_default();
    raw.wasm_instances = from.instances;
    raw.wasm_instantiations = from.instantiations;
    raw.wasm_requests = from.requests;
    raw.wasm_active = from.active;
    raw.wasm_waiting = from.waiting;
    raw.wasm_traps = from.traps;
    raw.wasm_timeouts = from.timeouts;
    raw.wasm_memory_outs = from.memory_outs;
    raw.wasm_rejected = from.rejected;
    raw.wasm_cancelled = from.cancelled;
    raw.wasm_bad_requests = from.bad_requests;
    raw.wasm_memory_bytes = from.memory_bytes;
    raw.wasm_memory_peak_bytes = from.memory_peak_bytes;
    raw.wasm_cpu_usec = from.cpu_usec;
    raw.wasm_pool = from.pool;
    raw.wasm_connections = from.connections;
}

pub unsafe fn exec_options(raw: &ffi::berth_exec_options) -> Result<ExecOptions> {
    let stdin = match raw.stdin_data.is_null() {
        true => Vec::new(),
        false => std::slice::from_raw_parts(raw.stdin_data.cast::<u8>(), raw.stdin_size).to_vec(),
    };
    Ok(ExecOptions {
        env: list("env", raw.env)?,
        user: optional("user", raw.user)?,
        workdir: optional("workdir", raw.workdir)?,
        groups: (!raw.groups.is_null()).then(|| list("groups", raw.groups)).transpose()?,
        stdin,
        timeout_msec: (raw.timeout_msec != 0).then_some(raw.timeout_msec as u64),
        output_max_bytes: (raw.output_max_bytes != 0).then_some(raw.output_max_bytes),
        tty: raw.tty.then_some((raw.rows, raw.columns)),
        detach: raw.detach,
        privileged: raw.privileged,
        invoke: optional("invoke", raw.invoke)?,
    })
}

pub fn log_options(raw: &ffi::berth_logs_options) -> LogOptions {
    let wants = |stream| raw.streams == 0 || raw.streams & stream != 0;
    LogOptions {
        follow: raw.follow,
        timestamps: raw.timestamps,
        frames: raw.frames,
        no_stdout: !wants(ffi::BERTH_STDOUT),
        no_stderr: !wants(ffi::BERTH_STDERR),
        tail: raw.has_tail.then_some(raw.tail),
        since_usec: (raw.since_usec != 0).then_some(raw.since_usec),
        until_usec: (raw.until_usec != 0).then_some(raw.until_usec),
    }
}

pub fn attach_options(raw: &ffi::berth_attach_options) -> AttachOptions {
    AttachOptions {
        input: raw.input,
        size: (raw.rows != 0 || raw.columns != 0).then_some((raw.rows, raw.columns)),
        next_start: raw.next_start,
        no_output: raw.no_output,
    }
}

pub unsafe fn event_options(raw: &ffi::berth_events_options) -> Result<EventOptions> {
    Ok(EventOptions {
        follow: raw.follow,
        since_usec: (raw.since_usec != 0).then_some(raw.since_usec),
        until_usec: (raw.until_usec != 0).then_some(raw.until_usec),
        name: optional("name", raw.name)?,
    })
}

pub fn port(raw: &ffi::berth_port) -> Port {
    let protocol: Vec<u8> = raw.protocol.iter().map(|c| *c as u8).collect();
    match protocol.starts_with(b"udp") {
        true => Port::Udp(raw.number),
        false => Port::Tcp(raw.number),
    }
}

pub unsafe fn open_options(raw: &ffi::berth_options) -> Options {
    let some = |text: *const c_char| Some(unsafe { copy_text(text) }).filter(|t| !t.is_empty());
    Options {
        root: some(raw.root),
        run: some(raw.run),
        config: some(raw.config),
        programs: some(raw.programs),
        engines: some(raw.engines),
    }
}
