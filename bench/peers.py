# SPDX-License-Identifier: Apache-2.0
"""
The runtimes that berth is compared with, each as an object with the same few steps.

Every daemon is started by us, on its own folders and socket, in a network namespace of its own, and
is ended by process id. Nothing of the machine's own installation is touched.
"""
import ctypes, http.client, io, json, os, shutil, signal, socket, subprocess, tarfile, tempfile, time

from wire import SETUP

OBEDIENT = ["/bin/sh", "-c", "trap 'exit 0' TERM; echo x; while :; do sleep 1000 & wait; done"]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


HIDE_V2 = "mount --make-rprivate / && { umount /sys/fs/cgroup/unified 2>/dev/null || :; }"
CLONE_NEWNS = 0x20000


class Peer:
    """A peer that can't do a step answers None for it."""
    version = "?"

    def close(self):
        pass


# of its own: podman's default is above what some machines allow
LIMITS = [{"Name": n, "Soft": 1024, "Hard": 4096} for n in ("nofile", "nproc")]


class Api(Peer):
    """Docker's HTTP interface, which podman speaks too."""

    def __init__(self, name, folder, network):
        self.name, self.folder, self.network, self.children = name, folder, network, []
        self.limits = LIMITS
        self.socket = os.path.join(folder, "api.sock")

    def spawn(self, argv, **more):
        log = open(os.path.join(self.folder, "daemon.log"), "ab")
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)
        self.children.append(child)

    def wait_ready(self):
        for _ in range(300):
            try:
                self.version = self.ask("GET", "/version")[1]["Version"]
                return
            except (OSError, KeyError, http.client.HTTPException):
                time.sleep(0.1)
        raise RuntimeError(f"{self.name} did not come up, see {self.folder}/daemon.log")

    def ask(self, method, path, body=None, headers=None):
        c = UnixConnection(self.socket)
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"Content-Type": "application/json"}
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        data = r.read()
        c.close()
        if r.status >= 400:
            raise RuntimeError(f"{self.name}: {method} {path}: {r.status} {data[:200]}")
        try:
            return r.status, json.loads(data)
        except ValueError:
            return r.status, data

    def load(self, rootfs):
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w") as t:
            t.add(rootfs, arcname=".")
        self.ask("POST", "/images/create?fromSrc=-&repo=bench&tag=latest", tar.getvalue(),
                 {"Content-Type": "application/x-tar"})

    def create(self):
        host = {"NetworkMode": self.network, "Memory": 64 << 20, "PidsLimit": 100, "Ulimits": LIMITS}
        body = {"Image": "bench:latest", "Cmd": OBEDIENT, "HostConfig": host}
        return self.ask("POST", "/containers/create", body)[1]["Id"]

    def start_to_byte(self):
        t = time.monotonic()
        i = self.create()
        c = UnixConnection(self.socket)
        c.request("POST", f"/containers/{i}/attach?stream=1&stdout=1", headers={"Upgrade": "tcp", "Connection": "Upgrade"})
        attached = c.sock
        reader = attached.makefile("rb", 0)
        while reader.readline().strip():
            pass
        self.ask("POST", f"/containers/{i}/start")
        if not reader.read(1):
            raise RuntimeError(f"{self.name}: no output")
        t = time.monotonic() - t
        c.close()
        return t, i

    def start(self):
        t, i = self.start_to_byte()
        self.force_remove(i)
        return t

    def force_remove(self, i):
        self.ask("DELETE", f"/containers/{i}?force=1")

    def need_resident(self):
        if not hasattr(self, "resident"):
            self.resident = self.start_to_byte()[1]

    def exec(self):
        self.need_resident()
        t = time.monotonic()
        e = self.ask("POST", f"/containers/{self.resident}/exec", {"Cmd": ["/bin/true"], "AttachStdout": True})[1]["Id"]
        self.ask("POST", f"/exec/{e}/start", {"Detach": False})
        self.ask("GET", f"/exec/{e}/json")
        return time.monotonic() - t

    def stop(self):
        i = self.start_to_byte()[1]
        time.sleep(0.05)
        t = time.monotonic()
        self.ask("POST", f"/containers/{i}/stop?t=5")
        t = time.monotonic() - t
        self.force_remove(i)
        return t

    def remove(self):
        i = self.start_to_byte()[1]
        self.ask("POST", f"/containers/{i}/kill")
        self.ask("POST", f"/containers/{i}/wait")
        t = time.monotonic()
        self.ask("DELETE", f"/containers/{i}")
        return time.monotonic() - t

    def status(self):
        self.need_resident()
        t = time.monotonic()
        self.ask("GET", f"/containers/{self.resident}/json")
        return time.monotonic() - t

    address = status  # nothing less tells it

    def stats(self):
        self.need_resident()
        t = time.monotonic()
        self.ask("GET", f"/containers/{self.resident}/stats?stream=0&one-shot=1")
        return time.monotonic() - t

    def fifty(self):
        from concurrent.futures import ThreadPoolExecutor
        t = time.monotonic()
        with ThreadPoolExecutor(50) as pool:
            def one(_):
                i = self.create()
                self.ask("POST", f"/containers/{i}/start")
                return i
            ids = list(pool.map(one, range(50)))
        t = time.monotonic() - t
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(self.force_remove, ids))
        return t

    def close(self):
        try:
            if hasattr(self, "resident"):
                self.force_remove(self.resident)
        except (OSError, RuntimeError, http.client.HTTPException):
            pass
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        end_monitors(self.folder)


