# SPDX-License-Identifier: Apache-2.0
"""
SIGKILL to the command, the supervisor or the helper at random moments: the next command tells the truth,
`doctor --repair` leaves nothing wrong, and nothing is left.
"""
import os, random, signal, subprocess, time
import pytest
from place import LONG, program_of

ROUNDS = 1000 if LONG else 100
VERBS = [
    ["create", "--network", "none", "--name", "w", "tiny", "sleep", "100"],
    ["run", "-d", "--network", "none", "--name", "w", "tiny", "sleep", "100"],
    ["start", "w"], ["exec", "w", "sh", "-c", "echo x; sleep 0.01"], ["stop", "--timeout", "50ms", "w"], ["rm", "-f", "w"],
]


def victims(place, command):
    """Processes of ours that live now: the command itself, supervisors, helpers."""
    found = [command.pid] if command.poll() is None else []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if program_of(pid) in ("berth-supervisor", "berth-helper") and place.owns(pid):
            found.append(int(pid))
    return found


def kill_one(place, command, dice):
    alive = victims(place, command)
    if alive:
        try:
            os.kill(dice.choice(alive), signal.SIGKILL)
        except ProcessLookupError:
            pass


def truth(place):
    """What berth says agrees with what runs."""
    for w in place.workloads():
        pid = w.get("pid") or 0
        if w["state"] == "running":
            assert pid and os.path.exists(f"/proc/{pid}"), w


def test_a_hundred_random_moments(place):
    seed = int(os.environ.get("BERTH_TEST_SEED", random.randrange(1 << 30)))
    print("seed", seed)
    dice = random.Random(seed)
    for i in range(ROUNDS):
        words = dice.choice(VERBS)
        command = subprocess.Popen(place.argv(*words), env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(dice.random() ** 2 * 0.04)
        kill_one(place, command, dice)
        command.wait(30)
        try:
            truth(place)
        except AssertionError as e:
            pytest.fail(f"seed {seed}, round {i}, {words}: {e}")
    place.doctor_repairs()
    place.remove_all()
    assert place.left() == set()


def test_eight_processes_two_hundred_workloads(place):
    script = """
for i in $(seq 25); do "$0" run -d --name "w$1-$i" --network none tiny sleep 1000 >/dev/null || exit 1; done
"$0" --json ps -a >/dev/null || exit 2
for i in $(seq 25); do "$0" stop --timeout 0ms "w$1-$i" >/dev/null || exit 3; "$0" rm "w$1-$i" >/dev/null || exit 4; done
"""
    children = [subprocess.Popen(["bash", "-c", script, place.argv()[0], str(k)], env=place.env, stdin=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for k in range(8)]
    for c in children:
        _, err = c.communicate(timeout=240)
        assert c.returncode == 0, (c.returncode, err)
    assert place.states() == {}
    assert place.left() == set()
