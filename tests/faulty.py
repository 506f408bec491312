# SPDX-License-Identifier: Apache-2.0
"""A registry that does what a real one never does, as its script says; everything else it does right."""
import http.server, json, os, re, shutil, ssl, subprocess, tempfile, threading, time
from registry import CONFIG, Layout, MANIFEST, sha, tar_of

INDEX = "application/vnd.oci.image.index.v1+json"


class Answer:
    """What would be right: an action may change it, or answer by itself and return None."""

    def __init__(self, status, body=b"", **headers):
        self.status, self.body, self.headers = status, body, {k.replace("_", "-"): v for k, v in headers.items()}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, *words):
        pass

    def setup(self):
        if self.server.registry.context:
            self.request = self.server.registry.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def handle(self):
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def read_body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def do(self):
        registry = self.server.registry
        what = f"{self.command} {self.path}"
        registry.log.append((what, dict(self.headers.items())))
        action = registry.action_for(what)
        if action and getattr(action, "early", False):
            return action(self, None)
        self.body = self.read_body()
        answer = registry.right(self)
        if action:
            answer = action(self, answer)
        if answer:
            self.send(answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do

    def send(self, answer):
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "Content-Length" not in answer.headers and "Transfer-Encoding" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def drop(self):
        self.wfile.flush()
        self.close_connection = True
        self.connection.close()


def upload_of(path):
    return re.search(r"uploads/(u\d+)", path)[1]


class Faulty:
    """`faulty.at("GET .*/blobs/", action, times)`; an image "a/b:1" of two layers is there from the beginning."""

    def __init__(self, tls=None, client_ca=None):
        self.folder = tempfile.mkdtemp(prefix="berth-faulty.", dir="/var/tmp")
        self.rules, self.log, self.blobs, self.manifests, self.uploads, self.mounts = [], [], {}, {}, {}, True
        self.context, self.lock = None, threading.Lock()
        if tls: # (certificate, key)
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*tls)
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.registry = self
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"{'https' if tls else 'http'}://{self.host}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        layout = Layout(self.folder + "/layout")
        self.layers = [layout.layer(tar_of({"hello": b"hello"}), "gzip"),
                       layout.layer(tar_of({"noise": os.urandom(3 << 20)}), "plain")]
        self.entry = layout.image("1", self.layers)
        for name in os.listdir(layout.folder + "/blobs/sha256"):
            with open(f"{layout.folder}/blobs/sha256/{name}", "rb") as f:
                self.blobs["sha256:" + name] = f.read()
        self.manifest = self.blobs.pop(self.entry["digest"])
        self.config = json.loads(self.manifest)["config"]["digest"]
        self.big = self.layers[1][0]["digest"]
        self.put("1", self.manifest)
        self.name = self.host + "/a/b:1"

    def put(self, tag, data, type=MANIFEST):
        self.manifests[tag] = self.manifests[sha(data)] = (data, type)
        return {"mediaType": type, "digest": sha(data), "size": len(data)}

    def at(self, pattern, action, times=1 << 30):
        self.rules.append([re.compile(pattern), action, times])
        return self

    def action_for(self, what):
        for rule in self.rules:
            if rule[2] > 0 and rule[0].search(what):
                rule[2] -= 1
                return rule[1]
        return None

    def asked(self, pattern):
        return [(w, h) for w, h in self.log if re.search(pattern, w)]

    def right(self, h):
        path, _, query = h.path.partition("?")
        if path == "/v2/":
            return Answer(200)
        kind, _, name = re.sub(r"^/v2/[a-z0-9/]+?/(?=manifests|blobs)", "", path).partition("/")
        if h.command in ("POST", "PATCH") or "uploads" in path or (h.command == "PUT" and kind == "manifests"):
            return self.upload(h, path, query, kind, name)
        if kind == "manifests" and name in self.manifests:
            data, type = self.manifests[name]
            return Answer(200, data, Content_Type=type, Docker_Content_Digest=sha(data), Content_Length=str(len(data)))
        if kind == "blobs" and name in self.blobs:
            data, start = self.blobs[name], re.match(r"bytes=(\d+)-$", h.headers.get("Range") or "")
            if start and int(start[1]) < len(data):
                n = int(start[1])
                return Answer(206, data[n:], Content_Range=f"bytes {n}-{len(data) - 1}/{len(data)}")
            return Answer(200, data, Content_Length=str(len(data)))
        return Answer(404, json.dumps({"errors": [{"code": "UNKNOWN", "message": "not\nhere\x1b[31m"}]}).encode())

    def upload(self, h, path, query, kind, name):
        if kind == "manifests":
            self.put(name, h.body, h.headers.get("Content-Type"))
            return Answer(201, Docker_Content_Digest=sha(h.body))
        if h.command == "POST":
            if self.mounts and "mount=" in query:
                return Answer(201)
            with self.lock:
                name = f"u{len(self.uploads) + 1}"
                self.uploads[name] = b""
            return Answer(202, Location=f"/v2/a/b/blobs/uploads/{name}?state=x")
        name = upload_of(path)
        if h.command == "PATCH":
            self.uploads[name] += h.body
            return Answer(202, Location=f"/v2/a/b/blobs/uploads/{name}?state=x", Range=f"0-{len(self.uploads[name]) - 1}")
        if h.command == "GET":
            return Answer(204, Location=f"/v2/a/b/blobs/uploads/{name}?state=x", Range=f"0-{max(0, len(self.uploads[name]) - 1)}")
        data = self.uploads[name] + h.body
        if "digest=" + sha(data) not in query:
            return Answer(400)
        self.blobs[sha(data)] = data
        return Answer(201)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        shutil.rmtree(self.folder, ignore_errors=True)


# ---- actions

def status(code, body=b"", **headers):
    return lambda h, a: Answer(code, body, **headers)


def headers(**more):
    def act(h, a):
        a.headers.update({k.replace("_", "-"): v for k, v in more.items()})
        return a
    return act


def body(data):
    def act(h, a):
        a.body = data
        a.headers["Content-Length"] = str(len(data))
        return a
    return act


def cut(n):
    """The first n bytes of what was promised, then the end of the connection."""
    def act(h, a):
        a.headers["Content-Length"] = str(len(a.body))
        a.body = a.body[:n]
        h.send(a)
        h.drop()
    return act


def slow(seconds):
    """A byte a second."""
    def act(h, a):
        whole, a.body = a.body, b""
        a.headers["Content-Length"] = str(len(whole))
        h.send(a)
        end = time.monotonic() + seconds
        for byte in whole:
            if time.monotonic() > end:
                break
            h.wfile.write(bytes([byte]))
            h.wfile.flush()
            time.sleep(1)
        h.drop()
    return act


def silent(seconds):
    def act(h, a):
        time.sleep(seconds)
        h.drop()
    return act


def endless(h, a):
    """Chunks that never end."""
    a.headers.pop("Content-Length", None)
    a.headers["Transfer-Encoding"] = "chunked"
    whole, a.body = a.body, b""
    h.send(a)
    for _ in range(100000):
        h.wfile.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    h.drop()


def many_headers(h, a):
    h.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for i in range(100000):
        h.wfile.write(b"X-%d: %s\r\n" % (i, b"y" * 1000))
    h.drop()


def early_cut(n):
    """Of an upload only n bytes are taken, then the connection ends."""
    def act(h, a):
        h.server.registry.uploads[upload_of(h.path)] += h.rfile.read(n)
        h.drop()
    act.early = True
    return act