def end_monitors(folder):
    """podman's exec monitors stay for minutes: those that were started for our folder are ours."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read()
            if words.startswith(b"/usr/bin/conmon") and folder.encode() in words:
                os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass


def docker(folder, network, isolated=True):
    """`isolated` False: on the host's network, where it makes nothing, for pulls from a registry there."""
    p = Api("docker", folder, "none" if network == "none" else network)
    bridge = "" if network == "bridge" else "--iptables=false --ip6tables=false --bridge=none "
    script = (f"mount --make-rprivate / && {SETUP if isolated else 'true'} && exec dockerd --data-root $0/data --exec-root $0/exec "
              f"--pidfile $0/pid --host unix://$0/api.sock {bridge}--storage-driver overlay2")
    p.spawn(["unshare", *(["-n"] if isolated else []), "-m", "sh", "-c", script, folder])
    p.wait_ready()
    return p


def podman(folder, network):
    p = Api("podman", folder, network)
    # podman takes the almost empty v2 of a hybrid machine for the real one: hide it
    # nor leave its networks' files on the machine
    script = (HIDE_V2 + " && " + SETUP + " && for d in /run/netns /var/lib/cni; do mkdir -p $d && mount -t tmpfs none $d; done && "
              "exec podman --root $0/data --runroot $0/run --tmpdir $0/tmp --cgroup-manager cgroupfs --events-backend file "
              "system service --time 0 unix://$0/api.sock")
    p.spawn(["unshare", "-n", "-m", "sh", "-c", script, folder], env={**os.environ, "TMPDIR": folder})
    p.wait_ready()
    return p


