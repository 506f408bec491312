// SPDX-License-Identifier: Apache-2.0
//! What goes into the verbs and what comes out of them, as plain values.

use crate::error::{empty, Code, Error, Result};
use crate::ffi;
use crate::text::{c_text, copy_text, read_text, write_text};

/// A workload, as a plain value. It can be written down (`to_string`) and used by another process
/// (`parse`). After remove and a new create under the same name the old handle is NOT_FOUND.
#[derive(Clone, Copy)]
pub struct Handle {
    raw: ffi::berth_handle,
}

impl Handle {
    /// A handle of one's own, for those who implement [`crate::Runtime`].
    pub fn new(runtime: &str, name: &str, id: [u8; 16], metadata: &str) -> Result<Handle> {
        // SAFETY: arrays of integers
        let mut raw: ffi::berth_handle = unsafe { std::mem::zeroed() };
        let fits = |text: &str, room: usize| !text.contains('\0') && text.len() < room;
        if !fits(runtime, raw.runtime.len())
            || !fits(name, raw.name.len())
            || !fits(metadata, raw.metadata.len())
        {
            return Err(Error::new(Code::Invalid, name, "handle: a text is too long"));
        }
        write_text(&mut raw.runtime, runtime);
        write_text(&mut raw.name, name);
        write_text(&mut raw.metadata, metadata);
        raw.id = id;
        Ok(Handle { raw })
    }

    /// Of the library's value.
    pub fn from_raw(raw: ffi::berth_handle) -> Handle {
        Handle { raw }
    }

    /// The library's value.
    pub fn as_raw(&self) -> &ffi::berth_handle {
        &self.raw
    }

    /// Name of the engine.
    pub fn runtime(&self) -> String {
        read_text(&self.raw.runtime)
    }

    /// The workload's name when the handle was made.
    pub fn name(&self) -> String {
        read_text(&self.raw.name)
    }

    /// What identifies it.
    pub fn id(&self) -> [u8; 16] {
        self.raw.id
    }

    /// The engine's own, opaque.
    pub fn metadata(&self) -> String {
        read_text(&self.raw.metadata)
    }
}

impl std::fmt::Display for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = [0; ffi::BERTH_HANDLE_TEXT];
        // SAFETY: the room is what the header asks for
        unsafe { ffi::berth_handle_print(&self.raw, text.as_mut_ptr()) };
        f.write_str(&read_text(&text))
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({self})")
    }
}

impl std::str::FromStr for Handle {
    type Err = Error;
    fn from_str(text: &str) -> Result<Handle> {
        let text = c_text("handle", text)?;
        // SAFETY: written by the call on success
        let (mut raw, mut err) = (unsafe { std::mem::zeroed() }, empty());
        let r = unsafe { ffi::berth_handle_parse(text.as_ptr(), &mut raw, &mut err) };
        if r < 0 {
            return Err(Error::from_raw(r, &err));
        }
        Ok(Handle { raw })
    }
}

impl PartialEq for Handle {
    fn eq(&self, other: &Handle) -> bool {
        self.raw.id == other.raw.id && self.runtime() == other.runtime()
    }
}
impl Eq for Handle {}
impl std::hash::Hash for Handle {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.raw.id.hash(state);
    }
}

/// What an orchestrator knows of a workload's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum State {
    Pending,
    Creating,
    Running,
    Stopping,
    Stopped,
    Failed,
    Completed,
}

/// berth's own word for it, which tells more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs)]
pub enum Word {
    Creating = ffi::BERTH_CREATING,
    Created = ffi::BERTH_CREATED,
    Running = ffi::BERTH_RUNNING,
    Paused = ffi::BERTH_PAUSED,
    Restarting = ffi::BERTH_RESTARTING,
    Stopping = ffi::BERTH_STOPPING,
    Stopped = ffi::BERTH_STOPPED,
    Completed = ffi::BERTH_COMPLETED,
    Failed = ffi::BERTH_FAILED,
    Pending = ffi::BERTH_PENDING,
}

