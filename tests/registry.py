# SPDX-License-Identifier: Apache-2.0
"""A real registry on loopback (Debian's docker-registry), and images made for it as OCI layouts."""
import gzip, hashlib, io, json, os, shutil, signal, socket, subprocess, tarfile, tempfile, threading, time

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Registry:
    """`Registry()` is plain and open to all; `tls` makes a CA (`.ca`) and a certificate, `auth` a user "u" with password "p".
    `log`: requests are counted (`requests()`)."""

    def __init__(self, tls=False, auth=False, log=False):
        self.folder = tempfile.mkdtemp(prefix="berth-registry.", dir="/var/tmp")
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.tls, self.auth, self.ca = tls, auth, self.folder + "/ca.crt"
        http = {"addr": self.host}
        config = {"version": "0.1", "log": {"level": "info" if log else "error", "accesslog": {"disabled": not log}},
                  "storage": {"filesystem": {"rootdirectory": self.folder + "/data"}, "delete": {"enabled": True}}, "http": http}
        if tls:
            self.certificates()
            http["tls"] = {"certificate": self.folder + "/server.crt", "key": self.folder + "/server.key"}
        if auth:
            with open(self.folder + "/htpasswd", "w") as f:
                subprocess.run(["htpasswd", "-Bbn", "u", "p"], stdout=f, check=True)
            config["auth"] = {"htpasswd": {"realm": "test", "path": self.folder + "/htpasswd"}}
        with open(self.folder + "/config.yml", "w") as f:
            json.dump(config, f) # JSON is YAML
        self.log = open(self.folder + "/log", "w")
        self.process = subprocess.Popen(["docker-registry", "serve", self.folder + "/config.yml"], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        self.wait()

    def certificates(self):
        def openssl(*words):
            subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=berth test CA")
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=127.0.0.1")
        with open(self.folder + "/ext", "w") as f:
            f.write("subjectAltName=IP:127.0.0.1,DNS:localhost,DNS:registry.test\n")
        openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.crt",
                "-days", "2", "-extfile", "ext")

    def wait(self):
        for _ in range(500):
            assert self.process.poll() is None, open(self.folder + "/log").read()
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the registry does not answer")

    def push(self, source, name, *flags):
        """skopeo copies any of its sources ("oci:DIR:TAG") here; the name for berth."""
        words = ["--dest-tls-verify=false"] + (["--dest-creds", "u:p"] if self.auth else [])
        subprocess.run(["skopeo", "copy", "-q", *words, *flags, source, f"docker://{self.host}/{name}"], check=True, capture_output=True)
        return f"{self.host}/{name}"

    def requests(self):
        """Lines of the access log since the last call: "GET /v2/..."."""
        time.sleep(0.05)
        text = open(self.folder + "/log").read()
        lines = [l.split('"')[1].rsplit(" ", 1)[0] for l in text.splitlines() if '"GET /' in l or '"HEAD /' in l or '"POST /' in l or '"PUT /' in l]
        new, self.seen = lines[getattr(self, "seen", 0):], len(lines)
        return new

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Slow:
    """The same registry over a thin line: so many bytes a second reach whoever asks."""

    def __init__(self, registry, rate):
        self.registry, self.rate = registry, rate
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.registry.port))
            threading.Thread(target=self.copy, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, self.rate), daemon=True).start()

    def copy(self, source, target, rate):
        try:
            while data := source.recv(65536 if rate is None else rate // 50):
                target.sendall(data)
                if rate:
                    time.sleep(len(data) / rate)
        except OSError:
            pass
        for s in (source, target):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Layout:
    """An OCI layout that is written here: layers of tar bytes, each compressed as said, or not."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder + "/blobs/sha256", exist_ok=True)
        self.entries = []

    def put(self, data):
        with open(f"{self.folder}/blobs/{sha(data).replace(':', '/')}", "wb") as f:
            f.write(data)
        return {"digest": sha(data), "size": len(data)}

    def layer(self, tar, compression="gzip", type=None):
        data = {"gzip": lambda: gzip.compress(tar, 1, mtime=0), "plain": lambda: tar, "zstd": lambda: zstd(tar),
                "zstd-long": lambda: zstd(tar, "--long=27", "-3"), "zstd-huge": lambda: zstd(tar, "--ultra", "--long=31", "-3")}[compression]()
        ending = {"gzip": "+gzip", "plain": ""}.get(compression, "+zstd")
        return {"mediaType": type or LAYER + ending, **self.put(data)}, sha(tar)

    def image(self, tag, layers, config=None, config_type=CONFIG, platform=("linux", "amd64")):
        """layers: (descriptor, diff id) as layer() gives them."""
        document = {"os": platform[0], "architecture": platform[1], "created": "2024-01-02T03:04:05Z", "config": {"Cmd": ["/bin/sh"]},
                    "rootfs": {"type": "layers", "diff_ids": [d for _, d in layers]}, **(config or {})}
        made = self.put(json.dumps(document).encode())
        manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": config_type, **made}, "layers": [l for l, _ in layers]}
        entry = {"mediaType": MANIFEST, **self.put(json.dumps(manifest).encode()), "annotations": {"org.opencontainers.image.ref.name": tag}}
        self.entries.append(entry)
        self.write()
        return entry

    def write(self):
        with open(self.folder + "/oci-layout", "w") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')
        with open(self.folder + "/index.json", "w") as f:
            json.dump({"schemaVersion": 2, "manifests": self.entries}, f)


def zstd(data, *flags):
    return subprocess.run(["zstd", "-q", "-c", *(flags or ("-3",))], input=data, check=True, capture_output=True).stdout


def tar_of(files):
    """{"name": bytes} as a tar, names in order; a value may be a TarInfo, or (TarInfo, bytes)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, body in files.items():
            info, data = body if isinstance(body, tuple) else (body, b"") if isinstance(body, tarfile.TarInfo) else (None, body)
            if info is None:
                info = tarfile.TarInfo(name)
                info.mtime = 1700000000
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return out.getvalue()
