# SPDX-License-Identifier: Apache-2.0
"""
The engine "docker" against daemons that break off, flood, hang, speak something else, or another version; and by TLS.

The daemon is a script here: it knows one container, and does as it is told. What a real one does is the contract suite's.
"""
import base64, json, os, resource, shutil, socket, ssl, struct, subprocess, sys, tempfile, threading, time
import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "contract"))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import daemon as real
from place import PROGRAMS, Place

ID = "ab" * 32
EXEC = "cd" * 32
STARTED = "2026-11-24T10:00:00.123456789Z"


def inspected(**state):
    return {"Id": ID, "Created": "2026-11-24T09:59:59.5Z", "Image": "sha256:" + "0" * 64, "Path": "sh", "Args": [], "RestartCount": 0,
            "State": {"Status": "running", "Running": True, "Pid": 4321, "ExitCode": 0, "StartedAt": STARTED,
                      "FinishedAt": "0001-01-01T00:00:00Z", **state},
            "Config": {"Labels": {}, "Tty": False}, "HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Ports": {}, "Networks": {}}}


def answer(status, body, kind="application/json", reason="X"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


def frame(stream, text, stamp=STARTED):
    data = stamp.encode() + b" " + text
    return bytes([stream, 0, 0, 0]) + struct.pack(">I", len(data)) + data


class Script:
    """A daemon: `say(method, path)` gives bytes, or writes to the connection itself and gives None (which ends it)."""

    def __init__(self, listener, host, context=None):
        self.listener, self.host, self.context = listener, host, context
        self.seen, self.connections, self.say = [], 0, self.well
        self.old = False  # whether it speaks HTTP/1.0 too: the answer is plain bytes then
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        try:
            if self.context:
                c = self.context.wrap_socket(c, server_side=True)
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    more = c.recv(65536)
                    if not more:
                        return
                    data += more
                head, data = data.split(b"\r\n\r\n", 1)
                length = [int(l.split(b":")[1]) for l in head.split(b"\r\n") if l.lower().startswith(b"content-length:")]
                while length and len(data) < length[0]:
                    data += c.recv(65536)
                data = data[length[0]:] if length else data
                method, path, version = head.split(b"\r\n")[0].decode().split(" ")
                if version == "HTTP/1.0" and not self.old:
                    c.sendall(answer(505, {"message": "not that old"}))
                    return
                self.seen.append((method, path))
                said = self.say(method, path, c)
                if said is None:
                    return
                c.sendall(said)
        except OSError:
            pass
        finally:
            c.close()

    def well(self, method, path, c=None):
        if "/containers/create" in path:
            return answer(201, {"Id": ID, "Warnings": []})
        if path.endswith(ID + "/exec"):
            return answer(201, {"Id": EXEC})
        if path.endswith(EXEC + "/start"):
            c.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n" + bytes([1, 0, 0, 0, 0, 0, 0, 3]) + b"hi\n")
            return None
        if path.endswith(EXEC + "/json"):
            return answer(200, {"ID": EXEC, "ContainerID": ID, "Running": False, "ExitCode": 0})
        if "/stats?" in path:
            return answer(200, {"read": STARTED, "cpu_stats": {}, "memory_stats": {}, "pids_stats": {"current": 1}})
        if path.endswith("/json"):
            return answer(200, inspected())
        return b"HTTP/1.1 204 No Content\r\n\r\n"


class Bed(Place):
    def __init__(self, host):
        super().__init__(image=False)
        self.env["DOCKER_HOST"] = host

    def code(self, *words, **more):
        r = self.call("--json", *words, **more)
        return json.loads(r.stderr.splitlines()[-1])["error"]["code"] if r.returncode and r.stderr else "OK", r


@pytest.fixture
def bed():
    folder = tempfile.mkdtemp(prefix="berth-script.", dir="/var/tmp")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(folder + "/sock")
    listener.listen(64)
    script = Script(listener, "unix://" + folder + "/sock")
    b = Bed(script.host)
    b.script, b.socket = script, folder + "/sock"
    b.must("create", "--runtime", "docker", "--name", "one", "any:1")
    b.must("start", "one")
    yield b
    listener.close()
    shutil.rmtree(folder)
    shutil.rmtree(b.folder, ignore_errors=True)


def test_what_it_says_when_all_is_well(bed):
    s = json.loads(bed.must("--json", "status", "one"))
    assert s["state"] == "running" and s["pid"] == 4321 and s["started"].startswith("2026-11-24T10:00:00.123456"), s
    assert all(path.startswith("/v1.41/") for _, path in bed.script.seen)


# What each verb asks, as often as one who writes the requests by hand, and at most once more.
REQUESTS = {
    "create": (("create", "--runtime", "docker", "--network", "none", "--name", "two", "any:1"), ["POST create"], 1),
    "start": (("start", "one"), ["POST start"], 1),
    "status": (("--json", "status", "one"), ["GET json"], 1),
    "stats": (("stats", "--no-stream", "one"), ["GET stats", "GET stats"], 2),  # two readings
    "logs": (("logs", "one"), ["GET json", "GET logs"], 1),
    "exec": (("exec", "one", "true"), ["POST exec", "POST start", "GET json"], 3),
    "stop": (("stop", "-t", "0", "one"), ["GET json", "POST kill"], 1),
    "stop in time": (("stop", "-t", "5", "one"), ["GET json", "POST stop"], 1),
    "restart": (("restart", "one"), ["GET json", "POST restart"], 1),
    "signal": (("kill", "-s", "USR1", "one"), ["GET json", "POST kill"], 1),
    "port": (("port", "one", "80"), ["GET json"], 1),
    "remove": (("rm", "one"), [f"DELETE {ID}"], 1),
}


@pytest.mark.parametrize("verb", REQUESTS)
def test_requests_of(bed, verb):
    words, wanted, by_hand = REQUESTS[verb]
    before = len(bed.script.seen)
    bed.call(*words, timeout=20)
    asked = [f"{m} {p.split('?')[0].rsplit('/', 1)[1]}" for m, p in bed.script.seen[before:]]
    assert sorted(asked) == sorted(wanted) and len(asked) <= by_hand + 1, asked


def test_a_connection_is_kept(bed):
    before, connections = len(bed.script.seen), bed.script.connections
    bed.must("--json", "status", "one", "one", "one")
    assert len(bed.script.seen) - before == 3 and bed.script.connections - connections == 1


def test_nobody_is_there(bed):
    os.unlink(bed.socket)
    code, r = bed.code("status", "one")
    assert code == "LOST" and "no daemon answers there" in r.stderr, r.stderr
    bed.script.listener.close()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(bed.socket)  # a file, and nobody listens
    code, r = bed.code("status", "one")
    assert code == "LOST" and "refused" in r.stderr, r.stderr


PAGE = b"<html><body>404 page not found</body></html>"
BROKEN = {
    "a page": ("CORRUPT", lambda m, p, c: answer(200, PAGE, "text/html")),
    "another server's 404": ("CORRUPT", lambda m, p, c: answer(404, PAGE, "text/html")),
    "text that is no JSON": ("CORRUPT", lambda m, p, c: answer(200, b"<nothing>", "text/plain")),
    "nothing": ("LOST", lambda m, p, c: None),
    "half a head": ("LOST|CORRUPT", lambda m, p, c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Ty")),
    "half a body": ("LOST", lambda m, p, c: c.sendall(answer(200, inspected())[:-20])),
    "half a chunk": ("LOST", lambda m, p, c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"a\"")),
    "a bad chunk": ("LOST|CORRUPT|IO", lambda m, p, c: c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n")),
    "no HTTP": ("CORRUPT", lambda m, p, c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 3)),
    "a status of its own": ("CORRUPT", lambda m, p, c: answer(999, b"{}")),
    "a redirect": ("CORRUPT", lambda m, p, c: b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n"),
    "its own trouble": ("IO", lambda m, p, c: answer(500, {"message": "it hurts\nhere"})),
    "a head without end": ("CORRUPT|TOO_BIG|IO", lambda m, p, c: c.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 200000)),
}


@pytest.mark.parametrize("how", BROKEN)
def test_it_answers_with(bed, how):
    wanted, say = BROKEN[how]
    bed.script.say = say
    for verb in (("status", "one"), ("stop", "one"), ("start", "one"), ("rm", "one"), ("exec", "one", "true"), ("stats", "--no-stream", "one")):
        code, r = bed.code(*verb)
        assert code in wanted.split("|"), (verb, code, r.stderr)
        assert r.stderr.count("\n") == 1 and r.returncode in (1, 125), r.stderr
    bed.script.say = bed.script.well
    assert "running" in bed.must("status", "one")  # nothing of it was taken for an end


def test_a_gigabyte_of_json_is_cut_off(bed):
    def flood(method, path, c):
        c.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n{"a":"')
        for _ in range(1024):
            c.sendall(b"x" * (1 << 20))
    bed.script.say = flood
    limit = lambda: resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
    begin = time.monotonic()
    r = subprocess.run(bed.argv("--json", "status", "one"), env=bed.env, capture_output=True, text=True, preexec_fn=limit, timeout=60)
    assert "TOO_BIG" in r.stderr and time.monotonic() - begin < 20, r.stderr


@pytest.mark.parametrize("words, version", [
    ("client version 1.41 is too new. Maximum supported API version is 1.24", "1.24"),
    ("client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version", "1.44")])
def test_another_version_is_agreed_on(bed, words, version):
    bed.script.say = lambda m, p, c: bed.script.well(m, p) if p.startswith(f"/v{version}/") else answer(400, {"message": words})
    assert json.loads(bed.must("--json", "status", "one"))["state"] == "running"
    assert [p for _, p in bed.script.seen][-2:] == [f"/v1.41/containers/{ID}/json", f"/v{version}/containers/{ID}/json"]


def test_a_version_before_all_that_are_known_is_refused(bed):
    bed.script.say = lambda m, p, c: answer(400, {"message": "client version 1.41 is too new. Maximum supported API version is 1.12"})
    code, r = bed.code("status", "one")
    assert code == "UNSUPPORTED" and "1.24" in r.stderr, r.stderr


@pytest.mark.parametrize("verb", [("start", "one"), ("stop", "one"), ("rm", "-f", "one"), ("exec", "one", "true"), ("wait", "one"),
                                  ("create", "--runtime", "docker", "any:1"), ("status", "one")])
def test_a_daemon_that_hangs_holds_nobody_up(bed, verb):
    gate = threading.Event()
    bed.script.say = lambda m, p, c: gate.wait(60) and None
    begin = time.monotonic()
    r = bed.call("--deadline", "500ms", *verb)
    took = time.monotonic() - begin
    gate.set()
    assert r.returncode == 124 and took < 15, (r.returncode, took, r.stderr)


def test_removed_behind_our_back(bed):
    bed.script.say = lambda m, p, c: answer(404, {"message": f"No such container: {ID}"})
    code, r = bed.code("status", "one")
    assert code == "NOT_FOUND", r.stderr
    bed.must("rm", "one")
    bed.script.say = bed.script.well
    bed.must("create", "--runtime", "docker", "--name", "one", "any:1")  # the name is free


def test_the_name_of_one_removed_behind_our_back_is_free(bed):
    def say(method, path, c):
        return answer(404, {"message": "No such container: x"}) if path.endswith(f"{ID}/json") else bed.script.well(method, path)
    bed.script.say = say
    bed.must("create", "--runtime", "docker", "--name", "one", "any:1")


def test_names_are_unique_across_engines(bed):
    code, r = bed.code("create", "--runtime", "container", "--name", "one", "--network", "none", "any:1")
    assert code in ("EXISTS", "NOT_FOUND"), r.stderr  # the image is looked for first
    code, r = bed.code("create", "--runtime", "docker", "--name", "one", "any:1")
    assert code == "EXISTS", r.stderr


def test_nothing_is_removed_by_a_name(bed):
    bed.must("rm", "-f", "one")
    gone = [p for m, p in bed.script.seen if m == "DELETE"]
    assert gone and all(f"/containers/{ID}?" in p for p in gone), gone


STREAM = b"".join(frame(1 + i % 2, b"line %d\n" % i, f"2026-11-24T10:00:00.{i:09d}Z") for i in range(200))


def say_of_logs(bed, answer):
    """The script as it is, but for a question for logs."""
    bed.script.say = lambda method, path, c: answer(c) if "/logs?" in path else bed.script.well(method, path)


def test_frames_split_anywhere_and_a_log_that_breaks_off(bed):
    def say(c):
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(STREAM), 7):
            piece = STREAM[i:i + 7]
            c.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        c.sendall(b"0\r\n\r\n")
    say_of_logs(bed, say)
    r = bed.call("logs", "one")
    assert r.stdout == "".join(f"line {i}\n" for i in range(0, 200, 2)) and r.stderr == "".join(f"line {i}\n" for i in range(1, 200, 2))
    broken = STREAM[:len(STREAM) // 2 + 3]

    def cut(c):
        c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % (len(broken) + 100) + broken)
    say_of_logs(bed, cut)
    out = bed.call("logs", "one", timeout=20).stdout
    assert out.startswith("line 0\nline 2\n") and "line 198" not in out


def test_frames_as_plain_bytes(bed):
    """The old way to ask: no pieces of HTTP around them. Cut in the middle there is what came whole."""
    stream = STREAM

    def say(c):
        c.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n")
        for i in range(0, len(stream), 11):
            c.sendall(stream[i:i + 11])
    say_of_logs(bed, say)
    bed.script.old = True
    before = len(bed.script.seen)
    r = bed.call("logs", "one")
    assert r.stdout == "".join(f"line {i}\n" for i in range(0, 200, 2)) and r.stderr == "".join(f"line {i}\n" for i in range(1, 200, 2))
    assert len(bed.script.seen) == before + 2
    assert bed.call("logs", "-n", "3", "one").stdout + bed.call("logs", "-n", "3", "one").stderr == "line 198\nline 197\nline 199\n"
    stream = stream[:len(stream) // 2 + 3]
    out = bed.call("logs", "one", timeout=20).stdout
    assert out.startswith("line 0\nline 2\n") and "line 198" not in out


def test_a_follower_goes_on_when_the_daemon_is_back(bed):
    """The first answer breaks off; the second begins with what is known already."""
    entries = [frame(1, b"line %d\n" % i, f"2026-11-24T10:00:00.{i:09d}Z") for i in range(10)]
    answers = [entries[:5], entries[4:]]

    def say(method, path, c):
        if "/logs?" not in path:
            ended = {"Status": "exited", "Running": False, "FinishedAt": "2026-11-24T10:00:05Z"}
            return answer(200, inspected(**ended)) if path.endswith("/json") and not answers else bed.script.well(method, path)
        part = b"".join(answers.pop(0) if answers else [])
        c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"%x\r\n" % len(part) + part + b"\r\n" if part else b""))
        if not answers:
            c.sendall(b"0\r\n\r\n")
    bed.script.say = say
    assert bed.call("logs", "-f", "one", timeout=30).stdout == "".join(f"line {i}\n" for i in range(10))


