# SPDX-License-Identifier: Apache-2.0
"""
The verbs as calls of the library, before anybody waits: what the blocking and the asyncio form share.

A verb is a `Call` (a descriptor to poll, finish, cancel), a `Stream` (a descriptor to read) or an
answer at once.
"""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from ._library import ffi, lib
from ._values import BerthError, ExecResult, Handle, HostPort, Invalid, Stats, Status, failure, raw_handle, text

T = TypeVar("T")
Spec = Mapping[str, Any] | str


def encoded(value: str | os.PathLike[str] | None) -> Any:
    """A text of C, or NULL. Keep the result for as long as C looks at it."""
    if value is None:
        return ffi.NULL
    data = os.fspath(value).encode()
    if b"\0" in data:
        raise Invalid("INVALID", "", "a NUL inside a text")
    return ffi.new("char[]", data)


def encoded_list(values: Iterable[str] | None, keep: list[Any]) -> Any:
    """A NULL-terminated array of texts, or NULL. `keep` gets what must live as long as C looks at it."""
    if values is None:
        return ffi.NULL
    texts = [encoded(v) for v in values]
    array = ffi.new("char *[]", texts + [ffi.NULL])
    keep += [*texts, array]
    return array


def spec_text(spec: Spec) -> Any:
    """A spec document; a mapping is made one."""
    return encoded(spec if isinstance(spec, str) else json.dumps(dict(spec)))


