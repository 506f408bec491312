# SPDX-License-Identifier: Apache-2.0
"""
Throughput on bridges: iperf3 between two workloads, and from the host through a published port.

Each in a network namespace of its own, where the published port is on 192.0.2.1: not loopback, which docker
and podman serve by a program that copies.
"""
import json, os, shutil, statistics, subprocess, sys

ADDRESS, PORT, SECONDS = "192.0.2.1", 5201, 3
SERVER = ["/usr/bin/iperf3", "-s"]
SETUP = f"ip link set lo up; ip addr add {ADDRESS}/32 dev lo"


def ask(where):
    return ["/usr/bin/iperf3", "-c", where, "-t", str(SECONDS), "-J"]


def put_iperf3(root):
    """The program and its libraries into an image's root."""
    program = shutil.which("iperf3")
    if not program:
        return False
    libraries = [w for line in subprocess.run(["ldd", program], capture_output=True, text=True).stdout.splitlines()
                 for w in line.split() if w.startswith("/")]
    for path in [program, *libraries]:
        target = root + ("/usr/bin/iperf3" if path == program else path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(path, target)
    return True


def rate(text):
    return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e9


class Berth:
    name = "berth"

    def __init__(self, folder, programs, rootfs):
        self.holder = subprocess.Popen(["unshare", "-n", "sh", "-ec", SETUP + "; echo; exec sleep 100000"], stdout=subprocess.PIPE)
        self.holder.stdout.readline()
        self.pid, self.program = self.holder.pid, programs + "/berth"
        self.env = {**os.environ, "BERTH_ROOT": folder + "/root", "BERTH_RUN": folder + "/run", "BERTH_PROGRAMS": programs}
        self.call("image", "import", rootfs, "wire:latest")

    def call(self, *words):
        r = subprocess.run(["nsenter", "-t", str(self.pid), "-n", self.program, *words], env=self.env, capture_output=True, text=True)
        if r.returncode:
            raise RuntimeError(f"berth {' '.join(words)}: {r.stderr}")
        return r.stdout.strip()

    def begin(self):
        self.call("run", "-d", "--name", "server", "-p", f"{ADDRESS}:{PORT}:{PORT}", "wire", *SERVER)
        self.call("run", "-d", "--name", "client", "wire", "/bin/sleep", "100000")
        return self.call("address", "server", str(PORT)).rsplit(":", 1)[0]

    def between(self, where):
        return self.call("exec", "client", *ask(where))

    def end(self):
        self.call("rm", "-f", "server", "client")

    def close(self):
        self.holder.kill()
        self.holder.wait()


class Other:
    """docker, podman: through the API that bench speaks."""

    def __init__(self, api):
        self.api, self.name, self.pid, self.made = api, api.name, api.children[0].pid, []

    def run(self, argv, **host):
        body = {"Image": "bench:latest", "Cmd": argv, "ExposedPorts": {f"{PORT}/tcp": {}},
                "HostConfig": {"NetworkMode": self.api.network, "Ulimits": self.api.limits, **host}}
        i = self.api.ask("POST", "/containers/create", body)[1]["Id"]
        self.made.append(i)
        self.api.ask("POST", f"/containers/{i}/start")
        return i

    def begin(self):
        server = self.run(SERVER, PortBindings={f"{PORT}/tcp": [{"HostIp": ADDRESS, "HostPort": str(PORT)}]})
        self.client = self.run(["/bin/sleep", "100000"])
        network = self.api.ask("GET", f"/containers/{server}/json")[1]["NetworkSettings"]
        return network["IPAddress"] or next(iter(network["Networks"].values()))["IPAddress"]

    def between(self, where):
        e = self.api.ask("POST", f"/containers/{self.client}/exec", {"Cmd": ask(where), "AttachStdout": True})[1]["Id"]
        data, text = self.api.ask("POST", f"/exec/{e}/start", {"Detach": False})[1], b""
        while len(data) >= 8:  # frames: stream, length, bytes
            n = int.from_bytes(data[4:8], "big")
            text, data = text + data[8:8 + n], data[8 + n:]
        return text

    def end(self):
        for i in self.made:
            self.api.force_remove(i)
        self.made.clear()

    def close(self):
        pass


def through(side):
    r = subprocess.run(["nsenter", "-t", str(side.pid), "-n", *ask(ADDRESS)], capture_output=True, text=True)
    return r.stdout


def measure(sides, rounds):
    figures = {}
    for side in list(sides):
        try:
            side.where = side.begin()
        except (RuntimeError, OSError, KeyError) as e:
            print(f"bench: {side.name}: iperf3: {e}", file=sys.stderr)
            side.end()
            sides.remove(side)
    for _ in range(rounds):
        for side in sides:
            for what, text in (("between", lambda: side.between(side.where)), ("through", lambda: through(side))):
                try:
                    figures.setdefault((what, side.name), []).append(rate(text()))
                except (RuntimeError, OSError, KeyError, ValueError) as e:
                    print(f"bench: {side.name}: iperf3 {what}: {e}", file=sys.stderr)
    for side in sides:
        side.end()
    return figures


def print_wire(berth, apis, rounds):
    sides = [berth, *map(Other, apis)]
    names = [s.name for s in sides]
    figures = measure(sides, rounds)
    print(f"\n| iperf3, Gbit/s, median (min - max) of {rounds} x {SECONDS} s | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for what, title in (("between", "between two workloads"), ("through", "from the host through a published port")):
        cells = [figures.get((what, n)) for n in names]
        print(f"| {title} | " + " | ".join(f"{statistics.median(c):.1f} ({min(c):.1f} - {max(c):.1f})" if c else "-" for c in cells) + " |", flush=True)
