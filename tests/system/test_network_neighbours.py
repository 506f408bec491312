# SPDX-License-Identifier: Apache-2.0
"""
A host among others: a network namespace with berth in it, a wire to another host, other firewalls beside it. What
comes from outside, what may not, and what is said when somebody else's rules are in the way.
"""
import fcntl, json, os, random, re, shutil, signal, struct, subprocess, sys, tempfile, threading, time, uuid
import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from conftest import Berth
from place import until

FETCH = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 1) as s:
        s.settimeout(1)
        print(s.recv(100).decode().strip())
except OSError:
    pass
"""


class Host(Berth):
    """berth inside a network namespace, and another host on a wire to it."""

    def __init__(self):
        self.here, self.there = ("bt" + uuid.uuid4().hex[:6] + end for end in "ho")
        for name in (self.here, self.there):
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.at(name, "ip", "link", "set", "lo", "up")
        subprocess.run(["ip", "-n", self.here, "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", self.there], check=True)
        for name, end in ((self.here, 1), (self.there, 2)):
            self.at(name, "sh", "-c", f"ip addr add 192.0.2.{end}/24 dev wire; ip link set wire up; ip route add default via 192.0.2.{3 - end}")
        super().__init__()

    def at(self, name, *words, check=True):
        """A program in one of the namespaces; /sys stays as it is, so not `ip netns exec`."""
        return subprocess.run(["nsenter", "--net=/run/netns/" + name, *words], check=check, capture_output=True, text=True, timeout=60)

    def call(self, *words, **kw):
        return super().call(*words, wrap=["nsenter", "--net=/run/netns/" + self.here], **kw)

    def fetch(self, name, address, port, seconds=30):
        end = time.monotonic() + seconds
        while True:
            text = self.at(name, sys.executable, "-c", FETCH, address, str(port)).stdout.strip()
            if text or time.monotonic() > end:
                return text
            time.sleep(0.05)

    def serve(self, *flags):
        name = self.name()
        self.must("--quiet", "run", "-d", "--name", name, "--hostname", name, *flags, "tiny",
                  "sh", "-c", "while :; do hostname | nc -l -p 8080; done")
        return name

    def sh(self, line):
        return self.at(self.here, "sh", "-c", line).stdout

    def close(self):
        try:
            super().close()
        finally:
            for name in (self.here, self.there):
                subprocess.run(["ip", "netns", "del", name])


@pytest.fixture(scope="module")
def berth():
    if os.geteuid() != 0:
        pytest.skip("only root has network namespaces")
    h = Host()
    yield h
    h.close()


@pytest.fixture(autouse=True)
def tidy(berth):
    yield
    for name in berth.names:
        berth.call("rm", "-f", name)
    berth.names.clear()
    berth.sh("nft flush ruleset; iptables-legacy -P FORWARD ACCEPT 2>/dev/null; iptables-legacy -F 2>/dev/null; true")


ADVERTISE = r"""
import socket, struct
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
mac = s.getsockname()[4]
me = bytes.fromhex("fe80" + 6 * "00") + bytes([mac[0] ^ 2, *mac[1:3], 0xff, 0xfe, *mac[3:]])
all_nodes = bytes.fromhex("ff02" + 13 * "00" + "01")
prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 3600, 3600, 0) + bytes.fromhex("20010db8" + 12 * "00")
text = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0) + prefix
total = sum(struct.unpack("!%dH" % ((len(text) + 40) // 2), me + all_nodes + struct.pack("!II", len(text), 58) + text))
text = text[:2] + struct.pack("!H", ~(total % 0xffff) & 0xffff) + text[4:]
frame = bytes.fromhex("333300000001") + mac + b"\x86\xdd" + struct.pack("!IHBB", 0x60000000, len(text), 58, 255) + me + all_nodes + text
for _ in range(3):
    s.send(frame)
"""


def firewall_line(berth):
    lines = berth.call("doctor").stdout.splitlines()
    at = [i for i, l in enumerate(lines) if " firewall:" in l][0]
    return lines[at], lines[at + 1].strip() if at + 1 < len(lines) else ""


def test_no_workload_is_a_router_for_the_host_or_its_neighbours(berth):
    """One with CAP_NET_RAW, which is a default, advertises itself from its own address."""
    network = "n" + uuid.uuid4().hex[:6]
    berth.must("network", "create", "--ipv6", network)
    one, other = berth.serve("--network", network), berth.serve("--network", network)
    inside = lambda name, *words: subprocess.run(["nsenter", "-n", "-t", str(berth.status(name)["pid"]), *words], check=True, capture_output=True, text=True).stdout
    routes = lambda: [berth.sh("ip -6 route"), inside(other, "ip", "-6", "route")]
    until(lambda: "default" in routes()[1])
    inside(one, sys.executable, "-c", ADVERTISE)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        assert "2001:db8" not in "".join(routes()) and "proto ra" not in "".join(routes())
    berth.must("rm", "-f", one, other)
    berth.must("network", "rm", network)


def test_outside_reaches_what_is_published_to_it_and_nothing_else(berth):
    open_one, closed = berth.serve("-p", "0.0.0.0:8081:8080"), berth.serve("-p", "8082:8080")
    assert berth.fetch(berth.there, "192.0.2.1", 8081) == open_one
    assert berth.fetch(berth.here, "127.0.0.1", 8082) == closed
    assert berth.fetch(berth.there, "192.0.2.1", 8082, 0) == ""
    address = berth.must("address", open_one, "8080").split(":")[0]
    berth.at(berth.there, "ip", "route", "replace", "10.210.0.0/15", "via", "192.0.2.1")
    assert berth.fetch(berth.there, address, 8080, 0) == ""
    assert berth.fetch(berth.here, address, 8080) == open_one


def test_a_scan_of_another_network_finds_nothing(berth):
    other = "n" + uuid.uuid4().hex[:8]
    berth.must("network", "create", other)
    try:
        target, scanner = berth.serve("--network", other), berth.serve()
        address = berth.must("address", target, "8080").split(":")[0]
        prefix = address.rsplit(".", 1)[0]
        scan = f"for i in $(seq 2 12); do nc -w 1 {prefix}.$i 8080 </dev/null & ping -c 1 -W 1 {prefix}.$i & done; wait"
        found = berth.call("exec", scanner, "sh", "-c", scan).stdout
        assert target not in found and " bytes from" not in found, found
        assert berth.fetch(berth.here, address, 8080) == target
    finally:
        while berth.names:
            berth.call("rm", "-f", berth.names.pop())
        berth.call("network", "rm", other)


def test_a_connection_lives_through_a_flush_and_its_repair(berth):
    name = berth.name()
    berth.must("--quiet", "run", "-d", "--name", name, "-p", "0.0.0.0:8083:8080", "tiny", "sh", "-c", "while :; do nc -l -p 8080 -e cat; done")
    talk = ("import socket, sys, time\nfor i in range(40):\n"
            "    try: s = socket.create_connection(('192.0.2.1', 8083), 1); break\n"
            "    except OSError: time.sleep(0.05)\n"
            "s.settimeout(10)\nfor line in sys.stdin:\n    s.sendall(line.encode()); print(s.recv(100).decode(), end='', flush=True)")
    p = subprocess.Popen(["nsenter", "--net=/run/netns/" + berth.there, sys.executable, "-c", talk], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        def say():
            p.stdin.write("still there\n")
            p.stdin.flush()

        say()
        assert p.stdout.readline() == "still there\n"
        berth.sh("nft flush ruleset")
        say()  # on its way again and again, as TCP is: nobody refuses it meanwhile
        time.sleep(0.3)
        berth.must("doctor", "--repair")
        assert p.stdout.readline() == "still there\n"
        say()
        assert p.stdout.readline() == "still there\n"
    finally:
        p.kill()
        p.wait()


DROPS = {
    "nftables": "nft 'add table inet f; add chain inet f through { type filter hook forward priority 5; policy drop; }'",
    "ufw": "iptables -P FORWARD DROP; iptables -N ufw-before-forward",
    "iptables": "iptables -A FORWARD -j REJECT",
}


@pytest.mark.parametrize("tool", sorted(DROPS))
def test_anothers_drop_is_named_and_its_rules_open_it(berth, tool):
    name = berth.serve("-p", "0.0.0.0:8084:8080")
    assert berth.fetch(berth.there, "192.0.2.1", 8084) == name
    assert firewall_line(berth)[0].startswith("ok")
    berth.sh(DROPS[tool])
    assert berth.fetch(berth.there, "192.0.2.1", 8084, 0) == ""
    said, advice = firewall_line(berth)
    assert said.startswith("wrong") and f"{tool}'s chain" in said, said
    berth.sh(advice)
    assert berth.fetch(berth.there, "192.0.2.1", 8084) == name
    assert firewall_line(berth)[0].startswith("ok")


def warnings(result):
    assert result.returncode == 0, result.stderr
    return [line for line in result.stderr.splitlines() if "warning: " in line]


@pytest.mark.parametrize("tool", sorted(DROPS))
def test_a_start_says_in_one_line_who_is_in_its_way_and_what_opens_it(berth, tool):
    name, alone = berth.name(), berth.name()
    sleeper = lambda name, *flags: berth.call("run", "-d", "--name", name, *flags, "tiny", "sleep", "1000")
    assert warnings(sleeper(name, "-p", "0.0.0.0:8094:8080")) == []
    berth.must("stop", "-t", "0", name)
    berth.sh(DROPS[tool])
    for _ in range(2): # found, then remembered
        said = warnings(berth.call("start", name))
        assert len(said) == 1 and f"{tool}'s chain" in said[0], said
        berth.must("stop", "-t", "0", name)
    assert warnings(sleeper(alone, "--network", "none")) == []
    berth.sh(said[0].split("this opens it: ")[1])
    assert warnings(berth.call("start", name)) == []
    berth.must("stop", "-t", "0", name)
    berth.sh("nft flush ruleset")
    berth.sh(DROPS[tool])
    assert len(warnings(berth.call("start", name))) == 1, "somebody took the rule away"


def test_a_firewall_that_lets_no_questions_for_names_in_is_told_and_opened(berth):
    one, two = berth.serve(), berth.serve()
    assert finds(berth, one, two)
    berth.sh("iptables -P INPUT DROP; iptables -N ufw-user-input; iptables -A INPUT -j ufw-user-input")
    assert not finds(berth, one, two)
    said, advice = firewall_line(berth)
    assert said.startswith("wrong") and "ufw's chain ip filter INPUT drops what workloads ask for names" in said, said
    berth.sh(advice)
    assert finds(berth, one, two) and firewall_line(berth)[0].startswith("ok")


@pytest.fixture
def integrate(berth, tmp_path):
    (tmp_path / "berth.toml").write_text("[firewall]\nintegrate = true\n")
    berth.env["BERTH_CONFIG"] = str(tmp_path / "berth.toml")
    yield
    del berth.env["BERTH_CONFIG"]


def ours(berth):
    """Our rules in chains of others."""
    return [line.strip() for line in berth.sh("nft list ruleset").splitlines() if 'comment "berth ' in line and "accept" in line]


@pytest.mark.parametrize("tool", sorted(DROPS))
def test_integrate_opens_anothers_drop_and_closes_it_after_the_last(berth, integrate, tool):
    before = DROPS[tool]
    berth.sh(before)
    name = berth.serve("-p", "0.0.0.0:8088:8080")
    assert berth.fetch(berth.there, "192.0.2.1", 8088) == name
    rules = ours(berth)
    assert len(rules) in (2, 3) and firewall_line(berth)[0].startswith("ok"), rules # a third with br_netfilter
    network = berth.json("info")["network"]
    assert network["firewall_integrate"] is True and len(network["firewall_opened"]) == len(rules), network
    other = berth.serve()
    assert ours(berth) == rules, "once is enough"
    berth.must("rm", "-f", other)
    assert ours(berth) == rules, "somebody is still there"
    berth.must("rm", "-f", name)
    until(lambda: not ours(berth))
    until(lambda: berth.json("info")["network"]["firewall_opened"] == [])
    assert any(word in berth.sh("nft list ruleset") for word in ("policy drop", "reject")), "the other's own rule is as it was"


def test_integrate_opens_again_what_another_took_away(berth, integrate):
    name = berth.serve("-p", "0.0.0.0:8089:8080")
    assert ours(berth) == [], "nobody is in the way"
    berth.sh(DROPS["ufw"])
    assert berth.fetch(berth.there, "192.0.2.1", 8089, 0) == ""
    berth.must("doctor", "--repair")
    assert berth.fetch(berth.there, "192.0.2.1", 8089) == name
    berth.sh("iptables -F FORWARD") # a reload
    assert berth.fetch(berth.there, "192.0.2.1", 8089, 0) == ""
    berth.serve()
    assert berth.fetch(berth.there, "192.0.2.1", 8089) == name


def test_without_integrate_nothing_of_others_is_changed(berth):
    berth.sh(DROPS["ufw"])
    berth.serve()
    berth.call("doctor", "--repair")
    assert ours(berth) == []
    assert berth.json("info")["network"]["firewall_integrate"] is False


def test_integrate_leaves_firewalld_to_itself_and_an_event_says_so(berth, integrate):
    berth.sh("nft 'add table inet firewalld; add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }; "
             "add rule inet firewalld filter_FORWARD reject'")
    name = berth.serve()
    events = berth.json("events", "--since", "1m", "--no-follow", name)
    assert [e for e in events if e["type"] == "firewall" and "firewall-cmd --permanent" in e["error"]], events
    assert ours(berth) == []


@pytest.mark.skipif(not shutil.which("dockerd"), reason="no docker here")
def test_a_dockerd_beside_it(berth):
    folder = tempfile.mkdtemp(prefix="berth-docker.", dir="/var/tmp")
    argv = ["nsenter", "--net=/run/netns/" + berth.here, "dockerd", "--data-root", folder + "/data", "--exec-root", folder + "/exec",
            "-H", "unix://" + folder + "/sock", "-p", folder + "/pid", "--containerd-namespace", "berth-test", "--storage-driver", "vfs"]
    berth.sh("sysctl -q net.ipv4.ip_forward=0")  # docker drops what it did not ask for when it is the one to turn it on
    d = subprocess.Popen(argv, stdout=open(folder + "/log", "w"), stderr=subprocess.STDOUT)
    try:
        end = time.monotonic() + 40
        while "-P FORWARD DROP" not in berth.sh("iptables -S FORWARD"):
            assert d.poll() is None and time.monotonic() < end, open(folder + "/log").read()[-2000:]
            time.sleep(0.1)
        time.sleep(0.5)  # its chains come one by one
        name = berth.serve("-p", "0.0.0.0:8085:8080")
        assert berth.fetch(berth.there, "192.0.2.1", 8085, 0) == ""
        said, advice = firewall_line(berth)
        assert said.startswith("wrong") and "docker's chain ip filter FORWARD" in said and "DOCKER-USER" in advice, (said, advice)
        berth.sh(advice)
        assert berth.fetch(berth.there, "192.0.2.1", 8085) == name
        assert firewall_line(berth)[0].startswith("ok")
        assert "docker0" in berth.sh("iptables -S")  # docker's own rules are as they were
    finally:
        d.send_signal(signal.SIGTERM)
        try:
            d.wait(30)
        except subprocess.TimeoutExpired:
            d.kill()
            d.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_workload_reaches_its_own_published_port(berth):
    """Its own server by the host's address; a port that is added while it runs, too."""
    name = berth.name()
    berth.must("--quiet", "run", "-d", "--name", name, "--hostname", name, "-p", "0.0.0.0:8086:8080", "tiny",
               "sh", "-c", "while :; do hostname | nc -l -p 8080; done")
    ask = "for i in 1 2 3 4 5 6 7 8 9; do nc -w 1 192.0.2.1 %d </dev/null | grep . && break; sleep 0.1; done"
    assert berth.call("exec", name, "sh", "-c", ask % 8086).stdout.strip() == name
    late = berth.serve()
    berth.must("update", "--publish-add", "0.0.0.0:8087:8080", late)
    assert berth.call("exec", late, "sh", "-c", ask % 8087).stdout.strip() == late


# ---- names beside another's name server

TAKES = """
import socket, sys, time
for port in map(int, sys.argv[1:]):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_INET, kind); s.setsockopt(1, 2, 1); s.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM: s.listen()
        globals()[f"s{port}{kind}"] = s
print("taken", flush=True); time.sleep(1000)
"""


@pytest.fixture
def taker(berth):
    """A server that has ports of every address."""
    children = []

    def take(*ports):
        p = subprocess.Popen(["nsenter", "--net=/run/netns/" + berth.here, sys.executable, "-c", TAKES, *map(str, ports)], stdout=subprocess.PIPE)
        children.append(p)
        assert p.stdout.readline() == b"taken\n"
        return p

    yield take
    for p in children:
        p.kill()
        p.wait()


def doctor(berth, check, *words):
    r = berth.call("--json", "doctor", *words)
    return next(c for c in map(json.loads, r.stdout.splitlines()) if c["check"] == check)


def finds(berth, who, name):
    return berth.call("exec", "--timeout", "5s", who, "nslookup", name).returncode == 0


def test_names_are_answered_beside_a_server_on_port_53_and_after_a_flush(berth, taker):
    taker(53)
    one, two = berth.serve(), berth.serve()
    aside = lambda: len(re.findall(r"\. 53 : \S+ \. 530", berth.sh("nft list ruleset")))
    assert finds(berth, one, two) and aside() == 2 # UDP and TCP
    assert doctor(berth, "names")["ok"]
    berth.sh("nft flush ruleset")
    assert aside() == 0 and not finds(berth, one, two)
    assert not doctor(berth, "network")["ok"]
    berth.must("doctor", "--repair")
    until(lambda: aside() == 2)
    assert finds(berth, one, two)
    berth.sh("nft flush ruleset")
    other = "n" + uuid.uuid4().hex[:8]
    berth.must("network", "create", other)
    try:
        berth.serve("--network", other) # a start mends it, too, on networks that it has nothing to do with
        until(lambda: aside() == 4)
        assert finds(berth, one, two)
    finally:
        berth.call("rm", "-f", berth.names.pop())
        berth.must("network", "rm", other)


def test_names_that_can_not_be_answered_are_read_by_doctor_and_mended(berth, taker):
    thief = taker(53, 530)
    one, two = berth.serve(), berth.serve()
    assert not finds(berth, one, two)
    found = doctor(berth, "names")
    assert not found["ok"] and "ports 53 and 530" in found["detail"] and found["advice"], found
    assert not doctor(berth, "names", "--repair")["ok"], "they are taken still"
    thief.kill()
    thief.wait()
    mended = doctor(berth, "names", "--repair")
    assert mended["ok"] and mended["repaired"], mended
    assert finds(berth, one, two)


def test_doctor_says_when_nobody_answers_for_names(berth):
    berth.serve()
    pids = [int(p) for p in filter(str.isdigit, os.listdir("/proc")) if berth.owns(p) and os.readlink(f"/proc/{p}/exe").endswith("/berth-dns")]
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGSTOP)
    try:
        found = doctor(berth, "names")
        assert not found["ok"] and "does not answer" in found["detail"], found
    finally:
        os.kill(pids[0], signal.SIGCONT)
    assert doctor(berth, "names")["ok"]
    held = berth.supervisors()
    [os.kill(p, signal.SIGSTOP) for p in held] # nobody else starts one
    lock = os.open(berth.env["BERTH_RUN"] + "/dns/lock", os.O_RDWR)
    try:
        os.kill(pids[0], signal.SIGKILL)
        take = lambda: not fcntl.fcntl(lock, 37, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)) is None # F_OFD_SETLK

        def taken():
            try:
                return take()
            except OSError:
                return False
        until(taken)
        [os.kill(p, signal.SIGCONT) for p in held]
        found = doctor(berth, "names")
        assert not found["ok"] and "does not run" in found["detail"], found
    finally:
        [os.kill(p, signal.SIGCONT) for p in held]
        os.close(lock)
    until(lambda: doctor(berth, "names")["ok"])


# ---- what somebody changed

CHANGED = {"address": "ip addr flush dev {bridge}", "down": "ip link set {bridge} down", "link": "ip link set {link} down", "mtu": "ip link set {bridge} mtu 900",
           "loose": "ip link set {link} nomaster"}


@pytest.mark.parametrize("what", sorted(CHANGED))
def test_what_somebody_changed_of_bridges_and_links_is_found_and_mended(berth, what):
    name = berth.serve("-p", "0.0.0.0:8090:8080")
    assert berth.fetch(berth.there, "192.0.2.1", 8090) == name
    names = [line.split()[0].split("@")[0] for line in berth.sh("ip -br link").splitlines()]
    bridge, link = (next(n for n in names if n.startswith(kind)) for kind in ("bb", "bv"))
    assert doctor(berth, "network")["ok"]
    berth.sh(CHANGED[what].format(bridge=bridge, link=link))
    found = doctor(berth, "network")
    assert not found["ok"] and found["advice"] == "berth doctor --repair", found
    mended = doctor(berth, "network", "--repair")
    assert mended["ok"] and mended["repaired"], mended
    assert berth.fetch(berth.there, "192.0.2.1", 8090) == name
    other = berth.serve()
    assert berth.fetch(berth.here, berth.must("address", other, "8080").split(":")[0], 8080) == other


@pytest.mark.parametrize("what", ["address", "down", "mtu"])
def test_the_next_start_mends_what_somebody_changed_of_a_bridge(berth, what):
    name = berth.serve("-p", "0.0.0.0:8091:8080")
    bridge = next(line.split()[0] for line in berth.sh("ip -br link").splitlines() if line.startswith("bb"))
    berth.sh(CHANGED[what].format(bridge=bridge, link=""))
    berth.serve()
    assert berth.fetch(berth.there, "192.0.2.1", 8091) == name and doctor(berth, "network")["ok"]


def test_a_network_with_a_small_mtu(berth):
    """Below what IPv6 needs: there is none on it, and everything else works."""
    small = "n" + uuid.uuid4().hex[:8]
    berth.must("network", "create", "--mtu", "600", small)
    try:
        one, two = berth.serve("--network", small, "-p", "0.0.0.0:8092:8080"), berth.serve("--network", small)
        assert "mtu 600" in berth.must("exec", one, "ip", "link", "show", "eth0")
        assert berth.fetch(berth.there, "192.0.2.1", 8092) == one
        assert berth.fetch(berth.here, berth.must("address", two, "8080").split(":")[0], 8080) == two
        assert berth.call("exec", two, "ping", "-c", "1", "-W", "2", "-s", "2000", one).returncode == 0
    finally:
        while berth.names:
            berth.call("rm", "-f", berth.names.pop())
        berth.must("network", "rm", small)


# ---- subnets

def no_bridge(berth):
    return not [line for line in berth.sh("ip -br link").splitlines() if line.startswith("bb")]


def test_a_chosen_subnet_that_the_host_took_moves_within_the_pool_of_berth_toml(berth, tmp_path):
    (tmp_path / "berth.toml").write_text('[network]\npool = "10.208.0.0/16"\nprefix = 26\n')
    berth.env["BERTH_CONFIG"] = str(tmp_path / "berth.toml")
    name = "n" + uuid.uuid4().hex[:8]
    subnet = lambda: json.loads(berth.must("network", "inspect", name))["subnet"]
    try:
        berth.must("network", "create", name)
        first = subnet()
        assert first.startswith("10.208.") and first.endswith("/26")
        berth.sh(f"ip route add {first} via 192.0.2.2")
        who = berth.serve("--network", name)
        assert subnet().startswith("10.208.") and subnet() != first
        assert berth.must("address", who, "8080").startswith("10.208.")
        (tmp_path / "berth.toml").write_text('[network]\npool = "10.207.0.0/16"\n') # the pool moves: what is there stays
        before, other = subnet(), "m" + uuid.uuid4().hex[:8]
        berth.must("network", "create", other)
        assert subnet() == before and json.loads(berth.must("network", "inspect", other))["subnet"].startswith("10.207.")
        berth.must("network", "rm", other)
        while berth.names:
            berth.call("rm", "-f", berth.names.pop())
        until(lambda: no_bridge(berth))
        berth.sh(f"ip route add {before} via 192.0.2.2")
        who = berth.serve("--network", name)
        assert subnet().startswith("10.207.")
    finally:
        while berth.names:
            berth.call("rm", "-f", berth.names.pop())
        berth.call("network", "rm", name)
        del berth.env["BERTH_CONFIG"]
        berth.sh("ip route flush root 10.208.0.0/16")


# ---- everything at once

def everything(berth):
    """Full listings of the host's network: links, addresses, routes, rules, remembered connections, namespaces."""
    lists = {what: berth.sh(line).splitlines() for what, line in {
        "links": "ip -br link | awk '{print $1, $3}'", "addresses": "ip -br addr", "routes": "ip route show table all; ip -6 route show table all",
        "neighbours": "ip neigh show nud permanent", "rules": "nft list ruleset", "policy": "ip rule; ip -6 rule",
        "connections": "conntrack -L 2>/dev/null | sed -E 's/ +[0-9]+ ([A-Z]|src)/ \\1/'"}.items()}
    held = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if berth.owns(pid):
            for link in [f"/proc/{pid}/ns/net", *(f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd"))]:
                try:
                    held |= {to for to in [os.readlink(link)] if to.startswith("net:")}
                except OSError:
                    pass
    lists["namespaces"] = sorted(held - {os.readlink("/proc/self/ns/net"), "net:[%d]" % os.stat("/run/netns/" + berth.here).st_ino})
    return {what: sorted(lines) for what, lines in lists.items()}


def test_random_changes_from_eight_at_once_leave_nothing(berth):
    """A minute at most: whatever they were doing, afterwards the machine is as it was."""
    berth.sh("sysctl -q net.ipv4.ip_forward=1; conntrack -F 2>/dev/null")
    networks = ["n" + uuid.uuid4().hex[:8] for _ in range(2)]
    until(lambda: no_bridge(berth)) # of the test before
    until(lambda: "local fe80" in berth.sh("ip -6 route show table local dev wire")) # its own address is no more tentative
    before = everything(berth)
    assert before["namespaces"] == [] and before["connections"] == []
    [berth.must("network", "create", n) for n in networks]
    deadline, seed = time.monotonic() + 40, random.randrange(1 << 30)
    print("seed", seed)
    odd = []

    def one(n):
        r = random.Random(seed + n)
        mine = f"r{n}-{seed:x}"
        steps = {
            "create": lambda: ("create", "--name", mine, "--network", r.choice(["bridge", *networks]), *r.choice([(), ("-p", "80")]), "tiny", "sleep", "60"),
            "start": lambda: ("start", mine), "kill": lambda: ("kill", mine), "stop": lambda: ("stop", "-t", "0", mine),
            "connect": lambda: ("network", "connect", r.choice(networks), mine), "disconnect": lambda: ("network", "disconnect", r.choice(networks), mine),
            "publish": lambda: ("update", "--publish-add", "81", mine), "rm": lambda: ("rm", "-f", mine)}
        for _ in range(63):
            if time.monotonic() > deadline:
                break
            result = berth.call(*steps[r.choice(list(steps))](), timeout=60)
            if result.returncode > 1 and result.returncode != 125:
                odd.append(result.stderr)
        berth.call("rm", "-f", mine)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert not odd, odd
    for name in list(berth.names):
        berth.call("rm", "-f", name)
    doctor = berth.call("doctor")
    assert doctor.returncode == 0, doctor.stdout
    assert all(w["workloads"] == [] for w in berth.json("network", "ls"))
    [berth.must("network", "rm", n) for n in networks]
    end = time.monotonic() + 20
    while (after := everything(berth)) != before:
        assert time.monotonic() < end, {what: [line for line in (*before[what], *after[what]) if (line in before[what]) != (line in after[what])]
                                        for what in before if before[what] != after[what]}
        time.sleep(0.1)