const WORDS: [(Word, State); 10] = [
    (Word::Creating, State::Creating),
    (Word::Created, State::Pending),
    (Word::Running, State::Running),
    (Word::Paused, State::Running),
    (Word::Restarting, State::Pending),
    (Word::Stopping, State::Stopping),
    (Word::Stopped, State::Stopped),
    (Word::Completed, State::Completed),
    (Word::Failed, State::Failed),
    (Word::Pending, State::Pending),
];

impl Word {
    /// Of a number of `enum berth_state`.
    pub fn from_number(number: i32) -> Option<Word> {
        WORDS.iter().map(|(word, _)| *word).find(|word| *word as i32 == number)
    }

    /// Its number in `enum berth_state`.
    pub fn number(self) -> i32 {
        self as i32
    }

    /// What an orchestrator calls it: created and restarting are pending, paused is running.
    pub fn state(self) -> State {
        WORDS.iter().find(|(word, _)| *word == self).map_or(State::Pending, |(_, state)| *state)
    }
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: a constant string of the library
        f.write_str(&unsafe { copy_text(ffi::berth_state_name(self.number())) })
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Pending => "pending",
            State::Creating => "creating",
            State::Running => "running",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Failed => "failed",
            State::Completed => "completed",
        })
    }
}

/// What its health command says; `None` of an [`Option`] where there is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Health {
    Starting,
    Healthy,
    Unhealthy,
}

/// Whom the kernel killed when memory ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Oom {
    Main,
    Child,
}

/// Everything known about a workload. Times are microseconds since 1970, `None` when it has not
/// happened.
#[derive(Clone, Debug)]
pub struct Status {
    /// Whose it is.
    pub handle: Handle,
    /// For orchestrators.
    pub state: State,
    /// berth's own word for the state.
    pub word: Word,
    /// Its main program, seen from this machine, while one runs.
    pub pid: Option<i32>,
    /// Once it ended: its exit code; 128 + signal when a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether memory ran out.
    pub oom: Option<Oom>,
    /// What its health command says.
    pub health: Option<Health>,
    /// By its restart policy, since the last start by a caller.
    pub restarts: u32,
    /// In a row.
    pub health_failures: u32,
    #[allow(missing_docs)]
    pub created_usec: Option<i64>,
    #[allow(missing_docs)]
    pub started_usec: Option<i64>,
    #[allow(missing_docs)]
    pub ended_usec: Option<i64>,
    /// When a restart is due.
    pub next_start_usec: Option<i64>,
    #[allow(missing_docs)]
    pub memory_limit_bytes: Option<u64>,
    #[allow(missing_docs)]
    pub memory_peak_bytes: Option<u64>,
    /// Lost on a full disk.
    pub log_dropped_bytes: u64,
    /// Lost on a full disk.
    pub log_dropped_lines: u64,
    /// In words, one line; empty when there is nothing to say.
    pub reason: String,
    /// The image, as the spec says it.
    pub image: String,
    /// The same and more (ports, labels, health log), one JSON document.
    pub json: String,
    /// Running, but its program comes with the first connection.
    pub idle: bool,
}

fn some<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

impl Status {
    /// Of the library's value.
    ///
    /// # Safety
    /// `raw.json` is NULL or a string.
    pub unsafe fn from_raw(raw: &ffi::berth_status) -> Status {
        let word = Word::from_number(raw.state).unwrap_or(Word::Pending);
        Status {
            handle: Handle::from_raw(raw.handle),
            state: word.state(),
            word,
            pid: some(raw.pid),
            exit_code: (raw.exit_code != -1).then_some(raw.exit_code),
            signal: some(raw.signal),
            oom: match raw.oom {
                ffi::BERTH_OOM_MAIN => Some(Oom::Main),
                ffi::BERTH_OOM_CHILD => Some(Oom::Child),
                _ => None,
            },
            health: match raw.health {
                ffi::BERTH_HEALTH_STARTING => Some(Health::Starting),
                ffi::BERTH_HEALTHY => Some(Health::Healthy),
                ffi::BERTH_UNHEALTHY => Some(Health::Unhealthy),
                _ => None,
            },
            restarts: raw.restarts,
            health_failures: raw.health_failures,
            created_usec: some(raw.created_usec),
            started_usec: some(raw.started_usec),
            ended_usec: some(raw.ended_usec),
            next_start_usec: some(raw.next_start_usec),
            memory_limit_bytes: some(raw.memory_limit_bytes),
            memory_peak_bytes: some(raw.memory_peak_bytes),
            log_dropped_bytes: raw.log_dropped_bytes,
            log_dropped_lines: raw.log_dropped_lines,
            reason: read_text(&raw.reason),
            image: read_text(&raw.image),
            json: copy_text(raw.json),
            idle: raw.idle,
        }
    }
}

