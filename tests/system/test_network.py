# SPDX-License-Identifier: Apache-2.0
"""Networks, ports, addresses: what `berth network`, `-p` and their like promise, and that nothing of it stays."""
import json, os, re, signal, socket, subprocess, time
import pytest
from place import until

SERVE = ["sh", "-c", "echo ready; while :; do hostname | nc -l -p 8080; done"]


def listing(hash_):
    """All that a root can leave outside of its folders: links, tables, namespaces are told by these."""
    links = [n for n in os.listdir("/sys/class/net") if hash_ in n]
    tables = [t for t in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines() if hash_ in t]
    return sorted(links + tables)


def hash_of(berth):
    return berth.json("info")["cgroup_parent"].split("-")[-1]


def fetch(address, port, seconds=30):
    """What the program says at the other end; tried while it comes up."""
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection((address, port), 1) as s:
                text = s.recv(100).decode().strip()
                if text:
                    return text
        except OSError:
            pass
        assert time.monotonic() < end, f"nothing at {address}:{port}"
        time.sleep(0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def serve(berth, *flags, name=None, command=SERVE):
    name = name or berth.name()
    berth.must("--quiet", "run", "-d", "--name", name, "--hostname", name, *flags, "tiny", *command)
    return name


def told(berth, who, whom):
    """What `whom` serves to `who`; its server is away for a moment between two."""
    line = f"for i in $(seq 40); do nc -w 1 {whom} 8080 2>/dev/null </dev/null | grep . && break; sleep 0.05; done"
    return berth.must("exec", who, "sh", "-c", line)


@pytest.fixture
def net(berth):
    """Names of networks that go with their test."""
    made = []

    def make(*flags):
        name = "n" + os.urandom(4).hex()
        berth.must("network", "create", *flags, name)
        made.append(name)
        return name

    yield make
    for name in berth.names:
        berth.call("rm", "-f", "-v", name)
    for name in made:
        berth.call("network", "rm", "-f", name)


# ---- the default network, ports

@pytest.mark.kernel
def test_a_published_port_leads_from_loopback_to_the_program(berth):
    port = free_port()
    name = serve(berth, "-p", f"{port}:8080")
    assert fetch("127.0.0.1", port) == name
    assert berth.must("port", name, "8080") == f"127.0.0.1:{port}"
    assert berth.must("port", name) == f"8080/tcp -> 127.0.0.1:{port}"
    assert f"127.0.0.1:{port}->8080/tcp" in berth.must("ps", "--no-trunc")
    berth.must("rm", "-f", name)
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))


@pytest.mark.kernel
def test_its_address_leads_to_it_and_stays_over_a_restart(berth):
    name = serve(berth)
    where = berth.must("address", name, "8080")
    assert where.startswith("10.") and fetch(where.split(":")[0], 8080) == name
    berth.must("stop", "-t", "0", name)
    assert berth.call("address", name, "8080").returncode == 4
    berth.must("start", name)
    assert berth.must("address", name, "8080") == where
    hosts = berth.must("exec", name, "cat", "/etc/hosts")
    assert f"{where.split(':')[0]}\t{name}" in hosts


@pytest.mark.parametrize("form", ["8080", ":8080", "0:8080", "any:8080", "127.0.0.1::8080"])
def test_any_free_port_is_given_once(berth, form):
    a, b = serve(berth, "-p", form), serve(berth, "-p", form)
    ports = [int(berth.must("port", n, "8080").split(":")[1]) for n in (a, b)]
    assert ports[0] != ports[1] and fetch("127.0.0.1", ports[1]) == b and fetch("127.0.0.1", ports[0]) == a
    berth.must("stop", "-t", "0", a)
    berth.must("start", a)
    assert berth.must("port", a, "8080") == f"127.0.0.1:{ports[0]}"


@pytest.mark.kernel
def test_ranges_and_udp(berth):
    name = serve(berth, "-p", "28000-28002:8079-8081", "-p", "28010:53/udp")
    assert fetch("127.0.0.1", 28001) == name
    assert berth.must("port", name, "8081") == "127.0.0.1:28002"
    assert berth.must("port", name, "53/udp") == "127.0.0.1:28010"
    assert berth.call("port", name, "53").returncode == 4


