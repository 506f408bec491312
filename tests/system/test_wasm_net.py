# SPDX-License-Identifier: Apache-2.0
"""
What guests do on the network, by a guest that does it (tests/guests/net.c): sockets, names, HTTP and TLS outwards, and what
`wasm.allowed_hosts` makes of each. Who they talk to is in network namespaces of the test's own; then on berth's networks.
"""
import json, os, subprocess
import pytest
import wasm_guests
from place import TOP, until

SETUP = """
ip link set lo up; ip link add berth-a type veth peer name berth-b; ip link set berth-b netns "$1"
ip addr add 10.66.0.1/24 dev berth-a; ip -6 addr add fd66::1/64 dev berth-a nodad; ip link set berth-a up
nsenter -t "$1" -n sh -ec 'ip link set lo up; ip addr add 10.66.0.2/24 dev berth-b; ip -6 addr add fd66::2/64 dev berth-b nodad; ip link set berth-b up'
echo ready; exec sleep 1000
"""


def certificates(folder):
    """Two CAs, and a certificate for tls.example and 10.66.0.2 by the first."""
    os.makedirs(folder)
    openssl = lambda *words: subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
    for ca in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", ca + ".key", "-out", ca + ".crt", "-days", "2", "-subj", f"/CN=berth {ca}")
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=tls.example")
    with open(folder + "/ext", "w") as f:
        f.write("subjectAltName=IP:10.66.0.2,DNS:tls.example\nextendedKeyUsage=serverAuth\n")
    openssl("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.crt", "-days", "2",
            "-extfile", "ext")


class World:
    """Guests run in one namespace, 10.66.0.1, their peers in another, 10.66.0.2; somebody listens on the guests' loopback too."""

    def __init__(self, berth):
        self.berth, self.folder, self.children = berth, berth.folder + "/net", []
        certificates(self.folder)
        there = self.spawn("unshare", "-n", "sh", "-c", "echo ready; exec sleep 1000")
        here = self.spawn("unshare", "-n", "sh", "-ec", SETUP, "-", str(there.pid))
        self.here, self.there = (["nsenter", "-t", str(p.pid), "-n"] for p in (here, there))
        peer = ["/usr/bin/python3", TOP + "/tests/guests/peer.py"]
        self.spawn(*self.there, *peer, "10.66.0.2", self.folder)
        self.spawn(*self.there, *peer, "fd66::2")
        self.spawn(*self.here, *peer, "127.0.0.1")
        self.spawn(*self.here, *peer, "10.66.0.1")
        self.guest = wasm_guests.net()

    def spawn(self, *words):
        p = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.children.append(p)
        assert p.stdout.readline() == "ready\n", words
        return p

    def close(self):
        for p in reversed(self.children):
            p.kill()
            p.communicate()

    def argv(self, rules=(), sockets=True, roots=None, dns="10.66.0.2"):
        return ["--network", "host", "--dns", dns, "--set", f"wasm.allowed_hosts={json.dumps(list(rules))}", "--set",
                f"wasm.sockets={json.dumps(sockets)}", *(["--set", f"wasm.tls_roots={self.folder}/{roots}"] if roots else []), self.guest]

    def run(self, *steps, **how):
        """What each step said, without its own name."""
        r = self.berth.call("run", "--rm", *self.argv(**how), *steps, wrap=self.here)
        assert r.returncode == 0, r.stderr
        return [line.partition(" ")[2] for line in r.stdout.splitlines()]


@pytest.fixture(scope="module")
def built(bare):
    if "wasm" not in bare.must("engines").split():
        pytest.skip("this build has no Wasm (-Dwasm=disabled)")


@pytest.fixture(scope="module")
def world(built, shared):
    w = World(shared)
    yield w
    w.close()


DENIED = "access-denied"
UNKNOWN = "name-unresolvable" # also a name that no rule has


def test_without_a_rule_nothing_is_reached(world):
    assert world.run("lookup known.example", "tcp 10.66.0.2:7000 x", "udp 10.66.0.2:7000 x", "get http://10.66.0.2:8000/",
                     "get http://known.example:8000/", "get https://10.66.0.2:8443/") == [UNKNOWN] + [DENIED] * 2 + ["HTTP-request-denied"] * 3


