# SPDX-License-Identifier: Apache-2.0
"""What somebody types who comes from docker: it works, or the error says what to do instead."""
import json, time
import pytest


def ended(berth):
    name = berth.run("sh", "-c", "dd if=/dev/zero of=/written bs=1k count=300 2>/dev/null; echo done")
    berth.must("wait", name)
    return name


@pytest.mark.parametrize("words", [["images"], ["image", "ls"], ["image", "list"], ["image", "ls", "-a"], ["images", "--digests"], ["images", "--no-trunc"],
                                   ["images", "-f", "dangling=false"], ["images", "--filter", "reference=tiny*"]])
def test_images_are_listed_as_there(berth, words):
    assert "tiny:latest" in berth.must(*words)


def test_digests_are_the_manifests(berth):
    digest = berth.json("image", "inspect", "tiny")["digest"]
    title, row = berth.must("images", "--digests", "--no-trunc", "tiny").splitlines()
    assert title.endswith("DIGEST") and row.endswith(digest)
    assert "DIGEST" not in berth.must("images")
    assert berth.json("images", "tiny")["digest"] == digest
    assert berth.must("images", "-q", "--no-trunc", "tiny").startswith("sha256:")
    assert len(berth.must("images", "-q", "tiny")) == 12


def test_an_image_goes_by_force_and_comes_back_by_its_id(berth):
    name = berth.run("sleep", "100")
    berth.must("tag", "tiny", "spare:1")
    assert berth.must("image", "remove", "spare:1") == "spare:1"
    r = berth.call("rmi", "-f", "nothere")
    assert r.returncode == 1 and "nothere" in r.stderr
    berth.must("rm", "-f", name)


def test_a_workloads_size_is_what_it_wrote(berth):
    name = ended(berth)
    rows = [json.loads(l) for l in berth.must("--json", "ps", "-as").splitlines()]
    row, = (r for r in rows if r["name"] == name)
    assert 300 << 10 <= row["size_bytes"] < 2 << 20
    title = berth.must("ps", "-a", "--size").splitlines()[0]
    assert title.endswith("SIZE") and "SIZE" not in berth.must("ps", "-a").splitlines()[0]


def test_top_takes_options_of_ps(berth):
    name = berth.run("sh", "-c", "sleep 1000 & sleep 2000; true")
    time.sleep(0.3)
    lines = berth.must("top", name, "-o", "pid,args").splitlines()
    assert lines[0].split() == ["PID", "COMMAND"] and {l.split(None, 1)[1] for l in lines[1:]} >= {"sleep 1000", "sleep 2000"}
    pids = {str(p["pid"]) for p in berth.json("top", name)}
    assert {l.split()[1] for l in berth.must("top", name, "-ef").splitlines()[1:]} <= pids
    r = berth.call("top", name, "-o", "args")
    assert r.returncode == 2 and "pid,comm" in r.stderr
    assert len(berth.must("top", name).splitlines()) == 1 + len(pids)


def test_ended_workloads_go_and_others_stay(berth):
    gone, stays = ended(berth), berth.run("sleep", "100")
    r = berth.call("container", "prune")
    assert r.returncode == 2 and gone in berth.must("ps", "-a") # nobody was there to say yes
    assert gone in berth.must("container", "prune", "-f")
    left = berth.must("ps", "-a")
    assert gone not in left and stays in left and "tiny:latest" in berth.must("images")


def test_image_prune_takes_all_that_nothing_uses(berth):
    berth.must("tag", "tiny", "spare:2")
    name = berth.run("sleep", "100")
    berth.must("image", "prune", "-a", "-f")
    assert "tiny:latest" in berth.must("images") # a workload has it
    berth.must("rm", "-f", name)
