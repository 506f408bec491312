# SPDX-License-Identifier: Apache-2.0
"""run in the foreground: nothing of a short program is missed, and --rm does not depend on the command."""
import os, pty, signal, subprocess, time
import pytest
from test_cli_life import popen, wait_until

pytestmark = pytest.mark.kernel

NONE = ["--network", "none"]


def test_run_without_a_log_loses_nothing_of_a_program_that_ends_at_once(berth):
    for i in range(20):
        assert berth.call("run", "--rm", *NONE, "--log-driver", "none", "tiny", "echo", f"line {i}").stdout == f"line {i}\n"


def test_run_without_a_log_waits_for_a_slow_reader(berth):
    name = berth.name()
    p = popen(berth, "run", "--name", name, *NONE, "--log-driver", "none", "tiny", "sh", "-c", "seq 1 400000; echo err >&2; exit 3")
    wait_until(lambda: berth.states().get(name) == "running")
    out, err = p.communicate(timeout=60)
    assert out == "".join(f"{i}\n" for i in range(1, 400001)) and err == "err\n" and p.returncode == 3


def test_run_without_a_log_stops_no_detached_program(berth):
    name = berth.run("sh", "-c", "head -c 5000000 /dev/zero; echo done > /done; sleep 60", flags=["--log-driver", "none"])
    wait_until(lambda: berth.call("exec", name, "cat", "/done").stdout == "done\n")


def test_start_a_shows_the_whole_of_a_short_program_without_a_log(berth):
    name = berth.name()
    berth.must("create", "--name", name, *NONE, "--log-driver", "none", "tiny", "echo", "here")
    assert [berth.must("start", "-a", name) for _ in range(3)] == ["here"] * 3


def test_run_rm_is_done_though_the_command_was_killed(berth):
    name = berth.name()
    p = popen(berth, "run", "--rm", "--name", name, *NONE, "tiny", "sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done")
    wait_until(lambda: berth.states().get(name) == "running")
    p.kill()
    p.wait()
    berth.must("exec", name, "touch", "/go")
    wait_until(lambda: name not in berth.states())


def test_run_rm_is_done_though_the_command_was_killed_after_the_end(berth):
    name = berth.name()
    p = popen(berth, "run", "--rm", "--name", name, *NONE, "tiny", "sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done")
    wait_until(lambda: berth.states().get(name) == "running")
    p.send_signal(signal.SIGSTOP)
    berth.must("exec", name, "touch", "/go")
    wait_until(lambda: berth.states().get(name) == "completed")
    time.sleep(0.2)
    assert berth.states().get(name) == "completed" # kept for the one who has not looked yet
    p.kill()
    p.wait()
    wait_until(lambda: name not in berth.states())


def test_run_rm_keeps_output_and_code_of_a_program_that_ends_at_once(berth):
    for i in range(10):
        r = berth.call("run", "--rm", *NONE, "tiny", "sh", "-c", f"seq 1 20000; exit {i + 1}")
        assert (r.returncode, r.stdout.count("\n"), r.stderr) == (i + 1, 20000, "")
    assert not berth.workloads()


def test_wait_ends_though_another_still_looks_at_the_end(berth):
    name = berth.name()
    p = popen(berth, "run", "--rm", "--name", name, *NONE, "tiny", "sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done; exit 4")
    wait_until(lambda: berth.states().get(name) == "running")
    waiter = popen(berth, "wait", name)
    p.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    berth.must("exec", name, "touch", "/go")
    assert waiter.communicate(timeout=20)[0] == "4\n"
    p.send_signal(signal.SIGCONT)
    assert p.wait(20) == 4
    wait_until(lambda: name not in berth.states())


def test_privileged_has_the_hosts_devices_and_others_have_not(berth):
    device = next(f"/dev/{n}" for n in ("kmsg", "loop0", "loop-control", "fuse") if os.path.exists(f"/dev/{n}"))
    number = os.stat(device).st_rdev
    look = ["stat", "-c", "%t:%T", device]
    wanted = f"{os.major(number):x}:{os.minor(number):x}"
    assert berth.must("run", "--rm", *NONE, "--privileged", "tiny", *look) == wanted
    assert berth.call("run", "--rm", *NONE, "tiny", *look).returncode != 0
    assert berth.must("run", "--rm", *NONE, "--privileged", "tiny", "stat", "-c", "%F", "/dev/pts") == "directory"