def test_a_network_and_its_ports_are_reached_and_no_others(world):
    said = world.run("tcp 10.66.0.2:7000 hello", "udp 10.66.0.2:7000 hello", "get http://10.66.0.2:8000/a?b=c", "post http://10.66.0.2:8000/ data",
                     "tcp 10.66.0.2:7001 x", "udp 10.66.0.2:53 x", "get http://10.66.0.2:8001/", rules=["10.66.0.0/24:7000", "10.66.0.2:8000"])
    assert said == ["you said hello", "you said hello", "200 GET /a?b=c at 10.66.0.2 as 10.66.0.2:8000 ",
                    "200 POST / at 10.66.0.2 as 10.66.0.2:8000 data", DENIED, DENIED, "destination-IP-prohibited"]


def test_a_name_opens_its_own_ports_however_it_is_written(world):
    said = world.run("lookup known.example", "tcp known.example:7000 hello", "get http://Known.Example:8000/", "tcp known.example:7001 x",
                     "lookup other.example", "get http://also.example:8000/", rules=["known.example:7000", "known.example:8000"])
    assert said == ["10.66.0.2", "you said hello", "200 GET / at 10.66.0.2 as Known.Example:8000 ", DENIED, UNKNOWN, "HTTP-request-denied"]


def test_an_address_that_nobody_looked_up_is_no_name(world):
    assert world.run("tcp 10.66.0.2:7000 x", rules=["known.example:7000"]) == [DENIED]


def test_one_address_under_two_names_has_the_ports_of_both(world):
    said = world.run("lookup known.example", "lookup also.example", "tcp 10.66.0.2:7000 a", "udp 10.66.0.2:7000 b", "tcp 10.66.0.2:8000 c",
                     rules=["known.example:7000", "also.example:9"])
    assert said[2:] == ["you said a", "you said b", DENIED]


def test_sockets_are_there_only_when_the_spec_asks(world):
    said = world.run("tcp 10.66.0.2:7000 x", "udp 10.66.0.2:7000 x", "lookup known.example", "get http://10.66.0.2:8000/", rules=["*"], sockets=False)
    assert all(s == "permanent-resolver-failure" for s in said[:3]) and said[3].startswith("200 "), said


SPECIAL = [("127.0.0.1", "local.example"), ("10.66.0.1", "host.example"), ("169.254.1.1", "link.example")]


@pytest.mark.parametrize("address, name", SPECIAL)
def test_loopback_link_local_and_the_host_need_a_rule_of_their_own(world, address, name):
    steps = [f"tcp {address}:7000 x", f"tcp {name}:7000 x", f"udp {address}:7000 x", f"tcp [::ffff:{address}]:7000 x", f"get http://{address}:8000/",
             f"get http://{name}:8000/"]
    said = world.run(*steps, rules=["*", "0.0.0.0/0", "::/0", "10.66.0.0/24", name, name + ":7000", name + ":8000"])
    assert said == [DENIED] * 3 + ["invalid-argument"] + ["destination-IP-prohibited"] * 2 # the engine takes no mapped ones
    if address != "169.254.1.1": # nobody is there
        said = world.run(*steps[:3], *steps[4:], rules=[address + ":7000", address + ":8000"])
        assert said[:3] == ["you said x"] * 3 and all(s.startswith("200 GET / at " + address) for s in said[3:]), said


def test_a_name_is_resolved_once_for_a_request_and_that_address_connected_to(world):
    """rebind.example leads to its server at the first question, and to the guest's loopback from then on."""
    first, second, asked = world.run("get http://rebind.example:8000/", "get http://rebind.example:8000/", "get http://10.66.0.2:8000/asked",
                                     rules=["rebind.example:8000", "10.66.0.2:8000"])
    assert first.startswith("200 GET / at 10.66.0.2 as rebind.example:8000") and second == "destination-IP-prohibited"
    assert "'rebind': 2" in asked


