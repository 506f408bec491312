#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A docker daemon of our own, for as long as a command runs: dockerd, or podman's API service.

    daemon.py docker|podman COMMAND [ARGS...]

Everything is its own: data, runtime folder, socket, mount and network namespace (the command runs in the latter too,
so that it reaches what is published). DOCKER_HOST is set for the command. The image contract:1 is there: made of the
machine's static busybox, imported by berth, saved by `berth image save` and loaded by the daemon. Ends by pid.
"""
import http.client, json, os, shutil, signal, socket, subprocess, sys, tempfile, time

# podman takes the almost empty v2 of a hybrid machine for the real one: hide it
HIDE_V2 = "mount --make-rprivate / && if [ -d /sys/fs/cgroup/unified ]; then umount /sys/fs/cgroup/unified; fi"
SCRIPTS = {
    "docker": "mount --make-rprivate / && exec dockerd --data-root $0/data --exec-root $0/exec --pidfile $0/pid "
              "--host unix://$0/api.sock --storage-driver overlay2 $1",
    "podman": HIDE_V2 + " && exec podman --root $0/data --runroot $0/run --tmpdir $0/tmp --cgroup-manager cgroupfs "
              "--events-backend file $1 system service --time 0 unix://$0/api.sock",
}
FOLDERS = ["bin", "etc", "tmp", "root", "home/guest", "proc", "sys", "dev", "data", "usr/bin", "srv"]
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000:guest:/home/guest:/bin/sh\n",
    "etc/group": "root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n",
    "usr/bin/not-executable": "#!/bin/sh\necho never\n",
    "usr/bin/no-interpreter": "#!/no/such/interpreter\n",
    "data/of-the-image": "from the image\n",
}
CONFIG = {"Env": ["PATH=/bin:/usr/bin", "OF_IMAGE=yes"], "Cmd": ["/bin/sh"]}


class Connection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("docker", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Daemon:
    """kind is docker or podman; `more` are further words for it."""

    def __init__(self, kind, folder, more=""):
        self.kind, self.folder, self.more, self.child = kind, folder, more, None
        self.socket = os.path.join(folder, "api.sock")
        self.host = "unix://" + self.socket

    def ask(self, method, path, body=None, headers=None):
        c = Connection(self.socket)
        try:
            c.request(method, path, body, headers or {})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def start(self, seconds=60):
        log = open(os.path.join(self.folder, "daemon.log"), "ab")
        with open(os.path.join(self.folder, "containers.conf"), "w") as f:  # podman's own default is above what some machines allow
            f.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n')
        self.child = subprocess.Popen(["unshare", "-m", "sh", "-c", SCRIPTS[self.kind], self.folder, self.more], stdin=subprocess.DEVNULL,
                                      stdout=log, stderr=log, start_new_session=True, cwd=self.folder, env={**os.environ, "TMPDIR": self.folder, "CONTAINERS_CONF": self.folder + "/containers.conf"})
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.child.poll() is None:
            try:
                if self.ask("GET", "/_ping")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(open(log.name).read()[-3000:])

    def kill(self):
        """As a power cut: what it runs, and its containerd, may live on."""
        self.child.kill()
        self.child.wait()
        try:  # its containerd died with it; where nobody buries orphans the next dockerd takes the dead one for alive
            os.unlink(self.folder + "/exec/containerd/containerd.pid")
        except OSError:
            pass

    def stop(self):
        if self.child.poll() is None:
            for c in json.loads(self.ask("GET", "/containers/json?all=1")[1] or b"[]"):
                self.ask("DELETE", f"/containers/{c['Id']}?force=1&v=1")
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        self.end_monitors()

    def end_monitors(self):
        """What was started for our folder alone: containerd of a killed dockerd, its shims, podman's monitors."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = open(f"/proc/{pid}/cmdline", "rb").read()
                if self.folder.encode() in words and words.split(b"\0")[0].rsplit(b"/", 1)[-1] in (
                        b"conmon", b"containerd", b"containerd-shim-runc-v2", b"docker-proxy"):
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass

    def load(self, archive):
        with open(archive, "rb") as f:
            status, said = self.ask("POST", "/images/load?quiet=1", f, {"Content-Type": "application/x-tar",
                                                                     "Content-Length": str(os.path.getsize(archive))})
        if status != 200 or b"errorDetail" in said:
            raise RuntimeError(f"{self.kind} does not load {archive}: {status} {said[:500]}")


def rootfs(folder, busybox="/bin/busybox"):
    for name in FOLDERS:
        os.makedirs(os.path.join(folder, name))
    for name, text in FILES.items():
        path = os.path.join(folder, name)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o755 if name.endswith("no-interpreter") else 0o644)
    with open(os.path.join(folder, "usr/bin/foreign"), "wb") as f:  # an ELF head for EM_S390
        f.write(bytes([0x7f, 0x45, 0x4c, 0x46, 2, 2, 1, 0] + [0] * 8 + [2 >> 8, 2, 22 >> 8, 22, 0, 0, 0, 1] + [0] * 40))
    os.chmod(os.path.join(folder, "usr/bin/foreign"), 0o755)
    os.chmod(os.path.join(folder, "tmp"), 0o1777)
    os.chown(os.path.join(folder, "home/guest"), 1000, 1000)
    shutil.copy(busybox, os.path.join(folder, "bin/busybox"))
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            os.symlink("busybox", os.path.join(folder, "bin", name))


def image(folder, reference="contract:1"):
    """An archive that `docker load` reads, made by berth."""
    programs = os.environ["BERTH_PROGRAMS"]
    env = {**os.environ, "BERTH_ROOT": folder + "/image-root", "BERTH_RUN": folder + "/image-run"}
    rootfs(folder + "/rootfs")
    run = lambda *argv: subprocess.run([programs + "/berth", *argv], check=True, env=env, stdout=subprocess.DEVNULL)
    changes = [w for k in CONFIG["Env"] for w in ("--change", "ENV " + k)] + ["--change", "CMD " + json.dumps(CONFIG["Cmd"])]
    run("image", "import", *changes, folder + "/rootfs", reference)
    run("image", "save", "--format", "docker", "-o", folder + "/image.tar", reference)
    return folder + "/image.tar"


def main(kind, command):
    folder = tempfile.mkdtemp(prefix="berth-daemon.", dir="/var/tmp")
    daemon = Daemon(kind, folder, "--bip 10.251.0.1/16" if kind == "docker" else "")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        daemon.start().load(image(folder))
        env = {**os.environ, "DOCKER_HOST": daemon.host, "BERTH_CONTRACT_DAEMON": folder}
        return subprocess.run(command, env=env).returncode
    finally:
        daemon.stop()
        if os.environ.get("BERTH_KEEP"):
            print("kept", folder, file=sys.stderr)
        else:
            subprocess.run(["sh", "-c", "grep -o ' '$0'/[^ ]*' /proc/self/mountinfo | sort -r | xargs -r umount -l", folder])
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    if os.environ.get("BERTH_DAEMON_NAMESPACE") != "own":
        os.environ["BERTH_DAEMON_NAMESPACE"] = "own"
        os.execvp("unshare", ["unshare", "-n", "-m", sys.executable, *sys.argv])
    sys.exit(main(sys.argv[1], sys.argv[2:]))