def test_a_hundred_statuses_are_one_request(bed):
    """ps asks for all of them at once, and takes what it knows of each as long as the daemon's words fit it."""
    started = time.strftime("%Y-%m-%dT%H:%M:%S.000000001Z", time.gmtime(time.time() - 7200))
    ids, words = [ID], {}

    def say(method, path, c):
        if "/containers/create" in path:
            ids.append(f"{len(ids):064x}")
            return answer(201, {"Id": ids[-1]})
        if "/containers/json?" in path:
            return answer(200, [{"Id": i, "State": "running", "Status": words.get(i, "Up 2 hours"), "Labels": {}} for i in ids])
        i = path.split("/")[3]
        return answer(200, {**inspected(StartedAt=started), "Id": i}) if path.endswith("/json") else bed.script.well(method, path)
    bed.script.say = say
    for i in range(99):
        bed.must("create", "--runtime", "docker", "--name", f"w{i}", "any:1")
    bed.must("ps", "-a", "-q")
    before = len(bed.script.seen)
    assert len(bed.must("ps", "-a", "-q").split()) == 100
    asked = bed.script.seen[before:]
    assert len(asked) == 1 and "/containers/json?all=1" in asked[0][1], asked[:3]
    words[ids[5]] = "Up 3 seconds"  # restarted by somebody: that one is looked at
    before = len(bed.script.seen)
    bed.must("ps", "-a", "-q")
    assert [p for _, p in bed.script.seen[before + 1:]] == [f"/v1.41/containers/{ids[5]}/json"]
    gone = ids.pop(7)  # and one that somebody removed is listed no more
    assert len(bed.must("ps", "-a", "-q").split()) == 99 and gone


