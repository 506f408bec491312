# SPDX-License-Identifier: Apache-2.0
"""
The n-th system call of a verb's whole process tree fails, for n = 1, 2, ... until none is hit.

Each time a clean success or a clean error, and afterwards the machine can be brought back to what it was.
exec and stop try every call; create and remove every third, start, whose tree makes some seven hundred, every
eleventh, from a random first one (BERTH_TEST_SEED repeats it), so that runs add up. With --long every verb tries all.
"""
import errno, os, random, time
import pytest
from place import LONG, PROGRAMS, one_clear_error

INJECT = os.path.join(PROGRAMS, "inject")
SCRIPT = ["--network", "none", "--name", "w", "tiny", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 100 & wait; done"]


def prepare_nothing(place):
    pass


def prepare_created(place):
    place.must("create", *SCRIPT)


def prepare_running(place):
    place.must("run", "-d", *SCRIPT)


def prepare_stopped(place):
    prepare_running(place)
    place.must("stop", "--timeout", "0ms", "w")


def running(place, ok):
    """A start whose caller failed may be carried through: what it comes to is told, not when."""
    end = time.monotonic() + 10
    while (state := place.states().get("w")) == "creating" and time.monotonic() < end:
        time.sleep(0.05)
    assert state == "running" if ok else state in ("created", "failed", "running"), (ok, state)


def wrong(text):
    raise AssertionError(text)


VERBS = {
    "create": (prepare_nothing, ["create", *SCRIPT], lambda p, ok: ok is ("w" in p.states()) or wrong(f"{ok} {p.states()}")),
    "start": (prepare_created, ["start", "w"], running),
    "exec": (prepare_running, ["exec", "w", "true"], lambda p, ok: p.states()["w"] == "running" or wrong(str(p.states()))),
    "stop": (prepare_running, ["stop", "--timeout", "1s", "w"],
             lambda p, ok: p.states()["w"] == "stopped" if ok else p.states()["w"] in ("running", "stopping", "stopped", "failed")),
    "remove": (prepare_stopped, ["rm", "w"], lambda p, ok: not ok or "w" not in p.states() or wrong(str(p.states()))),
}


STRIDE = {"create": 3, "start": 11, "remove": 3}


def steps(stride):
    """A random first one within the stride, and the stride."""
    seed = int(os.environ.get("BERTH_TEST_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    return 1 + random.Random(seed).randrange(stride), stride


def once(place, verb, n, number, always):
    prepare, words, check = VERBS[verb]
    prepare(place)
    report = place.folder + "/report"
    wrap = [INJECT, "-n", str(n), "-e", str(number), "-r", report] + (["-a"] if always else [])
    r = place.call(*words, wrap=wrap)
    seen, hit, whose = open(report).read().split()
    if r.returncode != 0:
        one_clear_error(r)
    what = f"{verb}, call {n} of {seen} ({whose}) fails with {errno.errorcode[number]}{' and all after it' if always else ''}: " \
           f"{r.returncode} {r.stderr.strip()}"
    try:
        done = r.returncode == 0 or "standard output: " in r.stderr # what it did could not be told
        assert check(place, done) in (None, True), place.states()
        place.remove_all()
        left = place.left(0.5)
        if left:
            place.doctor_repairs()
            left = place.left()
        assert left == set()
    except AssertionError as e:
        pytest.fail(f"{what}\n{e}\n{place.call('status', '--json', 'w').stdout}")
    return hit != "0"


@pytest.mark.parametrize("verb", list(VERBS))
def test_each_call_fails_once(place, verb):
    n, step = steps(1 if LONG else STRIDE.get(verb, 1))
    while once(place, verb, n, errno.EIO, False):
        n += step


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
@pytest.mark.parametrize("verb", ["create", "start", "remove"])
def test_from_one_call_on_all_fail(place, verb, number):
    n, step = steps(1 if LONG else 5 * STRIDE.get(verb, 3))
    while once(place, verb, n, number, True):
        n += step
