# SPDX-License-Identifier: Apache-2.0
"""
Engines from outside: what is loaded by name, what is refused and how clearly; and the trace of every call.
"""
import json, os, shutil, subprocess, tempfile
import pytest

from place import TOP, until
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


@pytest.fixture
def plain(bare, engines):
    """Say a line to the command, which finds doc/examples/engine.c; its workloads are gone afterwards."""
    compile([TOP + "/doc/examples/engine.c"], engines + "/plain.so", "-Wall", "-Wextra", "-Werror")

    def say(*words, code=0):
        r = bare.call(*words, env={"BERTH_ENGINES": engines})
        assert r.returncode == code, (words, r.stdout, r.stderr)
        return r.stdout if code == 0 else r.stderr
    yield say
    for name in say("ps", "-aq").split():
        say("rm", "-f", "-v", name)


PLAIN = ("--runtime", "plain", "--network", "host")


@pytest.fixture
def application():
    """A folder of an application that belongs to a user of its own, where that user may go."""
    folder = tempfile.mkdtemp(prefix="berth-app-", dir="/var/tmp")
    os.chmod(folder, 0o755)
    with open(folder + "/run", "w") as f:
        f.write('#!/bin/sh\necho "$(id -u):$(id -g) $PWD $APP $WORD"\ntouch mine && ! touch /etc/mine 2>&1\nexec sleep 1000\n')
    os.chmod(folder + "/run", 0o755)
    os.chown(folder, 12345, 12346)
    yield folder
    shutil.rmtree(folder)


def groups_of(id):
    return [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if id in folder]


def test_the_example_is_found_by_the_command(plain):
    assert plain("create", *PLAIN, "host", "true").strip()
    assert "network: this engine does not do that" in plain("create", "--runtime", "plain", "host", "true", code=1)
    for flags, field in ((("--userns", "private"), "namespaces.userns"),
                         (("--add-host", "a:127.0.0.1"), "hosts"), (("--platform", "linux/arm64"), "platform"),
                         (("--mount", "type=image,source=x,target=/mnt"), "mounts")):
        said = plain("create", *PLAIN, *flags, "host", "true", code=1)
        assert f"{field}: this engine does not do that" in said, said
    assert "folders of applications" in plain("create", *PLAIN, "alpine:3", "true", code=1)
    assert "neither the spec nor the image host names a program" in plain("create", *PLAIN, "host", code=1)


def test_the_examples_workloads_outlive_who_started_them(plain):
    """Each command is a process of its own: what one has started, another sees, asks, ends and removes."""
    plain("create", *PLAIN, "--name", "one", "host", "sh", "-c", "echo hello; exec sleep 1000")
    plain("start", "one")
    pid = json.loads(plain("--json", "status", "one"))["pid"]
    assert os.readlink(f"/proc/{pid}/exe") and "one" in plain("ps")
    assert plain("exec", "one", "echo", "beside") == "beside\n"
    assert json.loads(plain("--json", "stats", "--no-stream", "one"))["pids"] == 1
    plain("start", "one", code=1)
    plain("stop", "-t", "0", "one")
    status = json.loads(plain("--json", "status", "one"))
    assert status["state"] == "stopped" and not os.path.exists(f"/proc/{pid}"), status
    plain("start", "one")
    os.kill(json.loads(plain("--json", "status", "one"))["supervisor_pid"], 9)
    plain("wait", "one")
    assert json.loads(plain("--json", "status", "one"))["state"] == "failed"
    plain("rm", "one")
    assert "one" not in plain("ps", "-a")
    plain("create", *PLAIN, "--name", "two", "host", "no-such-program")
    id = json.loads(plain("--json", "status", "two"))["id"]
    assert "no-such-program" in plain("start", "two", code=1)
    plain("rm", "two")
    until(lambda: not groups_of(id))


