# SPDX-License-Identifier: Apache-2.0
"""
SIGKILL at every named crash point (src/base/crash_points.h) of a whole life: the next command tells the truth,
finishes or undoes, and nothing leaks. Needs a build with -Dcrashpoints=true.
"""
import os, re, subprocess, time
import pytest
from place import TOP, Place
from registry import Layout, Registry, tar_of

CRASH_PROGRAMS = os.environ.get("BERTH_CRASH_PROGRAMS", os.path.join(TOP, "build-crash/programs"))
TABLE = os.path.join(TOP, "src/base/crash_points.h")
POINTS = re.findall(r'X\("([a-z0-9._-]+)"', open(TABLE).read())
PULL = [p for p in POINTS if p.startswith("pull.")]
LIFE = [
    ["network", "create", "back"],
    ["create", "-p", "80", "--name", "w", "-v", "data:/data", "-v", "/anonymous", "tiny", "sh", "-c", "echo x; sleep 1000"],
    ["start", "w"], ["exec", "w", "true"], ["exec", "-d", "w", "sleep", "500"], ["pause", "w"], ["unpause", "w"],
    ["update", "-m", "32m", "w"], ["network", "connect", "back", "w"], ["update", "--publish-add", "81", "w"],
    ["network", "disconnect", "bridge", "w"], ["restart", "--timeout", "0ms", "w"], ["rename", "w", "v"], ["rename", "v", "w"],
    ["stop", "--timeout", "50ms", "w"], ["start", "w"], ["rm", "-f", "-v", "w"],
    ["run", "--rm", "--network", "none", "--name", "w", "tiny", "true"],
    ["volume", "rm", "data"], ["network", "rm", "back"],
]


@pytest.fixture
def crashing():
    p = Place(programs=CRASH_PROGRAMS)
    yield p
    p.close()


def test_every_point_in_the_sources_is_in_the_table():
    out = subprocess.run(["grep", "-rhoE", r'crash_point\("[a-z0-9_-]+\.[a-z0-9._-]+"\)', os.path.join(TOP, "src")], capture_output=True, text=True).stdout
    used = set(re.findall(r'"([^"]+)"', out))
    assert used == set(POINTS)


def still_true(place):
    for w in place.workloads():
        if w["state"] == "running":
            assert os.path.exists(f"/proc/{w['pid']}"), w


@pytest.mark.parametrize("point", [p for p in POINTS if p not in PULL])
def test_killed_at(crashing, point):
    for words in LIFE:
        try:
            crashing.call(*words, env={"BERTH_CRASH_POINT": point}, timeout=20)
        except subprocess.TimeoutExpired:
            pytest.fail(f"berth {' '.join(words)} hung after a death at {point}")
        still_true(crashing)
    crashing.doctor_repairs()
    crashing.remove_all()
    assert crashing.left() == set()


@pytest.fixture(scope="module")
def registry():
    r = Registry()
    layout = Layout(r.folder + "/layout")
    layout.image("1", [layout.layer(tar_of({"bin/sh": b"x" * 100000, f"f{i}": os.urandom(1 << 20)})) for i in range(3)])
    r.push(f"oci:{layout.folder}:1", "three:1")
    yield r
    r.close()


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("point", PULL)
def test_a_pull_killed_at(crashing, registry, point, turn):
    """Whole or absent; the next pull finishes it and leaves nothing."""
    name, images = registry.host + "/three:1", crashing.folder + "/root/images/"
    first = crashing.call("pull", name, env={"BERTH_CRASH_POINT": f"{point}:{turn}"})
    there = crashing.call("image", "inspect", name).returncode == 0
    assert there or first.returncode != 0, "it said that it was done"
    assert turn > 1 or point == "pull.synced" or first.returncode != 0, "nobody came by"
    assert "wrong" not in crashing.call("image", "verify").stdout.replace(" 0 wrong", "")
    crashing.must("pull", name)
    end = time.monotonic() + 20
    while (os.listdir(images + "aside") or os.listdir(images + "partial")) and time.monotonic() < end:
        time.sleep(0.05)
    assert not os.listdir(images + "aside") and not os.listdir(images + "partial")
    assert " 0 wrong" in crashing.must("image", "verify")
    crashing.must("rmi", name)
    crashing.must("image", "prune", "-f")
    left = {os.path.basename(p) for p in os.listdir(images + "layers")}
    assert len(left) == 1, "tiny's alone"
