// SPDX-License-Identifier: Apache-2.0
//! `<berth/berth.h>`, `<berth/engine.h>` and parts of the engines' headers, by hand: what each
//! function means stands there. `tests/header.rs` compares sizes, places and values with the
//! installed headers, so a drift is a failed test and not a crash.
#![allow(non_camel_case_types, missing_docs)]

use libc::{c_char, c_int, c_void, size_t};

pub const BERTH_ABI_VERSION: u32 = 1;
pub const BERTH_NAME_MAX: usize = 128;
pub const BERTH_ID_TEXT: usize = 33;
pub const BERTH_HANDLE_TEXT: usize = 320;
pub const BERTH_ADDRESS_TEXT: usize = 56;
pub const BERTH_TIMEOUT_SPEC: i64 = -1;
pub const BERTH_STDOUT: u32 = 1;
pub const BERTH_STDERR: u32 = 2;
pub const BERTH_FRAME_LOST: u32 = 128;

pub const BERTH_CREATING: i32 = 1;
pub const BERTH_CREATED: i32 = 2;
pub const BERTH_RUNNING: i32 = 3;
pub const BERTH_PAUSED: i32 = 4;
pub const BERTH_RESTARTING: i32 = 5;
pub const BERTH_STOPPING: i32 = 6;
pub const BERTH_STOPPED: i32 = 7;
pub const BERTH_COMPLETED: i32 = 8;
pub const BERTH_FAILED: i32 = 9;
pub const BERTH_PENDING: i32 = 10;

pub const BERTH_HEALTH_NONE: i32 = 0;
pub const BERTH_HEALTH_STARTING: i32 = 1;
pub const BERTH_HEALTHY: i32 = 2;
pub const BERTH_UNHEALTHY: i32 = 3;

pub const BERTH_OOM_NONE: i32 = 0;
pub const BERTH_OOM_MAIN: i32 = 1;
pub const BERTH_OOM_CHILD: i32 = 2;

/// Opaque objects: only pointers to them exist on this side.
pub enum berth_runtime {}
pub enum berth_call {}
pub enum berth_stream {}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_error {
    pub code: i32,
    pub os_error: i32,
    pub object: [c_char; 136],
    pub message: [c_char; 880],
}

