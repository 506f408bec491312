// SPDX-License-Identifier: Apache-2.0
//! The hand-written declarations are those of the headers that pkg-config finds: each structure's size,
//! each member's place and size, each value.

use berth::{ffi, Code};
use std::fmt::Write;
use std::mem::{offset_of, size_of};
use std::process::Command;

/// A line that both sides say: an expression of C, and its value here.
type Line = (String, i64);

macro_rules! layout {
    ($lines:ident, $($name:ident { $($member:ident),* $(,)? })*) => {$(
        $lines.push((format!("sizeof(struct {})", stringify!($name)), size_of::<ffi::$name>() as i64));
        $($lines.push((
            format!("offsetof(struct {}, {})", stringify!($name), stringify!($member)),
            offset_of!(ffi::$name, $member) as i64,
        ));
        $lines.push((
            format!("sizeof(((struct {} *)0)->{})", stringify!($name), stringify!($member)),
            size_of_member(|s: &ffi::$name| std::mem::size_of_val(&s.$member)) as i64,
        ));)*
    )*};
}

/// The size of a member: asked of a value of zeroes, which each of these may be.
fn size_of_member<T>(member: impl Fn(&T) -> usize) -> usize {
    // SAFETY: numbers, arrays, nullable pointers
    member(unsafe { &std::mem::zeroed() })
}

macro_rules! values {
    ($lines:ident, $($name:ident),* $(,)?) => {$(
        $lines.push((stringify!($name).to_string(), ffi::$name as i64));
    )*};
}

fn callers() -> Vec<Line> {
    let mut lines = Vec::new();
    layout!(lines,
        berth_error { code, os_error, object, message }
        berth_options { size, root, run, config, programs, engines }
        berth_handle { runtime, name, id, metadata }
        berth_result { handle, exec, status }
        berth_remove_options { size, force, volumes }
        berth_status {
            size, handle, state, pid, exit_code, signal, oom, health, restarts, health_failures, created_usec,
            started_usec, ended_usec, next_start_usec, memory_limit_bytes, memory_peak_bytes, log_dropped_bytes,
            log_dropped_lines, reason, image, json, idle,
        }
        berth_logs_options { size, follow, timestamps, frames, streams, has_tail, tail, since_usec, until_usec }
        berth_frame { time_usec, length, stream, reserved }
        berth_exec_options {
            size, env, user, workdir, groups, stdin_data, stdin_size, timeout_msec, output_max_bytes, tty, rows,
            columns, detach, stream, privileged, invoke,
        }
        berth_exec_result { exit_code, signal, exec_id, out, out_size, err, err_size }
        berth_stats {
            size, time_usec, cpu_usec, cpu_user_usec, cpu_system_usec, cpu_throttled_usec, cpu_limit_cores,
            memory_bytes, memory_cache_bytes, memory_limit_bytes, memory_peak_bytes, memory_swap_bytes, pids,
            pids_limit, net_rx_bytes, net_tx_bytes, net_rx_packets, net_tx_packets, io_read_bytes, io_write_bytes,
            io_read_ops, io_write_ops, has_psi, has_io, has_net, psi_cpu_some_avg10, psi_memory_some_avg10,
            psi_memory_full_avg10, psi_io_some_avg10, psi_io_full_avg10, has_wasm, wasm_instances, wasm_instantiations, wasm_requests, wasm_active, wasm_waiting, wasm_traps, wasm_timeouts, wasm_memory_outs, wasm_rejected, wasm_cancelled, wasm_bad_requests, wasm_memory_bytes, wasm_memory_peak_bytes, wasm_cpu_usec, wasm_pool, wasm_connections,
        }
        berth_port { number, protocol }
        berth_host_port { port, address }
        berth_attach_options { size, input, rows, columns, next_start, no_output }
        berth_events_options { size, follow, since_usec, until_usec, name }
    );
    values!(
        lines,
        BERTH_ABI_VERSION,
        BERTH_NAME_MAX,
        BERTH_ID_TEXT,
        BERTH_HANDLE_TEXT,
        BERTH_ADDRESS_TEXT,
        BERTH_TIMEOUT_SPEC,
        BERTH_STDOUT,
        BERTH_STDERR,
        BERTH_FRAME_LOST,
        BERTH_CREATING,
        BERTH_CREATED,
        BERTH_RUNNING,
        BERTH_PAUSED,
        BERTH_RESTARTING,
        BERTH_STOPPING,
        BERTH_STOPPED,
        BERTH_COMPLETED,
        BERTH_FAILED,
        BERTH_PENDING,
        BERTH_HEALTH_NONE,
        BERTH_HEALTH_STARTING,
        BERTH_HEALTHY,
        BERTH_UNHEALTHY,
        BERTH_OOM_NONE,
        BERTH_OOM_MAIN,
        BERTH_OOM_CHILD,
    );
    lines
}

fn engines() -> Vec<Line> {
    let mut lines = Vec::new();
    layout!(lines,
        berth_image_import_options { size, source, input_fd, reference, config_json, platform, progress }
        berth_image_load_options { size, source, reference, platform, progress }
        berth_image_pull_options { size, reference, platform, policy, progress }
        berth_call_ops { size, step, cancel, free, stream_fd, close_stdin, resize, signal, undo, let_go }
        berth_engine {
            size, abi_version, name, open, close, create, start, stop, remove, status, logs, exec, stats,
            resolve_host_port, resolve_container_address, find, list, wait, signal, attach, pause, unpause, update,
            rename, restart, events, inspect, exec_list, exec_kill, plan, status_call,
        }
    );
    lines
}

fn codes() -> Vec<Line> {
    let all = (-1018..=-1001).map(Code::from_number);
    all.map(|code| (format!("BERTH_{}", code.name()), i64::from(code.number()))).collect()
}

fn cflags() -> Vec<String> {
    let output = Command::new("pkg-config").args(["--cflags", "berth"]).output().expect("pkg-config");
    assert!(output.status.success(), "pkg-config --cflags berth failed");
    String::from_utf8(output.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

/// What C says of each expression.
fn ask_c(lines: &[Line]) -> Vec<i64> {
    let folder = std::env::temp_dir().join(format!("berth-header-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (source, program) = (folder.join("ask.c"), folder.join("ask"));
    let mut text = String::from(
        "#include <berth/container.h>\n#include <berth/engine.h>\n#include <stddef.h>\n#include <stdio.h>\n\
         int main(void)\n{\n",
    );
    for (expression, _) in lines {
        writeln!(text, "    printf(\"%lld\\n\", (long long)({expression}));").unwrap();
    }
    std::fs::write(&source, text + "    return 0;\n}\n").unwrap();
    let made = Command::new("cc").args(cflags()).arg(&source).arg("-o").arg(&program).output().expect("cc");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = Command::new(&program).output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    String::from_utf8(said.stdout).unwrap().lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn sizes_places_and_values_are_the_headers() {
    let lines: Vec<Line> = [callers(), engines(), codes()].concat();
    assert!(lines.len() > 300, "only {} lines", lines.len());
    for ((expression, here), there) in lines.iter().zip(ask_c(&lines)) {
        assert_eq!(*here, there, "{expression}");
    }
}

#[test]
fn a_code_of_a_newer_library_keeps_its_number() {
    assert_eq!(Code::from_number(-1099), Code::Other(-1099));
    assert_eq!(Code::from_number(-1099).number(), -1099);
    assert_eq!(Code::Other(-1099).name(), "UNKNOWN");
}
