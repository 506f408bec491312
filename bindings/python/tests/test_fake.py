# SPDX-License-Identifier: Apache-2.0
"""The blocking form over the engine in memory."""
import os
import signal
import threading
import time

import pytest

import berth
from conftest import spec


def test_the_ten_verbs(fake):
    assert fake.name == "fake"
    h = fake.create(spec("one", "print hello", "eprint oh", "wait"))
    assert (h.name, h.runtime) == ("one", "fake")
    assert fake.status(h).state is berth.State.CREATED
    fake.start(h)
    status = fake.status(h)
    assert status.state == "running" and status.exit_code is None and status.ended_usec is None
    result = fake.exec(h, ["print inside", "eprint err", "exit 3"])
    assert (result.exit_code, result.stdout, result.stderr) == (3, b"inside\n", b"err\n")
    assert fake.stats(h).time_usec > 0
    assert fake.resolve_host_port(h, 80) is None
    assert fake.resolve_container_address(h, 80) is None
    fake.stop(h, timeout=0.25)
    assert fake.status(h).state is berth.State.STOPPED
    assert list(fake.logs(h)) == [b"hello\n", b"oh\n"]
    fake.remove(h)
    with pytest.raises(berth.NotFound):
        fake.status(h)


def test_failures_are_exceptions_with_code_and_object(fake):
    with pytest.raises(berth.Invalid) as caught:
        fake.create({"name": "x", "imgae": "y"})
    assert caught.value.code == "INVALID" and "imgae" in caught.value.message
    assert isinstance(caught.value, ValueError)
    with pytest.raises(berth.NotFound) as caught:
        fake.create({"name": "x", "image": "missing"})
    assert caught.value.code == "NOT_FOUND" and caught.value.object
    h = fake.create(spec("twice", "wait"))
    with pytest.raises(berth.Exists) as caught:
        fake.create(spec("twice", "wait"))
    assert caught.value.object == "twice"
    fake.start(h)
    with pytest.raises(berth.WrongState):
        fake.start(h)
    with pytest.raises(berth.Unsupported):
        fake.image_pull("any")
    with pytest.raises(berth.NotFound):
        berth.Runtime("no-such")
    with pytest.raises(berth.Invalid):
        fake.find("a\0b")
    with pytest.raises(berth.Invalid):
        fake.resolve_host_port(h, 99999)
    with pytest.raises(berth.Invalid):
        fake.stop(h, timeout=-1)


def test_a_handle_can_be_written_down(fake):
    h = fake.create(spec("kept", "wait"))
    assert berth.Handle.parse(str(h)) == h
    fake.start(str(h))
    assert fake.find("kept") == h and fake.list() == [h]
    with pytest.raises(berth.Invalid):
        berth.Handle.parse("nonsense")


def test_states_are_the_librarys_words(fake):
    for steps, state, code in ((["exit 0"], "completed", 0), (["exit 7"], "failed", 7)):
        h = fake.create(spec("ends", *steps))
        fake.start(h)
        status = fake.wait(h)
        assert (status.state, status.exit_code) == (state, code)
        assert status.details["state"] == state
        fake.remove(h)
    h = fake.create(spec("paused", "wait"))
    fake.start(h)
    fake.pause(h)
    assert fake.status(h).state is berth.State.PAUSED
    fake.unpause(h)
    assert str(fake.status(h).state) == "running"


def test_logs(fake):
    h = fake.create(spec("talks", "print a", "eprint b", "sleep 30ms", "print c"))
    fake.start(h)
    waiter = threading.Thread(target=fake.wait, args=(h,))
    waiter.start()
    with fake.logs(h, follow=True) as log:
        assert list(log) == [b"a\n", b"b\n", b"c\n"]
    waiter.join()
    assert fake.logs(h, tail=1).read() == b"c\n"
    assert fake.logs(h, stderr=False).read() == b"a\nc\n"
    assert fake.logs(h, stdout=False).read() == b"b\n"
    stamped = fake.logs(h, timestamps=True, tail=1).read()
    assert stamped.startswith(b"20") and stamped.endswith(b" c\n")
    since = fake.status(h).ended_usec + 1
    assert fake.logs(h, since_usec=since).read() == b""
    with pytest.raises(berth.Invalid):
        fake.logs(h, stdout=False, stderr=False)


def test_exec_takes_its_options(fake):
    h = fake.create(spec("one", "wait"))
    fake.start(h)
    assert fake.exec(h, ["cat"], stdin=b"given\0bytes").stdout == b"given\0bytes"
    with pytest.raises(berth.TimedOut):
        fake.exec(h, ["wait"], timeout=0.04)
    with pytest.raises(berth.BerthError) as caught:
        fake.exec(h, ["print long enough"], output_max_bytes=4)
    assert caught.value.code == "TOO_BIG"
    with pytest.raises(berth.Invalid):
        fake.exec(h, [])


def test_what_stands_beside_the_verbs(fake):
    h = fake.create(spec("old", "wait"))
    fake.start(h)
    fake.rename(h, "new")
    assert fake.find("new").id == h.id
    fake.update(h, {"labels": {"a": "b"}})
    fake.exec(h, ["wait"], detach=True)
    running = fake.exec_list(h)
    assert len(running) == 1
    fake.exec_kill(h, int(running[0]["exec_id"]), signal.SIGKILL)
    fake.restart(h, timeout=0)
    fake.signal(h, signal.SIGKILL)
    assert fake.wait(h).state == "stopped"
    assert fake.inspect(h)["spec"]
    assert b'"new"' in fake.events().read()
    assert "spec" in fake.plan(spec("x", "wait"))


def test_a_wait_is_left_by_an_exception_of_a_signal_handler(fake):
    """As Ctrl-C does."""
    h = fake.create(spec("one", "wait"))
    fake.start(h)

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(KeyboardInterrupt):
            fake.wait(h)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert fake.status(h).state == "running"


def test_nothing_is_left_open(fake):
    h = fake.create(spec("one", "wait"))
    fake.start(h)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        fake.logs(h, follow=True).close()
        fake.logs(h, follow=True)
        fake.exec(h, ["exit 0"])
        with pytest.raises(berth.WrongState):
            fake.start(h)
    assert len(os.listdir("/proc/self/fd")) == before


def test_many_threads_use_one_runtime(fake):
    failures = []

    def life(i):
        try:
            for k in range(5):
                h = fake.create(spec(f"t{i}-{k}", "wait"))
                fake.start(h)
                fake.stop(h, 0)
                fake.remove(h)
        except berth.BerthError as e:
            failures.append(e)

    threads = [threading.Thread(target=life, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures and fake.list() == []


def test_a_runtime_may_go_before_its_streams():
    runtime = berth.Runtime("fake")
    h = runtime.create(spec("one", "print kept", "wait"))
    runtime.start(h)
    log = runtime.logs(h)
    del runtime
    assert log.read() == b"kept\n"


def test_others_run_while_one_waits(fake):
    """The library is called without the interpreter's lock."""
    h = fake.create(spec("one", "sleep 80ms"))
    fake.start(h)
    waiter = threading.Thread(target=fake.wait, args=(h,))
    waiter.start()
    ticks = 0
    while waiter.is_alive():
        time.sleep(0.005)
        ticks += 1
    assert ticks >= 3
