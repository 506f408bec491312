# SPDX-License-Identifier: Apache-2.0
"""The asyncio form over the engine in memory."""
import asyncio
import os
import threading

import pytest

import berth
import berth.aio
from conftest import spec


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


def test_the_ten_verbs():
    async def body():
        runtime = berth.aio.Runtime("fake")
        h = await runtime.create(spec("one", "print hello", "wait"))
        await runtime.start(h)
        assert (await runtime.status(h)).state == "running"
        assert (await runtime.exec(h, ["cat", "exit 3"], stdin=b"x")).stdout == b"x"
        assert (await runtime.stats(h)).time_usec > 0
        assert await runtime.resolve_host_port(h, 80) is None
        assert await runtime.resolve_container_address(h, 80) is None
        await runtime.stop(h, 0.25)
        assert [line async for line in runtime.logs(h)] == [b"hello\n"]
        await runtime.remove(h)
        with pytest.raises(berth.NotFound):
            await runtime.status(h)

    run(body())


def test_a_log_is_followed_line_by_line():
    async def body():
        runtime = berth.aio.Runtime("fake")
        h = await runtime.create(spec("talks", "print a", "sleep 30ms", "print b", "sleep 30ms", "print c"))
        await runtime.start(h)
        wait = asyncio.ensure_future(runtime.wait(h))
        lines = []
        async for line in runtime.logs(h, follow=True):
            lines.append(line)
        assert lines == [b"a\n", b"b\n", b"c\n"]
        assert (await wait).state == "completed"

    run(body())


def test_a_hundred_waits_on_one_thread():
    async def life(runtime, i):
        h = await runtime.create(spec(f"w{i}", "sleep 30ms", "exit 5"))
        await runtime.start(h)
        status = await runtime.wait(h)
        await runtime.remove(h)
        return status.exit_code

    async def body():
        runtime, before = berth.aio.Runtime("fake"), threading.active_count()
        codes = await asyncio.gather(*(life(runtime, i) for i in range(100)))
        assert codes == [5] * 100
        assert threading.active_count() == before == len(os.listdir("/proc/self/task"))
        assert await runtime.list() == []

    run(body())


def test_a_cancelled_exec_is_killed():
    async def body():
        runtime = berth.aio.Runtime("fake")
        h = await runtime.create(spec("one", "wait"))
        await runtime.start(h)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(runtime.exec(h, ["ignore TERM", "wait"]), 0.03)
        assert await runtime.exec_list(h) == []

    run(body())


def test_a_cancelled_stop_goes_on():
    async def body():
        runtime = berth.aio.Runtime("fake")
        h = await runtime.create(spec("stubborn", "ignore TERM", "wait"))
        await runtime.start(h)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(runtime.stop(h, 0.08), 0.01)
        assert (await runtime.status(h)).state == "stopping"
        assert (await runtime.wait(h)).state == "stopped"

    run(body())


def test_nothing_is_left_open():
    async def body():
        runtime = berth.aio.Runtime("fake")
        h = await runtime.create(spec("one", "wait"))
        await runtime.start(h)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(50):
            async with runtime.logs(h, follow=True):
                pass
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(runtime.wait(h), 0.001)
        assert len(os.listdir("/proc/self/fd")) == before

    run(body())