def test_of_many_addresses_the_first_that_is_allowed_is_taken(world):
    assert world.run("get http://both.example:8000/", rules=["both.example:8000"])[0].startswith("200 GET / at 10.66.0.2")


def test_ipv6_by_address_and_by_name(world):
    said = world.run("tcp [fd66::2]:7000 six", "udp [fd66::2]:7000 six", "lookup six.example", "get http://six.example:8000/", "get http://[fd66::2]:8000/",
                     "tcp [fd66::2]:7001 x", rules=["[fd66::]/64:7000", "six.example:8000", "[fd66::2]:8000"])
    assert said[:3] == ["you said six", "you said six", "fd66:0:0:0:0:0:0:2"]
    assert all("GET / at fd66::2" in s for s in said[3:5]) and said[5] == DENIED, said


def test_what_is_not_there_is_called_by_its_name(world):
    said = world.run("tcp 10.66.0.2:1 x", "lookup none.example", "lookup not a name", "get http://10.66.0.2:1/", "get http://none.example:8000/",
                     rules=["*"])
    assert said == ["connection-refused", "name-unresolvable", "invalid-argument", "connection-refused", "DNS-error"]


def test_tls_is_for_servers_whose_ca_is_trusted(world):
    urls = ["get https://tls.example:8443/", "get https://10.66.0.2:8443/"]
    said = world.run(*urls, "get https://known.example:8443/", "get https://10.66.0.2:8000/", "get http://10.66.0.2:8443/", rules=["*"], roots="ca.crt")
    assert said[:2] == ["200 GET / at 10.66.0.2 as tls.example:8443 ", "200 GET / at 10.66.0.2 as 10.66.0.2:8443 "]
    assert said[2:4] == ["TLS-certificate-error", "TLS-protocol-error"] and not said[4].startswith("200")
    assert world.run(*urls, rules=["*"]) == ["TLS-certificate-error"] * 2
    assert world.run(*urls, rules=["*"], roots="other.crt") == ["TLS-certificate-error"] * 2


def test_what_is_no_file_of_certificates_is_refused_by_create(world):
    for file, word in (("none.crt", "No such file"), ("server.key", "no certificates")):
        r = world.berth.call("create", *world.argv(roots=file))
        assert r.returncode == 1 and "wasm.tls_roots" in r.stderr and word in r.stderr, r.stderr


def test_exec_has_the_same_rules_and_the_same_trust(world, berth):
    name = berth.name()
    r = berth.call("run", "-d", "--name", name, *world.argv(rules=["tls.example:8443", "10.66.0.2:7000"], roots="ca.crt"), "listen 7100",
                   wrap=world.here)
    assert r.returncode == 0, r.stderr
    r = berth.call("exec", name, "net.wasm", "get https://tls.example:8443/", "tcp 10.66.0.2:7000 x", "tcp 10.66.0.2:8000 x", wrap=world.here)
    assert r.stdout.splitlines() == ["http: 200 GET / at 10.66.0.2 as tls.example:8443 ", "tcp: you said x", "tcp: access-denied"]


@pytest.mark.parametrize("step, ask", [("listen 7100", "TCP"), ("udp-listen 7101", "UDP")])
def test_a_guest_listens_and_is_reached(world, berth, step, ask):
    name = berth.name()
    r = berth.call("run", "-d", "--name", name, *world.argv(), step, wrap=world.here)
    assert r.returncode == 0, r.stderr
    until(lambda: berth.must("logs", name) == "listening")
    said = subprocess.run([*world.there, "/usr/bin/python3", "-c", ASK, ask, step.split()[1]], capture_output=True, text=True, timeout=30)
    assert said.stdout == "you said hello\n", said.stderr
    until(lambda: berth.status(name)["state"] == "completed")


ASK = """import socket, sys
s = socket.socket(type=socket.SOCK_STREAM if sys.argv[1] == "TCP" else socket.SOCK_DGRAM); s.settimeout(20)
s.connect(("10.66.0.1", int(sys.argv[2]))); s.send(b"hello"); answer = b""
while (data := s.recv(100)) and len(answer := answer + data) < 14: pass
print(answer.decode())"""