def test_all_exposed_ports(berth):
    name = serve(berth, "-P", "--expose", "8080", "--expose", "9000-9001/udp")
    assert fetch("127.0.0.1", int(berth.must("port", name, "8080").split(":")[1])) == name
    assert len(berth.must("port", name).splitlines()) == 3


@pytest.mark.kernel
def test_a_taken_port_names_its_holder_and_leaves_nothing(berth):
    port = free_port()
    first = serve(berth, "-p", f"{port}:8080")
    second = berth.name()
    r = berth.call("run", "-d", "--name", second, "-p", f"{port}:80", "tiny", "sleep", "60")
    assert r.returncode == 125 and str(port) in r.stderr and first in r.stderr
    berth.must("rm", "-f", first)
    berth.must("start", second)


@pytest.mark.parametrize("flags, said", [
    (["-p", "0"], "not a port"), (["-p", "80:65536"], "not a port"), (["-p", "1-3:1-2"], "3 host ports for 2"),
    (["-p", "1-65000:1-65000"], "65000"), (["--ip", "10.0.0"], "not an IPv4"), (["--ip", "192.168.77.7"], "not in 10."),
    (["--mac-address", "01:00:00:00:00:01"], "multicast"), (["--network", "nosuch"], "nosuch"), (["--ip6", "fd00::5"], "no IPv6"),
    (["-p", "0.0.0.0:28020:80", "-p", "127.0.0.1:28020:81"], "28020/tcp twice")])
def test_what_can_not_be_is_said_and_leaves_nothing(berth, flags, said):
    before = berth.must("ps", "-aq")
    r = berth.call("create", *flags, "tiny", "true")
    assert r.returncode in (1, 2) and said in r.stderr and len(r.stderr.splitlines()) == 1, r.stderr
    assert berth.must("ps", "-aq") == before


def test_ports_come_and_go_while_it_runs(berth):
    one, two = free_port(), free_port()
    name = serve(berth, "-p", f"{one}:8080")
    berth.must("update", "--publish-add", f"{two}:8080", name)
    assert fetch("127.0.0.1", two) == name and fetch("127.0.0.1", one) == name
    berth.must("update", "--publish-rm", f"{one}:8080", name)
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", one), 1)
    assert fetch("127.0.0.1", two) == name
    assert berth.must("port", name) == f"8080/tcp -> 127.0.0.1:{two}"
    r = berth.call("update", "--publish-rm", "9999", name)
    assert r.returncode == 1 and "9999" in r.stderr
    r = berth.call("update", "--publish-add", f"{two}:80", name)
    assert r.returncode == 1 and str(two) in r.stderr and fetch("127.0.0.1", two) == name


# ---- named networks

@pytest.mark.kernel
def test_two_networks_do_not_reach_each_other(berth, net):
    a, b = net(), net()
    one, same, other = (serve(berth, "--network", n) for n in (a, a, b))
    def reaches(who, whom):
        to = berth.must("address", whom, "8080").split(":")[0]
        return berth.call("exec", "--timeout", "3s", who, "nc", "-w", "1", to, "8080").stdout.strip() == whom
    assert reaches(same, one)
    assert not reaches(other, one) and not reaches(one, other)
    berth.must("network", "connect", b, one)
    assert reaches(one, other)
    berth.must("network", "disconnect", b, one)
    assert not reaches(one, other) and reaches(same, one)