#[repr(C)]
pub struct berth_options {
    pub size: size_t,
    pub root: *const c_char,
    pub run: *const c_char,
    pub config: *const c_char,
    pub programs: *const c_char,
    pub engines: *const c_char,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_handle {
    pub runtime: [c_char; 32],
    pub name: [c_char; BERTH_NAME_MAX + 8],
    pub id: [u8; 16],
    pub metadata: [c_char; 80],
}

#[repr(C)]
pub struct berth_result {
    pub handle: berth_handle,
    pub exec: *mut berth_exec_result,
    pub status: *mut berth_status,
}

#[repr(C)]
pub struct berth_remove_options {
    pub size: size_t,
    pub force: bool,
    pub volumes: bool,
}

#[repr(C)]
pub struct berth_status {
    pub size: size_t,
    pub handle: berth_handle,
    pub state: i32,
    pub pid: i32,
    pub exit_code: i32,
    pub signal: i32,
    pub oom: i32,
    pub health: i32,
    pub restarts: u32,
    pub health_failures: u32,
    pub created_usec: i64,
    pub started_usec: i64,
    pub ended_usec: i64,
    pub next_start_usec: i64,
    pub memory_limit_bytes: u64,
    pub memory_peak_bytes: u64,
    pub log_dropped_bytes: u64,
    pub log_dropped_lines: u64,
    pub reason: [c_char; 512],
    pub image: [c_char; 512],
    pub json: *mut c_char,
    pub idle: bool,
}

#[repr(C)]
pub struct berth_logs_options {
    pub size: size_t,
    pub follow: bool,
    pub timestamps: bool,
    pub frames: bool,
    pub streams: u32,
    pub has_tail: bool,
    pub tail: u64,
    pub since_usec: i64,
    pub until_usec: i64,
}

#[repr(C)]
pub struct berth_frame {
    pub time_usec: i64,
    pub length: u64,
    pub stream: u32,
    pub reserved: u32,
}

#[repr(C)]
pub struct berth_exec_options {
    pub size: size_t,
    pub env: *const *const c_char,
    pub user: *const c_char,
    pub workdir: *const c_char,
    pub groups: *const *const c_char,
    pub stdin_data: *const c_void,
    pub stdin_size: size_t,
    pub timeout_msec: i64,
    pub output_max_bytes: u64,
    pub tty: bool,
    pub rows: u16,
    pub columns: u16,
    pub detach: bool,
    pub stream: bool,
    pub privileged: bool,
    pub invoke: *const c_char,
}

#[repr(C)]
pub struct berth_exec_result {
    pub exit_code: i32,
    pub signal: i32,
    pub exec_id: u64,
    pub out: *mut c_char,
    pub out_size: size_t,
    pub err: *mut c_char,
    pub err_size: size_t,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct berth_stats {
    pub size: size_t,
    pub time_usec: i64,
    pub cpu_usec: u64,
    pub cpu_user_usec: u64,
    pub cpu_system_usec: u64,
    pub cpu_throttled_usec: u64,
    pub cpu_limit_cores: f64,
    pub memory_bytes: u64,
    pub memory_cache_bytes: u64,
    pub memory_limit_bytes: u64,
    pub memory_peak_bytes: u64,
    pub memory_swap_bytes: u64,
    pub pids: u64,
    pub pids_limit: u64,
    pub net_rx_bytes: u64,
    pub net_tx_bytes: u64,
    pub net_rx_packets: u64,
    pub net_tx_packets: u64,
    pub io_read_bytes: u64,
    pub io_write_bytes: u64,
    pub io_read_ops: u64,
    pub io_write_ops: u64,
    pub has_psi: bool,
    pub has_io: bool,
    pub has_net: bool,
    pub psi_cpu_some_avg10: f64,
    pub psi_memory_some_avg10: f64,
    pub psi_memory_full_avg10: f64,
    pub psi_io_some_avg10: f64,
    pub psi_io_full_avg10: f64,
    pub has_wasm: bool,
    pub wasm_instances: u64,
    pub wasm_instantiations: u64,
    pub wasm_requests: u64,
    pub wasm_active: u64,
    pub wasm_waiting: u64,
    pub wasm_traps: u64,
    pub wasm_timeouts: u64,
    pub wasm_memory_outs: u64,
    pub wasm_rejected: u64,
    pub wasm_cancelled: u64,
    pub wasm_bad_requests: u64,
    pub wasm_memory_bytes: u64,
    pub wasm_memory_peak_bytes: u64,
    pub wasm_cpu_usec: u64,
    pub wasm_pool: u64,
    pub wasm_connections: u64,
}

#[repr(C)]
pub struct berth_port {
    pub number: u16,
    pub protocol: [c_char; 6],
}

#[repr(C)]
pub struct berth_host_port {
    pub port: u16,
    pub address: [c_char; 46],
}

#[repr(C)]
pub struct berth_attach_options {
    pub size: size_t,
    pub input: bool,
    pub rows: u16,
    pub columns: u16,
    pub next_start: bool,
    pub no_output: bool,
}

#[repr(C)]
pub struct berth_events_options {
    pub size: size_t,
    pub follow: bool,
    pub since_usec: i64,
    pub until_usec: i64,
    pub name: *const c_char,
}

#[repr(C)]
pub struct berth_image_import_options {
    pub size: size_t,
    pub source: *const c_char,
    pub input_fd: c_int,
    pub reference: *const c_char,
    pub config_json: *const c_char,
    pub platform: *const c_char,
    pub progress: bool,
}

#[repr(C)]
pub struct berth_image_load_options {
    pub size: size_t,
    pub source: *const c_char,
    pub reference: *const c_char,
    pub platform: *const c_char,
    pub progress: bool,
}

#[repr(C)]
pub struct berth_image_pull_options {
    pub size: size_t,
    pub reference: *const c_char,
    pub platform: *const c_char,
    pub policy: *const c_char,
    pub progress: bool,
}

/* engine.h */

#[repr(C)]
pub struct berth_call_ops {
    pub size: size_t,
    pub step: Option<unsafe extern "C" fn(*mut c_void, *mut berth_result, *mut berth_error) -> c_int>,
    pub cancel: Option<unsafe extern "C" fn(*mut c_void)>,
    pub free: Option<unsafe extern "C" fn(*mut c_void)>,
    pub stream_fd: Option<unsafe extern "C" fn(*mut c_void, c_int) -> c_int>,
    pub close_stdin: Option<unsafe extern "C" fn(*mut c_void)>,
    pub resize: Option<unsafe extern "C" fn(*mut c_void, u16, u16, *mut berth_error) -> c_int>,
    pub signal: Option<unsafe extern "C" fn(*mut c_void, c_int, *mut berth_error) -> c_int>,
    pub undo: Option<unsafe extern "C" fn(*mut c_void)>,
    pub let_go: Option<unsafe extern "C" fn(*mut c_void, *mut berth_error) -> c_int>,
}

type Self_ = *mut c_void;
type H = *const berth_handle;
type E = *mut berth_error;
type C = *mut *mut berth_call;
type S = *mut *mut berth_stream;
type Text = *const c_char;
type RetText = *mut *mut c_char;

#[repr(C)]
pub struct berth_engine {
    pub size: size_t,
    pub abi_version: u32,
    pub name: Text,
    pub open: Option<unsafe extern "C" fn(*const berth_options, *mut Self_, E) -> c_int>,
    pub close: Option<unsafe extern "C" fn(Self_)>,
    pub create: Option<unsafe extern "C" fn(Self_, Text, C, E) -> c_int>,
    pub start: Option<unsafe extern "C" fn(Self_, H, C, E) -> c_int>,
    pub stop: Option<unsafe extern "C" fn(Self_, H, i64, C, E) -> c_int>,
    pub remove: Option<unsafe extern "C" fn(Self_, H, *const berth_remove_options, C, E) -> c_int>,
    pub status: Option<unsafe extern "C" fn(Self_, H, *mut *mut berth_status, E) -> c_int>,
    pub logs: Option<unsafe extern "C" fn(Self_, H, *const berth_logs_options, S, E) -> c_int>,
    pub exec: Option<unsafe extern "C" fn(Self_, H, *const Text, *const berth_exec_options, C, E) -> c_int>,
    pub stats: Option<unsafe extern "C" fn(Self_, H, *mut berth_stats, E) -> c_int>,
    pub resolve_host_port:
        Option<unsafe extern "C" fn(Self_, H, *const berth_port, *mut berth_host_port, E) -> c_int>,
    pub resolve_container_address:
        Option<unsafe extern "C" fn(Self_, H, *const berth_port, Text, *mut c_char, E) -> c_int>,
    pub find: Option<unsafe extern "C" fn(Self_, Text, *mut berth_handle, E) -> c_int>,
    pub list: Option<unsafe extern "C" fn(Self_, *mut *mut berth_handle, *mut size_t, E) -> c_int>,
    pub wait: Option<unsafe extern "C" fn(Self_, H, C, E) -> c_int>,
    pub signal: Option<unsafe extern "C" fn(Self_, H, c_int, E) -> c_int>,
    pub attach: Option<unsafe extern "C" fn(Self_, H, *const berth_attach_options, C, E) -> c_int>,
    pub pause: Option<unsafe extern "C" fn(Self_, H, E) -> c_int>,
    pub unpause: Option<unsafe extern "C" fn(Self_, H, E) -> c_int>,
    pub update: Option<unsafe extern "C" fn(Self_, H, Text, E) -> c_int>,
    pub rename: Option<unsafe extern "C" fn(Self_, H, Text, E) -> c_int>,
    pub restart: Option<unsafe extern "C" fn(Self_, H, i64, C, E) -> c_int>,
    pub events: Option<unsafe extern "C" fn(Self_, *const berth_events_options, S, E) -> c_int>,
    pub inspect: Option<unsafe extern "C" fn(Self_, H, RetText, E) -> c_int>,
    pub exec_list: Option<unsafe extern "C" fn(Self_, H, RetText, E) -> c_int>,
    pub exec_kill: Option<unsafe extern "C" fn(Self_, H, u64, c_int, E) -> c_int>,
    pub plan: Option<unsafe extern "C" fn(Self_, Text, RetText, E) -> c_int>,
    pub status_call: Option<unsafe extern "C" fn(Self_, H, C, E) -> c_int>,
}

type R = *mut berth_runtime;

extern "C" {
    pub fn berth_code_name(code: c_int) -> Text;
    pub fn berth_version() -> Text;
    pub fn berth_open(engine: Text, options: *const berth_options, ret_runtime: *mut R, err: E) -> c_int;
    pub fn berth_close(runtime: R);
    pub fn berth_name(runtime: *const berth_runtime) -> Text;
    pub fn berth_engines() -> *const Text;
    pub fn berth_handle_print(handle: H, ret_text: *mut c_char);
    pub fn berth_handle_parse(text: Text, ret_handle: *mut berth_handle, err: E) -> c_int;
    pub fn berth_find(runtime: R, name_or_prefix: Text, ret_handle: *mut berth_handle, err: E) -> c_int;
    pub fn berth_call_fd(call: *mut berth_call) -> c_int;
    pub fn berth_call_finish(call: *mut berth_call, ret_result: *mut berth_result, err: E) -> c_int;
    pub fn berth_call_cancel(call: *mut berth_call);
    pub fn berth_call_free(call: *mut berth_call);
    pub fn berth_create_call(runtime: R, spec_json: Text, ret_call: C, err: E) -> c_int;
    pub fn berth_start_call(runtime: R, handle: H, ret_call: C, err: E) -> c_int;
    pub fn berth_stop_call(runtime: R, handle: H, timeout_msec: i64, ret_call: C, err: E) -> c_int;
    pub fn berth_remove_call(
        runtime: R, handle: H, options: *const berth_remove_options, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_state_name(state: c_int) -> Text;
    pub fn berth_health_name(health: c_int) -> Text;
    pub fn berth_status(runtime: R, handle: H, ret_status: *mut *mut berth_status, err: E) -> c_int;
    pub fn berth_status_call(runtime: R, handle: H, ret_call: C, err: E) -> c_int;
    pub fn berth_status_free(status: *mut berth_status);
    pub fn berth_logs(
        runtime: R, handle: H, options: *const berth_logs_options, ret_stream: S, err: E,
    ) -> c_int;
    pub fn berth_stream_fd(stream: *const berth_stream) -> c_int;
    pub fn berth_stream_free(stream: *mut berth_stream);
    pub fn berth_exec_call(
        runtime: R, handle: H, argv: *const Text, options: *const berth_exec_options, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_call_stream_fd(call: *mut berth_call, stream: c_int) -> c_int;
    pub fn berth_call_close_stdin(call: *mut berth_call);
    pub fn berth_call_resize(call: *mut berth_call, rows: u16, columns: u16, err: E) -> c_int;
    pub fn berth_call_signal(call: *mut berth_call, signal: c_int, err: E) -> c_int;
    pub fn berth_call_let_go(call: *mut berth_call, err: E) -> c_int;
    pub fn berth_exec_result_free(result: *mut berth_exec_result);
    pub fn berth_stats(runtime: R, handle: H, ret_stats: *mut berth_stats, err: E) -> c_int;
    pub fn berth_resolve_host_port(
        runtime: R, handle: H, container_port: *const berth_port, ret_port: *mut berth_host_port, err: E,
    ) -> c_int;
    pub fn berth_resolve_container_address(
        runtime: R, handle: H, container_port: *const berth_port, network: Text, ret_address: *mut c_char,
        err: E,
    ) -> c_int;
    pub fn berth_list(
        runtime: R, ret_handles: *mut *mut berth_handle, ret_count: *mut size_t, err: E,
    ) -> c_int;
    pub fn berth_wait_call(runtime: R, handle: H, ret_call: C, err: E) -> c_int;
    pub fn berth_signal(runtime: R, handle: H, signal: c_int, err: E) -> c_int;
    pub fn berth_attach_call(
        runtime: R, handle: H, options: *const berth_attach_options, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_pause(runtime: R, handle: H, err: E) -> c_int;
    pub fn berth_unpause(runtime: R, handle: H, err: E) -> c_int;
    pub fn berth_update(runtime: R, handle: H, patch_json: Text, err: E) -> c_int;
    pub fn berth_rename(runtime: R, handle: H, new_name: Text, err: E) -> c_int;
    pub fn berth_restart_call(runtime: R, handle: H, timeout_msec: i64, ret_call: C, err: E) -> c_int;
    pub fn berth_events(runtime: R, options: *const berth_events_options, ret_stream: S, err: E) -> c_int;
    pub fn berth_inspect(runtime: R, handle: H, ret_json: RetText, err: E) -> c_int;
    pub fn berth_exec_list(runtime: R, handle: H, ret_json: RetText, err: E) -> c_int;
    pub fn berth_exec_kill(runtime: R, handle: H, exec_id: u64, signal: c_int, err: E) -> c_int;
    pub fn berth_plan(runtime: R, spec_json: Text, ret_json: RetText, err: E) -> c_int;
    pub fn berth_spec_schema() -> Text;

    pub fn berth_call_new(
        ops: *const berth_call_ops, data: *mut c_void, fd: c_int, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_stream_new(
        fd: c_int, on_free: Option<unsafe extern "C" fn(*mut c_void)>, data: *mut c_void, ret_stream: S,
        err: E,
    ) -> c_int;
    pub fn berth_register(engine: *const berth_engine, err: E) -> c_int;

    pub fn berth_fake_exit(runtime: R, handle: H, exit_code: c_int, err: E) -> c_int;
    pub fn berth_fake_write(
        runtime: R, handle: H, stream: u32, data: *const c_void, size: size_t, err: E,
    ) -> c_int;
    pub fn berth_fake_set_health(runtime: R, handle: H, health: c_int, err: E) -> c_int;
    pub fn berth_fake_advance(runtime: R, usec: i64, err: E) -> c_int;

    pub fn berth_image_import_call(
        runtime: R, options: *const berth_image_import_options, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_image_load_call(
        runtime: R, options: *const berth_image_load_options, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_image_pull_call(
        runtime: R, options: *const berth_image_pull_options, ret_call: C, err: E,
    ) -> c_int;
    pub fn berth_image_list(runtime: R, ret_json: RetText, err: E) -> c_int;
    pub fn berth_image_remove(runtime: R, reference: Text, force: bool, err: E) -> c_int;
    pub fn berth_volume_list(runtime: R, ret_json: RetText, err: E) -> c_int;
    pub fn berth_volume_remove(runtime: R, name: Text, err: E) -> c_int;
    pub fn berth_volume_prune(runtime: R, all: bool, ret_json: RetText, err: E) -> c_int;
}
