# SPDX-License-Identifier: Apache-2.0
"""commit: a workload's changes as one layer, for berth and for others."""
import json, os, subprocess, tarfile, tempfile
import pytest
from conftest import Berth


def history(berth, image):
    return berth.json("image", "inspect", image)["config"]["history"]


def changed(berth, script):
    name = berth.name()
    berth.must("run", "--name", name, "--network", "none", "tiny", "sh", "-c", script)
    return name


def run(berth, image, script):
    return berth.must("run", "--rm", "--network", "none", image, "sh", "-c", script)


def test_a_commit_has_what_was_added_changed_and_removed(berth):
    base = berth.json("image", "inspect", "tiny")
    name = changed(berth, "echo new >/new; mkdir -p /d/e; echo f >/d/e/f; ln /new /hard; chmod 600 /new; chown 33:33 /d; rm /etc/group; "
                          "rm -r /var/www; mkdir /var/www; echo only >/var/www/only; ln -s /new /link")
    berth.must("commit", name, "made:1")
    made = berth.json("image", "inspect", "made:1")
    assert made["config"]["rootfs"]["diff_ids"][:-1] == base["config"]["rootfs"]["diff_ids"]
    assert made["manifest"]["layers"][:-1] == base["manifest"]["layers"]
    out = run(berth, "made:1", "cat /new /d/e/f /var/www/only /link; ls /var/www; stat -c '%a %h' /new; stat -c %u /d; ls /etc/group 2>&1; true")
    assert out.splitlines() == ["new", "f", "only", "new", "only", "600 2", "33", "ls: /etc/group: No such file or directory"]
    berth.must("image", "rm", "-f", "made:1")


def test_nothing_that_was_mounted_is_in_it(berth):
    name = berth.name()
    berth.must("run", "--name", name, "--network", "none", "-v", "cdata:/data/inside", "tiny", "sh", "-c", "echo x >/data/inside/x; echo y >/y")
    berth.must("commit", name, "made:2")
    berth.must("rm", "-v", name)
    berth.must("volume", "rm", "cdata")
    with tempfile.TemporaryDirectory() as folder:
        berth.must("image", "save", "-o", folder + "/", "made:2")
        manifest = json.load(open(folder + "/blobs/sha256/" + json.load(open(folder + "/index.json"))["manifests"][0]["digest"][7:]))
        with tarfile.open(folder + "/blobs/sha256/" + manifest["layers"][-1]["digest"][7:]) as t:
            names = {n.removeprefix("./") for n in t.getnames()}
    assert "y" in names and "data/inside/x" not in names and not any(n.startswith(("proc", "sys/", "dev/")) for n in names), names
    berth.must("image", "rm", "-f", "made:2")


def test_changes_and_message_are_in_config_and_history(berth):
    name = changed(berth, "echo 1 >/one")
    berth.must("commit", "-c", 'CMD ["cat","/one"]', "-c", "ENV A=b", "-c", "LABEL k=v", "-m", "by hand", "-a", "somebody", name, "made:3")
    made = berth.json("image", "inspect", "made:3")["config"]
    assert made["config"]["Cmd"] == ["cat", "/one"] and "A=b" in made["config"]["Env"] and made["config"]["Labels"]["k"] == "v"
    assert made["history"][-1]["comment"] == "by hand" and made["author"] == "somebody"
    assert berth.must("run", "--rm", "--network", "none", "made:3") == "1"
    second = berth.name()
    berth.must("create", "--name", second, "--network", "none", "made:3")
    berth.must("commit", "-c", "ENV A=c", second, "made:4") # of one that never ran
    assert berth.json("image", "inspect", "made:4")["config"]["config"]["Env"].count("A=c") == 1
    assert "A=b" not in berth.json("image", "inspect", "made:4")["config"]["config"]["Env"]
    assert berth.json("image", "verify")[-1]["wrong"] == 0 if isinstance(berth.json("image", "verify"), list) else berth.json("image", "verify")["wrong"] == 0
    berth.must("rm", second)
    berth.must("image", "rm", "-f", "made:3", "made:4")


def test_a_running_workload_is_refused(berth):
    name = berth.run("sleep", "100")
    r = berth.call("commit", name, "made:5")
    assert r.returncode == 1 and "stop it first" in r.stderr
    assert berth.call("image", "inspect", "made:5").returncode != 0


def test_others_read_a_saved_commit_with_the_same_digests(berth):
    name = changed(berth, "echo x >/x; rm /etc/group")
    berth.must("commit", name, "made:6")
    made = berth.json("image", "inspect", "made:6")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        berth.must("image", "save", "-o", folder + "/oci.tar", "made:6")
        berth.must("image", "save", "-o", folder + "/layout/", "made:6")
        berth.must("image", "save", "--format-as", "docker", "-o", folder + "/docker.tar", "made:6")
        for source in (f"oci-archive:{folder}/oci.tar", f"oci:{folder}/layout"):
            raw = subprocess.run(["skopeo", "inspect", "--raw", source], check=True, capture_output=True, text=True).stdout
            assert json.loads(raw) == made["manifest"]
        subprocess.run(["skopeo", "copy", "-q", f"docker-archive:{folder}/docker.tar", f"dir:{folder}/dir"], check=True)
        assert json.load(open(folder + "/dir/manifest.json"))["config"]["digest"] == made["id"]
        tag = json.load(open(folder + "/layout/index.json"))["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"]
        subprocess.run(["umoci", "unpack", "--image", f"{folder}/layout:{tag}", folder + "/bundle"], check=True, capture_output=True)
        assert open(folder + "/bundle/rootfs/x").read() == "x\n" and not os.path.exists(folder + "/bundle/rootfs/etc/group")
        if subprocess.run(["sh", "-c", "command -v podman"], capture_output=True).returncode == 0:
            podman = ["podman", "--root", folder + "/pod", "--runroot", folder + "/podrun", "--storage-driver", "vfs"]
            subprocess.run([*podman, "load", "-q", "-i", folder + "/oci.tar"], check=True, capture_output=True)
            ids = subprocess.run([*podman, "images", "-q", "--no-trunc"], check=True, capture_output=True, text=True).stdout.split()
            assert made["id"] in ids
    berth.must("image", "rm", "-f", "made:6")


def test_compressed_layers_can_be_pruned():
    place = Berth()
    try:
        report = json.loads(place.must("--json", "image", "prune", "--blobs", "-f"))
        assert len(report["blobs"]) == 1 and report["freed_bytes"] > 500000
        assert place.must("run", "--rm", "--network", "none", "tiny", "echo", "runs") == "runs"
        r = place.call("image", "save", "-o", place.folder + "/x.tar", "tiny")
        assert r.returncode == 1 and "pruned" in r.stderr and "berth pull" in r.stderr
        verified = place.json("image", "verify")
        assert (verified[-1] if isinstance(verified, list) else verified)["wrong"] == 0
    finally:
        place.close()