def test_several_networks_fixed_addresses_and_what_is_taken(berth, net):
    a, b = net("--subnet", "10.209.7.0/24"), net("--subnet", "10.209.8.0/24", "--internal")
    name = serve(berth, "--network", f"name={a},ip=10.209.7.9,mac-address=02:11:22:33:44:55", "--network", b)
    assert berth.must("address", name, "8080") == "10.209.7.9:8080"
    assert berth.must("address", name, "8080", "--network", b).startswith("10.209.8.")
    assert "02:11:22:33:44:55" in berth.must("exec", name, "ip", "link", "show", "eth0")
    assert berth.must("exec", name, "ip", "route").count("default") == 1
    assert berth.call("address", name, "80", "--network", "nosuch").returncode == 1
    for flags, said in ([["--network", a, "--ip", "10.209.7.9"], name], [["--network", a, "--ip", "10.209.7.1"], "gateway"],
                        [["--network", a, "--mac-address", "02:11:22:33:44:55"], name], [["--network", a, "--ip", "10.209.7.255"], "broadcast"]):
        r = berth.call("create", *flags, "tiny", "true")
        assert r.returncode == 1 and said in r.stderr, r.stderr
    r = berth.call("network", "rm", a)
    assert r.returncode == 1 and name in r.stderr
    doc = json.loads(berth.must("network", "inspect", a))
    assert doc["workloads"][0]["name"] == name and doc["workloads"][0]["addresses"] == ["10.209.7.9"]


@pytest.mark.parametrize("flags, said", [
    (["--subnet", "10.209.9.0/31"], "no room"), (["--subnet", "garbage"], "garbage"), (["--subnet", "10.209.9.5/24"], "10.209.9.0/24"),
    (["--subnet", "127.0.0.0/8"], "reserved"), (["--subnet", "10.209.9.0/24", "--gateway", "10.209.8.1"], "gateway"),
    (["--subnet", "10.209.9.0/24", "--ip-range", "10.209.8.0/25"], "not within"), (["--mtu", "10"], "576"), (["--mtu", "1000", "--ipv6"], "1280"), (["--gateway", "10.209.9.1"], "subnet")])
def test_a_network_that_can_not_be_is_said(berth, flags, said):
    before = berth.must("network", "ls", "-q")
    r = berth.call("network", "create", *flags, "bad" + os.urandom(3).hex())
    assert r.returncode in (1, 2) and said in r.stderr, r.stderr
    assert berth.must("network", "ls", "-q") == before


def test_overlapping_subnets_and_the_hosts_own_are_refused(berth, net):
    a = net("--subnet", "10.209.10.0/24")
    r = berth.call("network", "create", "--subnet", "10.209.10.128/25", "x" + os.urandom(3).hex())
    assert r.returncode == 1 and a in r.stderr
    r = berth.call("network", "create", a)
    assert r.returncode == 1 and "already" in r.stderr
    with open("/proc/net/route") as f:
        routes = [line.split() for line in f][1:]
    on_link = [r for r in routes if r[1] != "00000000" and hash_of(berth) not in r[0]]
    if on_link:
        host = ".".join(str(b) for b in reversed(bytes.fromhex(on_link[0][1])))
        r = berth.call("network", "create", "--subnet", f"{host}/30", "x" + os.urandom(3).hex())
        assert r.returncode == 1 and ("overlaps" in r.stderr or "reserved" in r.stderr), r.stderr


def test_a_full_network_says_so(berth, net):
    a = net("--subnet", "10.209.11.0/29")
    for _ in range(5):
        berth.must("create", "--name", berth.name(), "--network", a, "tiny", "true")
    r = berth.call("create", "--network", a, "tiny", "true")
    assert r.returncode == 1 and "full" in r.stderr and "10.209.11.0/29" in r.stderr


@pytest.mark.kernel
def test_ipv6_on_request(berth, net):
    a = net("--ipv6")
    one, two = serve(berth, "--network", a), serve(berth, "--network", a)
    six = [w["addresses"] for w in json.loads(berth.must("network", "inspect", a))["workloads"] if w["name"] == two][0]
    address = [x for x in six if ":" in x][0]
    until(lambda: berth.call("exec", one, "ping", "-c", "1", "-W", "1", address).returncode == 0)


@pytest.mark.kernel
def test_the_network_of_another(berth):
    port = free_port()
    name = serve(berth, "-p", f"{port}:8080", command=["sleep", "100"])
    other = berth.name()
    berth.must("run", "-d", "--name", other, "--network", f"container:{name}", "tiny", *SERVE)
    assert fetch("127.0.0.1", port)
    assert berth.must("address", other, "8080") == berth.must("address", name, "8080")
    assert berth.must("port", other, "8080") == f"127.0.0.1:{port}"
    r = berth.call("create", "--network", f"container:{name}", "-p", "80:80", "tiny", "true")
    assert r.returncode == 1 and "ports" in r.stderr


