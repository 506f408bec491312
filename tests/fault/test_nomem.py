# SPDX-License-Identifier: Apache-2.0
"""
The n-th allocation of the command, or of the supervisor, fails: once, then always. A clean success or a clean
error each time, and nothing is left. Every k-th from a random first one; with --long all.
"""
import os
import pytest
from place import LONG, PROGRAMS, TOP, Place, one_clear_error
from test_crash import CRASH_PROGRAMS
from test_inject import VERBS, prepare_created, running, steps

PRELOAD = os.path.join(PROGRAMS, "nomem.so")


@pytest.fixture
def wrapped():
    """Programs of the build whose supervisor can fail an allocation."""
    p = Place(programs=CRASH_PROGRAMS)
    yield p
    p.close()


def once(place, verb, wish, program):
    prepare, words, check = VERBS[verb]
    prepare = prepare_created if program == "berth-supervisor" else prepare
    prepare(place)
    report = place.folder + "/report"
    if os.path.exists(report):
        os.unlink(report)
    env = {"BERTH_FAIL_ALLOCATION": wish, "BERTH_FAIL_PROGRAM": program, "BERTH_FAIL_REPORT": report}
    if program == "berth":
        env["LD_PRELOAD"] = PRELOAD
    r = place.call("start", "w", env=env) if program == "berth-supervisor" else None
    if verb != "start" and r is not None and r.returncode != 0: # the supervisor's count begins with its life
        one_clear_error(r)
        check = running
    elif verb != "start" or r is None:
        r = place.call(*words, env=env)
    if r.returncode != 0:
        one_clear_error(r)
    try:
        assert check(place, r.returncode == 0) in (None, True), place.states()
        place.remove_all()
        left = place.left(0.5)
        if left:
            place.doctor_repairs()
        assert place.left() == set()
    except AssertionError as e:
        pytest.fail(f"{verb}, allocation {wish} of {program} fails: {r.returncode} {r.stderr.strip()}\n{e}")
    return os.path.exists(report)


@pytest.mark.parametrize("suffix", ["", "+"])
@pytest.mark.parametrize("verb", list(VERBS))
def test_each_allocation_of_the_command(place, verb, suffix):
    n, step = steps(1 if LONG else {"create": 31, "start": 61, "remove": 23}.get(verb, 11))
    while once(place, verb, f"{n}{suffix}", "berth"):
        n += step
    assert n > 20


@pytest.mark.parametrize("suffix", ["", "+"])
@pytest.mark.parametrize("verb", ["start", "exec", "stop"])
def test_each_allocation_of_the_supervisor(wrapped, verb, suffix):
    n, step = steps(1 if LONG else 31)
    while once(wrapped, verb, f"{n}{suffix}", "berth-supervisor"):
        n += step
    assert n > 20
