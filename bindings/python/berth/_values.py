# SPDX-License-Identifier: Apache-2.0
"""What goes into the verbs and comes out of them, as plain values; and failures as exceptions."""
from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Any

from ._library import ffi, lib


class State(str, enum.Enum):
    """The same words everywhere."""

    CREATING = "creating"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    COMPLETED = "completed"
    FAILED = "failed"
    PENDING = "pending"

    def __str__(self) -> str:
        return self.value


def text(raw: Any) -> str:
    """Text of the library; NULL is empty."""
    if raw == ffi.NULL:
        return ""
    taken: bytes = ffi.string(raw)
    return taken.decode("utf-8", "replace")


class BerthError(Exception):
    """A verb failed. `code` is the name of an enum berth_code ("NOT_FOUND"), `object` what it is about."""

    def __init__(self, code: str, object: str, message: str, os_error: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.object = object
        self.message = message
        self.os_error = os_error

    def __str__(self) -> str:
        return f"{self.message} ({self.code})"


class Invalid(BerthError, ValueError):
    """The request itself is wrong."""


class NotFound(BerthError, LookupError):
    """No such workload, image, network, volume, user, file."""


class Exists(BerthError):
    """The name (or port, or address) is taken."""


class WrongState(BerthError):
    """Not possible in the state that the workload is in."""


class Unsupported(BerthError):
    """This engine does not do that."""


class Denied(BerthError, PermissionError):
    """A capability or permission is missing."""


class TimedOut(BerthError, TimeoutError):
    """A deadline passed."""


class NoProgram(BerthError):
    """The program to run was not found."""


class NotExecutable(BerthError):
    """Found, but it can't be executed."""


CLASSES: dict[str, type[BerthError]] = {
    "INVALID": Invalid, "NOT_FOUND": NotFound, "EXISTS": Exists, "WRONG_STATE": WrongState,
    "UNSUPPORTED": Unsupported, "DENIED": Denied, "TIMED_OUT": TimedOut, "NO_PROGRAM": NoProgram,
    "NOT_EXECUTABLE": NotExecutable,
}


def failure(code: int, raw: Any) -> BerthError:
    """The exception of a failed call."""
    name = text(lib.berth_code_name(code))
    return CLASSES.get(name, BerthError)(name, text(raw.object), text(raw.message), raw.os_error)


@dataclass(frozen=True)
class Handle:
    """A workload, as a plain value. `str(handle)` can be kept and read back with `Handle.parse`."""

    runtime: str
    name: str
    id: str
    text: str = field(repr=False)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, written: str) -> Handle:
        """Read what str() wrote; Invalid for anything else."""
        return cls._of(raw_handle(written))

    @classmethod
    def _of(cls, raw: Any) -> Handle:
        room = ffi.new("char[]", lib.BERTH_HANDLE_TEXT)
        lib.berth_handle_print(raw, room)
        return cls(text(raw.runtime), text(raw.name), bytes(raw.id).hex(), text(room))


def raw_handle(handle: Handle | str) -> Any:
    """The library's value of a handle."""
    raw, err = ffi.new("struct berth_handle *"), ffi.new("struct berth_error *")
    code = lib.berth_handle_parse(str(handle).encode(), raw, err)
    if code < 0:
        raise failure(code, err)
    return raw


