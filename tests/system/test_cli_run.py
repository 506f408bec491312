# SPDX-License-Identifier: Apache-2.0
"""run in the foreground: nothing of a short program is missed, and --rm does not depend on the command."""
import json, os, pty, select, signal, subprocess, time, uuid
import pytest
from place import until
from test_cli_life import popen

pytestmark = pytest.mark.kernel

NONE = ["--network", "none"]


def test_run_without_a_log_loses_nothing_of_a_program_that_ends_at_once(berth):
    for i in range(20):
        assert berth.call("run", "--rm", *NONE, "--log-driver", "none", "tiny", "echo", f"line {i}").stdout == f"line {i}\n"


def test_run_without_a_log_waits_for_a_slow_reader(berth):
    name = berth.name()
    p = popen(berth, "run", "--name", name, *NONE, "--log-driver", "none", "tiny", "sh", "-c", "seq 1 400000; echo err >&2; exit 3")
    until(lambda: berth.states().get(name) == "running")
    out, err = p.communicate(timeout=60)
    assert out == "".join(f"{i}\n" for i in range(1, 400001)) and err == "err\n" and p.returncode == 3


def test_run_without_a_log_stops_no_detached_program(berth):
    name = berth.run("sh", "-c", "head -c 5000000 /dev/zero; echo done > /done; sleep 60", flags=["--log-driver", "none"])
    until(lambda: berth.call("exec", name, "cat", "/done").stdout == "done\n")


def test_start_a_shows_the_whole_of_a_short_program_without_a_log(berth):
    name = berth.name()
    berth.must("create", "--name", name, *NONE, "--log-driver", "none", "tiny", "echo", "here")
    assert [berth.must("start", "-a", name) for _ in range(3)] == ["here"] * 3


def test_run_rm_is_done_though_the_command_was_killed(berth):
    name = berth.name()
    p = popen(berth, "run", "--rm", "--name", name, *NONE, "tiny", "sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done")
    until(lambda: berth.states().get(name) == "running")
    p.kill()
    p.wait()
    berth.must("exec", name, "touch", "/go")
    until(lambda: name not in berth.states())


def test_run_rm_is_done_though_the_command_was_killed_after_the_end(berth):
    name = berth.name()
    p = popen(berth, "run", "--rm", "--name", name, *NONE, "tiny", "sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done")
    until(lambda: berth.states().get(name) == "running")
    p.send_signal(signal.SIGSTOP)
    berth.must("exec", name, "touch", "/go")
    until(lambda: berth.states().get(name) == "completed")
    time.sleep(0.2)
    assert berth.states().get(name) == "completed" # kept for the one who has not looked yet
    p.kill()
    p.wait()
    until(lambda: name not in berth.states())


def test_run_rm_keeps_output_and_code_of_a_program_that_ends_at_once(berth):
    for i in range(10):
        r = berth.call("run", "--rm", *NONE, "tiny", "sh", "-c", f"seq 1 20000; exit {i + 1}")
        assert (r.returncode, r.stdout.count("\n"), r.stderr) == (i + 1, 20000, "")
    assert not berth.workloads()


def test_wait_ends_though_another_still_looks_at_the_end(berth):
    name = berth.name()
    p = popen(berth, "run", "--rm", "--name", name, *NONE, "tiny", "sh", "-c", "while [ ! -e /go ]; do sleep 0.02; done; exit 4")
    until(lambda: berth.states().get(name) == "running")
    waiter = popen(berth, "wait", name)
    p.send_signal(signal.SIGSTOP)
    time.sleep(0.1)
    berth.must("exec", name, "touch", "/go")
    assert waiter.communicate(timeout=20)[0] == "4\n"
    p.send_signal(signal.SIGCONT)
    assert p.wait(20) == 4
    until(lambda: name not in berth.states())


def test_privileged_has_the_hosts_devices_and_others_have_not(berth):
    device = next(f"/dev/{n}" for n in ("kmsg", "loop0", "loop-control", "fuse") if os.path.exists(f"/dev/{n}"))
    number = os.stat(device).st_rdev
    look = ["stat", "-c", "%t:%T", device]
    wanted = f"{os.major(number):x}:{os.minor(number):x}"
    assert berth.must("run", "--rm", *NONE, "--privileged", "tiny", *look) == wanted
    assert berth.call("run", "--rm", *NONE, "tiny", *look).returncode != 0
    assert berth.must("run", "--rm", *NONE, "--privileged", "tiny", "stat", "-c", "%F", "/dev/pts") == "directory"


