# SPDX-License-Identifier: Apache-2.0
"""
Engines from outside: what is loaded by name, what is refused and how clearly; and the trace of every call.
"""
import glob, json, os, shutil, subprocess
import pytest

from place import TOP
from conftest import Berth

# An engine whose verbs answer nonsense: enough to be registered, and to be refused by the desk.
ODD = r"""
#include <berth/engine.h>
#include <string.h>
static int my_open(const struct berth_options *o, void **self, struct berth_error *e) { (void)o; (void)self; (void)e; return 0; }
static void my_close(void *self) { (void)self; }
static int verb(void) { return 0; }
static int none(void *self, struct berth_handle **list, size_t *n, struct berth_error *e)
{ (void)self; (void)e; *list = NULL; *n = 0; return 0; }
#define V (void *)verb
static struct berth_engine table = {.size = sizeof(table), .abi_version = BERTH_ABI_VERSION, .name = NAME, .open = my_open,
    .close = my_close, .create = V, .start = V, .stop = V, .remove = V, .status = V, .logs = V, .exec = V, .stats = MISSING,
    .resolve_host_port = V, .resolve_container_address = V, .list = none};
"""
EXPORT = "BERTH_ENGINE_EXPORT(table);"
OTHER_ABI = """__attribute__((visibility("default"))) const struct berth_engine *berth_engine_entry(uint32_t *abi);
const struct berth_engine *berth_engine_entry(uint32_t *abi) { *abi = 7; return &table; }"""


def compile(source, target, *flags):
    subprocess.run(["cc", "-shared", "-fPIC", "-I", TOP + "/include", *flags, "-o", target, *source], check=True)


def make(folder, file, *, name='"odd"', missing="V", end=EXPORT):
    source = os.path.join(folder, "..", "odd.c")
    with open(source, "w") as f:
        f.write(ODD + end)
    compile([source], os.path.join(folder, file + ".so"), f"-DNAME={name}", f"-DMISSING={missing}")
    return os.path.join(folder, file + ".so")


