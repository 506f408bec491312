# SPDX-License-Identifier: Apache-2.0
"""The verbs on real containers of the tiny image: what is printed, what the exit codes are."""
import json, os, pty, re, signal, subprocess, time
import pytest
from place import PROGRAMS, until

pytestmark = pytest.mark.kernel

QUICK = ["--network", "none", "--rm"]


def popen(berth, *words, **kw):
    return subprocess.Popen(berth.argv(*words), env=berth.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **{"stdin": subprocess.DEVNULL, **kw})


# ---- create, start, run ------------------------------------------------------------------------------

def test_create_prints_the_id_and_starts_nothing(berth):
    name = berth.name()
    ident = berth.must("create", "--name", name, "--network", "none", "tiny", "sleep", "60")
    assert re.fullmatch("[0-9a-f]{32}", ident)
    assert berth.status(name)["state"] == "created"
    assert berth.must("start", name) == name
    assert berth.status(name)["state"] == "running"
    assert berth.status(ident[:10])["name"] == name


def test_run_shows_output_and_gives_the_programs_code(berth):
    r = berth.call("run", *QUICK, "tiny", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (r.returncode, r.stdout, r.stderr) == (7, "out\n", "err\n")


def test_run_gives_128_and_the_signal(berth):
    assert berth.call("run", *QUICK, "--init", "tiny", "sh", "-c", "kill -USR1 $$").returncode == 128 + signal.SIGUSR1


@pytest.mark.parametrize("words, code", [(["/no/such/program"], 127), (["/etc/passwd"], 126)])
def test_run_tells_not_found_from_not_executable(berth, words, code):
    r = berth.call("run", *QUICK, "tiny", *words)
    assert r.returncode == code and r.stdout == "" and words[0] in r.stderr and r.stderr.startswith("berth: run ")


def test_run_of_a_missing_image_is_125_and_leaves_nothing(berth):
    before = berth.must("ps", "-aq")
    r = berth.call("run", *QUICK, "--pull", "never", "nosuch:1", "true")
    assert r.returncode == 125 and "nosuch:1" in r.stderr and "berth pull" in r.stderr
    assert berth.must("ps", "-aq") == before


def test_run_without_a_network_is_on_the_default_one(berth):
    assert "eth0" in berth.must("run", "--rm", "tiny", "ip", "-o", "addr")


def test_run_rm_leaves_nothing(berth):
    name = berth.name()
    berth.must("run", *QUICK, "--name", name, "tiny", "true")
    until(lambda: berth.call("status", name).returncode == 1)


def test_run_reads_standard_input(berth):
    r = subprocess.run(berth.argv("run", *QUICK, "-i", "tiny", "sh", "-c", "tr a-z A-Z; echo end"), env=berth.env, input="hello\n" * 5000,
                       capture_output=True, text=True, timeout=30)
    assert r.returncode == 0 and r.stdout == "HELLO\n" * 5000 + "end\n"


def test_run_without_i_gives_no_input(berth):
    r = subprocess.run(berth.argv("run", *QUICK, "tiny", "cat"), env=berth.env, input="hello\n", capture_output=True, text=True, timeout=30)
    assert (r.returncode, r.stdout) == (0, "")


def test_run_d_prints_the_id_and_cidfile_has_it(berth, tmp_path):
    name = berth.name()
    ident = berth.must("run", "-d", "--name", name, "--network", "none", "--cidfile", str(tmp_path / "id"), "tiny", "sleep", "60")
    assert (tmp_path / "id").read_text() == ident
    r = berth.call("run", *QUICK, "--cidfile", str(tmp_path / "id"), "tiny", "true")
    assert r.returncode == 125 and "cidfile" in r.stderr


def test_the_same_name_twice_hurts_nobody(berth):
    name = berth.run("sleep", "60")
    r = berth.call("--json", "create", "--name", name, "--network", "none", "tiny", "true")
    assert r.returncode == 1 and json.loads(r.stderr)["error"]["code"] == "EXISTS"
    assert berth.status(name)["state"] == "running"


def test_signals_reach_the_program(berth):
    name = berth.name()
    p = popen(berth, "run", "--name", name, "--network", "none", "tiny", "sh", "-c", "trap 'echo got; exit 3' USR1; echo up; while :; do sleep 0.1; done")
    assert p.stdout.readline() == "up\n"
    p.send_signal(signal.SIGUSR1)
    out, _ = p.communicate(timeout=10)
    assert (out, p.returncode) == ("got\n", 3)


def test_without_sig_proxy_the_workload_goes_on(berth):
    name = berth.name()
    p = popen(berth, "run", "--sig-proxy=false", "--name", name, "--network", "none", "tiny", "sh", "-c", "echo up; sleep 60")
    assert p.stdout.readline() == "up\n"
    p.send_signal(signal.SIGTERM)
    p.communicate(timeout=10)
    assert p.returncode == 128 + signal.SIGTERM
    assert berth.status(name)["state"] == "running"


def test_a_dead_reader_ends_the_command_and_not_the_workload(berth):
    name = berth.name()
    p = popen(berth, "run", "--name", name, "--network", "none", "tiny", "sh", "-c", "while :; do echo line; sleep 0.05; done")
    p.stdout.readline()
    p.stdout.close()
    assert p.wait(timeout=10) == -signal.SIGPIPE
    assert berth.status(name)["state"] == "running"


def test_start_a_follows_and_gives_the_code(berth):
    name = berth.name()
    berth.must("create", "--name", name, "--network", "none", "tiny", "sh", "-c", "echo again; exit 5")
    for _ in range(2):
        r = berth.call("start", "-a", name)
        assert (r.returncode, r.stdout) == (5, "again\n")


def test_detached_by_keys(berth):
    name = berth.name()
    master, slave = pty.openpty()
    p = popen(berth, "run", "-it", "--name", name, "--network", "none", "tiny", "sh", "-c", "echo ready; cat", stdin=slave)
    assert p.stdout.readline().strip() == "ready"
    os.write(master, b"\x10\x11")
    assert p.wait(timeout=10) == 0
    assert berth.status(name)["state"] == "running"
    os.close(master), os.close(slave)


def test_attach_to_a_terminal_returns_with_the_programs_end(berth):
    name = berth.name()
    berth.must("run", "-dit", "--name", name, "--network", "none", "tiny", "sh", "-c", "read line; exit 4")
    master, slave = pty.openpty()
    p = popen(berth, "attach", name, stdin=slave)
    os.write(master, b"go\n")
    assert p.wait(timeout=10) == 4
    os.close(master), os.close(slave)


def test_what_is_refused_names_it_as_it_is_called_now(berth):
    old, new = berth.run("sleep", "60"), berth.name()
    berth.must("rename", old, new)
    berth.must("pause", new)
    for words in (["pause", new], ["exec", new, "true"]):
        assert berth.call(*words).stderr == f"berth: {words[0]} {new}: it is paused\n"


def test_a_format_takes_dockers_columns_and_refuses_unknown_ones(berth):
    name = berth.run("sleep", "60")
    assert berth.must("ps", "-f", "name=" + name, "--format", "{{.Names}} {{.State}} {{.Image}}") == name + " running tiny:latest"
    assert json.loads(berth.must("ps", "-f", "name=" + name, "--format", "json"))["name"] == name
    assert berth.must("inspect", "-f", "{{.status.state}}", name) == "running"
    assert "tiny:latest" in berth.must("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    for words in (["ps"], ["inspect", name], ["status", name], ["stats", "--no-stream", name], ["images"]):
        r = berth.call(*words, "--format", "{{.nosuch}}")
        assert r.returncode == 2 and "nosuch" in r.stderr and not r.stdout, words


def test_doctor_finds_nothing_wrong_with_ended_workloads(berth):
    name = berth.run("true")
    berth.must("wait", name)
    check = [each for each in berth.json("doctor") if each["check"] == "groups"]
    assert check[0]["ok"], check


def test_cp_to_a_file_with_a_slash_at_its_end_is_refused(berth, tmp_path):
    name = berth.run("sleep", "60")
    (tmp_path / "f").write_text("other")
    r = berth.call("cp", str(tmp_path / "f"), name + ":/etc/passwd/")
    assert r.returncode == 1 and "not a folder" in r.stderr
    assert "root" in berth.must("exec", name, "cat", "/etc/passwd")


def test_volume_ls_counts_users(berth):
    berth.run("sleep", "60", flags=["-v", "counted:/x"])
    try:
        line = [l for l in berth.must("volume", "ls").splitlines() if l.startswith("counted ")][0]
        assert re.search(r"\s1\s+/", line), line
    finally:
        berth.call("rm", "-f", berth.names[-1])
        berth.must("volume", "rm", "counted")


def test_image_load_reads_standard_input(berth, tmp_path):
    tar = str(tmp_path / "i.tar")
    berth.must("image", "save", "-o", tar, "tiny")
    with open(tar) as f:
        r = subprocess.run(berth.argv("image", "load", "-t", "from-stdin:1"), env=berth.env, stdin=f, capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    berth.must("rmi", "from-stdin:1")


def test_a_terminal_of_its_own_with_our_size(berth):
    master, slave = pty.openpty()
    subprocess.run(["stty", "rows", "33", "cols", "77"], stdin=slave, check=True)
    p = popen(berth, "run", *QUICK, "-it", "tiny", "sh", "-c", "sleep 0.3; stty size; tty", stdin=slave)
    out, _ = p.communicate(timeout=15)
    os.close(master), os.close(slave)
    assert p.returncode == 0 and "33 77" in out and "/dev/" in out


def test_t_with_i_needs_a_terminal(berth):
    r = berth.call("run", *QUICK, "-it", "tiny", "true")
    assert r.returncode == 125 and "terminal" in r.stderr


def test_dry_run_prints_spec_and_plan_and_makes_nothing(berth):
    before = berth.must("ps", "-aq")
    doc = json.loads(berth.must("create", "--dry-run", "--network", "none", "-m", "64m", "tiny", "true"))
    assert doc["spec"]["image"] and doc["plan"]["argv"] == ["true"]
    assert "67108864" in json.dumps(doc)
    assert berth.must("ps", "-aq") == before


# ---- stop, kill, rm, restart, wait, pause, rename, update ------------------------------------------

def test_stop_takes_milliseconds(berth):
    name = berth.run("sh", "-c", "trap '' TERM; while :; do sleep 0.1; done")
    began = time.monotonic()
    assert berth.must("stop", "-t", "250ms", name) == name
    assert 0.2 < time.monotonic() - began < 5
    assert berth.status(name)["state"] == "stopped"
    assert berth.must("stop", name) == name


def test_several_names_each_get_a_line_and_one_failure_counts(berth):
    a, b = berth.run("sleep", "60"), berth.run("sleep", "60")
    r = berth.call("stop", "-t", "0", a, "nosuch", b)
    assert r.returncode == 1 and r.stdout.split() == [a, b] and "nosuch" in r.stderr and len(r.stderr.splitlines()) == 1


def test_rm_of_a_running_one_needs_force(berth):
    name = berth.run("sleep", "60")
    r = berth.call("rm", name)
    assert r.returncode == 1 and "-f" in r.stderr
    assert berth.must("rm", "-f", name) == name
    assert berth.call("rm", name).returncode == 1
    assert berth.call("rm", "-f", name).returncode == 0


def test_wait_prints_the_code_and_exits_0(berth):
    name = berth.run("sh", "-c", "sleep 0.2; exit 9")
    r = berth.call("wait", name)
    assert (r.returncode, r.stdout) == (0, "9\n")


def test_deadline(berth):
    name = berth.run("sleep", "60")
    began = time.monotonic()
    r = berth.call("--deadline", "300ms", "wait", name)
    assert r.returncode == 124 and time.monotonic() - began < 20
    assert berth.status(name)["state"] == "running"


def test_kill_is_a_stop_and_other_signals_are_the_programs(berth):
    a, b = berth.run("sleep", "60"), berth.run("sh", "-c", "trap 'exit 4' USR2; while :; do sleep 0.1; done")
    berth.must("kill", a)
    berth.must("wait", a)
    assert berth.status(a)["state"] == "stopped"
    time.sleep(0.2)
    berth.must("kill", "-s", "SIGUSR2", b)
    assert berth.must("wait", b) == "4"
    assert berth.status(b)["state"] == "failed"
    assert berth.call("kill", "-s", "NOSUCH", a).returncode == 2


def test_restart(berth):
    name = berth.run("sleep", "60")
    before = berth.status(name)["pid"]
    assert berth.must("restart", "-t", "0", name) == name
    after = berth.status(name)
    assert after["state"] == "running" and after["pid"] != before


def test_pause_and_unpause(berth):
    name = berth.run("sleep", "60")
    berth.must("pause", name)
    assert berth.status(name)["state"] == "paused"
    assert "paused" in berth.must("ps")
    berth.must("unpause", name)
    assert berth.status(name)["state"] == "running"


def test_rename(berth):
    name, other = berth.run("sleep", "60"), berth.name()
    berth.must("rename", name, other)
    assert berth.status(other)["name"] == other and berth.call("status", name).returncode == 1


def test_update_takes_effect(berth):
    name = berth.run("sleep", "60", flags=["-m", "64m"])
    berth.must("update", "-m", "96m", "--memory-swap", "96m", name)
    assert berth.status(name)["memory_limit_bytes"] == 96 << 20
    assert berth.call("update", name).returncode == 2


# ---- status, logs, ps, stats, inspect, top, events -------------------------------------------------

def test_status_is_one_sentence_and_the_last_lines(berth):
    name = berth.name()
    berth.call("run", "--name", name, "--network", "none", "tiny", "sh", "-c", "for i in $(seq 20); do echo line $i; done; exit 3")
    text = berth.must("status", name)
    first, *rest = text.splitlines()
    assert re.match(rf"{name} failed: exit code 3, ran \S+.*, ended (just now|\d+ seconds? ago)", first)
    assert [l.split(" ", 1)[1] for l in rest if " line " in l] == [f"line {i}" for i in range(11, 21)]


def test_status_steers_no_terminal(berth):
    name = berth.run("printf", "a\\033[2Jb\\tc\\r\\nd\\177e\\n")
    berth.must("wait", name)
    assert [l.split(" ", 1)[1] for l in berth.must("status", name).splitlines()[-2:]] == ["a\\x1b[2Jb\tc", "d\\x7fe"]


def test_status_breaks_no_long_line(berth):
    name = berth.run("sh", "-c", "for i in 1 2 3 4 5; do head -c 99999 /dev/zero | tr '\\0' x; echo; done; printf end")
    berth.must("wait", name)
    lines = berth.must("status", name).splitlines()
    assert [len(l) for l in lines[2:]] == [len(lines[2])] * 5 + [len(lines[2]) - 99999 + 3] and len(lines[2]) > 99999


def test_status_of_oom_says_so_in_words(berth):
    name = berth.name()
    r = berth.call("run", "--name", name, "--network", "none", "-m", "16m", "--memory-swap", "16m", "tiny", "sh", "-c",
                   "x=a; while :; do x=$x$x; done")
    assert r.returncode == 137
    assert re.search(r"out of memory in the main program \(limit 16 MiB, peak \S+ MiB\), exit 137", berth.must("status", name))
    of_docker = "{{.State.OOMKilled}} {{.State.ExitCode}} {{.State.Status}} {{.State.Health.Status}} {{.State.Error}}"
    assert berth.must("inspect", "-f", of_docker, name).startswith("true 137 failed none out of memory in the main program")


def test_a_member_of_dockers_objects_that_is_not_here_is_an_error(berth):
    name = berth.run("sleep", "60", flags=["-l", "a.b=c"])
    of_docker = "{{.State.OOMKilled}} {{.State.FinishedAt}} {{.State.Pid}} {{.Config.Labels.nosuch}} {{json .Config.Labels}}"
    assert re.fullmatch(r'false 0001-01-01T00:00:00Z [1-9]\d*  {"a.b":"c"}', berth.must("inspect", "-f", of_docker, name))
    assert berth.must("ps", "-f", "name=" + name, "--format", "{{.Command}}|{{.Ports}}|{{json .command}}") == 'sleep 60||["sleep","60"]'
    assert re.fullmatch(r'linux null \[("\S+",)*"tiny:latest"(,"\S+")*\]', berth.must("inspect", "-f", "{{.Os}} {{json .Config.Cmd}} {{.RepoTags}}", "tiny:latest"))
    volume = berth.must("volume", "create")
    assert berth.must("volume", "inspect", "-f", "{{.Mountpoint}}", volume) == berth.must("volume", "inspect", "-f", "{{.path}}", volume)
    for words in (["volume", "inspect", "-f", "{{.Nosuch}}", volume], ["network", "inspect", "-f", "{{.IPAM}}", "bridge"],
                  ["image", "inspect", "-f", "{{.Config.Nosuch}}", "tiny"], ["version", "--format", "{{.Server}}"]):
        r = berth.call(*words)
        assert r.returncode == 2 and "there is no field" in r.stderr and r.stdout == "", (words, r.stdout)
    berth.must("volume", "rm", volume)
    for field in ("State.ExitCod", "Config.Cmd", "HostConfig.Memory", "NetworkSettings.Ports"):
        r = berth.call("inspect", "-f", "{{.%s}}" % field, name)
        assert r.returncode == 2 and "there is no field" in r.stderr and r.stdout == "", r.stderr


def test_logs(berth):
    name = berth.run("sh", "-c", "echo one; echo two >&2; echo three; printf four")
    berth.must("wait", name)
    r = berth.call("logs", name)
    assert (r.stdout, r.stderr) == ("one\nthree\nfour", "two\n")
    assert berth.call("logs", "--stderr", name).stdout == ""
    assert berth.call("logs", "-n", "1", "--stdout", name).stdout == "four"
    assert berth.call("logs", "--tail", "0", name).stdout == ""
    stamped = berth.call("logs", "-t", "--stdout", name).stdout.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", l) for l in stamped) and len(stamped) == 3
    objects = [json.loads(l) for l in berth.must("--json", "logs", name).splitlines()]
    assert [(o["stream"], o["line"]) for o in objects if o["stream"] == "stdout"] == [("stdout", "one"), ("stdout", "three"), ("stdout", "four")]
    assert berth.call("logs", "--until", "1h", name).stdout == ""
    assert berth.call("logs", "--since", "1h", name).stdout.startswith("one")
    assert berth.call("logs", "--since", "never", name).returncode == 2


def test_logs_of_what_keeps_none_say_so(berth):
    name = berth.run("sh", "-c", "echo lost; sleep 60", flags=["--log-driver", "none"])
    r = berth.call("logs", name)
    assert (r.returncode, r.stdout) == (0, "") and "its log driver is none" in r.stderr
    assert berth.call("--quiet", "logs", name).stderr == ""


def test_status_shows_what_the_last_check_said(berth):
    name = berth.run("sleep", "60", flags=["--health-cmd", "echo not well; exit 3", "--health-interval", "50ms", "--health-retries", "1"])
    until(lambda: berth.status(name)["health"] == "unhealthy")
    assert re.search(r"^health: unhealthy, .*; last check: exit 3, not well$", berth.must("status", name), re.M)


def test_logs_follow_ends_with_the_workload(berth):
    name = berth.run("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    r = berth.call("logs", "-f", name, timeout=15)
    assert (r.returncode, r.stdout) == (0, "1\n2\n3\n")


def test_binary_output_is_untouched(berth):
    r = subprocess.run(berth.argv("run", *QUICK, "tiny", "sh", "-c", r"head -c 300000 /dev/zero; printf '\377\200\n'"), env=berth.env,
                       capture_output=True, stdin=subprocess.DEVNULL, timeout=30)
    assert r.stdout == b"\0" * 300000 + b"\377\200\n"


def test_ps(berth):
    a = berth.run("sleep", "60", flags=["-l", "tier=front"])
    b = berth.run("true", flags=["-l", "tier=back"])
    berth.must("wait", b)
    head, *rows = berth.must("ps").splitlines()
    assert head.split() == ["ID", "NAME", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS"]
    assert any(a in r for r in rows) and not any(b in r for r in rows)
    names = [json.loads(l)["name"] for l in berth.must("--json", "ps", "-a").splitlines()]
    assert names.index(b) < names.index(a)
    assert berth.must("ps", "-aq", "-f", "label=tier=back", "--no-trunc") == berth.status(b)["id"]
    assert berth.must("ps", "-f", f"name={a}", "--format", "{{.Name}}\\t{{.state}}") == f"{a}\trunning"
    assert berth.must("ps", "-f", "status=completed", "-f", f"name={b}", "--format", "{{.exit_code}}") == "0"
    assert berth.call("ps", "--format", "{{range .}}").returncode == 2


def test_ps_takes_dockers_word_for_what_has_ended(berth):
    ended = [berth.run("true"), berth.run("false"), berth.run("sleep", "60")]
    going = berth.run("sleep", "60")
    berth.must("kill", ended[2])
    berth.must("wait", *ended)
    found = berth.must("ps", "--filter", "status=exited", "--format", "{{.Names}}").split()
    assert set(ended) <= set(found) and going not in found
    assert [berth.status(n)["state"] for n in ended] == ["completed", "failed", "stopped"]


@pytest.mark.parametrize("value, said", [("nonsense=1", "status="), ("network=back", "ancestor="), ("statsu=running", "did you mean status?"),
                                         ("status=dead", "completed"), ("health=sick", "unhealthy"), ("exited=many", "exit code")])
def test_a_filter_that_nothing_can_pass_is_an_error(berth, value, said):
    r = berth.call("ps", "-a", "--filter", value)
    assert r.returncode == 2 and said in r.stderr and r.stdout == ""


def test_stats(berth):
    name = berth.run("sh", "-c", "while :; do :; done", flags=["-m", "64m"])
    one = json.loads(berth.must("--json", "stats", "--no-stream", name))
    assert one["cpu_percent"] > 5 and 0 < one["memory_bytes"] < 64 << 20 and one["memory_limit_bytes"] == 64 << 20 and one["pids"] >= 1
    assert re.search(rf"^{name} +\d", berth.must("stats", "--no-stream", name), re.M)
    berth.must("kill", name)
    berth.must("wait", name)
    r = berth.call("stats", "--no-stream", name)
    assert r.returncode == 1 and name in r.stderr


def test_inspect_is_one_document(berth):
    a, b = berth.run("sleep", "60"), berth.run("sleep", "60")
    doc = json.loads(berth.must("inspect", a))
    assert doc["status"]["name"] == a and doc["spec"]["network"] == "none" and doc["plan"]["argv"] == ["sleep", "60"]
    assert [d["status"]["name"] for d in json.loads(berth.must("inspect", a, b))] == [a, b]
    assert berth.must("inspect", "--format", "{{.status.name}} {{json .spec.args}}", a) == f'{a} ["sleep","60"]'


def test_top(berth):
    name = berth.run("sleep", "60")
    assert "sleep 60" in berth.must("top", name)
    assert json.loads(berth.must("--json", "top", name).splitlines()[0])["pid"] > 0


def test_events_tell_and_outlive(berth):
    name = berth.run("sh", "-c", "exit 6")
    berth.must("wait", name)
    berth.must("rm", name)
    events = [json.loads(l) for l in berth.must("--json", "events", "--since", "1h", "--no-follow", name).splitlines()]
    kinds = [e.get("event") or e.get("type") for e in events]
    assert {"create", "start", "die"} <= set(kinds)
    assert "6" in json.dumps([e for e, k in zip(events, kinds) if k == "die"])


def test_port_and_address_answer_none_with_4(berth):
    name = berth.run("sleep", "60")
    for words in (["port", name, "80"], ["address", name, "80"], ["port", name], ["address", name]):
        r = berth.call(*words)
        assert (r.returncode, r.stdout, r.stderr) == (4, "", ""), words
    assert berth.call("port", name, "0").returncode == 2
    host = berth.name()
    berth.must("run", "-d", "--name", host, "--network", "host", "tiny", "sleep", "60")
    assert berth.must("port", host, "80") == "127.0.0.1:80"


# ---- exec -------------------------------------------------------------------------------------------

def test_exec(berth):
    name = berth.run("sleep", "60")
    r = berth.call("exec", name, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (r.returncode, r.stdout, r.stderr) == (7, "out\n", "err\n")
    assert berth.call("exec", name, "sh", "-c", "kill -9 $$").returncode == 137
    assert berth.call("exec", name, "/no/such").returncode == 127
    assert berth.call("exec", name, "/etc/passwd").returncode == 126
    assert berth.call("exec", "nosuch", "true").returncode == 125
    assert berth.call("exec", name).returncode == 125
    r = berth.call("exec", "-u", "33:33", "-w", "/tmp", "-e", "A=b", name, "sh", "-c", "id -u; pwd; echo $A")
    assert r.stdout.split() == ["33", "/tmp", "b"]


def test_exec_takes_as_many_variables_as_there_are(berth, tmp_path):
    name = berth.run("sleep", "60")
    (tmp_path / "env").write_text("".join(f"V{i}=x\n" for i in range(600)))
    inside = berth.must("exec", "--env-file", str(tmp_path / "env"), "-e", "LAST=y", name, "env").splitlines()
    assert {f"V{i}=x" for i in range(600)} | {"LAST=y"} <= set(inside)


def test_exec_reads_standard_input_to_its_end(berth):
    name = berth.run("sleep", "60")
    data = os.urandom(3 << 20)
    r = subprocess.run(berth.argv("exec", "-i", name, "cat"), env=berth.env, input=data, capture_output=True, timeout=60)
    assert r.returncode == 0 and r.stdout == data


def test_exec_timeout_kills_only_the_exec(berth):
    name = berth.run("sleep", "60")
    began = time.monotonic()
    assert berth.call("exec", "--timeout", "300ms", name, "sleep", "30").returncode == 124
    assert time.monotonic() - began < 20
    assert berth.status(name)["state"] == "running"


def test_exec_d_list_and_kill(berth):
    name = berth.run("sleep", "60")
    berth.must("exec", "-d", name, "sleep", "50")
    rows = [json.loads(l) for l in berth.must("--json", "exec", "--list", name).splitlines()]
    assert len(rows) == 1 and rows[0]["command"] == "sleep 50"
    assert "sleep 50" in berth.must("exec", "--list", name)
    berth.must("exec", "--kill", str(rows[0]["exec_id"]), name)
    until(lambda: berth.must("--json", "exec", "--list", name) == "")


def test_exec_on_a_terminal(berth):
    name = berth.run("sleep", "60")
    master, slave = pty.openpty()
    p = popen(berth, "exec", "-it", name, "sh", stdin=slave)
    os.write(master, b"tty; echo $((40+2)); exit 5\n")
    out, _ = p.communicate(timeout=15)
    os.close(master), os.close(slave)
    assert p.returncode == 5 and "/dev/" in out and "42" in out


# ---- files and volumes --------------------------------------------------------------------------------

def test_cp_both_ways(berth, tmp_path):
    name = berth.run("sleep", "60")
    (tmp_path / "d/sub").mkdir(parents=True)
    (tmp_path / "d/sub/f").write_text("hello")
    (tmp_path / "d/x").write_bytes(b"x" * 100000)
    os.symlink("x", tmp_path / "d/link")
    os.chmod(tmp_path / "d/x", 0o750)
    berth.must("cp", str(tmp_path / "d"), f"{name}:/tmp")
    assert berth.must("exec", name, "cat", "/tmp/d/sub/f") == "hello"
    assert berth.must("exec", name, "stat", "-c", "%a %u %s", "/tmp/d/x") == "750 0 100000"
    berth.must("cp", str(tmp_path / "d") + "/.", f"{name}:/srv-new")
    assert berth.must("exec", name, "cat", "/srv-new/sub/f") == "hello"
    berth.must("cp", str(tmp_path / "d/sub/f"), f"{name}:/tmp/renamed")
    assert berth.must("exec", name, "cat", "/tmp/renamed") == "hello"
    berth.must("cp", f"{name}:/tmp/d", str(tmp_path / "new"))
    assert (tmp_path / "new/sub/f").read_text() == "hello" and os.readlink(tmp_path / "new/link") == "x"
    berth.must("cp", f"{name}:/tmp/d/.", str(tmp_path / "d2"))
    assert (tmp_path / "d2/x").stat().st_mode & 0o777 == 0o750
    (tmp_path / "into").mkdir()
    berth.must("cp", f"{name}:/tmp/d", str(tmp_path / "into"))
    assert (tmp_path / "into/d/x").stat().st_size == 100000
    berth.must("cp", f"{name}:/etc/passwd", str(tmp_path / "pw"))
    assert "root" in (tmp_path / "pw").read_text()
    r = subprocess.run(berth.argv("cp", f"{name}:/tmp/d", "-"), env=berth.env, capture_output=True)
    assert b"ustar" in r.stdout and r.returncode == 0


@pytest.mark.parametrize("words, code", [(["NAME:/no/such", "."], 1), (["/no/such", "NAME:/tmp"], 1), (["a", "b"], 2), (["NAME:/a", "NAME:/b"], 2),
                                         (["/etc", "NAME:/etc/passwd"], 1)])
def test_cp_errors(berth, words, code):
    name = berth.run("sleep", "60")
    r = berth.call("cp", *[w.replace("NAME", name) for w in words])
    assert r.returncode == code and len(r.stderr.splitlines()) == 1


def test_cp_does_not_lose_a_file_below_a_mount(berth, tmp_path):
    """Into the folder of a volume that is not mounted: it would never be seen again."""
    (tmp_path / "file").write_text("kept")
    volume = berth.must("volume", "create")
    name = berth.run("sleep", "60", flags=["-v", volume + ":/data", "--tmpfs", "/fast"])
    berth.must("cp", str(tmp_path / "file"), name + ":/data/file")
    berth.must("stop", "-t", "0", name)
    path = berth.must("volume", "inspect", "-f", "{{.path}}", volume)
    for words in ([str(tmp_path / "file"), name + ":/data/other"], [name + ":/data/file", str(tmp_path / "out")],
                  [str(tmp_path / "file"), name + ":/tmp/..//./data/"], [name + ":data", "-"]):
        r = berth.call("cp", *words)
        assert r.returncode == 1 and "/data is mounted only while it runs" in r.stderr and path in r.stderr, (words, r)
    assert "/fast is mounted" in berth.call("cp", str(tmp_path / "file"), name + ":/fast/x").stderr
    berth.must("cp", str(tmp_path / "file"), name + ":/database")
    berth.must("start", name)
    assert berth.must("exec", name, "cat", "/data/file", "/database") == "keptkept"
    berth.must("rm", "-fv", name)
    berth.must("volume", "rm", volume)


def test_cp_out_follows_no_link_out_of_the_target(berth, tmp_path):
    name = berth.run("sleep", "60")
    berth.must("exec", name, "sh", "-c", "mkdir /e && ln -s /etc /e/a && mkdir /f && mkdir /f/a && echo bad > /f/a/berth-was-here")
    berth.must("cp", f"{name}:/e/.", str(tmp_path / "t"))
    r = berth.call("cp", f"{name}:/f/.", str(tmp_path / "t"))
    assert not os.path.exists("/etc/berth-was-here")


def test_diff_and_export(berth, tmp_path):
    name = berth.run("sleep", "60")
    berth.must("exec", name, "sh", "-c", "echo x > /tmp/new; rm /etc/group")
    lines = berth.must("diff", name).splitlines()
    assert "A /tmp/new" in lines and "D /etc/group" in lines
    berth.must("export", "-o", str(tmp_path / "x.tar"), name)
    assert "tmp/new" in subprocess.run(["tar", "tf", str(tmp_path / "x.tar")], capture_output=True, text=True).stdout


def test_volumes(berth):
    name = berth.must("volume", "create", "-l", "a=b", "vol1")
    assert name == "vol1" and "vol1" in berth.must("volume", "ls", "-q").split()
    w = berth.run("sh", "-c", "echo kept > /data/f; sleep 60", flags=["-v", "vol1:/data"])
    r = berth.call("volume", "rm", "vol1")
    assert r.returncode == 1 and f'volume "vol1" is used by workload "{w}"' in r.stderr
    berth.must("rm", "-fv", w)
    assert berth.must("run", *QUICK, "-v", "vol1:/data", "tiny", "cat", "/data/f") == "kept"
    assert json.loads(berth.must("volume", "inspect", "vol1"))["name"] == "vol1"
    until(lambda: berth.call("volume", "rm", "vol1").returncode == 0)
    assert berth.call("volume", "rm", "vol1").returncode == 1
    assert berth.call("volume", "rm", "-f", "vol1").returncode == 0


def test_a_missing_bind_source_is_an_error(berth):
    r = berth.call("create", "--network", "none", "-v", "/no/such/folder:/x", "tiny", "true")
    assert r.returncode == 1 and "/no/such/folder" in r.stderr and not os.path.exists("/no/such")


def test_a_fifo_is_no_bind_source(berth, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    r = berth.call("create", "--network", "none", "-v", f"{tmp_path}/fifo:/x", "tiny", "true")
    assert r.returncode == 1 and "is a fifo" in r.stderr


def test_a_closed_output_is_no_other_file(berth):
    """What is printed goes nowhere, and that is said, not to whatever was opened first."""
    name = berth.run("sh", "-c", "echo hello; sleep 60")
    for words in (["run", "--rm", "--network", "none", "tiny", "echo", "hello"], ["logs", name], ["ps"], ["exec", name, "echo", "x"]):
        r = berth.call(*words, wrap=("sh", "-c", 'exec "$@" >&-', "sh"))
        assert r.returncode in (1, 125) and "Bad file descriptor" in r.stderr, (words, r)
    r = berth.call("ps", wrap=("sh", "-c", 'exec "$@" <&- 2>&-', "sh"))
    assert r.returncode == 0 and name in r.stdout


def test_a_path_that_is_not_there_is_called_that(berth):
    r = berth.call("run", "--rm", "./nosuch.wasm")
    assert r.returncode == 125 and r.stderr.endswith("No such file or directory\n")


def test_a_wait_for_what_is_removed_before_it_ran_says_so_once(berth):
    name = berth.name()
    berth.must("create", "--name", name, "--network", "none", "tiny", "true")
    p = popen(berth, "wait", name)
    until(lambda: "inotify" in subprocess.run(["ls", "-l", f"/proc/{p.pid}/fd"], capture_output=True, text=True).stdout)
    berth.must("rm", name)
    assert p.wait(30) == 1 and p.stderr.read().count("wait") == 1


# ---- images and the machine ------------------------------------------------------------------------------

def test_images(berth, tmp_path):
    assert "tiny" in berth.must("images")
    image = json.loads(berth.must("--json", "images", "tiny").splitlines()[0])
    assert image["size_bytes"] > 0 and image["reference"]
    berth.must("tag", "tiny", "other:1")
    assert "other:1" in berth.must("images", "--format", "{{.reference}}").split()
    berth.must("image", "save", "-o", str(tmp_path / "o.tar"), "other:1")
    berth.must("rmi", "other:1")
    assert "other:1" not in berth.must("images", "--format", "{{.reference}}").split()
    assert "other:1" in berth.must("image", "load", str(tmp_path / "o.tar"))
    assert json.loads(berth.must("image", "inspect", "other:1"))["id"] == image["id"]
    berth.must("rmi", "other:1")
    assert berth.call("rmi", "other:1").returncode == 1
    assert berth.call("image", "verify").returncode == 0


def test_import_with_changes(berth, tmp_path):
    (tmp_path / "r/bin").mkdir(parents=True)
    subprocess.run(["cp", "/bin/busybox", str(tmp_path / "r/bin/busybox")], check=True)
    subprocess.run(["tar", "-C", str(tmp_path / "r"), "-cf", str(tmp_path / "r.tar"), "."], check=True)
    berth.must("image", "import", "-c", 'CMD ["/bin/busybox","env"]', "-c", "ENV A=b", "-c", "LABEL x=y", str(tmp_path / "r.tar"), "bb:1")
    assert "A=b" in berth.must("run", *QUICK, "bb:1").split()
    assert json.loads(berth.must("image", "inspect", "bb:1"))["config"]["config"]["Labels"] == {"x": "y"}
    assert berth.call("image", "import", "-c", "FROM x", str(tmp_path / "r.tar"), "bb:2").returncode == 2
    with open(tmp_path / "r.tar", "rb") as f:
        assert subprocess.run(berth.argv("image", "import", "-", "bb:3"), env=berth.env, stdin=f).returncode == 0
    for ref in ("bb:1", "bb:3"):
        until(lambda: berth.call("rmi", ref).returncode == 0)


def test_machine(berth):
    assert berth.must("engines").split().count("container") == 1
    json.loads(berth.must("--json", "info"))
    assert berth.must("info") and berth.must("df")
    json.loads(berth.must("--json", "df"))
    json.loads(berth.must("--json", "version"))
    assert berth.call("boot").returncode == 0
    r = berth.call("--json", "doctor")
    assert r.returncode == 0, r.stdout + r.stderr
    assert all({"check", "ok"} <= set(json.loads(l)) for l in r.stdout.splitlines())


def test_prune_asks(berth):
    name = berth.run("true")
    berth.must("wait", name)
    assert berth.call("prune").returncode == 2
    assert name in berth.must("prune", "-f").split()


# ---- errors -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("verb", ["start", "stop", "rm", "status", "logs", "restart", "wait", "kill", "pause", "unpause", "inspect", "top",
                                  "stats", "diff", "port", "address"])
def test_an_unknown_name_is_one_line_and_its_json(berth, verb):
    r = berth.call(verb, "nosuch", *(["80"] if verb in ("port", "address") else []))
    assert r.returncode == 1 and r.stdout == ""
    assert r.stderr.startswith(f"berth: {verb} nosuch: ") and len(r.stderr.splitlines()) == 1
    r = berth.call("--json", verb, "nosuch", *(["80"] if verb in ("port", "address") else []))
    error = json.loads(r.stderr)["error"]
    assert error["code"] == "NOT_FOUND" and error["object"] == "nosuch" and error["message"]


@pytest.mark.parametrize("name", ["a/b", "..", "a\nb", "x" * 10000, "a;b", "<<"])
def test_hostile_names_are_refused(berth, name):
    r = berth.call("create", "--name", name, "--network", "none", "tiny", "true")
    assert r.returncode == 1 and len(r.stderr.splitlines()) == 1 and len(r.stderr) < 2000
    assert berth.call("status", name).returncode == 1


@pytest.mark.parametrize("flags, code, said", [
    (["--network", "none", "-p", "80:80"], "INVALID", "ports: network \"none\""), (["--network", "host", "--ip", "10.0.0.5"], "INVALID", "ip"),
    (["--network", "nosuch"], "NOT_FOUND", "network create nosuch"), (["-p", "[::1]:80:80"], "UNSUPPORTED", "::1")])
def test_what_goes_with_no_such_network_is_said_by_name(berth, flags, code, said):
    r = berth.call("--json", "create", *flags, "tiny", "true")
    error = json.loads(r.stderr.splitlines()[-1])["error"]
    assert r.returncode == 1 and error["code"] == code and said in error["message"]


def test_a_full_disk_is_no_success(berth):
    with open("/dev/full", "w") as full:
        r = subprocess.run(berth.argv("ps"), env=berth.env, stdout=full, stderr=subprocess.PIPE, text=True)
    assert r.returncode == 1 and "standard output" in r.stderr


def test_a_user_namespace_of_its_own_has_its_filter_too(berth):
    out = berth.must("run", *QUICK, "--userns", "private", "tiny", "sh", "-c", "cat /proc/self/uid_map; grep Seccomp: /proc/self/status")
    assert out.split()[:2] == ["0", "100000"] and out.split()[-1] == "2", out


@pytest.mark.parametrize("wrap", [["nice", "-n", "7"], ["chrt", "-f", "1"]])
def test_the_callers_scheduling_is_not_the_workloads(berth, wrap):
    r = berth.call("run", *QUICK, "tiny", "sh", "-c", "cut -d ' ' -f 19,41 /proc/self/stat", wrap=wrap)
    assert (r.returncode, r.stdout.split()) == (0, ["0", "0"]), r.stderr


def test_images_and_volumes_are_filtered(berth):
    made = [berth.name() for _ in range(2)]
    berth.must("volume", "create", "--label", "kind=x", made[0])
    berth.must("volume", "create", made[1])
    user = berth.run("sleep", "100", flags=("-v", made[1] + ":/v"))

    def names(*filters):
        return set(berth.must("volume", "ls", "-q", *(w for f in filters for w in ("-f", f))).split()) & set(made)
    assert names("name=" + made[0]) == {made[0]} and names("label=kind=x") == {made[0]} and names("label=kind=y") == set()
    assert names("dangling=true") == {made[0]} and names("dangling=false") == {made[1]}
    assert names("name=" + made[0], "name=" + made[1], "dangling=false") == {made[1]}
    assert names("anonymous=false") == set(made)
    berth.must("rm", "-f", user)
    berth.must("volume", "rm", *made)
    berth.names.clear()
    assert berth.must("images", "-q", "-f", "reference=ti*y:*") and not berth.must("images", "-q", "-f", "reference=none")
    assert not berth.must("images", "-q", "-f", "reference=tiny", "-f", "dangling=true")
    for verb in (("images",), ("volume", "ls")):
        r = berth.call(*verb, "-f", "size=1")
        assert r.returncode == 2 and "size=1" in r.stderr