/// One reading. Counters grow while the workload runs; `None`: the kernel has no such figure.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)] // `struct berth_stats` says what each is
pub struct Stats {
    pub time_usec: i64,
    pub cpu_usec: u64,
    pub cpu_user_usec: u64,
    pub cpu_system_usec: u64,
    pub cpu_throttled_usec: u64,
    pub cpu_limit_cores: Option<f64>,
    /// Working set: without inactive file cache.
    pub memory_bytes: u64,
    pub memory_cache_bytes: u64,
    pub memory_limit_bytes: u64,
    pub memory_peak_bytes: u64,
    pub memory_swap_bytes: u64,
    pub pids: u64,
    pub pids_limit: u64,
    pub network: Option<NetworkStats>,
    pub io: Option<IoStats>,
    pub pressure: Option<Pressure>,
    /// Of Wasm workloads, as their worker counts.
    pub wasm: Option<WasmStats>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct NetworkStats {
    pub rx_bytes: u64,
    pub tx_bytes: u64,
    pub rx_packets: u64,
    pub tx_packets: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct IoStats {
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub read_ops: u64,
    pub write_ops: u64,
}

/// What a Wasm worker counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)] // `struct berth_stats` says what each is
pub struct WasmStats {
    pub instances: u64,
    pub instantiations: u64,
    pub requests: u64,
    pub active: u64,
    pub waiting: u64,
    pub traps: u64,
    pub timeouts: u64,
    pub memory_outs: u64,
    pub rejected: u64,
    pub cancelled: u64,
    pub bad_requests: u64,
    pub memory_bytes: u64,
    pub memory_peak_bytes: u64,
    pub cpu_usec: u64,
    pub pool: u64,
    pub connections: u64,
}

/// Stalls in percent of the last ten seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Pressure {
    pub cpu_some: f64,
    pub memory_some: f64,
    pub memory_full: f64,
    pub io_some: f64,
    pub io_full: f64,
}

impl Stats {
    /// Of the library's value.
    pub fn from_raw(raw: &ffi::berth_stats) -> Stats {
        Stats {
            time_usec: raw.time_usec,
            cpu_usec: raw.cpu_usec,
            cpu_user_usec: raw.cpu_user_usec,
            cpu_system_usec: raw.cpu_system_usec,
            cpu_throttled_usec: raw.cpu_throttled_usec,
            cpu_limit_cores: some(raw.cpu_limit_cores),
            memory_bytes: raw.memory_bytes,
            memory_cache_bytes: raw.memory_cache_bytes,
            memory_limit_bytes: raw.memory_limit_bytes,
            memory_peak_bytes: raw.memory_peak_bytes,
            memory_swap_bytes: raw.memory_swap_bytes,
            pids: raw.pids,
            pids_limit: raw.pids_limit,
            network: raw.has_net.then_some(NetworkStats {
                rx_bytes: raw.net_rx_bytes,
                tx_bytes: raw.net_tx_bytes,
                rx_packets: raw.net_rx_packets,
                tx_packets: raw.net_tx_packets,
            }),
            io: raw.has_io.then_some(IoStats {
                read_bytes: raw.io_read_bytes,
                write_bytes: raw.io_write_bytes,
                read_ops: raw.io_read_ops,
                write_ops: raw.io_write_ops,
            }),
            pressure: raw.has_psi.then_some(Pressure {
                cpu_some: raw.psi_cpu_some_avg10,
                memory_some: raw.psi_memory_some_avg10,
                memory_full: raw.psi_memory_full_avg10,
                io_some: raw.psi_io_some_avg10,
                io_full: raw.psi_io_full_avg10,
            }),
            wasm: raw.has_wasm.then_some(WasmStats {
                instances: raw.wasm_instances,
                instantiations: raw.wasm_instantiations,
                requests: raw.wasm_requests,
                active: raw.wasm_active,
                waiting: raw.wasm_waiting,
                traps: raw.wasm_traps,
                timeouts: raw.wasm_timeouts,
                memory_outs: raw.wasm_memory_outs,
                rejected: raw.wasm_rejected,
                cancelled: raw.wasm_cancelled,
                bad_requests: raw.wasm_bad_requests,
                memory_bytes: raw.wasm_memory_bytes,
                memory_peak_bytes: raw.wasm_memory_peak_bytes,
                cpu_usec: raw.wasm_cpu_usec,
                pool: raw.wasm_pool,
                connections: raw.wasm_connections,
            }),
        }
    }
}

/// How to remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Stop it with timeout 0 first; without it a running one is WRONG_STATE.
    pub force: bool,
    /// Also its anonymous volumes; named ones always stay.
    pub volumes: bool,
}

