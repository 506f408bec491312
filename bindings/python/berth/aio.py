# SPDX-License-Identifier: Apache-2.0
"""
The asyncio form: the same verbs, awaited. No thread is started and none is blocked: a call is its
descriptor in the event loop. Cancelling the task that awaits a verb cancels it, as the C header says.
"""
from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, TypeVar

from ._core import Call, Core, Spec, Stream
from ._lines import Lines
from ._values import ExecResult, Handle, HostPort, Stats, Status

T = TypeVar("T")


async def readable(fd: int) -> None:
    """Until `fd` can be read. One that can't be watched (a file) always can."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    try:
        loop.add_reader(fd, wake)
    except PermissionError:
        return
    try:
        await woken
    finally:
        loop.remove_reader(fd)


async def awaited(call: Call[T]) -> T:
    """The result of a call."""
    try:
        while True:
            over, result = call.finish()
            if over:
                return result  # type: ignore[return-value]
            await readable(call.fd())
    finally:
        call.free()


class Log:
    """A log or events: `async for line in log` (bytes, newline included), or await read()."""

    def __init__(self, stream: Stream) -> None:
        self._stream: Stream | None = stream
        self._lines = Lines()

    async def _chunk(self) -> bytes:
        if not self._stream:
            return b""
        await readable(self._stream.fd)
        data = os.read(self._stream.fd, 65536) if self._stream else b""
        if not data:
            self.close()
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._stream:
            for line in self._lines.feed(await self._chunk()):
                yield line

    async def read(self) -> bytes:
        """The rest, to the end."""
        return b"".join([line async for line in self])

    def close(self) -> None:
        """What feeds it ends; no workload is disturbed."""
        stream, self._stream = self._stream, None
        if stream:
            stream.free()

    async def __aenter__(self) -> Log:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class Runtime:
    """Workloads of one engine, as berth.Runtime, with coroutines for what waits."""

    def __init__(self, engine: str = "container", *, root: str | None = None, run: str | None = None,
                 config: str | None = None, programs: str | None = None, engines: str | None = None) -> None:
        self._core = Core(engine, root, run, config, programs, engines)

    @property
    def name(self) -> str:
        """Name of the runtime."""
        return self._core.name

    async def create(self, spec: Spec) -> Handle:
        """Make everything the workload needs, short of running it. Cancelled: nothing is left behind."""
        return await awaited(self._core.create(spec))

    async def start(self, handle: Handle | str) -> None:
        """Run it. Cancelled: it is undone, soon."""
        await awaited(self._core.start(handle))

    async def stop(self, handle: Handle | str, timeout: float | None = None) -> None:
        """Ask it to end, wait at most `timeout` seconds, then kill the whole tree. It goes on when cancelled."""
        await awaited(self._core.stop(handle, timeout))

    async def remove(self, handle: Handle | str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it and every trace of it. It goes on when cancelled."""
        await awaited(self._core.remove(handle, force, volumes))

    async def status(self, handle: Handle | str) -> Status:
        """What it is now."""
        return await awaited(self._core.status(handle))

    def logs(self, handle: Handle | str, *, follow: bool = False, timestamps: bool = False, stdout: bool = True,
             stderr: bool = True, tail: int | None = None, since_usec: int = 0, until_usec: int = 0) -> Log:
        """Its lines; with `follow` until it has ended and no restart is due."""
        return Log(self._core.logs(handle, follow, timestamps, stdout, stderr, tail, since_usec, until_usec))

    async def exec(self, handle: Handle | str, argv: Sequence[str], *, stdin: bytes = b"",
                   env: Mapping[str, str] | None = None, user: str | None = None, workdir: str | None = None,
                   groups: Sequence[str] | None = None, timeout: float | None = None, output_max_bytes: int = 0,
                   detach: bool = False, privileged: bool = False, invoke: str | None = None) -> ExecResult:
        """One more program inside; its output is collected. Cancelled: it is killed."""
        return await awaited(self._core.exec(handle, argv, stdin, env, user, workdir, groups, timeout,
                                             output_max_bytes, detach, privileged, invoke))

    async def stats(self, handle: Handle | str) -> Stats:
        """CPU, memory, network, block I/O. WrongState unless it runs."""
        return self._core.stats(handle)

    async def resolve_host_port(self, handle: Handle | str, container_port: int,
                                protocol: str = "tcp") -> HostPort | None:
        """The port on this host that reaches it, or None."""
        return self._core.host_port(handle, container_port, protocol)

    async def resolve_container_address(self, handle: Handle | str, container_port: int, network: str | None = None,
                                        protocol: str = "tcp") -> str | None:
        """"ip:port" of it on a network (None: the first of the spec), or None."""
        return self._core.container_address(handle, container_port, network, protocol)

    # beside the verbs

    async def find(self, name_or_prefix: str) -> Handle:
        """A workload by its name or an unambiguous prefix of its id."""
        return self._core.find(name_or_prefix)

    async def list(self) -> list[Handle]:
        """All workloads, newest first."""
        return self._core.list()

    async def wait(self, handle: Handle | str) -> Status:
        """Until it has ended and no restart is due."""
        return await awaited(self._core.wait(handle))

    async def signal(self, handle: Handle | str, signal: int) -> None:
        """To its main program."""
        self._core.signal(handle, signal)

    async def pause(self, handle: Handle | str) -> None:
        """Freeze all its processes."""
        self._core.pause(handle)

    async def unpause(self, handle: Handle | str) -> None:
        """Let them go on."""
        self._core.unpause(handle)

    async def update(self, handle: Handle | str, patch: Spec) -> None:
        """Change it: a spec with only the fields to change."""
        self._core.update(handle, patch)

    async def rename(self, handle: Handle | str, name: str) -> None:
        """Handles made before stay good."""
        self._core.rename(handle, name)

    async def restart(self, handle: Handle | str, timeout: float | None = None) -> None:
        """Stop and start as one request; followers of its log go on."""
        await awaited(self._core.restart(handle, timeout))

    def events(self, *, follow: bool = False, since_usec: int = 0, until_usec: int = 0,
               name: str | None = None) -> Log:
        """What happens: one JSON object a line."""
        return Log(self._core.events(follow, since_usec, until_usec, name))

    async def inspect(self, handle: Handle | str) -> Any:
        """Spec, plan, status and paths."""
        return self._core.inspect(handle)

    async def exec_list(self, handle: Handle | str) -> Any:
        """Running execs."""
        return self._core.exec_list(handle)

    async def exec_kill(self, handle: Handle | str, exec_id: int, signal: int) -> None:
        """A signal to one of them."""
        self._core.exec_kill(handle, exec_id, signal)

    async def plan(self, spec: Spec) -> Any:
        """What create would do, without doing it."""
        return self._core.plan(spec)

    # the container engine's own; Unsupported for another's

    async def image_import(self, source: str | os.PathLike[str], reference: str,
                           config: Mapping[str, Any] | None = None) -> None:
        """Make an image of a folder or a tar."""
        await awaited(self._core.image_import(source, reference, config))

    async def image_pull(self, reference: str, policy: str = "missing") -> None:
        """Get an image from its registry; policy: always, missing, newer."""
        await awaited(self._core.image_pull(reference, policy))

    async def images(self) -> Any:
        """All images."""
        return self._core.images()
