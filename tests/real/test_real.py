# SPDX-License-Identifier: Apache-2.0
"""Real software in real images, used as a person would: what the README promises, tried."""
import json, os, pty, re, select, socket, subprocess, time, urllib.request
import pytest
from place import CACHE, TOP


def image(place, name):
    """The real image `name`, made from Debian packages once and imported once into this root."""
    have = [json.loads(l)["reference"] for l in place.must("--json", "images").splitlines()]
    if f"{name}:latest" not in have:
        subprocess.run([TOP + "/tests/images/make", name, CACHE], check=True, capture_output=True)
        place.must("image", "import", "--config", f"{CACHE}/{name}.json", f"{CACHE}/{name}", f"{name}:latest")
    return name


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def eventually(what, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            if (value := what()) is not None:
                return value
        except (OSError, AssertionError):
            pass
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)


def status(place, name):
    return json.loads(place.must("--json", "status", name))


@pytest.fixture
def remove(place):
    yield
    place.remove_all()


def test_nginx_answers_on_the_host_network(place, remove):
    port = free_port()
    conf = place.folder + "/nginx.conf"
    with open(conf, "w") as f:
        f.write(f"daemon off; error_log stderr; events {{}} http {{ access_log /dev/stdout; server {{ listen 127.0.0.1:{port}; "
                "location / { return 200 'hello from nginx\\n'; } } }")
    place.must("run", "-d", "--name", "web", "--network", "host", "-v", f"{conf}:/etc/nginx/test.conf:ro", image(place, "nginx"),
               "nginx", "-c", "/etc/nginx/test.conf")
    body = eventually(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read())
    assert body == b"hello from nginx\n"
    eventually(lambda: True if "GET / HTTP" in place.must("logs", "web") else None)
    assert place.must("port", "web", str(port)).endswith(str(port))
    place.must("stop", "web")
    assert status(place, "web")["state"] == "stopped"


def test_nginx_is_published_and_reached_by_its_address(place, remove):
    port = free_port()
    place.must("run", "-d", "--name", "web", "-p", f"{port}:8080", image(place, "nginx"), "sh", "-c",
               "printf 'daemon off; error_log stderr; events {} http { server { listen 8080; location / { return 200 published; } } }' > /tmp/n.conf; "
               "exec nginx -c /tmp/n.conf")
    body = eventually(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2).read())
    assert body == b"published"
    where = place.must("address", "web", "8080")
    assert urllib.request.urlopen(f"http://{where}/", timeout=2).read() == b"published"


def test_psql_queries_postgresql_of_another_workload_by_name(place, remove):
    place.must("network", "create", "back")
    name = image(place, "postgresql")
    place.must("run", "-d", "--name", "db", "--network", "back", "--network-alias", "sql", "--shm-size", "128m", name)
    ask = lambda host, *flags: place.call("run", "--rm", *flags, "--entrypoint", "psql", name, "-h", host, "-U", "postgres", "-d", "postgres",
                                          "-tA", "-c", "select 6*7")
    def answer():
        r = ask("sql", "--network", "back")
        assert r.returncode == 0, r.stderr
        return r.stdout.strip()
    place.must("exec", "db", "true")
    # it trusts its own machine alone until it is told otherwise
    eventually(lambda: place.must("exec", "db", "sh", "-c", "psql -tA -d postgres -c 'select 1' && echo 'host all all all trust' >> $PGDATA/pg_hba.conf && "
                                  "psql -tA -d postgres -c 'select pg_reload_conf()'"), 90)
    assert eventually(answer, 30) == "42"
    assert ask("db").returncode != 0  # from the default network it isn't seen
    place.must("rm", "-f", "-v", "db")
    place.must("network", "rm", "back")


def test_redis_data_survives_in_a_named_volume(place, remove):
    port = str(free_port())
    argv = ["--name", "store", "--network", "host", "-v", "redisdata:/data", image(place, "redis"),
            "redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", "/data", "--appendonly", "yes", "--appendfsync", "always"]
    cli = ["exec", "store", "redis-cli", "-p", port]
    place.must("run", "-d", *argv)
    eventually(lambda: True if place.must(*cli, "ping") == "PONG" else None)
    assert place.must(*cli, "set", "key", "kept") == "OK"
    place.must("kill", "store")
    place.must("rm", "store")
    place.must("run", "-d", *argv)
    eventually(lambda: True if place.must(*cli, "ping") == "PONG" else None)
    assert place.must(*cli, "get", "key") == "kept"
    place.must("rm", "-f", "store")
    place.must("volume", "rm", "redisdata")


def test_postgresql_is_initialised_and_queried_by_psql_through_exec(place, remove):
    place.must("run", "-d", "--name", "db", "--network", "none", "--shm-size", "128m", "-v", "pgdata:/var/lib/postgresql/data",
               image(place, "postgresql"))
    query = ["exec", "db", "psql", "-tA", "-d", "postgres", "-c", "select 6*7"]
    assert eventually(lambda: place.must(*query), 90) == "42"
    place.must("stop", "--timeout", "20s", "db")
    logs = place.call("logs", "db")
    assert "database system is shut down" in logs.stdout + logs.stderr
    place.must("rm", "db")
    place.must("volume", "rm", "pgdata")


