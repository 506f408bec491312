# SPDX-License-Identifier: Apache-2.0
"""
berth-dns: what askers get, what the outside may do to it, what one asker may do to others.

In a network and an /etc of the test's own, where the test speaks as supervisors do; then in real workloads.
"""
import fcntl, json, os, re, shutil, signal, socket, struct, subprocess, tempfile, time
import pytest
from place import PROGRAMS, program_of, until

GATEWAY, WEB, DB, ALONE = "10.77.0.1", "10.77.0.2", "10.77.0.3", "10.78.0.2"
UPSTREAM, SECOND, SILENT = "10.99.0.53", "10.99.0.54", "10.99.0.55"
SETUP = """
ip link set lo up
for a in 10.77.0.1/24 10.77.0.2/24 10.77.0.3/24 10.78.0.1/24 10.78.0.2/24 10.99.0.53/32 10.99.0.54/32 10.99.0.55/32; do ip addr add $a dev lo; done
mkdir -p "$1/etc"; cp /etc/passwd /etc/group /etc/nsswitch.conf "$1/etc/"
mount --bind "$1/etc" /etc; mount -t tmpfs run /run; echo ready; exec sleep 1000
"""


class World:
    """A network and an /etc; a berth-dns; servers outside."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="berth-names.", dir="/dev/shm")
        self.children = []
        self.holder = subprocess.Popen(["unshare", "-n", "-m", "sh", "-ec", SETUP, "-", self.folder], stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline() == "ready\n"
        self.enter = ["nsenter", "-t", str(self.holder.pid), "-n", "-m"]
        os.mkdir(self.folder + "/dns")
        self.supervisors = {}
        self.dns = None

    def resolv(self, text):
        with open(self.folder + "/etc/new", "w") as f:
            f.write(text)
        os.rename(self.folder + "/etc/new", self.folder + "/etc/resolv.conf")

    def start(self):
        lock = os.open(self.folder + "/dns/lock", os.O_RDWR | os.O_CREAT)
        fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) # F_OFD_SETLK
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.folder + "/dns/socket")
        listener.listen(1000)
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 60) for fd in (lock, listener.fileno())] # 3 and 4 may be others' here
        line = f'exec 3<&{high[0]} 4<&{high[1]} {high[0]}<&- {high[1]}<&-; exec "$0"'
        self.dns = subprocess.Popen([*self.enter, "bash", "-c", line, PROGRAMS + "/berth-dns"],
                                    pass_fds=high, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for fd in (lock, *high):
            os.close(fd)
        listener.close()
        self.children.append(self.dns)

    def say(self, name, *networks, upstreams=None, id=None):
        """As the supervisor of `name` does; the answer."""
        s = self.supervisors.get(name)
        if not s:
            s = self.supervisors[name] = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            s.settimeout(5)
            s.connect(self.folder + "/dns/socket")
        record = {"id": id or (name.encode().hex() * 16)[:32], "name": name, "networks": list(networks)}
        if upstreams:
            record["upstreams"] = upstreams
        s.send(json.dumps(record).encode())
        return s.recv(1000).decode()

    def hang_up(self, name):
        self.supervisors.pop(name).close()

    def dnsmasq(self, address, *records):
        p = subprocess.Popen([*self.enter, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces",
                              "--except-interface=none", f"--listen-address={address}", "--pid-file=", "--user=root", "--local=/#/", *records],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.children.append(p)
        until(lambda: "REFUSED" in (r := self.dig("x.invalid", server=address)) or "NXDOMAIN" in r)
        return p

    def dig(self, name, *words, server=GATEWAY, source=WEB):
        return subprocess.run([*self.enter, "dig", "+tries=1", "+time=6", "-b", source, "@" + server, name, *words],
                              capture_output=True, text=True).stdout

    def short(self, name, *words, **kw):
        return sorted(self.dig(name, "+short", *words, **kw).split())

    def status(self, name, *words, **kw):
        return re.search(r"status: (\w+)|(timed out|refused|no servers)", self.dig(name, *words, **kw))[0].removeprefix("status: ")

    def close(self):
        for s in self.supervisors.values():
            s.close()
        for p in self.children:
            if p is not self.dns:
                p.kill()
                p.wait()
        try:
            if self.dns:
                assert self.dns.wait(30) == 0, "the last one that hangs up ends it"
        finally:
            if self.dns:
                self.dns.kill()
            self.holder.kill()
            self.holder.wait()
            shutil.rmtree(self.folder)


def front(address, *aliases, internal=False):
    return {"network": "front", "gateways": [GATEWAY], "addresses": [address + "/24"], "aliases": list(aliases), "internal": internal}


def back(address, *aliases):
    return {"network": "back", "gateways": ["10.78.0.1"], "addresses": [address + "/24"], "aliases": list(aliases), "internal": True}


@pytest.fixture
def world():
    w = World()
    w.resolv(f"nameserver {UPSTREAM}\n")
    w.start()
    assert w.say("web", front(WEB, "www")) == "ok"
    assert w.say("db", front(DB, "store", "pool"), back("10.78.0.3")) == "ok"
    assert w.say("alone", back(ALONE, "pool")) == "ok"
    yield w
    w.close()


OUTSIDE = ["--host-record=outside.test,192.0.2.7", "--txt-record=long.test," + ",".join("x" * 250 for _ in range(12))]


# ---- answers

def test_names_are_the_same_by_dnsmasq(world):
    """What dnsmasq answers for the same names: codes and values."""
    world.dnsmasq(SECOND, "--host-record=db," + DB, "--host-record=web," + WEB, "--local-ttl=0")
    for name, kind in (("db", "A"), ("DB", "A"), ("web", "A"), ("db", "AAAA"), ("db", "MX")):
        assert world.short(name, kind) == world.short(name, kind, server=SECOND), (name, kind)
        assert world.status(name, kind) == world.status(name, kind, server=SECOND) == "NOERROR"
    reverse = "3.0.77.10.in-addr.arpa"
    assert world.short(reverse, "PTR") == world.short(reverse, "PTR", server=SECOND) == ["db."]


def test_tcp_and_udp(world):
    assert world.short("db", "+tcp") == world.short("db") == [DB]
    assert world.short("db", "+tcp", "+keepopen", "web") == [WEB, DB]


def test_who_comes_and_goes_is_seen_at_once(world):
    for i in range(20):
        assert world.say("late", front("10.77.0.9")) == "ok"
        assert world.short("late") == ["10.77.0.9"]
        world.hang_up("late")
        until(lambda: world.status("late", "+norec") != "NOERROR") # nobody answers for it outside


def test_networks_are_apart(world):
    world.dnsmasq(UPSTREAM)
    assert world.status("alone") == "NXDOMAIN"
    assert world.short("alone", source=DB) == [ALONE] # db is on both
    assert world.status("web", server="10.78.0.1", source=ALONE) == "NXDOMAIN"
    assert "timed out" in world.dig("web", "+time=1", source=ALONE), "asked by a gateway that is not its own"


# ---- the outside

def test_outside_is_asked_of_the_hosts_resolvers_and_changes_are_followed(world):
    world.dnsmasq(UPSTREAM, *OUTSIDE)
    world.dnsmasq(SECOND, "--host-record=outside.test,192.0.2.8")
    assert world.short("outside.test") == world.short("outside.test", "+tcp") == ["192.0.2.7"]
    assert world.status("nothing.test") == "NXDOMAIN"
    world.resolv(f"nameserver {SECOND}\n")
    until(lambda: world.short("outside.test") == ["192.0.2.8"])
    assert world.say("web", front(WEB, "www"), upstreams=[UPSTREAM]) == "ok"
    assert world.short("outside.test") == ["192.0.2.7"], "the workload's own"
    assert world.short("outside.test", source=DB) == ["192.0.2.8"]


def test_the_stub_of_systemd_resolved_is_never_asked(world):
    world.dnsmasq(UPSTREAM, *OUTSIDE)
    world.dnsmasq("127.0.0.53", "--host-record=outside.test,192.0.2.99")
    world.resolv("nameserver 127.0.0.53\n")
    until(lambda: world.status("outside.test") == "SERVFAIL")
    subprocess.run([*world.enter, "sh", "-c", f"mkdir -p /run/systemd/resolve; echo nameserver {UPSTREAM} > /run/systemd/resolve/resolv.conf"], check=True)
    until(lambda: world.short("outside.test") == ["192.0.2.7"])


def test_a_long_answer_is_cut_for_udp_and_whole_by_tcp(world):
    world.dnsmasq(UPSTREAM, *OUTSIDE)
    assert re.search(r"flags: qr[a-z ]* tc", world.dig("long.test", "TXT", "+ignore", "+noedns"))
    whole = world.dig("long.test", "TXT", "+noedns")
    assert "Truncated" in whole and whole.count("x" * 250) == 12


def test_internal_alone_reaches_nothing_outside(world):
    world.dnsmasq(UPSTREAM, *OUTSIDE)
    assert world.status("outside.test", server="10.78.0.1", source=ALONE) == "NXDOMAIN"
    assert world.short("outside.test", server="10.78.0.1", source="10.78.0.3") == ["192.0.2.7"], "db has another way out"


def test_a_silent_server_gets_company_and_local_names_do_not_wait(world):
    world.dnsmasq(SECOND, *OUTSIDE)
    keep = silent_server(world, SILENT)
    world.resolv(f"nameserver {SILENT}\nnameserver {SECOND}\n")
    until(lambda: world.short("outside.test") == ["192.0.2.7"])
    world.resolv(f"nameserver {SILENT}\n")
    time.sleep(0.1)
    waiting = [subprocess.Popen([*world.enter, "dig", "+tries=1", "+time=8", "-b", WEB, "@" + GATEWAY, f"n{i}.test"], stdout=subprocess.PIPE, text=True)
               for i in range(20)]
    begun = time.monotonic()
    assert world.short("db") == [DB]
    assert time.monotonic() - begun < 5
    for p in waiting:
        assert "SERVFAIL" in p.communicate()[0]
    keep.kill()
    keep.wait()


def silent_server(world, address):
    p = subprocess.Popen([*world.enter, "python3", "-c", "import socket,time\ns=socket.socket(2,2); s.bind(('%s',53)); print(1,flush=True); time.sleep(1000)" % address],
                         stdout=subprocess.PIPE)
    world.children.append(p)
    p.stdout.readline()
    return p


LIAR = """
import socket, struct
s = socket.socket(2, 2); s.bind(("%s", 53)); print(1, flush=True)
other = socket.socket(2, 2); other.bind(("%s", 0))
while True:
    q, peer = s.recvfrom(2000)
    end = q.index(b"\\0", 12) + 5
    def reply(id, name, last): return struct.pack(">HHHHHH", id, 0x8180, 1, 1, 0, 0) + name + b"\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\0\\0\\4" + bytes([192, 0, 2, last])
    id = struct.unpack(">H", q[:2])[0]
    other.sendto(reply(id, q[12:end], 66), peer)                            # another port
    s.sendto(reply(id ^ 1, q[12:end], 66), peer)                            # another id
    s.sendto(reply(id, b"\\4evil\\4test\\0\\0\\1\\0\\1", 66), peer)            # another question
    s.sendto(b"\\0" * 5, peer)
    s.sendto(reply(id, q[12:end].lower(), 7), peer)
