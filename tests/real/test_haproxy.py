# SPDX-License-Identifier: Apache-2.0
"""
The example of doc/examples/haproxy under load: every workload is replaced, no request is lost.

BERTH_TEST_LONG (./dev test --long): each twenty times, 100,000 requests at least.
"""
import itertools, os, re, signal, socket, subprocess, threading, time
import pytest
from place import LONG, TOP
from test_real import eventually, free_port, image

EXAMPLE = TOP + "/doc/examples/haproxy"
WORKLOADS = 3
TIMES, REQUESTS = (20, 100000) if LONG else (3, 5000)
SERVE = ("printf 'worker_processes 1; daemon off; error_log stderr; events {} http { access_log off; server { listen 8080; "
         "location / { return 200 \"here is one\\n\"; } } }' > /tmp/n.conf; exec nginx -c /tmp/n.conf")


class Proxy:
    def __init__(self, place):
        self.place, self.port, self.generation = place, free_port(), itertools.count()
        self.env = {**place.env, "PATH": place.programs + ":" + os.environ["PATH"], "HAPROXY_SOCKET": place.folder + "/haproxy.sock",
                    "HAPROXY_BIND": f"127.0.0.1:{self.port}"}
        self.children = []
        self.spawn("haproxy", "-db", "-f", EXAMPLE + "/haproxy.cfg")
        eventually(lambda: os.path.exists(self.env["HAPROXY_SOCKET"]) or None)
        self.follower = self.spawn(EXAMPLE + "/follow", "web", "8080")

    def spawn(self, *argv):
        log = open(f"{self.place.folder}/{os.path.basename(argv[0])}.log", "ab")
        child = subprocess.Popen(argv, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self.children.append(child)
        return child

    def follow(self, *words):
        subprocess.run([EXAMPLE + "/follow", "web", "8080", *words], env=self.env, check=True, timeout=60)

    def taken(self):
        """Addresses in slots that are not in maintenance, as HAProxy tells them."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.env["HAPROXY_SOCKET"])
            s.sendall(b"show servers state web\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        rows = [line.split() for line in text.splitlines() if re.match(r"\d+ web ", line)]
        return sorted(row[4] for row in rows if not int(row[6]) & 1)

    def begin_one(self):
        name = f"web-{next(self.generation)}"
        self.place.must("run", "-d", "--name", name, "--label", "proxy=web", "--stop-signal", "QUIT", "nginx", "sh", "-c", SERVE)
        self.follow("wait", name)
        return name

    def replace(self, name):
        new = self.begin_one()
        self.follow("drain", name)
        self.place.must("stop", name)
        self.place.must("rm", name)
        return new

    def close(self):
        for child in reversed(self.children):
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


class Load(threading.Thread):
    """ab, again and again until it is enough and the others are done."""

    def __init__(self, port):
        super().__init__()
        self.port, self.done, self.asked, self.failed, self.said = port, threading.Event(), 0, 0, ""

    def run(self):
        while not self.done.is_set() or self.asked < REQUESTS:
            r = subprocess.run(["ab", "-q", "-r", "-l", "-s", "20", "-n", "5000", "-c", "16", *(["-k"] if self.asked // 5000 % 2 else []),
                                f"http://127.0.0.1:{self.port}/"], capture_output=True, text=True)
            number = lambda what: int((re.search(rf"^{what}:\s+(\d+)", r.stdout, re.M) or [0, 0])[1])
            self.asked += number("Complete requests")
            bad = number("Failed requests") + number("Non-2xx responses") + number("Write errors") + (5000 - number("Complete requests"))
            self.failed += bad
            if bad or r.returncode:
                self.said += r.stdout + r.stderr
                return


@pytest.fixture
def proxy(place):
    image(place, "nginx")
    p = Proxy(place)
    yield p
    p.close()
    place.remove_all()


def test_every_workload_is_replaced_under_load_and_no_request_is_lost(proxy):
    names = [proxy.begin_one() for _ in range(WORKLOADS)]
    load = Load(proxy.port)
    load.start()
    try:
        for _ in range(TIMES):
            names = [proxy.replace(name) for name in names]
    finally:
        load.done.set()
        load.join()
    print(f"{load.asked} requests, {TIMES * WORKLOADS} replacements, {load.failed} failed")
    assert load.failed == 0 and load.asked >= REQUESTS, load.said


def test_one_that_is_killed_goes_and_a_follower_that_was_killed_catches_up(proxy):
    one, two = proxy.begin_one(), proxy.begin_one()
    where = lambda name: proxy.place.must("address", name, "8080").rsplit(":", 1)[0]
    assert proxy.taken() == sorted([where(one), where(two)])
    gone = where(one)
    proxy.place.must("kill", one)
    eventually(lambda: gone not in proxy.taken() or None, 5)
    os.killpg(proxy.follower.pid, signal.SIGKILL)
    proxy.follower.wait()
    proxy.children.remove(proxy.follower)
    gone = where(two)
    proxy.place.must("stop", "-t", "0", two)
    three = proxy.place.must("run", "-d", "--name", "web-late", "--label", "proxy=web", "nginx", "sh", "-c", SERVE) and "web-late"
    time.sleep(0.2)
    assert proxy.taken() == [gone]
    proxy.follower = proxy.spawn(EXAMPLE + "/follow", "web", "8080")
    eventually(lambda: proxy.taken() == [where(three)] or None, 5)