def test_python_out_of_memory_is_said_in_words(place, remove):
    r = place.call("run", "--name", "hog", "--network", "none", "-m", "64M", image(place, "python3"), "python3", "-c",
                   "b = []\nwhile True: b.append(bytearray(1 << 20))")
    assert r.returncode == 137, (r.returncode, r.stderr)
    words = place.must("status", "hog")
    assert re.search(r"hog failed: out of memory in the main program \(limit 64 MiB, peak 6\d", words), words
    assert status(place, "hog")["exit_code"] == 137


def test_node_runs(place, remove):
    assert place.must("run", "--rm", "--network", "none", image(place, "nodejs"), "node", "-e", "console.log(6*7)") == "42"


def talk(argv, env, exchange):
    """A terminal: what to type after which output. Returns everything seen."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(argv[0], argv, env)
    seen, end = b"", time.monotonic() + 15
    steps = list(exchange)
    while time.monotonic() < end:
        if steps and re.search(steps[0][0], seen):
            os.write(fd, steps.pop(0)[1])
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_exec_it_is_a_shell_on_a_terminal(place, remove):
    place.must("run", "-d", "--name", "box", "--network", "none", "tiny", "sleep", "1000")
    code, seen = talk(place.argv("exec", "-it", "box", "sh"), place.env,
                      [(rb"[#$] ", b"tty; stty size; echo $((6*7))\r"), (rb"42\r\n", b"exit 5\r")])
    assert b"/dev/pts/" in seen and b"42" in seen, seen
    assert code == 5


def test_run_it_and_detach_keys(place, remove):
    code, seen = talk(place.argv("run", "-it", "--name", "term", "--network", "none", "tiny", "sh"), place.env,
                      [(rb"[#$] ", b"echo in-$((6*7))\r"), (rb"in-42", b"\x10\x11")])
    assert b"in-42" in seen and place.states()["term"] == "running", seen


def test_logs_follow_over_rotation_and_restart(place, remove):
    script = "i=0; while [ $i -lt 3000 ]; do echo line-$i-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; i=$((i+1)); done; sleep 1000"
    place.must("create", "--name", "talker", "--network", "none", "--log-opt", "max-size=64k", "--log-opt", "max-file=20", "tiny", "sh", "-c", script)
    place.must("start", "talker")
    follower = subprocess.Popen(place.argv("logs", "-f", "talker"), env=place.env, stdout=subprocess.PIPE, text=True)
    eventually(lambda: True if "line-2999" in place.must("logs", "--tail", "1", "talker") else None)
    place.must("restart", "--timeout", "0ms", "talker")
    eventually(lambda: True if place.must("logs", "talker").count("line-2999") == 2 else None)
    place.must("stop", "--timeout", "0ms", "talker")
    out, _ = follower.communicate(timeout=20)
    numbers = [int(m) for m in re.findall(r"line-(\d+)-", out)]
    assert numbers == list(range(3000)) * 2


def test_a_tree_that_ignores_sigterm_is_stopped_in_time(place, remove):
    script = "trap '' TERM; for i in $(seq 19); do sh -c 'trap \"\" TERM; while :; do sleep 1; done' & done; while :; do sleep 1; done"
    place.must("run", "-d", "--name", "tree", "--network", "none", "tiny", "sh", "-c", script)
    eventually(lambda: True if len(place.must("top", "tree").splitlines()) > 20 else None)
    began = time.monotonic()
    place.must("stop", "--timeout", "250ms", "tree")
    assert 0.2 < time.monotonic() - began < 1.5
    assert status(place, "tree")["state"] == "stopped"


def test_boot_starts_what_its_policy_says(place, remove):
    for name, policy in (("always", "always"), ("unless", "unless-stopped"), ("halted", "unless-stopped"), ("never", "no")):
        place.must("run", "-d", "--name", name, "--network", "none", "--restart", policy, "tiny", "sleep", "1000")
    place.must("stop", "--timeout", "0ms", "halted")
    for pid in place.supervisors(): # a power cut: no supervisor, and the folder of that boot is gone
        os.kill(pid, 9)
    eventually(lambda: None if place.supervisors() else True)
    subprocess.run(["rm", "-rf", place.folder + "/run"], check=True)
    assert place.states()["always"] == "failed"
    place.must("boot")
    states = place.states()
    assert states["always"] == states["unless"] == "running", states
    assert states["halted"] != "running" and states["never"] != "running", states


def test_exec_to_a_file_gives_the_workload_no_way_to_it(place, remove):
    place.must("run", "-d", "--name", "box", "--network", "none", "tiny", "sleep", "1000")
    target = place.folder + "/hostfile"
    with open(target, "w") as out:
        subprocess.run(place.argv("exec", "box", "sh", "-c", "readlink /proc/self/fd/1"), env=place.env, stdout=out, check=True)
    assert re.match(r"(pipe|socket):", open(target).read())
