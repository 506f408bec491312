# SPDX-License-Identifier: Apache-2.0
"""Three containers at once on one thread, their logs followed: python3 follow.py IMAGE"""
import asyncio
import sys

from berth.aio import Runtime


async def life(runtime: Runtime, name: str, image: str) -> None:
    handle = await runtime.create({
        "name": name, "image": image, "network": "none",
        "command": ["/bin/sh", "-c", "for word in hello from inside; do echo $word; sleep 0.1; done"],
    })
    try:
        await runtime.start(handle)
        async for line in runtime.logs(handle, follow=True):
            print(f"{name}: {line.decode()}", end="")
        print(name, "is", (await runtime.wait(handle)).state)
    finally:
        await runtime.remove(handle, force=True)


async def main() -> None:
    runtime = Runtime("container")
    await asyncio.gather(*(life(runtime, f"example-{i}", sys.argv[1]) for i in range(3)))


asyncio.run(main())
