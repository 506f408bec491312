# SPDX-License-Identifier: Apache-2.0
"""Both forms over real containers."""
import asyncio
import os
import subprocess
import sys
import time

import pytest

import berth
import berth.aio

HERE = os.path.dirname(os.path.abspath(__file__))
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


def shell(name, line, **more):
    return {"name": name, "image": "test:1", "network": "none", "command": ["/bin/sh", "-c", line], **more}


WAITS = "trap 'exit 0' TERM; echo ready; while :; do sleep 1000 & wait $!; done"


def test_the_ten_verbs(container):
    h = container.create(shell("py-one", WAITS))
    container.start(h)
    status = container.status(h)
    assert status.state == "running" and status.pid and os.path.exists(f"/proc/{status.pid}")
    result = container.exec(h, ["/bin/sh", "-c", "cat; echo $A >&2; exit 3"], stdin=b"in\n", env={"A": "set"})
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"in\n", b"set\n")
    with pytest.raises(berth.NoProgram) as caught:
        container.exec(h, ["/no/such"])
    assert "/no/such" in caught.value.message
    stats = container.stats(h)
    assert stats.memory_bytes > 0 and stats.pids >= 1
    begin = time.monotonic()
    container.stop(h, timeout=5)
    assert time.monotonic() - begin < 4
    assert container.status(h).state == "stopped"
    assert list(container.logs(h)) == [b"ready\n"]
    container.remove(h)
    with pytest.raises(berth.NotFound):
        container.status(h)


def test_a_missing_program_fails_in_start(container):
    h = container.create(shell("py-missing", "true") | {"command": ["/no/such"]})
    with pytest.raises(berth.NoProgram):
        container.start(h)
    assert container.status(h).state == "failed"


def test_another_process_finds_it_by_its_handle(container, place):
    h = container.create(shell("py-kept", WAITS))
    code = ("import berth, sys; r = berth.Runtime('container', root=sys.argv[1], run=sys.argv[2]); "
            "r.start(sys.argv[3]); print(r.status(sys.argv[3]).state)")
    said = subprocess.run([sys.executable, "-c", code, place["root"], place["run"], str(h)], check=True,
                          capture_output=True, text=True).stdout
    assert said == "running\n" and container.status(h).state == "running"


def test_asyncio_follows_a_log_while_it_waits(place, container):
    async def body():
        runtime = berth.aio.Runtime("container", **place)
        h = await runtime.create(shell("py-async", "for i in 1 2 3; do echo $i; sleep 0.05; done; exit 4"))
        await runtime.start(h)
        wait = asyncio.ensure_future(runtime.wait(h))
        lines = [line async for line in runtime.logs(h, follow=True)]
        assert lines == [b"1\n", b"2\n", b"3\n"]
        assert (await wait).exit_code == 4
        await runtime.remove(h)

    asyncio.run(asyncio.wait_for(body(), 60))


def test_a_cancelled_exec_is_killed(place, container):
    async def body():
        runtime = berth.aio.Runtime("container", **place)
        h = await runtime.create(shell("py-cancel", WAITS))
        await runtime.start(h)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(runtime.exec(h, ["/bin/sleep", "1000"]), 0.3)
        for _ in range(100):
            if await runtime.exec_list(h) == []:
                return
            await asyncio.sleep(0.05)
        raise AssertionError("it runs on")

    asyncio.run(asyncio.wait_for(body(), 60))


def test_twenty_at_once(place, container):
    async def life(runtime, i):
        h = await runtime.create(shell(f"py-many{i}", f"exit {i}"))
        await runtime.start(h)
        code = (await runtime.wait(h)).exit_code
        await runtime.remove(h)
        return code

    async def body():
        runtime = berth.aio.Runtime("container", **place)
        assert await asyncio.gather(*(life(runtime, i) for i in range(20))) == list(range(20))

    asyncio.run(asyncio.wait_for(body(), 120))


@pytest.mark.parametrize("example", ["one.py", "follow.py"])
def test_examples_run(example, place, container):
    environment = {**os.environ, "BERTH_ROOT": place["root"], "BERTH_RUN": place["run"]}
    r = subprocess.run([sys.executable, os.path.join(HERE, "../examples", example), "test:1"], env=environment,
                       capture_output=True, text=True, timeout=60)
    assert r.returncode == 0, r.stderr
    assert "hello" in r.stdout and container.list() == []