@dataclass(frozen=True)
class Status:
    """Everything known about a workload. Times are microseconds since 1970; None: it has not happened."""

    handle: Handle
    state: State
    pid: int | None
    exit_code: int | None
    signal: int | None
    oom: str | None
    health: str | None
    restarts: int
    health_failures: int
    created_usec: int | None
    started_usec: int | None
    ended_usec: int | None
    next_start_usec: int | None
    memory_limit_bytes: int | None
    memory_peak_bytes: int | None
    log_dropped_bytes: int
    log_dropped_lines: int
    reason: str
    image: str
    idle: bool
    details: dict[str, Any] = field(repr=False)
    """The same and more (ports, labels, health log)."""

    @classmethod
    def _of(cls, raw: Any) -> Status:
        document = text(raw.json)
        return cls(
            handle=Handle._of(ffi.addressof(raw, "handle")), state=State(text(lib.berth_state_name(raw.state))),
            pid=raw.pid or None, exit_code=None if raw.exit_code == -1 else raw.exit_code, signal=raw.signal or None,
            oom={lib.BERTH_OOM_MAIN: "main", lib.BERTH_OOM_CHILD: "child"}.get(raw.oom),
            health=text(lib.berth_health_name(raw.health)) if raw.health else None,
            restarts=raw.restarts, health_failures=raw.health_failures, created_usec=raw.created_usec or None,
            started_usec=raw.started_usec or None, ended_usec=raw.ended_usec or None,
            next_start_usec=raw.next_start_usec or None, memory_limit_bytes=raw.memory_limit_bytes or None,
            memory_peak_bytes=raw.memory_peak_bytes or None, log_dropped_bytes=raw.log_dropped_bytes,
            log_dropped_lines=raw.log_dropped_lines, reason=text(raw.reason), image=text(raw.image),
            idle=bool(raw.idle), details=json.loads(document) if document else {})


@dataclass(frozen=True)
class Stats:
    """One reading. Counters grow while it runs; None: the kernel has no such figure."""

    time_usec: int
    cpu_usec: int
    cpu_user_usec: int
    cpu_system_usec: int
    cpu_throttled_usec: int
    cpu_limit_cores: float | None
    memory_bytes: int
    memory_cache_bytes: int
    memory_limit_bytes: int
    memory_peak_bytes: int
    memory_swap_bytes: int
    pids: int
    pids_limit: int
    net_rx_bytes: int | None
    net_tx_bytes: int | None
    net_rx_packets: int | None
    net_tx_packets: int | None
    io_read_bytes: int | None
    io_write_bytes: int | None
    io_read_ops: int | None
    io_write_ops: int | None
    psi_cpu_some_avg10: float | None
    psi_memory_some_avg10: float | None
    psi_memory_full_avg10: float | None
    psi_io_some_avg10: float | None
    psi_io_full_avg10: float | None
    wasm_instances: int | None
    wasm_instantiations: int | None
    wasm_requests: int | None
    wasm_active: int | None
    wasm_waiting: int | None
    wasm_traps: int | None
    wasm_timeouts: int | None
    wasm_memory_outs: int | None
    wasm_rejected: int | None
    wasm_cancelled: int | None
    wasm_bad_requests: int | None
    wasm_memory_bytes: int | None
    wasm_memory_peak_bytes: int | None
    wasm_cpu_usec: int | None
    wasm_pool: int | None
    wasm_connections: int | None

    @classmethod
    def _of(cls, raw: Any) -> Stats:
        values: dict[str, Any] = {}
        for name in cls.__dataclass_fields__:
            group = name.split("_")[0]
            absent = group in ("net", "io", "psi", "wasm") and not getattr(raw, "has_" + group)
            values[name] = None if absent else getattr(raw, name)
        values["cpu_limit_cores"] = values["cpu_limit_cores"] or None
        return cls(**values)


@dataclass(frozen=True)
class ExecResult:
    """What came of a program run inside."""

    exit_code: int
    signal: int | None
    exec_id: int
    stdout: bytes
    stderr: bytes

    @classmethod
    def _of(cls, raw: Any) -> ExecResult:
        def data(start: Any, size: int) -> bytes:
            return bytes(ffi.buffer(start, size)) if start != ffi.NULL else b""

        return cls(raw.exit_code, raw.signal or None, raw.exec_id, data(raw.out, raw.out_size),
                   data(raw.err, raw.err_size))


@dataclass(frozen=True)
class HostPort:
    """Where a port of this host leads in."""

    port: int
    address: str
