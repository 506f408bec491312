# SPDX-License-Identifier: Apache-2.0
"""WebAssembly modules as a user has them: the guest of the contract suite, compiled by clang and wasi-libc."""
import hashlib, json, os, subprocess, time
import pytest
from place import CACHE, LONG, TOP, program_of, until

GUEST = TOP + "/tests/contract/guest.c"


@pytest.fixture(scope="module")
def guest():
    text = open(GUEST, "rb").read()
    path = f"{CACHE}/guest-{hashlib.sha256(text).hexdigest()[:12]}/guest.wasm"
    if not os.path.exists(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        subprocess.run(["clang", "--target=wasm32-wasi", "-O1", "-o", path + ".new", GUEST], check=True)
        os.rename(path + ".new", path)
    return path


@pytest.fixture
def wasm(berth):
    if "wasm" not in berth.must("engines").split():
        pytest.skip("this build has no Wasm (-Dwasm=disabled)")
    return berth


def run(wasm, guest, *steps, flags=(), name=None):
    return wasm.call("run", "--rm", "--network", "none", *flags, guest, *steps)


def test_a_module_runs_in_the_foreground_with_its_own_exit_code(wasm, guest):
    r = run(wasm, guest, "print to the one", "eprint to the other", "exit 7")
    assert (r.returncode, r.stdout, r.stderr) == (7, "to the one\n", "to the other\n")


def test_variables_reach_it_and_what_is_not_text_is_refused_at_create(wasm, guest):
    r = run(wasm, guest, "env GREETING", flags=("-e", "GREETING=grüß dich"))
    assert r.stdout == "grüß dich\n"
    spec = wasm.folder + "/bad.json"
    open(spec, "wb").write(b'{"image": "%s", "env": {"A": "\\u0000"}}' % guest.encode())
    assert wasm.call("create", "--spec", spec).returncode != 0


def test_its_engine_is_told_by_bytes_and_not_by_a_name(wasm, guest):
    other = wasm.folder + "/program"
    subprocess.run(["cp", guest, other], check=True)
    assert run(wasm, other, "print here").stdout == "here\n"
    fake = wasm.folder + "/fake.wasm"
    open(fake, "w").write("no module at all")
    r = run(wasm, fake, flags=("--runtime", "wasm"))
    assert r.returncode != 0 and fake in r.stderr


def test_mounts_are_what_it_may_open_and_read_only_is_read_only(wasm, guest):
    folder = wasm.folder + "/data"
    os.makedirs(folder, exist_ok=True)
    open(folder + "/in", "w").write("from outside\n")
    assert run(wasm, guest, "read /data/in", flags=("-v", folder + ":/data")).stdout == "from outside\n"
    assert run(wasm, guest, "write /data/out", flags=("-v", folder + ":/data")).returncode == 0
    assert open(folder + "/out").read() == "written\n"
    r = run(wasm, guest, "write /data/no", flags=("-v", folder + ":/data:ro"))
    assert r.returncode == 1 and not os.path.exists(folder + "/no")
    assert run(wasm, guest, "read /etc/passwd").returncode == 1
    assert run(wasm, guest, "read /data/../../etc/passwd", flags=("-v", folder + ":/data")).returncode == 1


def test_a_single_file_lies_alone_in_its_folder(wasm, guest):
    folder = wasm.folder + "/single"
    os.makedirs(folder, exist_ok=True)
    for name in ("wanted", "other"):
        open(f"{folder}/{name}", "w").write(name + "\n")
    flags = ("-v", folder + "/wanted:/conf/wanted:ro")
    assert run(wasm, guest, "read /conf/wanted", flags=flags).stdout == "wanted\n"
    assert run(wasm, guest, "read /conf/other", flags=flags).returncode == 1


def in_background(wasm, guest, *steps, flags=()):
    name = wasm.name()
    wasm.must("run", "-d", "--name", name, "--network", "none", *flags, guest, *steps)
    return name


def test_the_ten_verbs(wasm, guest):
    name = in_background(wasm, guest, "print serving", "wait")
    assert wasm.status(name)["state"] == "running" and wasm.status(name)["runtime"] == "wasm"
    until(lambda: wasm.must("logs", name) == "serving")
    r = wasm.call("exec", name, "guest.wasm", "print inside", "exit 3")
    assert (r.returncode, r.stdout) == (3, "inside\n")
    assert wasm.must("exec", name, "print a name is a step of the guest") == "a name is a step of the guest"
    stats = wasm.json("stats", "--no-stream", name)
    assert stats["memory_bytes"] > 0 and stats["wasm"]["instances"] == 1
    started = time.monotonic()
    wasm.must("stop", name)
    assert time.monotonic() - started < 5
    assert wasm.status(name)["state"] == "stopped"
    wasm.must("start", name)
    wasm.must("rm", "-f", name)


def test_exec_runs_another_module_of_its_root(wasm, guest):
    folder = wasm.folder + "/tools"
    os.makedirs(folder, exist_ok=True)
    subprocess.run(["cp", guest, folder + "/tool.wasm"], check=True)
    name = in_background(wasm, guest, "wait", flags=("-v", folder + ":/tools:ro"))
    assert wasm.must("exec", name, "/tools/tool.wasm", "print a tool") == "a tool"
    r = wasm.call("exec", name, "/tools/none.wasm")
    assert r.returncode == 127 and "/tools/none.wasm" in r.stderr
    open(folder + "/text", "w").write("hello")
    r = wasm.call("exec", name, "/tools/text")
    assert r.returncode == 126 and "no WebAssembly module" in r.stderr


def ended(wasm, name):
    until(lambda: wasm.status(name)["state"] in ("failed", "completed", "stopped"))
    return wasm.status(name)


def test_a_trap_is_a_failure_with_its_name(wasm, guest):
    status = ended(wasm, in_background(wasm, guest, "trap"))
    assert (status["state"], status["exit_code"]) == ("failed", 134)
    assert "unreachable" in status["reason"]


def test_memory_that_runs_out_is_told_apart(wasm, guest):
    status = ended(wasm, in_background(wasm, guest, "oom", flags=("-m", "64m")))
    assert (status["state"], status["exit_code"], status["oom"]) == ("failed", 137, "main")
    assert "out of memory" in status["reason"]


@pytest.mark.parametrize("memory", ["12m", "16m", "24m"])
def test_memory_that_runs_out_is_refused_in_words_where_there_is_little(wasm, guest, memory):
    status = ended(wasm, in_background(wasm, guest, "oom", flags=("-m", memory)))
    assert (status["exit_code"], status["oom"]) == (137, "main") and "bytes were refused" in status["reason"], status


def test_what_a_module_can_not_have_is_refused_by_name(wasm, guest):
    for flags, word in ((("-t",), "tty"), (("--init",), "init"), (("--privileged",), "privileged"),
                        (("--device", "/dev/null"), "devices"), (("--sysctl", "net.core.somaxconn=1"), "sysctls"),
                        (("--set", "wasm.sockets=true"), "wasm.sockets")):
        r = run(wasm, guest, "print no", flags=flags)
        assert r.returncode == 125 and word in r.stderr, (flags, r.stderr)


# ---- compiled code

def cached(wasm):
    folder = wasm.folder + "/root/cache/wasm"
    return sorted(f"{folder}/{f}" for f in os.listdir(folder)) if os.path.isdir(folder) else []


def code_of(wasm, name):
    files = wasm.json("inspect", name)["plan"]["files"]
    return next(f["path"] for f in files if f["name"] == "code")


def events(wasm, name):
    return [e for e in wasm.json("events", "--since", "1h", "--until", "0s", name) if e["type"] == "compile"]


def test_a_missing_foreign_or_damaged_entry_is_made_anew_and_said(wasm, guest):
    name = in_background(wasm, guest, "exit 0")
    ended(wasm, name)
    code = code_of(wasm, name)

    def start_again(reason):
        wasm.must("start", name)
        assert events(wasm, name)[-1]["reason"] == reason
        ended(wasm, name)
        st = os.stat(code)
        assert st.st_uid == 0 and not st.st_mode & 0o022

    os.unlink(code)
    start_again("missing")
    os.chmod(code, 0o666)
    start_again("foreign")
    os.truncate(code, 100)
    start_again("damaged")
    size = os.stat(code).st_size
    open(code, "r+b").write(os.urandom(min(size, 4096)))
    start_again("corrupt")


def test_compiling_ahead_warms_the_cache(wasm, guest):
    wasm.must("image", "import", guest, "guest:ahead")
    before = cached(wasm)
    for path in before:
        os.unlink(path)
    wasm.must("image", "compile", "guest:ahead")
    made = cached(wasm)
    assert len(made) == 2
    wasm.must("image", "compile", "guest:ahead")
    assert cached(wasm) == made
    r = wasm.call("image", "compile", "tiny")
    assert r.returncode == 1 and "tiny" in r.stderr


@pytest.fixture
def slow(wasm, tmp_path):
    """Programs whose compiler says that it was asked, and waits at a gate."""
    class Slow:
        folder, log, gate = str(tmp_path / "programs"), tmp_path / "asked", str(tmp_path / "gate")

        def create(self, path):
            return subprocess.Popen(wasm.argv("create", "--runtime", "wasm", "--network", "none", "--name", wasm.name(), path),
                                    env={**wasm.env, "BERTH_PROGRAMS": self.folder}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def asked(self):
            return self.log.read_text().count("\n") if self.log.exists() else 0

        def waiting(self):
            return sum(program_of(p) == "berth-helper" and wasm.owns(p) for p in filter(str.isdigit, os.listdir("/proc")))
    os.mkdir(Slow.folder)
    os.mkfifo(Slow.gate)
    for program in os.listdir(wasm.programs):
        os.symlink(os.path.realpath(f"{wasm.programs}/{program}"), f"{Slow.folder}/{program}")
    os.unlink(Slow.folder + "/berth-wasmc")
    with open(Slow.folder + "/berth-wasmc", "w") as f:
        f.write(f'#!/bin/sh\n[ "$1" = compile ] && {{ echo asked >> {Slow.log}; read -r _ < {Slow.gate}; }}\n'
                f'exec {os.path.realpath(wasm.programs)}/berth-wasmc "$@"\n')
    os.chmod(Slow.folder + "/berth-wasmc", 0o755)
    return Slow()


def new_module(made, name):
    return made(name, b'(module (memory (export "memory") 1) (func (export "_start")) (data (i32.const 0) "%s"))' % os.urandom(8).hex().encode())


def test_two_creates_of_a_new_module_compile_it_once(wasm, made, slow):
    path = new_module(made, "once.wat")
    both = [slow.create(path) for _ in range(2)]
    until(lambda: slow.asked() == 1 and slow.waiting() == 1)
    open(slow.gate, "w").close()
    for p in both:
        assert p.communicate(timeout=60)[1] == b"" and p.returncode == 0
    assert slow.asked() == 1 and not [f for f in cached(wasm) if f.endswith(".lock")]


def test_a_compile_that_was_killed_is_done_by_who_waits(wasm, made, slow):
    path = new_module(made, "killed.wat")
    first = slow.create(path)
    until(lambda: slow.asked() == 1)
    second = slow.create(path)
    until(lambda: slow.waiting() == 1)
    first.kill()
    first.communicate(timeout=60)
    until(lambda: slow.asked() == 2)
    open(slow.gate, "w").close()
    assert second.communicate(timeout=60)[1] == b"" and second.returncode == 0


def test_an_imported_module_needs_no_runtime_flag(wasm, guest):
    wasm.must("image", "import", guest, "guest:named")
    assert run(wasm, "guest:named", "print by name").stdout == "by name\n"
    r = wasm.call("create", "--runtime", "container", "guest:named")
    assert r.returncode == 1 and "WebAssembly" in r.stderr


def test_an_image_with_a_module_for_its_entrypoint_is_its_root(wasm, guest):
    root = wasm.folder + "/rootfs"
    os.makedirs(root + "/etc", exist_ok=True)
    subprocess.run(["cp", guest, root + "/app.wasm"], check=True)
    open(root + "/etc/motd", "w").write("of the image\n")
    config = wasm.folder + "/config.json"
    open(config, "w").write(json.dumps({"Entrypoint": ["/app.wasm"]}))
    wasm.must("image", "import", "--config", config, root, "packed:1")
    assert run(wasm, "packed:1", "read /etc/motd").stdout == "of the image\n"
    assert run(wasm, "packed:1", "write /etc/new").returncode == 1
    r = run(wasm, "packed:1", "print x", flags=("--entrypoint", "/none.wasm"))
    assert r.returncode in (125, 127) and "/none.wasm" in r.stderr


# ---- services: tests/wasm/http.wat says what each path does

HTTP = TOP + "/tests/wasm/http.wat"


def get(url, seconds=20):
    """Code and body, as curl has them."""
    r = subprocess.run(["curl", "-s", "-m", str(seconds), "-w", "\n%{http_code}", url], capture_output=True, text=True)
    body, _, code = r.stdout.rpartition("\n")
    return int(code), body


def serve(wasm, *flags, network="bridge"):
    name = wasm.name()
    wasm.must("run", "-d", "--name", name, "--runtime", "wasm", "--network", network, *flags, HTTP)
    return name


def test_a_service_answers_at_its_own_address_and_at_a_published_port(wasm):
    name = serve(wasm, "-p", "8080")
    address, port = wasm.must("address", name, "8080"), wasm.must("port", name, "8080")
    assert get(f"http://{address}/") == (200, "hello 1\n") and get(f"http://{port}/") == (200, "hello 1\n")
    stats = wasm.json("stats", "--no-stream", name)["wasm"]
    assert stats["requests"] == 2 and stats["instantiations"] >= 2 and stats["active"] == 0
    wasm.must("stop", name)
    assert wasm.status(name)["state"] == "stopped" and get(f"http://{address}/", 1)[0] == 0
    wasm.must("start", name)
    assert wasm.must("address", name, "8080") == address and get(f"http://{address}/")[0] == 200


def test_all_exposed_ports_are_a_services_own(wasm):
    name = serve(wasm, "-P", "--set", "wasm.port=81")
    assert get(f"http://{wasm.must('port', name, '81')}/") == (200, "hello 1\n")


def test_a_trap_in_one_request_is_a_500_and_hurts_no_other(wasm):
    name = serve(wasm)
    url = f"http://{wasm.must('address', name, '8080')}"
    assert get(url + "/t")[0] == 500 and get(url + "/m")[0] == 500 and get(url + "/")[0] == 200
    assert wasm.status(name)["state"] == "running"
    assert "unreachable" in wasm.call("logs", name).stderr
    stats = wasm.json("stats", "--no-stream", name)["wasm"]
    assert stats["traps"] >= 1 and stats["memory_outs"] == 1


def test_one_that_computes_for_ever_is_ended_and_stopped_in_time(wasm):
    name = serve(wasm, "--set", "wasm.time_limit=300ms")
    url = f"http://{wasm.must('address', name, '8080')}"
    busy = subprocess.Popen(["curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", url + "/s"], stdout=subprocess.PIPE, text=True)
    assert get(url + "/")[0] == 200
    assert int(busy.communicate()[0]) in (500, 504)
    assert wasm.json("stats", "--no-stream", name)["wasm"]["timeouts"] == 1


def test_an_idle_service_ends_and_the_next_request_starts_it(wasm):
    name = serve(wasm, "-p", "8080", "--set", "wasm.idle_timeout=200ms")
    port = wasm.must("port", name, "8080")
    assert wasm.status(name)["started"] # tried at its start, and not at the first request
    for _ in range(3):
        until(lambda: wasm.status(name)["idle"])
        assert wasm.status(name)["state"] == "running"
        assert get(f"http://{port}/") == (200, "hello 1\n")
    until(lambda: wasm.status(name)["idle"])
    wasm.must("stop", name)
    assert wasm.status(name)["state"] == "stopped"


def test_a_container_reaches_a_service_by_its_name(wasm):
    name = serve(wasm)
    other = wasm.name()
    out = wasm.must("run", "--rm", "--name", other, "tiny", "wget", "-q", "-O", "-", f"http://{name}:8080/")
    assert out == "hello 1"


def test_exec_in_a_service_says_what_it_can_do(wasm):
    name = serve(wasm)
    r = wasm.call("exec", name, "anything")
    assert r.returncode == 125 and "--invoke" in r.stderr


def test_exec_in_an_idle_service_wakes_it(wasm):
    name = serve(wasm, "--set", "wasm.idle_timeout=1s")
    until(lambda: wasm.status(name)["idle"])
    r = wasm.call("exec", name, "/other.wasm")
    assert r.returncode == 125 and "--invoke" in r.stderr
    assert wasm.must("exec", "--invoke", "ping()", name) == "7"
    assert wasm.must("exec", "--invoke", "ping()", name) == "7" # beside the worker that it woke
    assert wasm.status(name)["state"] == "running"
    until(lambda: wasm.status(name)["idle"])


# ---- hostile ones

@pytest.fixture
def made(wasm, tmp_path):
    def write(name, data):
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)
    return write


def refused(wasm, path, *says, flags=()):
    before = wasm.listing()
    r = wasm.call("--json", "create", "--runtime", "wasm", "--network", "none", *flags, path)
    assert r.returncode == 1, r.stdout
    error = json.loads(r.stderr)["error"]
    assert all(word in error["message"] for word in says), error
    assert not {what for what in wasm.listing() - before if not what.startswith("process")} # helpers tidy up behind others
    return error["code"]


def sections(data):
    """Where each section of a core module begins."""
    at, found = 8, []
    while at < len(data):
        found.append(at)
        at, shift, size = at + 1, 0, 0
        while True:
            byte = data[at]
            size |= (byte & 0x7f) << shift
            at, shift = at + 1, shift + 7
            if not byte & 0x80:
                break
        at += size
    return found


def test_a_module_cut_at_every_section_is_refused_and_leaves_nothing(wasm, guest, made):
    data = open(guest, "rb").read()
    for at in [p + 3 for p in sections(data) if p + 3 < len(data)][:12]:
        assert refused(wasm, made("cut.wasm", data[:at])) in ("INVALID", "CORRUPT")


def test_what_only_looks_like_a_module_is_refused(wasm, made):
    assert refused(wasm, made("junk.wasm", b"\0asm\1\0\0\0" + os.urandom(4000))) in ("INVALID", "CORRUPT")
    assert refused(wasm, made("eight.wasm", b"\0asm\x0d\0\1\0\xff\xff")) in ("INVALID", "CORRUPT")
    refused(wasm, made("empty.wasm", b""))


def test_a_component_in_a_modules_place_is_refused(wasm, guest, made):
    component = made("component.wasm", b"\0asm\x0d\0\1\0")
    assert refused(wasm, component, "wasm.kind", "is a component", flags=("--set", "wasm.kind=module")) == "INVALID"
    assert refused(wasm, guest, "wasm.kind", "is a module", flags=("--set", "wasm.kind=component")) == "INVALID"


def test_a_missing_import_is_named_by_start_and_the_state_is_failed(wasm, made):
    path = made("wants.wat", b'(module (import "env" "teleport" (func)) (func (export "_start") call 0) (memory (export "memory") 1))')
    name = wasm.name()
    wasm.must("create", "--runtime", "wasm", "--network", "none", "--name", name, path)
    r = wasm.call("start", name)
    assert r.returncode == 1 and "teleport" in r.stderr
    status = wasm.status(name)
    assert status["state"] == "failed" and "teleport" in status["reason"]


def test_a_memory_larger_than_the_limit_is_refused_in_words(wasm, made):
    path = made("huge.wat", b'(module (memory (export "memory") 65536) (func (export "_start")))')
    r = wasm.call("run", "--rm", "--runtime", "wasm", "--network", "none", "-m", "64m", path)
    assert r.returncode != 0 and "memory" in r.stderr


def test_a_guest_that_never_returns_is_stopped_and_one_that_never_starts_too(wasm, guest, made):
    name = in_background(wasm, guest, "print spinning", "spin")
    until(lambda: wasm.must("logs", name) == "spinning")
    started = time.monotonic()
    wasm.must("stop", "--timeout", "2s", name)
    assert time.monotonic() - started < 10
    loop = made("loop.wat", b'(module (func $f (loop br 0)) (start $f) (memory (export "memory") 1) (func (export "_start")))')
    name = wasm.name()
    wasm.must("run", "-d", "--runtime", "wasm", "--name", name, "--network", "none", loop)
    wasm.must("stop", "--timeout", "1s", name)


def test_special_files_in_a_folder_hold_nobody_up(wasm, guest):
    folder = wasm.folder + "/special"
    os.makedirs(folder, exist_ok=True)
    if not os.path.exists(folder + "/fifo"):
        os.mkfifo(folder + "/fifo")
    r = wasm.call("run", "--rm", "--network", "none", "-v", folder + ":/x", "--runtime", "wasm", guest, "print alive", timeout=30)
    assert r.stdout == "alive\n"
    name = in_background(wasm, guest, "wait", flags=("-v", folder + ":/x"))
    r = wasm.call("exec", name, "/x/fifo", timeout=30)
    assert r.returncode == 126


def test_links_and_dots_lead_nowhere(wasm, guest):
    folder = wasm.folder + "/links"
    os.makedirs(folder, exist_ok=True)
    for name, to in (("passwd", "/etc/passwd"), ("up", "../../../../../etc/passwd"), ("root", "/")):
        if not os.path.islink(f"{folder}/{name}"):
            os.symlink(to, f"{folder}/{name}")
    for path in ("/x/passwd", "/x/up", "/x/root/etc/passwd", "/x/../x/../../etc/passwd", "/proc/self/root/etc/passwd"):
        r = run(wasm, guest, "read " + path, flags=("-v", folder + ":/x"))
        assert r.returncode == 1 and "root:" not in r.stdout, (path, r)


def test_an_export_is_called(wasm, made):
    path = made("add.wat", b'(module (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))')
    r = wasm.call("run", "--rm", "--runtime", "wasm", "--network", "none", "--invoke", "add(2, 3)", path)
    assert (r.returncode, r.stdout) == (0, "5\n"), r.stderr
    r = wasm.call("run", "--rm", "--runtime", "wasm", "--network", "none", path)
    assert r.returncode == 125 and "wasm.trigger" in r.stderr
    assert "it is no WebAssembly module" not in wasm.call("image", "verify").stdout # though what is kept is its text


def test_an_export_of_a_running_module_is_called_by_exec(wasm, made):
    path = made("both.wat", b"""(module (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 24) "\\00\\10\\a5\\d4\\e8\\00\\00\\00")
        (func (export "_start") (loop $l (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128))) (br $l)))
        (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))""")
    name = wasm.name()
    wasm.must("run", "-d", "--name", name, "--runtime", "wasm", "--network", "none", path)
    assert wasm.must("exec", "--invoke", "add(20, 22)", name) == "42"
    r = wasm.call("exec", "--invoke", "nope()", name)
    assert r.returncode == 125 and "add" in r.stderr


def test_a_flood_of_output_keeps_to_the_logs_limits(wasm, guest):
    mib = 10240 if LONG else 200
    name = in_background(wasm, guest, f"flood {mib}", "print the end", flags=("--log-opt", "max-size=1m", "--log-opt", "max-file=2"))
    until(lambda: wasm.status(name)["state"] == "completed", 600)
    assert wasm.must("logs", "-n", "1", name) == "the end"
    folder = wasm.json("inspect", name)["paths"]["folder"] + "/log"
    assert sum(os.path.getsize(f"{folder}/{f}") for f in os.listdir(folder)) < 8 << 20


def test_what_a_missing_file_is_called(wasm):
    r = wasm.call("create", "./no-such-module.wasm")
    assert r.returncode == 1 and "no-such-module.wasm" in r.stderr and "No such file" in r.stderr
    r = wasm.call("image", "compile", "no-such-image:1")
    assert r.returncode == 1 and "no-such-image" in r.stderr


def test_a_rule_that_is_none_is_refused_by_create(wasm, guest):
    for rule in ("10.0.0.0/99", "name:99999", ""):
        spec = wasm.folder + "/rules.json"
        open(spec, "w").write(json.dumps({"image": guest, "runtime": "wasm", "wasm": {"allowed_hosts": [rule]}}))
        r = wasm.call("create", "--spec", spec)
        assert r.returncode in (1, 2) and "wasm.allowed_hosts" in r.stderr, (rule, r.stderr)
