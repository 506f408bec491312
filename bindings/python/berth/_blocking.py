# SPDX-License-Identifier: Apache-2.0
"""The blocking form."""
from __future__ import annotations

import os
import select
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

from ._core import Call, Core, Spec, Stream
from ._lines import Lines
from ._values import ExecResult, Handle, HostPort, Stats, Status

T = TypeVar("T")


def waited(call: Call[T]) -> T:
    """The result of a call. Interrupted (Ctrl-C), it is cancelled."""
    try:
        poll: select.poll | None = None
        while True:
            over, result = call.finish()
            if over:
                return result  # type: ignore[return-value]
            if poll is None:
                poll = select.poll()
                poll.register(call.fd(), select.POLLIN)
            poll.poll()
    finally:
        call.free()


class Log:
    """A log or events: iterate over its lines (bytes, newline included), or read() the rest."""

    def __init__(self, stream: Stream) -> None:
        self._stream: Stream | None = stream
        self._lines = Lines()

    def _chunk(self) -> bytes:
        data = os.read(self._stream.fd, 65536) if self._stream else b""
        if not data:
            self.close()
        return data

    def __iter__(self) -> Iterator[bytes]:
        while self._stream:
            yield from self._lines.feed(self._chunk())

    def read(self) -> bytes:
        """The rest, to the end."""
        return b"".join(self)

    def close(self) -> None:
        """What feeds it ends; no workload is disturbed."""
        stream, self._stream = self._stream, None
        if stream:
            stream.free()

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Runtime:
    """
    Workloads of one engine ("container", "wasm", "docker", "fake"), each verb blocking until it is done.

    Failures are BerthError and its kinds. Timeouts are in seconds; None is the spec's own. The runtime is
    closed when nothing refers to it; workloads are not affected.
    """

    def __init__(self, engine: str = "container", *, root: str | None = None, run: str | None = None,
                 config: str | None = None, programs: str | None = None, engines: str | None = None) -> None:
        self._core = Core(engine, root, run, config, programs, engines)

    @property
    def name(self) -> str:
        """Name of the runtime."""
        return self._core.name

    def create(self, spec: Spec) -> Handle:
        """Make everything the workload needs, short of running it. On failure nothing is left behind."""
        return waited(self._core.create(spec))

    def start(self, handle: Handle | str) -> None:
        """Run it. Returns when its program is really running."""
        waited(self._core.start(handle))

    def stop(self, handle: Handle | str, timeout: float | None = None) -> None:
        """Ask it to end, wait at most `timeout`, then kill the whole tree."""
        waited(self._core.stop(handle, timeout))

    def remove(self, handle: Handle | str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and every trace of it. Removing twice succeeds."""
        waited(self._core.remove(handle, force, volumes))

    def status(self, handle: Handle | str) -> Status:
        """What it is now."""
        return waited(self._core.status(handle))

    def logs(self, handle: Handle | str, *, follow: bool = False, timestamps: bool = False, stdout: bool = True,
             stderr: bool = True, tail: int | None = None, since_usec: int = 0, until_usec: int = 0) -> Log:
        """Its lines; with `follow` until it has ended and no restart is due."""
        return Log(self._core.logs(handle, follow, timestamps, stdout, stderr, tail, since_usec, until_usec))

    def exec(self, handle: Handle | str, argv: Sequence[str], *, stdin: bytes = b"",
             env: Mapping[str, str] | None = None, user: str | None = None, workdir: str | None = None,
             groups: Sequence[str] | None = None, timeout: float | None = None, output_max_bytes: int = 0,
             detach: bool = False, privileged: bool = False, invoke: str | None = None) -> ExecResult:
        """One more program inside; its output is collected. TimedOut: it was killed, and only it."""
        return waited(self._core.exec(handle, argv, stdin, env, user, workdir, groups, timeout, output_max_bytes,
                                      detach, privileged, invoke))

    def stats(self, handle: Handle | str) -> Stats:
        """CPU, memory, network, block I/O. WrongState unless it runs."""
        return self._core.stats(handle)

    def resolve_host_port(self, handle: Handle | str, container_port: int, protocol: str = "tcp") -> HostPort | None:
        """The port on this host that reaches it, or None."""
        return self._core.host_port(handle, container_port, protocol)

    def resolve_container_address(self, handle: Handle | str, container_port: int, network: str | None = None,
                                  protocol: str = "tcp") -> str | None:
        """"ip:port" of it on a network (None: the first of the spec), or None."""
        return self._core.container_address(handle, container_port, network, protocol)

    # beside the verbs

    def find(self, name_or_prefix: str) -> Handle:
        """A workload by its name or an unambiguous prefix of its id."""
        return self._core.find(name_or_prefix)

    def list(self) -> list[Handle]:
        """All workloads, newest first."""
        return self._core.list()

    def wait(self, handle: Handle | str) -> Status:
        """Until it has ended and no restart is due."""
        return waited(self._core.wait(handle))

    def signal(self, handle: Handle | str, signal: int) -> None:
        """To its main program."""
        self._core.signal(handle, signal)

    def pause(self, handle: Handle | str) -> None:
        """Freeze all its processes."""
        self._core.pause(handle)

    def unpause(self, handle: Handle | str) -> None:
        """Let them go on."""
        self._core.unpause(handle)

    def update(self, handle: Handle | str, patch: Spec) -> None:
        """Change it: a spec with only the fields to change."""
        self._core.update(handle, patch)

    def rename(self, handle: Handle | str, name: str) -> None:
        """Handles made before stay good."""
        self._core.rename(handle, name)

    def restart(self, handle: Handle | str, timeout: float | None = None) -> None:
        """Stop and start as one request; followers of its log go on."""
        waited(self._core.restart(handle, timeout))

    def events(self, *, follow: bool = False, since_usec: int = 0, until_usec: int = 0,
               name: str | None = None) -> Log:
        """What happens: one JSON object a line."""
        return Log(self._core.events(follow, since_usec, until_usec, name))

    def inspect(self, handle: Handle | str) -> Any:
        """Spec, plan, status and paths."""
        return self._core.inspect(handle)

    def exec_list(self, handle: Handle | str) -> Any:
        """Running execs."""
        return self._core.exec_list(handle)

    def exec_kill(self, handle: Handle | str, exec_id: int, signal: int) -> None:
        """A signal to one of them."""
        self._core.exec_kill(handle, exec_id, signal)

    def plan(self, spec: Spec) -> Any:
        """What create would do, without doing it."""
        return self._core.plan(spec)

    # the container engine's own; Unsupported for another's

    def image_import(self, source: str | os.PathLike[str], reference: str,
                     config: Mapping[str, Any] | None = None) -> None:
        """Make an image of a folder or a tar."""
        waited(self._core.image_import(source, reference, config))

    def image_pull(self, reference: str, policy: str = "missing") -> None:
        """Get an image from its registry; policy: always, missing, newer."""
        waited(self._core.image_pull(reference, policy))

    def images(self) -> Any:
        """All images."""
        return self._core.images()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Nothing to do: the runtime is closed when nothing refers to it."""