def test_a_port_that_is_taken_is_said(world):
    assert world.run("bind 10.66.0.1:8000", "bind 10.66.0.1:7102", "bind 10.66.0.77:7102") == ["address-in-use", "done", "address-not-bindable"]


# ---- on berth's networks

@pytest.fixture(scope="module")
def service(built):
    return wasm_guests.service_in_c()


def curl(url):
    r = subprocess.run(["curl", "-s", "-m", "20", "-w", " %{http_code}", url], capture_output=True, text=True)
    return r.stdout


def test_a_container_and_a_service_call_each_other_by_name(berth, service):
    web, api, shut = berth.name(), berth.name(), berth.name()
    berth.must("run", "-d", "--name", web, "tiny", "httpd", "-f", "-p", "8000", "-h", "/var/www")
    berth.must("run", "-d", "--name", api, "-p", "8080", "--set", f'wasm.allowed_hosts=["{web}:8000"]', service)
    berth.must("run", "-d", "--name", shut, "-p", "8080", service)
    at = f"http://{berth.must('port', api, '8080')}"
    until(lambda: curl(f"{at}/fetch/{web}:8000/") == "<h1>tiny</h1>\n 200")
    assert curl(f"{at}/fetch/{web}:8001/") == "destination-IP-prohibited\n 502"
    assert curl(f"http://{berth.must('port', shut, '8080')}/fetch/{web}:8000/") == "HTTP-request-denied\n 502"
    # and the other way; through the service back to itself
    assert berth.must("exec", web, "wget", "-q", "-O", "-", f"http://{api}:8080/") == "hello from C"
    assert berth.must("exec", web, "wget", "-q", "-O", "-", f"http://{api}:8080/fetch/{web}:8000/") == "<h1>tiny</h1>"


def test_sockets_by_name_between_a_container_and_a_guest(berth, world):
    server, guest = berth.name(), berth.name()
    berth.must("run", "-d", "--name", server, "tiny", "nc", "-ll", "-p", "7000", "-e", "sh", "-c", "read line; echo you said $line")
    flags = ["--set", "wasm.sockets=true", "--set", f'wasm.allowed_hosts=["{server}:7000"]', world.guest]
    until(lambda: berth.call("run", "--rm", *flags, f"tcp {server}:7000 hello\n").stdout == "tcp: you said hello\n\n")
    berth.must("run", "-d", "--name", guest, *flags, "listen 7100")
    until(lambda: berth.must("logs", guest) == "listening")
    assert berth.must("exec", server, "sh", "-c", f"echo hello | nc {guest} 7100") == "you said hello"


def test_the_host_on_a_bridge_needs_a_rule_for_its_address(berth, world):
    berth.must("network", "create", "--subnet", "10.67.9.0/24", "guests-host")
    try:
        run = lambda *rules: berth.must("run", "--rm", "--network", "guests-host", "--set", "wasm.sockets=true", "--set",
                                        f"wasm.allowed_hosts={json.dumps(rules)}", world.guest, "tcp 10.67.9.1:7103 x", "get http://10.67.9.1:7103/").splitlines()
        refused = ["tcp: access-denied", "http: destination-IP-prohibited"]
        assert run("*", "0.0.0.0/0", "10.67.9.0/24", "10.67.0.0/16:7103") == refused
        assert run("10.67.9.1:7103") == ["tcp: connection-refused", "http: connection-refused"] # nobody listens, but it was tried
    finally:
        berth.must("network", "rm", "guests-host")


LISTEN = """import socket
s = socket.create_server(("10.67.8.1", 7103)); print("ready", flush=True)
while True:
    c, _ = s.accept(); c.settimeout(20); c.recv(1000); c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\nConnection: close\\r\\n\\r\\nhost"); c.close()"""