def terminal(berth, *words):
    """The command with a terminal of its own: the process and the terminal's other side."""
    ours, theirs = pty.openpty()
    p = subprocess.Popen(berth.argv(*words), env=berth.env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    return p, ours


def until_seen(fd, text, seconds=20):
    seen, end = b"", time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < end, seen
        if select.select([fd], [], [], 0.5)[0]:
            seen += os.read(fd, 4096)
    return seen


def test_exec_it_leaves_its_program_at_the_detach_keys(berth):
    name = berth.run("sleep", "100")
    p, fd = terminal(berth, "exec", "-it", "--detach-keys", "ctrl-x,x", name, "sh", "-c", "echo up; trap 'echo > /gone; exit' HUP; while :; do sleep 0.05; done")
    until_seen(fd, b"up")
    os.write(fd, b"\x18x")
    assert p.wait(20) == 0
    os.close(fd)
    time.sleep(0.3)
    assert berth.call("exec", name, "test", "-e", "/gone").returncode == 1
    assert "echo up" in berth.must("exec", "--list", name)


def test_exec_with_bad_detach_keys_is_refused(berth):
    r = berth.call("exec", "--detach-keys", "control-p", "nobody", "sh")
    assert r.returncode != 0 and "--detach-keys" in r.stderr or "nobody" in r.stderr


def test_run_it_sees_the_next_run_after_a_policy_restart(berth):
    name = berth.name()
    p, fd = terminal(berth, "run", "-it", "--name", name, *NONE, "--restart", "on-failure:5", "tiny",
                     "sh", "-c", "echo run $(cat /n 2>/dev/null); echo again >> /n; read line; echo got $line; exit 1")
    until_seen(fd, b"run\r\n")
    os.write(fd, b"one\n")
    until_seen(fd, b"run again\r\n")
    os.write(fd, b"two\n")
    until_seen(fd, b"got two")
    until_seen(fd, b"run again again\r\n")
    berth.must("stop", "-t", "0", name)
    p.wait(20)
    os.close(fd)


def test_status_says_the_exit_code_once(berth):
    name = berth.name()
    berth.call("run", "--name", name, *NONE, "tiny", "sh", "-c", "exit 3")
    line = berth.must("status", name).splitlines()[0]
    assert line.startswith(f"{name} failed: exit code 3, ran ") and "exit 3" not in line


def test_more_cores_than_the_machine_has_are_refused(berth):
    r = berth.call("run", "--rm", *NONE, "--cpus", "10000", "tiny", "true")
    assert r.returncode == 125 and "10000 cores, and this machine has" in r.stderr


def test_joining_one_that_does_not_run_names_it(berth):
    name = berth.name()
    berth.must("create", "--name", name, *NONE, "tiny", "true")
    r = berth.call("run", "--rm", *NONE, "--pid", f"container:{name}", "tiny", "true")
    assert r.returncode == 125 and f"namespaces: {name}, whose namespace" in r.stderr and r.stderr.count("\n") == 1


def test_ipc_of_another_shares_its_shm(berth):
    name = berth.run("sh", "-c", "echo shared > /dev/shm/f; exec sleep 100", flags=["--ipc", "shareable"])
    until(lambda: berth.call("exec", name, "cat", "/dev/shm/f").stdout == "shared\n")
    assert berth.must("run", "--rm", *NONE, "--ipc", f"container:{name}", "tiny", "cat", "/dev/shm/f") == "shared"


def test_df_counts_and_says_what_can_go(berth):
    name = berth.name()
    berth.must("volume", "create", name + "v")
    berth.must("run", "--name", name, *NONE, "tiny", "sh", "-c", "head -c 3000000 /dev/zero > /big; seq 1 100000")
    berth.must("image", "prune", "-a", "-f") # what tests before this one brought
    rows = {line.split()[0]: line for line in berth.must("df").splitlines()}
    assert " - " not in "".join(rows.values())
    df = berth.json("df")
    assert df["workloads_count"] >= 1 and df["workloads_reclaimable_bytes"] >= 3000000
    assert df["logs_count"] >= 1 and df["logs_reclaimable_bytes"] > 500000 and df["volumes_count"] >= 1
    assert df["images_count"] == len(berth.must("images", "-q").split()) and df["images_reclaimable_bytes"] == 0 # tiny is in use
    berth.must("rm", name)
    assert berth.json("df")["images_reclaimable_bytes"] > 1000000 or berth.workloads()
    berth.must("volume", "rm", name + "v")


def test_events_can_be_filtered_and_end_now(berth):
    name = berth.name()
    berth.call("run", "--name", name, *NONE, "tiny", "sh", "-c", "exit 3")
    events = berth.json("events", "--until", "now", "-f", "event=die", "-f", "event=start", "-f", f"container={name}")
    assert [e["type"] for e in events] == ["start", "die"]
    assert berth.must("events", "--until", "now", "-f", f"name={name}", "--format", "{{.Action}} {{.type}}").splitlines()[-1] == "die die"
    r = berth.call("events", "--until", "now", "-f", "evnt=die")
    assert r.returncode == 2 and "did you mean event?" in r.stderr


def test_what_a_docker_user_types(berth, tmp_path):
    name = berth.name()
    berth.must("create", "--name", name, *NONE, "tiny", "true")
    assert [w["name"] for w in berth.json("ps", "-l")] == [name] if isinstance(berth.json("ps", "-l"), list) else berth.json("ps", "-l")["name"] == name
    assert "tiny" in berth.must("images", "-a")
    tar = subprocess.run(berth.argv("save", "--format", "docker-archive", "tiny"), env=berth.env, capture_output=True, timeout=60)
    assert tar.returncode == 0 and tar.stderr == b""
    (tmp_path / "tiny.tar").write_bytes(tar.stdout)
    r = berth.call("load", "-q", "-i", str(tmp_path / "tiny.tar"))
    assert r.returncode == 0 and "tiny" in r.stdout and r.stderr == ""


def test_status_tells_an_idle_one(berth):
    name = berth.run("sleep", "100", flags=["--set", 'sockets=[{"name":"s","address":"127.0.0.1","port":7777,"on_demand":true}]'])
    status = berth.status(name)
    assert status["state"] == "running" and status["idle"] is True and status["pid"] == 0
    other = berth.run("sleep", "100")
    assert berth.status(other)["idle"] is False


def test_run_and_create_take_archives_and_layouts(berth, tmp_path):
    berth.must("--quiet", "save", "--format", "docker", "-o", str(tmp_path / "t.tar"), "tiny")
    berth.must("--quiet", "save", "-o", str(tmp_path / "layout") + "/", "tiny")
    assert berth.must("run", "--rm", *NONE, f"docker-archive:{tmp_path}/t.tar", "echo", "one") == "one"
    name = berth.name()
    p = subprocess.run(berth.argv("create", "--name", name, *NONE, "oci:layout:latest", "echo", "two"), cwd=tmp_path, env=berth.env,
                       capture_output=True, text=True, timeout=60)
    assert p.returncode == 0, p.stderr
    subprocess.run(["rm", "-rf", str(tmp_path / "layout")], check=True)
    assert berth.must("start", "-a", name) == "two"
    r = berth.call("run", "--rm", *NONE, f"docker-archive:{tmp_path}/none.tar", "true")
    assert r.returncode == 125 and "none.tar" in r.stderr and r.stderr.count("\n") == 1
    assert name in berth.states() and len(berth.states()) == 1


def test_dockers_other_spellings_are_the_same_verbs(berth):
    name = berth.name()
    berth.must("container", "run", "-d", "--name", name, *NONE, "tiny", "sleep", "100")
    assert berth.must("container", "ls", "-q") == berth.must("ps", "-q") != ""
    assert berth.must("container", "inspect", "-f", "{{.State.Status}} {{.State.Running}} {{.Name}} {{.Config.Image}}", name) == f"running true {name} tiny:latest"
    assert berth.must("system", "df") and berth.must("system", "info") == berth.must("info")
    assert berth.call("container").returncode == 2 and berth.call("system").returncode == 2
    assert berth.call("container", "pull", "x").returncode == 2
    assert berth.must("-v") == berth.must("--version")


def test_inspect_finds_images_and_volumes_too(berth):
    volume = berth.must("volume", "create")
    assert berth.json("inspect", volume)["name"] == volume
    berth.must("volume", "rm", volume)
    ident = berth.must("images", "-q", "tiny")
    assert len(ident) == 12 and berth.must("inspect", "-f", "{{.id}}", "tiny").startswith("sha256:" + ident)
    assert berth.must("run", "--rm", *NONE, ident, "echo", "by id") == "by id"
    r = berth.call("inspect", "nosuch")
    assert r.returncode == 1 and 'no workload, image or volume "nosuch"' in r.stderr
    assert berth.call("inspect", "--type", "container", "tiny").returncode == 1
    assert berth.call("inspect", "--type", "thing", "tiny").returncode == 2


def test_a_childs_end_by_memory_is_told_while_the_main_program_goes_on(berth):
    name = berth.run("sh", "-c", "tail /dev/zero; echo survived; sleep 100", flags=["-m", "32m", "--memory-swap", "32m"])
    until(lambda: "survived" in berth.must("logs", name), 30)
    until(lambda: berth.status(name)["oom"] == "child")
    status = berth.status(name)
    assert status["state"] == "running" and "out of memory in a child" in status["reason"]
    assert f"{name} running: out of memory in a child" in berth.must("status", name)
    berth.must("stop", "-t", "0", name)
    events = berth.json("events", "--until", "now", "-f", f"name={name}", "-f", "event=oom")
    assert (events if isinstance(events, dict) else events[0])["oom"] == "child" and not isinstance(events, list)


def test_a_secret_belongs_to_a_user_by_name(berth, tmp_path):
    (tmp_path / "key").write_text("hidden")
    secret = '--set=secrets=[{"name":"key","source":"%s","user":"%s"}]'
    assert berth.must("run", "--rm", *NONE, secret % (tmp_path / "key", "root"), "tiny", "stat", "-c", "%u:%g %a", "/run/secrets/key") == "0:0 400"
    other = [l.split(":") for l in berth.must("run", "--rm", *NONE, "tiny", "cat", "/etc/passwd").splitlines() if ":0:0:" not in l]
    for name, _, uid, gid, *_ in other[:1]:
        assert berth.must("run", "--rm", *NONE, secret % (tmp_path / "key", name), "tiny", "stat", "-c", "%u:%g", "/run/secrets/key") == f"{uid}:{gid}"
    assert berth.must("run", "--rm", *NONE, secret % (tmp_path / "key", "12:34"), "tiny", "stat", "-c", "%u:%g", "/run/secrets/key") == "12:34"
    r = berth.call("run", "--rm", *NONE, secret % (tmp_path / "key", "nosuch"), "tiny", "true")
    assert r.returncode == 125 and "nosuch" in r.stderr and "secrets.key" in r.stderr


@pytest.mark.parametrize("flag", ["--restart", "--ulimit", "--workdir", "-v", "--network", "--hostname", "-e", "--name"])
def test_a_flag_that_is_no_utf8_is_refused(berth, flag):
    r = berth.call("create", "--dry-run", flag, b"a=\xff".decode(errors="surrogateescape"), "tiny")
    assert r.returncode == 2 and "the value is not UTF-8" in r.stderr, (r.returncode, r.stderr)


# ---- fields of the spec that nothing else tries ------------------------------------------------------------

@pytest.fixture
def cdi():
    """A maker's file, of a name that nobody else has."""
    kind = "berth.test/c" + uuid.uuid4().hex[:8]
    path = f"/etc/cdi/{kind.replace('/', '-')}.json"
    os.makedirs("/etc/cdi", exist_ok=True)
    with open(path, "w") as f:
        json.dump({"cdiVersion": "0.5.0", "kind": kind, "containerEdits": {"env": ["FROM_MAKER=all"]},
                   "devices": [{"name": "zero", "containerEdits": {
                       "deviceNodes": [{"path": "/dev/made", "hostPath": "/dev/zero"}], "env": ["FROM_DEVICE=zero"],
                       "mounts": [{"hostPath": path, "containerPath": "/opt/driver.json", "options": ["ro", "bind"]}]}}]}, f)
    yield kind
    os.unlink(path)
    if not os.listdir("/etc/cdi"):
        os.rmdir("/etc/cdi")


def test_a_device_by_its_cdi_name(berth, cdi):
    inside = "head -c 3 /dev/made | od -An -tx1; echo $FROM_MAKER $FROM_DEVICE; grep -c cdiVersion /opt/driver.json; touch /opt/driver.json"
    r = berth.call("run", "--rm", *NONE, "--device", cdi + "=zero", "tiny", "sh", "-c", inside)
    assert r.stdout.split() == ["00", "00", "00", "all", "zero", "1"] and r.returncode == 1 and "Read-only" in r.stderr
    for name in (cdi + "=other", "berth.test/nobody=zero"):
        r = berth.call("run", "--rm", *NONE, "--device", name, "tiny", "true")
        assert r.returncode == 125 and name in r.stderr


def test_block_devices_have_their_rates(berth):
    disk = next((d for d in os.listdir("/sys/block") if os.path.exists("/dev/" + d)), None)
    if not disk:
        pytest.skip("no block device")
    numbers = open(f"/sys/block/{disk}/dev").read().strip()
    flags = ["--device-read-bps", f"/dev/{disk}:1m", "--device-write-iops", f"/dev/{disk}:50"]
    name = berth.run("sleep", "60", flags=flags)
    group = [l.split(":", 2) for l in open(f"/proc/{berth.status(name)['pid']}/cgroup").read().splitlines()]
    v1 = next((path for _, controllers, path in group if "blkio" in controllers.split(",")), None)
    if v1:
        read = lambda what: open(f"/sys/fs/cgroup/blkio{v1}/blkio.throttle.{what}_device").read().split("\n")
        assert f"{numbers} {1 << 20}" in read("read_bps") and f"{numbers} 50" in read("write_iops")
    else:
        line = open("/sys/fs/cgroup" + next(path for number, _, path in group if number == "0") + "/io.max").read()
        assert {numbers, "rbps=1048576", "wiops=50"} <= set(line.split())


def test_a_plan_of_another_berth_is_made_anew(berth):
    name = berth.name()
    berth.must("create", "--name", name, *NONE, "tiny", "echo", "of this one")
    path = f"{berth.env['BERTH_ROOT']}/workloads/{berth.status(name)['id']}/plan.json"
    plan = json.load(open(path))
    plan["stamp"], plan["argv"] = "0.0.1 of long ago", ["echo", "of another"]
    json.dump(plan, open(path, "w"))
    assert berth.must("start", "-a", name) == "of this one"
    assert json.load(open(path))["stamp"] != "0.0.1 of long ago"


def test_who_may_not_open_the_store_is_told_what_to_type(bare, tmp_path):
    os.mkdir(tmp_path / "theirs", 0o700)
    os.chown(tmp_path / "theirs", 65534, 65534)
    user = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", "--ambient-caps=-all")
    for verb, *words in (["ps"], ["images"], ["logs", "web"], ["status", "web"], ["pull", "nginx"]):
        r = bare.call(verb, *words, wrap=user, env={"BERTH_ROOT": str(tmp_path / "theirs")})
        assert r.returncode == 1 and f"Permission denied; run it as root: sudo berth {verb}" in r.stderr, (verb, r.stderr)
        assert "sudo" not in bare.call(verb, *words).stderr
    r = bare.call("doctor", wrap=user, env={"BERTH_ROOT": str(tmp_path / "theirs")})
    assert r.returncode == 1 and "run berth as root" in r.stdout and "of that version" not in r.stdout


def test_who_lacks_a_capability_is_told_which_and_what_to_type(berth):
    name = berth.run("sleep", "60")
    for verb, *words in (["create", *NONE, "tiny", "true"], ["start", name], ["rm", "-f", name], ["kill", name], ["exec", "--list", name],
                         ["cp", name + ":/etc/passwd", "-"], ["rmi", "tiny"], ["network", "create", "more"]):
        r = berth.call(verb, *words, wrap=("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "--ambient-caps=-all"))
        assert r.returncode in (1, 125) and "CAP_SYS_ADMIN" in r.stderr and f"run it as root: sudo berth {verb}" in r.stderr, (verb, r.stderr)