class Raw(Peer):
    """crun and runc as processes over a bundle made ahead: no images, no supervision, no logs."""

    def __init__(self, name, folder, network):
        self.name, self.folder, self.n = name, folder, 0
        self.version = subprocess.run([name, "--version"], capture_output=True, text=True).stdout.split("\n")[0].split()[-1]
        self.bundle = os.path.join(folder, "bundle")
        os.makedirs(self.bundle)
        # crun refuses a hybrid machine: give it a mount namespace without the almost empty v2
        self.namespace = subprocess.Popen(["unshare", "-m", "sh", "-c", HIDE_V2 + " && echo ready && exec sleep 100000"],
                                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.namespace.stdout.readline()
        self.ns_fd = os.open(f"/proc/{self.namespace.pid}/ns/mnt", os.O_RDONLY)

    def enter(self):
        if ctypes.CDLL(None, use_errno=True).setns(self.ns_fd, CLONE_NEWNS) != 0:
            os._exit(1)

    def load(self, rootfs):
        shutil.copytree(rootfs, os.path.join(self.bundle, "rootfs"), symlinks=True)
        subprocess.run([self.name, "spec"], cwd=self.bundle, check=True)
        path = os.path.join(self.bundle, "config.json")
        c = json.load(open(path))
        c["process"].update(terminal=False, args=OBEDIENT)
        c["root"]["readonly"] = False
        c["linux"]["resources"].update(memory={"limit": 64 << 20}, pids={"limit": 100})
        # the profile that podman would give it: without one the comparison is not one of equals
        profile = "/usr/share/containers/seccomp.json"
        if os.path.exists(profile):
            c["linux"]["seccomp"] = seccomp_of(json.load(open(profile)))
        json.dump(c, open(path, "w"))

    def call(self, *args, **more):
        return subprocess.run([self.name, "--root", os.path.join(self.folder, "state"), *args],
                              stdin=subprocess.DEVNULL, capture_output=True, check=True,
                              preexec_fn=self.enter, **more)

    def start_to_byte(self):
        self.n += 1
        i = f"bench-{os.getpid()}-{self.n}"
        t = time.monotonic()
        child = subprocess.Popen([self.name, "--root", os.path.join(self.folder, "state"), "run", "--bundle", self.bundle, i],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 preexec_fn=self.enter)
        if not child.stdout.read(1):
            raise RuntimeError(f"{self.name} run printed nothing")
        return time.monotonic() - t, i, child

    def end(self, i, child):
        subprocess.run([self.name, "--root", os.path.join(self.folder, "state"), "delete", "--force", i],
                       capture_output=True, preexec_fn=self.enter)
        child.wait()
        child.stdout.close()

    def start(self):
        t, i, child = self.start_to_byte()
        self.end(i, child)
        return t

    def exec(self):
        if not hasattr(self, "resident"):
            self.resident = self.start_to_byte()[1:]
        t = time.monotonic()
        self.call("exec", self.resident[0], "/bin/true")
        return time.monotonic() - t

    def stop(self):
        _, i, child = self.start_to_byte()
        time.sleep(0.05)
        t = time.monotonic()
        self.call("kill", i, "TERM")
        child.wait()
        t = time.monotonic() - t
        self.end(i, child)
        return t

    def status(self):
        t = time.monotonic()
        self.call("state", self.resident[0])
        return time.monotonic() - t

    def close(self):
        if hasattr(self, "resident"):
            self.end(*self.resident)
        os.close(self.ns_fd)
        self.namespace.kill()
        self.namespace.wait()


def seccomp_of(profile):
    """docker's profile format to the OCI one, for a process without capabilities beyond the default."""
    calls = [{k: s[k] for k in ("names", "action", "args", "errnoRet") if s.get(k)} for s in profile["syscalls"]
             if not s.get("includes", {}).get("caps") and not s.get("excludes", {}).get("caps")]
    return {"defaultAction": profile["defaultAction"], "architectures": ["SCMP_ARCH_X86_64"], "syscalls": calls}


class Containerd(Peer):
    def __init__(self, folder, network):
        self.name, self.folder, self.n = "containerd", folder, 0
        self.socket = os.path.join(folder, "c.sock")
        config = os.path.join(folder, "config.toml")
        with open(config, "w") as f:
            f.write(f'version = 2\nroot = "{folder}/data"\nstate = "{folder}/run"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
                    f'[grpc]\naddress = "{self.socket}"\n')
        log = open(os.path.join(folder, "daemon.log"), "ab")
        self.child = subprocess.Popen(["containerd", "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for _ in range(100):
            out = subprocess.run(["ctr", "-a", self.socket, "version"], capture_output=True, text=True)
            if out.returncode == 0:
                self.version = out.stdout.rsplit("Version:", 1)[1].split()[0]
                return
            time.sleep(0.1)
        raise RuntimeError("containerd did not come up")

    def ctr(self, *args):
        return subprocess.run(["ctr", "-a", self.socket, *args], stdin=subprocess.DEVNULL, capture_output=True, check=True)

    def load(self, rootfs):
        layout = os.path.join(self.folder, "oci")
        run = lambda *a: subprocess.run(a, check=True, capture_output=True)
        run("umoci", "init", "--layout", layout)
        run("umoci", "new", "--image", layout + ":bench")
        run("umoci", "insert", "--image", layout + ":bench", rootfs, "/")
        tar = os.path.join(self.folder, "bench.tar")
        run("tar", "-C", layout, "-cf", tar, ".")
        self.ctr("image", "import", "--index-name", "bench.local/bench:latest", tar)

    def start_to_byte(self):
        self.n += 1
        i = f"bench-{os.getpid()}-{self.n}"
        t = time.monotonic()
        child = subprocess.Popen(["ctr", "-a", self.socket, "run", "--memory-limit", str(64 << 20), "bench.local/bench:latest", i, *OBEDIENT],
                                 stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        if not child.stdout.read(1):
            raise RuntimeError("ctr run printed nothing")
        return time.monotonic() - t, i, child

    def end(self, i, child):
        subprocess.run(["ctr", "-a", self.socket, "task", "kill", "-s", "KILL", i], capture_output=True)
        child.wait()
        child.stdout.close()
        subprocess.run(["ctr", "-a", self.socket, "container", "rm", i], capture_output=True)

    def start(self):
        t, i, child = self.start_to_byte()
        self.end(i, child)
        return t

    def exec(self):
        if not hasattr(self, "resident"):
            self.resident = self.start_to_byte()[1:]
        self.n += 1
        t = time.monotonic()
        self.ctr("task", "exec", "--exec-id", f"e{self.n}", self.resident[0], "/bin/true")
        return time.monotonic() - t

    def close(self):
        if hasattr(self, "resident"):
            self.end(*self.resident)
        self.child.terminate()
        self.child.wait()


GROUPS = ("docker", "libpod_parent", "default", "user.slice", "system.slice")


def groups_of_peers():
    """cgroups that daemons leave behind at the top of each hierarchy."""
    top = "/sys/fs/cgroup"
    found = set()
    for hierarchy in [top] + [os.path.join(top, d) for d in os.listdir(top)]:
        found |= {os.path.join(hierarchy, g) for g in GROUPS if os.path.isfile(os.path.join(hierarchy, g, "cgroup.procs"))}
    return found


def remove_groups(groups):
    for group in groups:
        for folder, _, _ in sorted(os.walk(group), key=lambda w: -len(w[0])):
            try:
                os.rmdir(folder)
            except OSError:
                pass  # somebody lives in it: not ours to end


def available(network):
    """(name, maker) of every peer whose program is installed."""
    makers = [("docker", "dockerd", docker), ("podman", "podman", podman), ("containerd", "containerd", Containerd)]
    makers += [(n, n, (lambda folder, network, n=n: Raw(n, folder, network))) for n in ("runc", "crun")]
    return [(name, make) for name, program, make in makers if shutil.which(program)]