def test_an_address_that_the_host_gets_later_needs_a_rule_too(berth, world):
    """The gateway of another network, which comes while the guests run already."""
    nets = {"guests-host": "10.67.9.0/24", "guests-other": "10.67.8.0/24"}
    for net, subnet in nets.items():
        berth.must("network", "create", "--subnet", subnet, net)
    try:
        guests = {"wide": ["*", "0.0.0.0/0", "10.67.8.0/24", "other.example:7103"], "named": ["10.67.8.1:7103"]}
        for key, rules in list(guests.items()):
            guests[key] = berth.name()
            berth.must("run", "-d", "--name", guests[key], "--network", "guests-host", "--add-host", "other.example:10.67.8.1", "--set",
                       "wasm.sockets=true", "--set", f"wasm.allowed_hosts={json.dumps(rules)}", world.guest, "listen 7100")
        other = berth.name()
        berth.must("run", "-d", "--name", other, "--network", "guests-other", "-p", "10.67.8.1:7104:8000", "tiny", "httpd", "-f", "-p", "8000")
        world.spawn("/usr/bin/python3", "-c", LISTEN)
        ask = lambda key, *steps: berth.must("exec", guests[key], "net.wasm", *steps).splitlines()
        steps = ["get http://10.67.8.1:7103/", "tcp 10.67.8.1:7103 x", "tcp other.example:7103 x", "tcp 10.67.8.1:7104 x"]
        assert ask("named", *steps[:2])[:2] == ["http: 200 host", "tcp: HTTP/1.1 200 OK"]
        assert ask("wide", *steps) == ["http: connection-refused"] + ["tcp: remote-unreachable"] * 3
        url = "http://10.67.8.1:7103/"
        assert [inside(berth, guests[key], url) for key in ("named", "wide")] == ["host", ""]
        own = berth.json("info")["cgroup_parent"].rsplit("-", 1)[1]
        subprocess.run(["nft", "delete", "table", "inet", "berth_" + own], check=True)
        berth.must("doctor", "--repair")
        assert [inside(berth, guests[key], url) for key in ("named", "wide")] == ["host", ""]
    finally:
        for name in berth.names:
            berth.call("rm", "-f", name)
        for net in nets:
            berth.must("network", "rm", net)


def inside(berth, name, url):
    """What a program beside the guest gets: whoever broke out of the worker would be no further."""
    r = subprocess.run(["nsenter", "-t", str(berth.status(name)["pid"]), "-n", "curl", "-s", "-m", "2", url], capture_output=True, text=True)
    return r.stdout


def test_a_second_wall_stands_around_the_guest(berth, service):
    berth.must("network", "create", "--subnet", "10.67.9.0/24", "guests-wall")
    try:
        web, guests = berth.name(), {}
        berth.must("run", "-d", "--name", web, "--network", "guests-wall", "--ip", "10.67.9.77", "tiny", "sh", "-c",
                   "httpd -p 8001 -h /var/www; httpd -f -p 8000 -h /var/www")
        for key, rules in (("none", []), ("address", ["10.67.9.77:8000"]), ("network", ["10.67.9.0/24:8000"]), ("name", [web + ":8000"]), ("any", ["*"])):
            guests[key] = berth.name()
            berth.must("run", "-d", "--name", guests[key], "--network", "guests-wall", "--set", f"wasm.allowed_hosts={json.dumps(rules)}", service)
        until(lambda: "tiny" in inside(berth, guests["any"], "http://10.67.9.77:8000/"))
        for key, name in guests.items():
            assert ("tiny" in inside(berth, name, "http://10.67.9.77:8000/")) == (key != "none"), key
            assert ("tiny" in inside(berth, name, "http://10.67.9.77:8001/")) == (key == "any"), key
            assert curl(f"http://{berth.must('address', name, '8080')}/") == "hello from C\n 200" # answers leave
        for harm in ("flush ruleset", "flush chain inet berth_wall leave"):
            subprocess.run(["nsenter", "-t", str(berth.status(guests["none"])["pid"]), "-n", "nft", *harm.split()], check=True)
            assert berth.call("doctor").returncode == 1
            berth.must("doctor", "--repair")
            berth.must("doctor")
            assert inside(berth, guests["none"], "http://10.67.9.77:8000/") == ""
    finally:
        for name in [web, *guests.values()]:
            berth.call("rm", "-f", name)
        berth.must("network", "rm", "guests-wall")