/// What of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on until it has ended and no restart is due.
    pub follow: bool,
    /// RFC 3339 with nanoseconds and a blank before each line.
    pub timestamps: bool,
    /// Each piece is preceded by a head that tells its stream and time: see [`crate::ByteStream::frame`].
    pub frames: bool,
    /// Without standard output.
    pub no_stdout: bool,
    /// Without standard error.
    pub no_stderr: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Lines stamped at or after this, in microseconds since 1970.
    pub since_usec: Option<i64>,
    /// Lines stamped before this.
    pub until_usec: Option<i64>,
}

/// How to run one more program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// NAME=value, added to the workload's own.
    pub env: Vec<String>,
    /// Name, uid, uid:gid; `None`: the workload's.
    pub user: Option<String>,
    /// `None`: the workload's.
    pub workdir: Option<String>,
    /// Supplementary groups; `None`: those that the user has.
    pub groups: Option<Vec<String>>,
    /// What it reads, then the end.
    pub stdin: Vec<u8>,
    /// When it passes, only this program is killed: TIMED_OUT.
    pub timeout_msec: Option<u64>,
    /// Ceiling for each stream; `None`: 1 GiB; above: TOO_BIG.
    pub output_max_bytes: Option<u64>,
    /// On a terminal of this many rows and columns.
    pub tty: Option<(u16, u16)>,
    /// Return when the program runs; its output is dropped.
    pub detach: bool,
    /// All capabilities.
    pub privileged: bool,
    /// Wasm: call this export, as `wasm.invoke` of a spec says it; argv[0] is the module.
    pub invoke: Option<String>,
}

/// What came of a program run inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    /// The program's own; 128 + signal.
    pub exit_code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What exec_list and exec_kill call it.
    pub exec_id: u64,
    /// Collected standard output; with a terminal everything.
    pub stdout: Vec<u8>,
    /// Collected standard error.
    pub stderr: Vec<u8>,
}

/// A number and a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    #[allow(missing_docs)]
    Tcp(u16),
    #[allow(missing_docs)]
    Udp(u16),
}

/// Where a port of this host leads in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    #[allow(missing_docs)]
    pub port: u16,
    /// The address on this host.
    pub address: String,
}

/// How to attach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Bring standard input too; WRONG_STATE unless the spec asked for it.
    pub input: bool,
    /// Size of the terminal, if it has one.
    pub size: Option<(u16, u16)>,
    /// One that doesn't run is no error: its next start by this runtime is joined, from the first byte.
    pub next_start: bool,
    /// With `next_start`: no streams at all, for who reads the log.
    pub no_output: bool,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventOptions {
    /// Go on for ever.
    pub follow: bool,
    /// `None`: from now on (follow) or from the first.
    pub since_usec: Option<i64>,
    /// `None`: no end.
    pub until_usec: Option<i64>,
    /// Only this workload (name or id).
    pub name: Option<String>,
}