@pytest.fixture
def engines(tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir(mode=0o755)
    for parent in tmp_path.parents: # pytest's are 0700, and root's
        if os.stat(parent).st_mode & 0o022 and not os.stat(parent).st_mode & 0o1000:
            pytest.fail(f"{parent} is writable by others")
    return str(folder)


def create(bare, engines, runtime="odd"):
    return bare.call("create", "--runtime", runtime, "x", "true", env={"BERTH_ENGINES": engines})


def test_an_engine_is_found_by_its_name(bare, engines):
    make(engines, "odd")
    r = create(bare, engines)
    assert "answered nonsense: no call" in r.stderr, r.stderr
    listed = bare.call("engines", env={"BERTH_ENGINES": engines})
    assert "odd" in listed.stdout
    ps = bare.call("ps", env={"BERTH_ENGINES": engines})
    assert ps.returncode == 0, ps.stderr


@pytest.mark.parametrize("arguments, words", [
    ({"end": ""}, "exports no berth_engine_entry"),
    ({"end": OTHER_ABI}, "built for ABI 7, this library has 1"),
    ({"missing": "NULL"}, 'lacks the mandatory verb "stats"'),
    ({"name": '"other"'}, 'calls itself "other"'),
    ({"name": "NULL"}, 'calls itself ""'),
])
def test_what_is_no_engine_of_ours_is_refused(bare, engines, arguments, words):
    path = make(engines, "odd", **arguments)
    r = create(bare, engines)
    assert r.returncode != 0 and words in r.stderr and path in r.stderr, r.stderr
    assert "odd" not in bare.call("engines", env={"BERTH_ENGINES": engines}).stdout


def test_what_is_no_object_is_refused(bare, engines):
    with open(engines + "/odd.so", "w") as f:
        f.write("not ELF")
    r = create(bare, engines)
    assert r.returncode != 0 and "odd.so" in r.stderr, r.stderr


def test_what_others_can_write_is_refused(bare, engines):
    path = make(engines, "odd")
    for target, mode in ((path, 0o666), (path, 0o775), (engines, 0o777), (engines, 0o1777)):
        before = os.stat(target).st_mode
        os.chmod(target, mode)
        r = create(bare, engines)
        assert r.returncode != 0 and f"others may write {target}" in r.stderr, r.stderr
        os.chmod(target, before)
    for target in (path, engines):
        os.chown(target, 12345, -1)
        r = create(bare, engines)
        assert r.returncode != 0 and f"{target} belongs to user 12345" in r.stderr, r.stderr
        os.chown(target, 0, -1)
    assert "answered nonsense" in create(bare, engines).stderr


def test_a_link_leads_to_what_is_checked(bare, engines, tmp_path):
    path = make(engines, "odd")
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    os.chmod(open_folder, 0o777)
    shutil.move(path, open_folder / "odd.so")
    os.symlink(open_folder / "odd.so", path)
    r = create(bare, engines)
    assert r.returncode != 0 and "others may write" in r.stderr, r.stderr


def test_a_name_does_not_lead_out_of_the_folder(bare, engines):
    make(engines, "odd")
    for name in ("../engines/odd", "./odd", ".odd", "nosuch"):
        assert "no engine is called" in create(bare, engines, name).stderr


def test_the_example_is_found_by_the_command(bare, engines):
    compile([TOP + "/doc/examples/engine.c"], engines + "/plain.so", "-Wall", "-Wextra", "-Werror", "-ljansson")
    r = bare.call("create", "--runtime", "plain", "--network", "host", "host", "true", env={"BERTH_ENGINES": engines})
    assert r.returncode == 0 and r.stdout.strip(), r
    r = bare.call("create", "--runtime", "plain", "--network", "host", "-m", "64m", "host", "true", env={"BERTH_ENGINES": engines})
    assert r.returncode != 0 and "resources.memory: this engine does not do that" in r.stderr, r


def test_the_examples_workloads_outlive_who_started_them(bare, engines):
    """Each command is a process of its own: what one has started, another sees, asks, ends and removes."""
    compile([TOP + "/doc/examples/engine.c"], engines + "/plain.so", "-Wall", "-Wextra", "-Werror", "-ljansson")
    def say(*words, code=0):
        r = bare.call(*words, env={"BERTH_ENGINES": engines})
        assert r.returncode == code, (words, r.stdout, r.stderr)
        return r.stdout
    say("create", "--runtime", "plain", "--network", "host", "--name", "one", "host", "sh", "-c", "echo hello; exec sleep 1000")
    say("start", "one")
    pid = json.loads(say("--json", "status", "one"))["pid"]
    assert os.readlink(f"/proc/{pid}/exe") and "one" in say("ps")
    assert say("exec", "one", "echo", "beside") == "beside\n"
    assert json.loads(say("--json", "stats", "--no-stream", "one"))["pids"] == 1
    say("start", "one", code=1)
    say("stop", "-t", "5", "one")
    status = json.loads(say("--json", "status", "one"))
    assert status["state"] == "stopped" and not os.path.exists(f"/proc/{pid}"), status
    say("start", "one")
    keeper = int(open(f"/proc/{json.loads(say('--json', 'status', 'one'))['pid']}/stat").read().rsplit(")", 1)[1].split()[1])
    os.kill(keeper, 9)
    say("wait", "one")
    status = json.loads(say("--json", "status", "one"))
    assert status["state"] == "failed" and status["reason"] == "its keeper was killed", status
    say("rm", "one")
    assert "one" not in say("ps", "-a")
    say("create", "--runtime", "plain", "--network", "host", "--name", "two", "host", "no-such-program")
    group = "plain-" + json.loads(say("--json", "status", "two"))["id"]
    r = bare.call("start", "two", env={"BERTH_ENGINES": engines})
    assert r.returncode != 0 and "no-such-program" in r.stderr, r
    assert not glob.glob(f"/sys/fs/cgroup/{group}") + glob.glob(f"/sys/fs/cgroup/*/{group}")
    say("rm", "two")


def test_every_call_of_an_engine_is_a_line(berth, tmp_path):
    name, path = berth.name(), str(tmp_path / "trace")
    berth.must("--engine-trace", path, "run", "-d", "--name", name, "--network", "none", "tiny", "sleep", "100")
    berth.must("--engine-trace", path, "stop", "--timeout", "0", name)
    assert berth.call("--engine-trace", path, "start", name + "x").returncode != 0
    lines = [json.loads(line) for line in open(path)]
    ours = [line for line in lines if line["engine"] == "container"]
    for call in ("create", "start", "stop", "find"):
        line = next(l for l in ours if l["call"] == call)
        assert line["code"] == "OK" and line["workload"] == name and len(line["id"]) == 32
        assert 0 < line["duration_usec"] < 60e6 and line["busy_usec"] <= line["duration_usec"]
    missing = [l for l in ours if l["call"] == "find" and l["code"] == "NOT_FOUND"]
    assert missing and missing[0]["message"]
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_trace_that_cannot_be_written_is_an_error(bare):
    r = bare.call("--engine-trace", "/no/such/folder/trace", "ps")
    assert r.returncode != 0 and "/no/such/folder/trace" in r.stderr