# ---- TLS

def certificates(folder, name="localhost"):
    run = lambda *argv: subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca-key.pem", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test-ca")
    for who, extra in (("server", f"subjectAltName=DNS:{name}"), ("cert", "extendedKeyUsage=clientAuth")):
        key = "key.pem" if who == "cert" else "server-key.pem"
        run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", who + ".csr", "-subj", "/CN=" + who)
        with open(os.path.join(folder, who + ".ext"), "w") as f:
            f.write(extra + "\n")
        run("x509", "-req", "-in", who + ".csr", "-CA", "ca.pem", "-CAkey", "ca-key.pem", "-CAcreateserial", "-days", "2", "-extfile",
            who + ".ext", "-out", who + ".pem")


@pytest.fixture
def tls():
    folder = tempfile.mkdtemp(prefix="berth-tls.", dir="/var/tmp")
    certificates(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder + "/server.pem", folder + "/server-key.pem")
    context.load_verify_locations(folder + "/ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    script = Script(listener, f"tcp://localhost:{port}", context)
    b = Bed(script.host)
    b.env["DOCKER_CERT_PATH"] = b.certs = folder
    b.script, b.port = script, port
    yield b
    listener.close()
    shutil.rmtree(folder)
    shutil.rmtree(b.folder, ignore_errors=True)


def test_tls_both_ways(tls):
    tls.must("create", "--runtime", "docker", "--name", "far", "any:1")
    tls.must("start", "far")
    del tls.env["DOCKER_HOST"], tls.env["DOCKER_CERT_PATH"]  # a workload knows where it is
    assert json.loads(tls.must("--json", "status", "far"))["state"] == "running"


def test_a_certificate_of_another_name_is_refused(tls):
    tls.env["DOCKER_HOST"] = f"tcp://127.0.0.1:{tls.port}"
    code, r = tls.code("create", "--runtime", "docker", "any:1")
    assert code == "LOST" and "certificate" in r.stderr.lower(), r.stderr
    assert not tls.script.seen


def test_another_authority_is_refused(tls):
    other = tempfile.mkdtemp(prefix="berth-tls.", dir="/var/tmp")
    certificates(other)
    tls.env["DOCKER_CERT_PATH"] = other
    code, r = tls.code("create", "--runtime", "docker", "any:1")
    shutil.rmtree(other)
    assert code == "LOST" and "verify failed" in r.stderr, r.stderr
    assert not tls.script.seen


def test_nobody_at_the_port(tls):
    with socket.create_server(("127.0.0.1", 0)) as s:  # a port that nobody listens at any more
        tls.env["DOCKER_HOST"] = f"tcp://localhost:{s.getsockname()[1]}"
    code, r = tls.code("create", "--runtime", "docker", "any:1")
    assert code == "LOST" and "no daemon answers there" in r.stderr, r.stderr


# ---- a real one

def end(d, b, folder):
    d.stop()
    subprocess.run(["sh", "-c", "grep -o ' '$0'/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r umount -l", folder])
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(b.folder, ignore_errors=True)


@pytest.mark.skipif(not shutil.which("dockerd") or not shutil.which("docker-registry"), reason="no docker or no registry here")
def test_a_pull_with_the_users_login():
    folder = tempfile.mkdtemp(prefix="berth-daemon.", dir="/var/tmp")
    os.environ["BERTH_PROGRAMS"] = PROGRAMS
    with socket.create_server(("127.0.0.1", 0)) as s:
        place = f"127.0.0.1:{s.getsockname()[1]}"
    with open(folder + "/htpasswd", "w") as f:
        subprocess.run(["htpasswd", "-Bbn", "me", "secret"], stdout=f, check=True)
    with open(folder + "/registry.yml", "w") as f:
        f.write(f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\nhttp: {{addr: '{place}'}}\n"
                f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n")
    d = real.Daemon("docker", folder, "--bridge=none --iptables=false")
    b = Bed(d.host)
    b.env["HOME"] = folder + "/home"
    os.makedirs(folder + "/home/.docker")
    registry = subprocess.Popen(["docker-registry", "serve", folder + "/registry.yml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        d.start().load(real.image(folder))
        login = base64.b64encode(json.dumps({"username": "me", "password": "secret", "serveraddress": place}).encode()).decode()
        d.ask("POST", f"/images/contract:1/tag?repo={place}/team/tiny&tag=1")
        said = d.ask("POST", f"/images/{place}/team/tiny/push?tag=1", headers={"X-Registry-Auth": login})[1]
        assert b"Digest" in said, said
        d.ask("DELETE", f"/images/{place}/team/tiny:1")
        words = ("create", "--runtime", "docker", "--network", "none", f"{place}/team/tiny:1", "true")
        code, r = b.code(*words)
        assert code == "DENIED" and "credentials" in r.stderr, r.stderr
        with open(folder + "/home/.docker/config.json", "w") as f:
            json.dump({"auths": {place: {"auth": base64.b64encode(b"me:secret").decode()}}}, f)
        r = b.call("run", "--rm", "--runtime", "docker", "--network", "none", f"{place}/team/tiny:1", "echo", "pulled")
        assert r.returncode == 0 and r.stdout == "pulled\n", r.stderr
        code, r = b.code("create", "--runtime", "docker", f"{place}/team/none:1", "true")
        assert code == "NOT_FOUND", r.stderr
    finally:
        registry.kill()
        registry.wait()
        end(d, b, folder)


class Far:
    """A daemon's socket as a port of this machine: all that is done by number there is out of reach."""

    def __init__(self, path):
        self.path, self.listener = path, socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self.path)
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self.carry, args=(a, b), daemon=True).start()

    @staticmethod
    def carry(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass


@pytest.mark.skipif(not shutil.which("dockerd"), reason="no docker here")
def test_an_exec_far_away_ends_with_its_caller():
    folder = tempfile.mkdtemp(prefix="berth-daemon.", dir="/var/tmp")
    os.environ["BERTH_PROGRAMS"] = PROGRAMS
    d = real.Daemon("docker", folder, "--bridge=none --iptables=false")
    b = Bed(d.host)
    runs = lambda word: word in b.must("exec", "far", "ps")
    def until_ended(word):
        end = time.monotonic() + 60
        while runs(word):
            assert time.monotonic() < end, word
            time.sleep(0.1)
    try:
        d.start().load(real.image(folder))
        far = Far(d.socket)
        b.env["DOCKER_HOST"] = "tcp://127.0.0.1:%d" % far.listener.getsockname()[1]
        b.must("run", "-d", "--runtime", "docker", "--network", "none", "--name", "far", "contract:1", "sleep", "1000")
        for user, word in (("root", "sleep 2001"), ("guest", "sleep 2002")):
            p = subprocess.Popen(b.argv("exec", "-u", user, "far", "sh", "-c", f"echo begun; {word}; true"), env=b.env, stdout=subprocess.PIPE, text=True)
            assert p.stdout.readline() == "begun\n" and runs(word)
            p.kill()
            p.wait()
            until_ended(word)
        r = b.call("exec", "--timeout", "1s", "far", "sleep", "2003")
        assert r.returncode == 124, r.stderr
        until_ended("sleep 2003")
        assert runs("sleep 1000")
        b.must("rm", "-f", "far")
        far.listener.close()
    finally:
        end(d, b, folder)


# ---- killed in the middle of everything

@pytest.mark.skipif(not shutil.which("dockerd"), reason="no docker here")
@pytest.mark.parametrize("live", [True, False])
def test_a_dockerd_killed_and_started_again(live):
    """`live`: with live-restore its containers go on; without it they are ended, and that is the truth then."""
    folder = tempfile.mkdtemp(prefix="berth-daemon.", dir="/var/tmp")
    os.environ["BERTH_PROGRAMS"] = PROGRAMS
    d = real.Daemon("docker", folder, "--bridge=none --iptables=false" + (" --live-restore" if live else ""))
    b = Bed(d.host)
    follower = runner = None
    try:
        d.start().load(real.image(folder))
        b.must("run", "-d", "--runtime", "docker", "--network", "none", "--name", "counts", "contract:1", "sh", "-c",
               "trap 'exit 0' TERM; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05 & wait $!; done")
        follower = subprocess.Popen(b.argv("logs", "-f", "counts"), env=b.env, stdout=subprocess.PIPE, text=True)
        runner = subprocess.Popen(b.argv("exec", "counts", "sh", "-c", "echo begun; sleep 1000"), env=b.env, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True)
        assert runner.stdout.readline() == "begun\n" and follower.stdout.readline() == "line 0\n"
        d.kill()
        _, said = runner.communicate(timeout=60)
        assert runner.returncode == 125 and "exec counts" in said, said  # its code is nobody's to tell
        code, r = b.code("status", "counts")
        assert code == "LOST", r.stderr
        time.sleep(0.5)
        d.start()
        state = json.loads(b.must("--json", "status", "counts"))["state"]
        assert state == "running" if live else state in ("failed", "stopped", "completed"), state
        if live:
            numbers = [int(follower.stdout.readline().split()[1]) for _ in range(60)]
            assert numbers == list(range(1, 61)), numbers  # nothing twice, nothing lost
            b.must("stop", "-t", "2", "counts")
        rest = follower.communicate(timeout=60)[0]
        assert follower.returncode == 0
        whole = b.must("logs", "counts")
        assert whole.splitlines() == [f"line {i}" for i in range(len(whole.splitlines()))] and whole.endswith(rest.strip().splitlines()[-1] if rest.strip() else "")
        b.must("rm", "-f", "counts")
        assert b.must("ps", "-a", "-q") == ""
    finally:
        for p in (follower, runner):
            if p and p.poll() is None:
                p.kill()
        end(d, b, folder)