"""


def test_answers_of_others_are_not_taken(world):
    p = subprocess.Popen([*world.enter, "python3", "-c", LIAR % (UPSTREAM, UPSTREAM)], stdout=subprocess.PIPE)
    world.children.append(p)
    p.stdout.readline()
    assert world.short("OutSide.test") == ["192.0.2.7"]
    assert "OutSide.test." in world.dig("OutSide.test"), "the asker's spelling"


# ---- what one asker may do

FLOOD = """
import socket, sys, time
s = socket.socket(2, 2); s.bind((sys.argv[1], 0)); s.connect((sys.argv[2], 53)); s.setblocking(False)
q = b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + eval(sys.argv[3])
end = time.monotonic() + float(sys.argv[4]); n = 0
while time.monotonic() < end:
    for i in range(100):
        try: s.send(q); n += 1
        except OSError: pass
print(n)
"""


@pytest.mark.parametrize("question", [rb"b'\3web\0\0\1\0\1'", rb"b'\4some\4test\0\0\1\0\1'"])
def test_one_that_floods_does_not_silence_others(world, question):
    silent_server(world, UPSTREAM)
    flood = subprocess.Popen([*world.enter, "python3", "-c", FLOOD, WEB, GATEWAY, question.decode(), "4"], stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    answered = [world.short("web", "+time=2", source=DB) for _ in range(10)]
    sent = int(flood.communicate()[0])
    assert sent > 50000, f"the flood was none: {sent}"
    assert answered == [[WEB]] * 10


def test_connections_that_do_nothing(world):
    """More than it takes of one asker; another one still gets his answer, and none is held for ever."""
    line = ("import socket,time\nk=[]\nfor i in range(100):\n s=socket.socket(); s.bind(('%s',0)); s.connect(('%s',53)); s.send(b'\\0'); k.append(s)\n"
            "print(1,flush=True); time.sleep(1000)") % (WEB, GATEWAY)
    p = subprocess.Popen([*world.enter, "python3", "-c", line], stdout=subprocess.PIPE)
    world.children.append(p)
    p.stdout.readline()
    assert world.short("db", "+tcp", source=DB) == [DB]
    assert world.short("db") == [DB]


def test_garbage_does_no_harm(world):
    line = ("import os,socket\nu=socket.socket(2,2); u.bind(('%s',0))\nfor i in range(2000): u.sendto(os.urandom(i%%700), ('%s',53))\n"
            "for i in range(50):\n t=socket.socket(); t.bind(('%s',0)); t.connect(('%s',53)); t.send(os.urandom(300)); t.close()") % (WEB, GATEWAY, WEB, GATEWAY)
    subprocess.run([*world.enter, "python3", "-c", line], check=True)
    assert world.short("db") == [DB]
    assert world.dns.poll() is None


# ---- who it is

def test_who_parses_packets_is_nobody_in_a_jail(world):
    pid = int(open(f"/proc/{world.dns.pid}/task/{world.dns.pid}/children").read().split()[0])
    status = dict(l.split(":\t", 1) for l in open(f"/proc/{pid}/status").read().splitlines() if ":\t" in l)
    assert status["Uid"].split() == ["65534"] * 4 and status["Gid"].split() == ["65534"] * 4 and status["Groups"].strip() == ""
    assert {status[c] for c in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    assert os.listdir(f"/proc/{pid}/root/") == []
    files = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    assert not [f for f in files if f.startswith("/") and f != "/dev/null"], files
    for ns in ("mnt", "pid", "ipc", "uts"):
        assert os.readlink(f"/proc/{pid}/ns/{ns}") != os.readlink(f"/proc/{world.dns.pid}/ns/{ns}")


def test_records_that_are_none_are_refused_with_words(world):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(world.folder + "/dns/socket")
    for bad in (b"{}", b"x", b'{"id":"0123456789abcdef","name":"a","networks":[{"network":"n","addresses":["1.2.3"]}]}'):
        s.send(bad)
        assert s.recv(1000).startswith(b"names: "), bad
    s.close()
    assert world.short("db") == [DB]


# ---- in workloads

def names_pids(berth):
    """The keeper, which has files of the place open, and the worker, which has none."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if program_of(pid) == "berth-dns" and berth.owns(pid):
            found += [int(pid), *map(int, open(f"/proc/{pid}/task/{pid}/children").read().split())]
    return found