def test_the_pool_of_berth_toml(berth, net, tmp_path):
    (tmp_path / "berth.toml").write_text('publish_address = "127.0.0.2"\n[network]\npool = "10.208.0.0/22"\nprefix = 26\n')
    name = "n" + os.urandom(4).hex()
    r = berth.call("--config", str(tmp_path / "berth.toml"), "network", "create", name)
    assert r.returncode == 0, r.stderr
    subnet = json.loads(berth.must("network", "inspect", name))["subnet"]
    berth.must("network", "rm", name)
    assert subnet.startswith("10.208.") and subnet.endswith("/26")
    spec = json.loads(berth.must("--config", str(tmp_path / "berth.toml"), "create", "--dry-run", "-p", "80", "-p", "127.0.0.1:81:81", "tiny", "true"))["spec"]
    assert [p["host_address"] for p in spec["ports"]] == ["127.0.0.2", "127.0.0.1"]


# ---- made ahead

@pytest.fixture
def pool(berth):
    children = []

    def keep(count):
        p = subprocess.Popen(berth.argv("pool", str(count)), env=berth.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(p)
        assert p.stdout.readline() == f"{count} ready\n", p.stderr.read()
        return p

    yield keep
    for p in children:
        p.kill()
        p.wait()


def waiting(berth):
    return sorted(open(berth.env["BERTH_RUN"] + "/pool/links").read().split())


def on_a_bridge(link):
    return os.path.exists(f"/sys/class/net/{link}/master")


@pytest.mark.kernel
def test_a_pool_serves_starts_and_is_filled_again(berth, net, pool):
    keeper = pool(3)
    ready = waiting(berth)
    assert len(ready) == 3 and set(ready) <= set(os.listdir("/sys/class/net"))
    assert berth.call("doctor").returncode == 0, "what waits is no leak"
    taken, begun = [], time.monotonic()
    while not taken: # a start waits 5 ms for one, and a keeper on a slow machine may be late
        port = free_port()
        name = serve(berth, "-p", f"{port}:8080")
        taken = [n for n in ready if on_a_bridge(n)]
        assert time.monotonic() < begun + 30
    assert fetch("127.0.0.1", port) == name and fetch(address_of(berth, name), 8080) == name
    other = serve(berth)
    assert told(berth, name, other) == other
    until(lambda: len(waiting(berth)) == 3 and not set(waiting(berth)) & set(taken))
    a = net()
    berth.must("network", "connect", a, name)
    berth.must("restart", "-t", "0", name)
    assert fetch("127.0.0.1", port) == name
    r = berth.call("pool", "2")
    assert r.returncode == 1 and "kept already" in r.stderr
    keeper.send_signal(signal.SIGINT)
    assert keeper.wait(30) == 0
    until(lambda: not [n for n in os.listdir("/sys/class/net") if n in ready and not on_a_bridge(n)])
    assert fetch("127.0.0.1", port) == name, "what was taken has nothing to do with the pool any more"
    assert fetch(address_of(berth, serve(berth)), 8080)


def test_a_pool_that_is_no_use_does_not_stand_in_the_way(berth, net, pool):
    keeper = pool(2)
    for link in waiting(berth):
        subprocess.run(["ip", "link", "delete", link], check=True)
    one, two, three = (serve(berth) for _ in range(3)) # links that are gone, then none at all
    for name in (one, two, three, serve(berth, "--network", net("--mtu", "1400")), serve(berth, "--userns", "private")):
        assert fetch(address_of(berth, name), 8080) == name
    assert berth.call("doctor").returncode == 0
    keeper.kill()
    keeper.wait()
    until(lambda: berth.call("doctor").returncode == 0)
    assert fetch(address_of(berth, serve(berth)), 8080)


@pytest.mark.parametrize("mtu", ["600", "9000"])
def test_a_pool_serves_networks_of_any_mtu(berth, net, pool, mtu):
    pool(2)
    other, taken, begun = net("--mtu", mtu), [], time.monotonic()
    while not taken: # as above
        ready = waiting(berth)
        name = serve(berth, "--network", other)
        taken = [n for n in ready if on_a_bridge(n)]
        assert time.monotonic() < begun + 30
    assert open(f"/sys/class/net/{taken[0]}/mtu").read().strip() == mtu
    assert f"mtu {mtu}" in berth.must("exec", name, "ip", "link", "show", "eth0")
    assert fetch(address_of(berth, name), 8080) == name


@pytest.mark.parametrize("count", ["0", "1001", "-1", "x"])
def test_a_pool_that_can_not_be(berth, count):
    r = berth.call("pool", "--", count)
    assert r.returncode in (1, 2) and count in r.stderr


# ---- a user namespace

@pytest.mark.kernel
def test_a_user_namespace_of_its_own_on_networks(berth, net):
    """The network belongs to it: /sys, sysctls, CAP_NET_ADMIN; and everything else is as without one."""
    a, port = net(), free_port()
    other = serve(berth)
    name = serve(berth, "--userns", "private", "-p", f"{port}:8080", "--cap-add", "NET_ADMIN", "--restart", "always",
                 "--sysctl", "net.ipv4.ip_local_port_range=20000 30000")
    sh = lambda line: berth.must("exec", name, "sh", "-c", line)
    assert sh("cat /proc/self/uid_map").split()[1] != "0"
    assert fetch("127.0.0.1", port) == name and fetch(address_of(berth, name), 8080) == name
    assert sh("ls /sys/class/net").split() == ["eth0", "lo"] and sh("cat /proc/sys/net/ipv4/ip_local_port_range").split() == ["20000", "30000"]
    assert told(berth, name, other) == other
    sh("ip addr add 10.255.255.1/32 dev lo")
    berth.must("network", "connect", a, name)
    assert sh("ls /sys/class/net").split() == ["eth0", "eth1", "lo"]
    inside = serve(berth, "--network", a, "--userns", "private")
    assert told(berth, name, inside) == inside
    berth.must("network", "disconnect", a, name)
    where = berth.must("address", name, "8080")
    os.kill(berth.status(name)["pid"], signal.SIGKILL)
    until(lambda: berth.status(name)["restarts"] == 1 and berth.status(name)["state"] == "running")
    assert berth.must("address", name, "8080") == where and fetch("127.0.0.1", port) == name
    berth.must("restart", "-t", "0", name)
    assert fetch("127.0.0.1", port) == name


def test_a_user_namespace_of_another_goes_with_its_network(berth):
    name, plain = serve(berth, "--userns", "private"), serve(berth)
    r = berth.call("create", "--userns", f"container:{name}", "tiny", "true")
    assert r.returncode == 1 and "namespaces.userns" in r.stderr
    r = berth.call("create", "--userns", f"container:{plain}", "--network", "none", "tiny", "true")
    assert r.returncode == 1 and f"{plain} has no user namespace" in r.stderr
    theirs = ["--userns", f"container:{name}", "--network", f"container:{name}"]
    look = "readlink /proc/self/ns/user; readlink /proc/self/ns/net; ls /sys/class/net; id -u; echo x > /file; stat -c %u /file"
    other = berth.name()
    berth.must("run", "-d", "--name", other, *theirs, "tiny", "sleep", "100")
    inside = [berth.must("exec", who, "sh", "-c", look).split() for who in (name, other)]
    assert inside[0] == inside[1] and inside[0][2:] == ["eth0", "lo", "0", "0"], inside
    assert berth.must("run", "--rm", "--userns", f"container:{name}", "--network", "none", "tiny", "sh", "-c", "ls /sys/class/net; id -u").split() == ["lo", "0"]


# ---- names

def lookup(berth, who, name):
    r = berth.call("exec", "--timeout", "5s", who, "nslookup", name)
    found = [line.split()[1] for line in r.stdout.partition("Name:")[2].splitlines() if line.startswith("Address:")]
    return found if r.returncode == 0 and "Name:" in r.stdout else []


def address_of(berth, name, *flags):
    return berth.must("address", name, "8080", *flags).split(":")[0]


@pytest.mark.kernel
def test_workloads_call_each_other_by_name_and_alias(berth, net):
    a = net()
    one, two = (serve(berth, "--network", a, "--network-alias", "both") for _ in range(2))
    assert lookup(berth, one, two) == [address_of(berth, two)]
    assert sorted(lookup(berth, one, "both")) == sorted(address_of(berth, n) for n in (one, two))
    assert told(berth, one, two) == two
    assert lookup(berth, one, "nosuch-name") == []
    new = berth.name()
    berth.must("rename", two, new)
    assert lookup(berth, one, new) == [address_of(berth, new)] and lookup(berth, one, two) == []
    berth.must("stop", "-t", "0", new)
    until(lambda: lookup(berth, one, new) == [])
    berth.must("start", new)
    assert lookup(berth, one, new) == [address_of(berth, new)]


def test_names_belong_to_their_network(berth, net):
    a, b = net(), net()
    one, two = serve(berth, "--network", a), serve(berth, "--network", b)
    assert lookup(berth, one, two) == []
    berth.must("network", "connect", "--alias", "extra", a, two)
    assert lookup(berth, one, two) == [address_of(berth, two, "--network", a)] == lookup(berth, one, "extra")
    berth.must("network", "disconnect", a, two)
    assert lookup(berth, one, two) == []


# ---- what must not be, and what must not stay

def test_nothing_is_left_after_the_last_one(berth):
    for name in list(berth.names):
        berth.call("rm", "-f", name)
    own, port = hash_of(berth), free_port()
    name = serve(berth, "-p", f"{port}:8080")
    assert listing(own)
    berth.must("rm", "-f", name)
    until(lambda: not listing(own))


@pytest.mark.kernel
def test_a_killed_supervisor_leaves_nothing_and_the_next_start_works(berth):
    port = free_port()
    name = serve(berth, "-p", f"{port}:8080")
    where = berth.must("address", name, "8080")
    os.kill(berth.status(name)["supervisor_pid"], signal.SIGKILL)
    until(lambda: berth.status(name)["state"] == "failed")
    assert "doctor" not in berth.call("doctor").stderr
    links = lambda: [n for n in listing(hash_of(berth)) if n.startswith("bv")]
    until(lambda: not links())
    berth.must("start", name)
    assert berth.must("address", name, "8080") == where and fetch("127.0.0.1", port) == name


@pytest.mark.kernel
def test_flushed_rules_and_a_removed_bridge_are_found_and_mended(berth):
    port = free_port()
    name = serve(berth, "-p", f"{port}:8080")
    own = hash_of(berth)
    assert fetch("127.0.0.1", port) == name
    subprocess.run(["nft", "delete", "table", "inet", "berth_" + own], check=True)
    r = berth.call("doctor")
    assert r.returncode == 1 and "network" in r.stdout
    berth.must("doctor", "--repair")
    assert fetch("127.0.0.1", port) == name
    bridge = [n for n in listing(own) if n.startswith("bb")][0]
    subprocess.run(["ip", "link", "delete", bridge], check=True)
    assert berth.call("doctor").returncode == 1
    other = serve(berth)  # the next start mends it as well
    assert fetch("127.0.0.1", port) == name and fetch(berth.must("address", other, "8080").split(":")[0], 8080) == other


@pytest.mark.kernel
def test_a_guest_can_not_speak_as_another_nor_as_loopback(berth):
    a, b = serve(berth), serve(berth, "--cap-add", "NET_ADMIN", command=["sleep", "100"])
    to = berth.must("address", a, "8080").split(":")[0]
    assert berth.call("exec", b, "ping", "-c", "1", "-W", "1", to).returncode == 0
    taken = to.rsplit(".", 1)[0] + ".250"
    berth.must("exec", b, "ip", "addr", "add", taken + "/20", "dev", "eth0")
    assert berth.call("exec", b, "ping", "-c", "1", "-W", "1", "-I", taken, to).returncode != 0
    assert berth.call("exec", b, "ping", "-c", "1", "-W", "1", to).returncode == 0


def test_events_tell_addresses(berth):
    name = serve(berth)
    address = berth.must("address", name, "8080").split(":")[0]
    berth.must("stop", "-t", "0", name)
    events = [json.loads(line) for line in berth.must("--json", "events", "--since", "1m", "--no-follow", name).splitlines()]
    told = {e["type"]: e.get("addresses") for e in events}
    assert told["start"] == {"bridge": address} and told["die"] == {"bridge": address}


# ---- while it runs

@pytest.mark.kernel
def test_hosts_and_resolvers_follow_connect_and_disconnect(berth, net):
    a, b = net(), net()
    name = serve(berth, "--network", a, "--add-host", "else.where:192.0.2.9")
    first = address_of(berth, name)
    read = lambda file: berth.must("exec", name, "cat", "/etc/" + file)
    own = lambda: [line.split("\t")[0] for line in read("hosts").splitlines() if line.endswith("\t" + name)]
    assert own() == [first]
    berth.must("network", "connect", b, name)
    second = address_of(berth, name, "--network", b)
    assert own() == [first, second]
    berth.must("network", "disconnect", a, name)
    assert own() == [second] and "192.0.2.9\telse.where" in read("hosts") and "127.0.0.1\tlocalhost" in read("hosts")
    gateway = second.rsplit(".", 1)[0] + ".1"
    assert re.findall(r"nameserver (\S+)", read("resolv.conf")) == [gateway]
    assert lookup(berth, name, name) == [second]
    berth.must("stop", "-t", "0", name)
    berth.must("network", "connect", a, name)
    berth.must("start", name)
    assert own() == [second, address_of(berth, name, "--network", a)], "and one that does not run"


def test_hosts_that_a_workload_changed_stay_over_an_update(berth):
    name = serve(berth)
    berth.must("exec", name, "sh", "-c", "echo 192.0.2.1 mine >> /etc/hosts")
    berth.must("update", "--memory", "64m", name)
    assert "192.0.2.1 mine" in berth.must("exec", name, "cat", "/etc/hosts")


def test_a_thousand_ports_are_published_while_it_runs(berth):
    """With the soft limit of descriptors that shells have."""
    name = berth.name()
    r = berth.call("run", "-d", "--name", name, "tiny", *SERVE, wrap=["prlimit", "--nofile=1024:"])
    assert r.returncode == 0, r.stderr
    berth.must("update", "--publish-add", "127.0.0.7:31000-32022:7990-9012", name)
    assert fetch("127.0.0.7", 31090)
    with socket.socket() as s, pytest.raises(OSError):
        s.bind(("127.0.0.7", 32022))
    berth.must("update", "--publish-rm", "127.0.0.7:31000-32022:7990-9012", name)
    with socket.socket() as s:
        s.bind(("127.0.0.7", 32022))


def test_prune_says_which_networks_went(berth, net):
    used, idle = net(), net()
    serve(berth, "--network", used)
    assert idle in berth.must("network", "prune", "-f").splitlines()
    left = berth.must("network", "ls", "-q").splitlines()
    assert used in left and idle not in left


def test_one_port_published_twice_is_listed_twice(berth):
    one, two = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    tcp, other = one.getsockname()[1], two.getsockname()[1]
    one.close(), two.close()
    name = serve(berth, "-p", f"127.0.0.1:{tcp}:80", "-p", f"0.0.0.0:{other}:80", "-p", "127.0.0.1:0:53/udp")
    listed = berth.must("port", name).splitlines()
    assert listed[:2] == [f"80/tcp -> 127.0.0.1:{tcp}", f"80/tcp -> 0.0.0.0:{other}"]
    assert listed[2] == "53/udp -> " + berth.must("port", name, "53/udp") and len(listed) == 3
    berth.must("stop", "-t", "0", name)
    assert berth.call("port", name).returncode == 4


def test_networks_are_filtered(berth, net):
    used, idle = net(), net("--label", "tier=back")
    serve(berth, "--network", used)
    listed = lambda *filters: berth.must("network", "ls", "-q", *[w for f in filters for w in ("--filter", f)]).splitlines()
    assert listed("name=" + used) == [used] and set(listed("name=" + used, "name=" + idle)) == {used, idle}
    assert idle in listed("dangling=true") and used not in listed("dangling=true")
    assert listed("label=tier=back") == [idle] and listed("label=tier=front") == []
    r = berth.call("network", "ls", "--filter", "nosuch=1")
    assert r.returncode == 2 and "nosuch" in r.stderr


# ---- hostile words and packets

HOSTILE = ["a/b", "..", "a\nb", "x" * 10000, "a;b", "<<", "a b", "$(id)", "\u202e", "-x"]


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_names_of_networks_are_refused(berth, word):
    before = berth.must("network", "ls", "-q")
    for verb in (("create",), ("rm",), ("inspect",)):
        r = berth.call("network", *verb, "--", word)
        assert r.returncode in (1, 2) and len(r.stderr.splitlines()) == 1 and len(r.stderr) < 2000, (verb, r.stderr)
    assert berth.must("network", "ls", "-q") == before


@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("flag", ["--network-alias", "--hostname", "--network", "--add-host", "--dns-search"])
def test_hostile_words_of_a_workload_are_refused_before_they_reach_a_file(berth, flag, word):
    before = berth.must("ps", "-aq")
    value = word + ":192.0.2.1" if flag == "--add-host" else word
    r = berth.call("create", f"{flag}={value}", "tiny", "true")
    assert r.returncode in (1, 2) and len(r.stderr.splitlines()) == 1 and len(r.stderr) < 2000, (r.returncode, r.stderr)
    assert berth.must("ps", "-aq") == before


def test_a_hostile_alias_is_refused_by_connect(berth, net):
    a = net()
    name = serve(berth)
    for word in HOSTILE:
        r = berth.call("network", "connect", f"--alias={word}", a, name)
        assert r.returncode in (1, 2) and len(r.stderr.splitlines()) == 1, (word, r.stderr)
    assert a not in berth.must("inspect", name)


def test_a_name_beats_anothers_alias_of_that_name(berth, net):
    a = net()
    one, asks = serve(berth, "--network", a), serve(berth, "--network", a)
    thief = serve(berth, "--network", a, "--network-alias", one)
    assert lookup(berth, asks, one) == [address_of(berth, one)] != [address_of(berth, thief)]
    berth.must("rm", "-f", one)
    assert lookup(berth, asks, one) == [address_of(berth, thief)], "nobody else has it now"


def test_what_arp_says_of_another_is_not_heard(berth):
    a, b, c = serve(berth), serve(berth, "--cap-add", "NET_ADMIN", command=["sleep", "100"]), serve(berth)
    to, at = address_of(berth, a), address_of(berth, b)
    knows = lambda: berth.must("exec", c, "sh", "-c", f"ping -c 1 -W 1 {to} >/dev/null; ip neigh show {to} dev eth0")
    before = knows()
    assert "lladdr" in before
    for lie in (f"ip addr add {to}/20 dev eth0; arping -q -c 2 -U -I eth0 {to}; arping -q -c 2 -A -I eth0 {to}; ip addr del {to}/20 dev eth0",
                f"ip link set eth0 address 02:00:00:00:00:05; arping -q -c 2 -U -I eth0 {at}"):
        berth.call("exec", "--timeout", "10s", b, "sh", "-c", lie)
        assert knows().split("lladdr")[1].split()[0] == before.split("lladdr")[1].split()[0]


def test_a_guest_with_an_address_of_loopback_reaches_nothing(berth):
    """127/8 arriving on a bridge, where route_localnet is on (CVE-2020-8558)."""
    port = free_port()
    published = serve(berth, "-p", f"{port}:8080")
    b = serve(berth, "--cap-add", "NET_ADMIN", "--privileged", command=["sleep", "100"])
    gateway = address_of(berth, b).rsplit(".", 2)[0]
    gateway = berth.must("exec", b, "ip", "route").split("via ")[1].split()[0]
    lie = (f"sysctl -w net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.eth0.route_localnet=1 >/dev/null; ip addr del 127.0.0.1/8 dev lo; "
           f"ip route add 127.0.0.1 via {gateway} dev eth0; nc -w 1 127.0.0.1 {port} </dev/null; "
           f"ip addr add 127.0.0.9/32 dev eth0; ping -c 1 -W 1 -I 127.0.0.9 {gateway}")
    out = berth.call("exec", "--timeout", "10s", b, "sh", "-c", lie).stdout
    assert published not in out and " bytes from" not in out, out
    assert fetch("127.0.0.1", port) == published