def test_the_examples_application_runs_as_its_owner(plain, application):
    plain("create", *PLAIN, "--name", "shop", "-e", "WORD=x", "-m", "64m", application)
    plain("start", "shop")
    until(lambda: "mine" in os.listdir(application) and "/etc/mine" in plain("logs", "shop"))
    assert f"12345:12346 {application} {application} x" in plain("logs", "shop")
    assert os.stat(application + "/mine").st_uid == 12345 and not os.path.exists("/etc/mine")
    assert plain("exec", "shop", "sh", "-c", "id -u; pwd").split() == ["12345", application]
    assert json.loads(plain("--json", "stats", "--no-stream", "shop"))["memory_limit_bytes"] == 64 << 20
    assert "as the owner" in plain("create", *PLAIN, "--user", "0", application, code=1)
    os.chmod(application, 0o777)
    assert "everybody may write" in plain("create", *PLAIN, application, code=1)
    os.chown(application, 0, 0)
    os.chmod(application, 0o755)
    assert "belongs to root" in plain("create", *PLAIN, application, code=1)
    assert "No such file" in plain("create", *PLAIN, application + "x", code=1)


def test_a_start_asks_a_new_version_of_the_engine_again(plain, application, engines, tmp_path):
    def change(*pairs):
        source = open(TOP + "/doc/examples/engine.c").read()
        for old, new in pairs:
            assert source.count(old) == 1
            source = source.replace(old, new)
        (tmp_path / "changed.c").write_text(source)
        compile([str(tmp_path / "changed.c")], engines + "/new", "-Wall", "-Wextra", "-Werror")
        os.rename(engines + "/new", engines + "/plain.so")
    with open(application + "/other", "w") as f:
        f.write("#!/bin/sh\necho the other\n")
    os.chmod(application + "/other", 0o755)
    other, version = ('strdup("./run")', 'strdup("./other")'), ('.version = "1"', '.version = "2"')
    plain("create", *PLAIN, "--name", "kept", application)
    change(other)
    plain("start", "kept")
    until(lambda: "12345:12346" in plain("logs", "kept"))
    plain("stop", "-t", "0", "kept")
    change(other, version)
    plain("start", "kept")
    plain("wait", "kept")
    assert "the other" in plain("logs", "kept")


def test_nothing_is_made_in_the_hosts_files(plain, tmp_path):
    missing = str(tmp_path / "missing")
    plain("create", *PLAIN, "--name", "workdir", "-w", missing, "host", "true")
    assert missing in plain("start", "workdir", code=1)
    plain("create", *PLAIN, "--name", "target", "-v", f"{tmp_path}:{missing}", "host", "true")
    assert "the host has no such folder" in plain("start", "target", code=1)
    assert not os.path.exists(missing)
    (tmp_path / "there").mkdir()
    (tmp_path / "seen").write_text("seen")
    assert plain("run", "--rm", *PLAIN, "-v", f"{tmp_path}:{tmp_path}/there", "host", "cat", f"{tmp_path}/there/seen") == "seen"


def test_what_runs_on_the_hosts_files_is_confined(plain, tmp_path):
    """As a container is, and no program of the host gives it rights."""
    def inside(line, *flags):
        return plain("run", "--rm", *PLAIN, *flags, "host", "sh", "-c", line)
    status = dict(l.split(":\t", 1) for l in inside("cat /proc/self/status").splitlines() if ":\t" in l)
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2" and status["CapBnd"].strip() != "000001ffffffffff"
    assert int(status["Pid"]) < 10
    assert inside("ls /dev").split() == sorted("core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split())
    assert "refused" in inside("{ mknod /dev/x b 7 0 && cat /dev/x; } >/dev/null 2>&1 || echo refused; umount /proc 2>/dev/null || echo refused")
    assert inside("echo x >/sys/kernel/mm/ksm/run 2>/dev/null || echo refused") == "refused\n"
    assert inside(f"touch {tmp_path}/x 2>/dev/null || echo refused; echo y >/dev/shm/y && cat /dev/shm/y", "--read-only") == "refused\ny\n"
    assert inside(f"touch {tmp_path}/x && echo done") == "done\n" and os.path.exists(tmp_path / "x")


def test_the_examples_workloads_are_started_after_a_boot(plain):
    plain("create", *PLAIN, "--name", "again", "--restart", "always", "host", "sleep", "1000")
    plain("start", "again")
    os.kill(json.loads(plain("--json", "status", "again"))["supervisor_pid"], 9)
    plain("wait", "again")
    assert "again" in plain("boot")
    assert json.loads(plain("--json", "status", "again"))["state"] == "running"


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
