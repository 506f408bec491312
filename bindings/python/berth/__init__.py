# SPDX-License-Identifier: Apache-2.0
"""
Run workloads on Linux through one interface: a name and ten verbs, over libberth.

    import berth

    runtime = berth.Runtime("container")
    web = runtime.create({"name": "web", "image": "nginx:1.27", "ports": ["80"]})
    runtime.start(web)
    print(runtime.resolve_host_port(web, 80))
    for line in runtime.logs(web, tail=10):
        print(line.decode(), end="")
    runtime.remove(web, force=True)

`berth.aio.Runtime` is the same for asyncio: `async for line in runtime.logs(web, follow=True)`.
"""
from ._blocking import Log, Runtime
from ._library import lib as _lib
from ._values import (BerthError, Denied, ExecResult, Exists, Handle, HostPort, Invalid, NoProgram, NotExecutable,
                      NotFound, State, Stats, Status, TimedOut, Unsupported, WrongState, text as _text)

__version__ = "0.1.0"


def library_version() -> str:
    """Version of libberth at run time."""
    return _text(_lib.berth_version())


__all__ = ["BerthError", "Denied", "ExecResult", "Exists", "Handle", "HostPort", "Invalid", "Log", "NoProgram",
           "NotExecutable", "NotFound", "Runtime", "State", "Stats", "Status", "TimedOut", "Unsupported", "WrongState",
           "library_version"]