def on_bridge(berth, *flags, image="tiny", command=("sleep", "1000")):
    name = berth.name()
    berth.must("--quiet", "run", "-d", "--name", name, *flags, image, *command)
    return name


def test_workloads_call_each_other_by_name(berth):
    one, two = on_bridge(berth, "--network-alias", "pool"), on_bridge(berth, "--network-alias", "pool")
    assert berth.call("exec", one, "ping", "-c", "1", "-W", "2", two).returncode == 0
    address = berth.must("address", two, "80").rsplit(":", 1)[0]
    assert address in berth.must("exec", one, "nslookup", two)
    assert berth.must("exec", one, "nslookup", "pool").count("Name:") == 2
    berth.must("rm", "-f", two)
    assert berth.must("exec", one, "nslookup", "pool").count("Name:") == 1


def test_killed_it_is_back_at_once(berth):
    """50 ms are promised; ten times that is a failure."""
    one, two = on_bridge(berth), on_bridge(berth)
    gateway = re.search(r"nameserver (\S+)", berth.must("exec", one, "cat", "/etc/resolv.conf"))[1]
    name = bytes([len(two)]) + two.encode() + b"\0\0\1\0\1"
    for victim in (0, 1, 0): # the keeper, the worker
        before = names_pids(berth)
        os.kill(before[victim], signal.SIGKILL)
        begun = time.monotonic()
        until(lambda: not [p for p in before if program_of(p)]) # else one that is dying may answer
        while True:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(0.02)
                try:
                    s.connect((gateway, 53))
                    s.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0" + name)
                    if s.recv(500)[7] == 1:
                        break
                except OSError:
                    pass
            assert time.monotonic() - begun < 5
        until(lambda: len(names_pids(berth)) == 2)


def test_the_last_workload_ends_it(berth):
    name = on_bridge(berth)
    assert len(names_pids(berth)) == 2
    berth.must("rm", "-f", name)
    until(lambda: names_pids(berth) == [])


def test_an_alias_comes_with_connect_and_goes_with_disconnect(berth):
    one = on_bridge(berth)
    net = berth.name()
    berth.must("network", "create", net)
    try:
        two = on_bridge(berth, "--network", net, "--network-alias", "inner")
        assert berth.call("exec", one, "nslookup", two).returncode != 0
        berth.must("network", "connect", net, one)
        assert berth.call("exec", one, "nslookup", two).returncode == 0
        berth.must("network", "disconnect", net, one)
        assert berth.call("exec", one, "nslookup", two).returncode != 0
        berth.must("rm", "-f", two)
    finally:
        berth.call("network", "rm", net)