def timeout_msec(timeout: float | None) -> int:
    """Seconds as the library takes them: rounded up, so that a short one is not 0, which kills at once."""
    if timeout is None:
        return int(lib.BERTH_TIMEOUT_SPEC)
    if timeout < 0:
        raise Invalid("INVALID", "", f"a timeout of {timeout} s")
    return -int(-timeout * 1000 // 1)


def checked(call: Callable[[Any], int]) -> int:
    """The result of a function of the library; its failure raised."""
    err = ffi.new("struct berth_error *")
    code = call(err)
    if code < 0:
        raise failure(code, err)
    return code


class Call(Generic[T]):
    """A verb under way. Freed (or dropped) before its end it is cancelled, as the C header says."""

    def __init__(self, core: Core, begin: Callable[[Any, Any], int], take: Callable[[Any], T]) -> None:
        self._core = core
        self._take = take
        ret = ffi.new("struct berth_call **")
        checked(lambda err: begin(ret, err))
        self._raw: Any = ret[0]

    def fd(self) -> int:
        """The descriptor that becomes readable when finish() should be asked again."""
        fd: int = lib.berth_call_fd(self._raw)
        if fd < 0:
            raise BerthError(text(lib.berth_code_name(fd)), "", "the call has no descriptor")
        return fd

    def finish(self) -> tuple[bool, T | None]:
        """Whether it is over, and what it brought. Raises its failure."""
        result, err = ffi.new("struct berth_result *"), ffi.new("struct berth_error *")
        code = lib.berth_call_finish(self._raw, result, err)
        if code == lib.BERTH_AGAIN:
            return False, None
        if code < 0:
            raise failure(code, err)
        try:
            return True, self._take(result)
        finally:
            lib.berth_exec_result_free(result.exec)
            lib.berth_status_free(result.status)

    def free(self) -> None:
        """The end of it, at any time and any number of times."""
        raw, self._raw = self._raw, ffi.NULL
        lib.berth_call_free(raw)

    def __del__(self) -> None:
        if hasattr(self, "_raw"):
            self.free()


class Stream:
    """A readable descriptor of the library."""

    def __init__(self, core: Core, begin: Callable[[Any, Any], int]) -> None:
        self._core = core
        ret = ffi.new("struct berth_stream **")
        checked(lambda err: begin(ret, err))
        self._raw: Any = ret[0]
        self.fd: int = lib.berth_stream_fd(self._raw)

    def free(self) -> None:
        """Close it; what feeds it ends."""
        raw, self._raw = self._raw, ffi.NULL
        lib.berth_stream_free(raw)

    def __del__(self) -> None:
        if hasattr(self, "_raw"):
            self.free()


def nothing(_: Any) -> None:
    """What most verbs bring."""


class Core:
    """An open runtime. Calls and streams hold it, so that it is closed behind the last of them."""

    def __init__(self, engine: str, root: str | None, run: str | None, config: str | None,
                 programs: str | None, engines: str | None) -> None:
        options = ffi.new("struct berth_options *")
        options.size = ffi.sizeof("struct berth_options")
        kept = [encoded(root), encoded(run), encoded(config), encoded(programs), encoded(engines)]
        options.root, options.run, options.config, options.programs, options.engines = kept
        ret = ffi.new("struct berth_runtime **")
        checked(lambda err: lib.berth_open(encoded(engine), options, ret, err))
        self.raw: Any = ret[0]
        self.name: str = text(lib.berth_name(self.raw))

    def __del__(self) -> None:
        if hasattr(self, "raw"):
            lib.berth_close(self.raw)

    # what a caller waits for

    def create(self, spec: Spec) -> Call[Handle]:
        document = spec_text(spec)
        return Call(self, lambda ret, err: lib.berth_create_call(self.raw, document, ret, err),
                    lambda result: Handle._of(ffi.addressof(result, "handle")))

    def start(self, handle: Handle | str) -> Call[None]:
        raw = raw_handle(handle)
        return Call(self, lambda ret, err: lib.berth_start_call(self.raw, raw, ret, err), nothing)

    def stop(self, handle: Handle | str, timeout: float | None) -> Call[None]:
        raw, msec = raw_handle(handle), timeout_msec(timeout)
        return Call(self, lambda ret, err: lib.berth_stop_call(self.raw, raw, msec, ret, err), nothing)

    def restart(self, handle: Handle | str, timeout: float | None) -> Call[None]:
        raw, msec = raw_handle(handle), timeout_msec(timeout)
        return Call(self, lambda ret, err: lib.berth_restart_call(self.raw, raw, msec, ret, err), nothing)

    def remove(self, handle: Handle | str, force: bool, volumes: bool) -> Call[None]:
        raw, options = raw_handle(handle), ffi.new("struct berth_remove_options *")
        options.size = ffi.sizeof("struct berth_remove_options")
        options.force, options.volumes = force, volumes
        return Call(self, lambda ret, err: lib.berth_remove_call(self.raw, raw, options, ret, err), nothing)

    def status(self, handle: Handle | str) -> Call[Status]:
        raw = raw_handle(handle)
        return Call(self, lambda ret, err: lib.berth_status_call(self.raw, raw, ret, err),
                    lambda result: Status._of(result.status))

    def wait(self, handle: Handle | str) -> Call[Status]:
        raw = raw_handle(handle)
        return Call(self, lambda ret, err: lib.berth_wait_call(self.raw, raw, ret, err),
                    lambda result: Status._of(result.status))

    def exec(self, handle: Handle | str, argv: Sequence[str], stdin: bytes, env: Mapping[str, str] | None,
             user: str | None, workdir: str | None, groups: Sequence[str] | None, timeout: float | None,
             output_max_bytes: int, detach: bool, privileged: bool,
             invoke: str | None) -> Call[ExecResult]:
        raw, options = raw_handle(handle), ffi.new("struct berth_exec_options *")
        options.size = ffi.sizeof("struct berth_exec_options")
        kept = [encoded(user), encoded(workdir), ffi.from_buffer(stdin), encoded(invoke)]
        words = encoded_list(argv, kept)
        options.env = encoded_list([f"{k}={v}" for k, v in env.items()] if env else None, kept)
        options.groups = encoded_list(groups, kept)
        options.user, options.workdir, options.invoke = kept[0], kept[1], kept[3]
        if stdin:
            options.stdin_data, options.stdin_size = kept[2], len(stdin)
        options.timeout_msec = timeout_msec(timeout) if timeout else 0
        options.output_max_bytes = output_max_bytes
        options.detach, options.privileged = detach, privileged
        return Call(self, lambda ret, err: lib.berth_exec_call(self.raw, raw, words, options, ret, err),
                    lambda result: ExecResult._of(result.exec))

    def image_import(self, source: str | os.PathLike[str], reference: str,
                     config: Mapping[str, Any] | None) -> Call[None]:
        options = ffi.new("struct berth_image_import_options *")
        options.size = ffi.sizeof("struct berth_image_import_options")
        kept = [encoded(source), encoded(reference), encoded(json.dumps(dict(config)) if config else None)]
        options.source, options.reference, options.config_json = kept
        options.input_fd = -1
        return Call(self, lambda ret, err: lib.berth_image_import_call(self.raw, options, ret, err), nothing)

    def image_pull(self, reference: str, policy: str) -> Call[None]:
        options = ffi.new("struct berth_image_pull_options *")
        options.size = ffi.sizeof("struct berth_image_pull_options")
        kept = [encoded(reference), encoded(policy)]
        options.reference, options.policy = kept
        return Call(self, lambda ret, err: lib.berth_image_pull_call(self.raw, options, ret, err), nothing)

    # streams

    def logs(self, handle: Handle | str, follow: bool, timestamps: bool, stdout: bool, stderr: bool,
             tail: int | None, since_usec: int, until_usec: int) -> Stream:
        raw, options = raw_handle(handle), ffi.new("struct berth_logs_options *")
        options.size = ffi.sizeof("struct berth_logs_options")
        if not stdout and not stderr:
            raise Invalid("INVALID", "logs", "logs: neither of the two streams")
        options.follow, options.timestamps = follow, timestamps
        options.streams = (lib.BERTH_STDOUT if stdout else 0) | (lib.BERTH_STDERR if stderr else 0)
        options.has_tail, options.tail = tail is not None, tail or 0
        options.since_usec, options.until_usec = since_usec, until_usec
        return Stream(self, lambda ret, err: lib.berth_logs(self.raw, raw, options, ret, err))

    def events(self, follow: bool, since_usec: int, until_usec: int, name: str | None) -> Stream:
        options, kept = ffi.new("struct berth_events_options *"), encoded(name)
        options.size = ffi.sizeof("struct berth_events_options")
        options.follow, options.name = follow, kept
        options.since_usec, options.until_usec = since_usec, until_usec
        return Stream(self, lambda ret, err: lib.berth_events(self.raw, options, ret, err))

    # answered at once

    def stats(self, handle: Handle | str) -> Stats:
        raw, stats = raw_handle(handle), ffi.new("struct berth_stats *")
        stats.size = ffi.sizeof("struct berth_stats")
        checked(lambda err: lib.berth_stats(self.raw, raw, stats, err))
        return Stats._of(stats)

    def host_port(self, handle: Handle | str, port: int, protocol: str) -> HostPort | None:
        raw, asked, found = raw_handle(handle), self._port(port, protocol), ffi.new("struct berth_host_port *")
        if checked(lambda err: lib.berth_resolve_host_port(self.raw, raw, asked, found, err)) == 0:
            return None
        return HostPort(found.port, text(found.address))

    def container_address(self, handle: Handle | str, port: int, network: str | None, protocol: str) -> str | None:
        raw, asked, room = raw_handle(handle), self._port(port, protocol), ffi.new("char[]", lib.BERTH_ADDRESS_TEXT)
        found = checked(lambda err: lib.berth_resolve_container_address(self.raw, raw, asked, encoded(network), room,
                                                                        err))
        return text(room) if found else None

    @staticmethod
    def _port(number: int, protocol: str) -> Any:
        raw, data = ffi.new("struct berth_port *"), protocol.encode()
        if not 0 < number < 65536 or len(data) > 5:
            raise Invalid("INVALID", str(number), f"{number}/{protocol} is no port")
        raw.number, raw.protocol = number, data
        return raw

    def find(self, name_or_prefix: str) -> Handle:
        raw = ffi.new("struct berth_handle *")
        checked(lambda err: lib.berth_find(self.raw, encoded(name_or_prefix), raw, err))
        return Handle._of(raw)

    def list(self) -> list[Handle]:
        ret, count = ffi.new("struct berth_handle **"), ffi.new("size_t *")
        checked(lambda err: lib.berth_list(self.raw, ret, count, err))
        try:
            return [Handle._of(ret[0] + i) for i in range(count[0])]
        finally:
            lib.free(ret[0])

    def signal(self, handle: Handle | str, signal: int) -> None:
        raw = raw_handle(handle)
        checked(lambda err: lib.berth_signal(self.raw, raw, signal, err))

    def pause(self, handle: Handle | str) -> None:
        raw = raw_handle(handle)
        checked(lambda err: lib.berth_pause(self.raw, raw, err))

    def unpause(self, handle: Handle | str) -> None:
        raw = raw_handle(handle)
        checked(lambda err: lib.berth_unpause(self.raw, raw, err))

    def update(self, handle: Handle | str, patch: Spec) -> None:
        raw, document = raw_handle(handle), spec_text(patch)
        checked(lambda err: lib.berth_update(self.raw, raw, document, err))

    def rename(self, handle: Handle | str, name: str) -> None:
        raw = raw_handle(handle)
        checked(lambda err: lib.berth_rename(self.raw, raw, encoded(name), err))

    def exec_kill(self, handle: Handle | str, exec_id: int, signal: int) -> None:
        raw = raw_handle(handle)
        checked(lambda err: lib.berth_exec_kill(self.raw, raw, exec_id, signal, err))

    @staticmethod
    def _json(call: Callable[[Any, Any], int]) -> Any:
        ret = ffi.new("char **")
        checked(lambda err: call(ret, err))
        try:
            return json.loads(text(ret[0]))
        finally:
            lib.free(ret[0])

    def inspect(self, handle: Handle | str) -> Any:
        raw = raw_handle(handle)
        return self._json(lambda ret, err: lib.berth_inspect(self.raw, raw, ret, err))

    def exec_list(self, handle: Handle | str) -> Any:
        raw = raw_handle(handle)
        return self._json(lambda ret, err: lib.berth_exec_list(self.raw, raw, ret, err))

    def plan(self, spec: Spec) -> Any:
        document = spec_text(spec)
        return self._json(lambda ret, err: lib.berth_plan(self.raw, document, ret, err))

    def images(self) -> Any:
        return self._json(lambda ret, err: lib.berth_image_list(self.raw, ret, err))
