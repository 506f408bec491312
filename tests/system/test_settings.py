# SPDX-License-Identifier: Apache-2.0
"""berth.toml: the library, asked from a program of another language, and the command see the same values."""
import ctypes, glob, json, os
import pytest
from place import PROGRAMS

LIBRARY = os.path.join(PROGRAMS, "../src/engine/libberth.so")


class Options(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t)] + [(n, ctypes.c_char_p) for n in ("root", "run", "config", "programs")]


class Error(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int32), ("os_error", ctypes.c_int32), ("object", ctypes.c_char * 136), ("message", ctypes.c_char * 880)]


class Library:
    """One open runtime."""

    def __init__(self, berth, config, engine="container"):
        self.c, self.runtime, self.error = ctypes.CDLL(LIBRARY), ctypes.c_void_p(), Error()
        o = Options(ctypes.sizeof(Options), *(s.encode() for s in (berth.env["BERTH_ROOT"], berth.env["BERTH_RUN"], config, PROGRAMS)))
        assert self.c.berth_open(engine.encode(), ctypes.byref(o), ctypes.byref(self.runtime), ctypes.byref(self.error)) == 0

    def text(self, function, *words):
        out = ctypes.c_char_p()
        r = getattr(self.c, function)(self.runtime, *(w.encode() for w in words), ctypes.byref(out), ctypes.byref(self.error))
        return json.loads(out.value) if r == 0 else self.error.message.decode()

    def close(self):
        self.c.berth_close(self.runtime)


@pytest.fixture
def place(berth, tmp_path):
    path = str(tmp_path / "berth.toml")
    open(path, "w").close()
    lib = Library(berth, path)

    def write(text):
        with open(path, "w") as f:
            f.write(text)
    yield berth, lib, write, ("--config", path)
    lib.close()
    for left in glob.glob(berth.env["BERTH_RUN"] + "/settings"):
        os.unlink(left)


def spec_and_plan(berth, config, *words):
    return json.loads(berth.must(*config, "create", "--dry-run", *words, "tiny", "true"))


def test_library_and_command_agree_and_see_a_change(place):
    berth, lib, write, config = place
    for parent, files in (("/one", 2), ("/two", 3)):
        write(f'cgroup_parent = "{parent}"\n[defaults]\nnetwork = "none"\n[defaults.log]\nmax_files = {files}\n')
        mine, theirs = lib.text("berth_plan", '{"image":"tiny","args":["true"],"log":{"max_size":"2Mi"}}'), spec_and_plan(berth, config)
        assert mine["plan"]["cgroup_parent"] == theirs["plan"]["cgroup_parent"] == parent
        assert mine["spec"]["log"]["max_files"] == theirs["spec"]["log"]["max_files"] == files
        assert mine["spec"]["network"] == theirs["spec"]["network"] == "none"
        assert mine["spec"]["log"]["max_size"] == 2 << 20
        assert lib.text("berth_settings") == {"cgroup_parent": parent, "defaults": {"network": "none", "log": {"max_files": files}}}
    assert lib.text("berth_plan", '{"image":"tiny","args":["true"],"network":"host"}')["spec"]["network"] == "host"


def test_an_error_names_file_line_and_key_for_both(place):
    berth, lib, write, config = place
    write('cgroup_parent = "/a"\n\n[network]\n# x\npoool = "10.9.0.0/16"\n')
    r = berth.call(*config, "create", "--network", "none", "tiny")
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1
    for said in (r.stderr, lib.text("berth_settings"), lib.text("berth_plan", '{"image":"tiny","args":["true"],"network":"none"}')):
        assert f"{config[1]}: line 5: network.poool: unknown field (did you mean pool?)" in said
    write("a = \n")
    assert f"{config[1]}: line 1: " in lib.text("berth_settings")
    write("")
    assert lib.text("berth_settings") == {}


def test_what_was_read_is_kept_and_a_strangers_file_is_not_believed(place):
    berth, lib, write, config = place
    write('cgroup_parent = "/right"\n')
    kept = berth.env["BERTH_RUN"] + "/settings"
    assert lib.text("berth_settings") == {"cgroup_parent": "/right"}
    good = open(kept).read()
    assert os.stat(kept).st_mode & 0o777 == 0o600

    def asked(mend=lambda: None):
        with open(kept, "w") as f:
            f.write(good.replace("/right", "/wrong"))
        os.chmod(kept, 0o600), os.chown(kept, 0, 0)
        mend()
        return spec_and_plan(berth, config, "--network", "none")["plan"]["cgroup_parent"]
    assert asked() == "/wrong" # it is what is read, so that nobody starts a program for it
    assert asked(lambda: os.chown(kept, 65534, 65534)) == "/right"
    assert asked(lambda: os.chmod(kept, 0o666)) == "/right"
    assert asked(lambda: (os.rename(kept, kept + ".x"), os.symlink(kept + ".x", kept))) == "/right"
    os.unlink(kept + ".x")
    assert asked(lambda: (os.unlink(kept), os.mkfifo(kept))) == "/right"


def test_a_port_without_an_address_is_published_where_the_settings_say(place):
    berth, lib, write, config = place
    spec = '{"image":"tiny","args":["true"],"ports":["80","127.0.0.1:81:81"]}'
    for address in ("127.0.0.9", "127.0.0.8"):
        write(f'publish_address = "{address}"\n')
        theirs = spec_and_plan(berth, config, "-p", "80", "-p", "127.0.0.1:81:81")
        for ports in (lib.text("berth_plan", spec)["spec"]["ports"], theirs["spec"]["ports"]):
            assert [p["host_address"] for p in ports] == [address, "127.0.0.1"]


def test_what_of_it_holds_at_a_docker_daemon(place):
    berth, _, write, config = place
    lib = Library(berth, config[1], "docker")
    write('cgroup_parent = "/mine"\npublish_address = "127.0.0.2"\nimages = { registry = "example.org:5000", tag = "stable" }\n'
          '[defaults]\nnetwork = "none"\n[defaults.resources]\npids = 77\n')
    plan = lib.text("berth_plan", '{"image":"tiny","args":["true"],"ports":["80"]}')
    made = plan["plan"]["create"]
    assert made["Image"] == "example.org:5000/tiny:stable" and made["HostConfig"]["CgroupParent"] == "/mine"
    assert made["HostConfig"]["NetworkMode"] == "none" and made["HostConfig"]["PidsLimit"] == 77
    assert made["HostConfig"]["PortBindings"]["80/tcp"][0]["HostIp"] == "127.0.0.2"
    write("")  # and none of it when it says none of it
    made = lib.text("berth_plan", '{"image":"tiny","args":["true"],"ports":["80"]}')["plan"]["create"]
    assert made["Image"] == "tiny" and "CgroupParent" not in made["HostConfig"]
    write('[defaults]\nliveness = { command = ["true"] }\n')
    said = lib.text("berth_plan", '{"image":"tiny"}')
    assert "liveness" in said and "docker" in said, said
    write("colour = 1\n")
    assert "berth.toml: line 1" in lib.text("berth_plan", '{"image":"tiny"}')
    lib.close()
