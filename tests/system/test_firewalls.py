# SPDX-License-Identifier: Apache-2.0
"""
ufw and firewalld themselves, on the network of a host that the test makes: what they drop is said by the next start, and
what is said opens it.
"""
import os, subprocess, sys
import pytest
from place import CACHE, TOP, until
from test_network_neighbours import Host, finds, firewall_line, warnings


OUTSIDE = """
import socket
with socket.create_server(("192.0.2.2", 8100)) as s:
    print("listens", flush=True)
    while True:
        with s.accept()[0] as c:
            c.sendall(b"outside")
"""


@pytest.fixture(scope="module")
def berth():
    if os.geteuid() != 0:
        pytest.skip("only root has network namespaces")
    subprocess.run([TOP + "/tests/images/make", "firewalls", CACHE], check=True, capture_output=True)
    h = Host()
    h.must("image", "import", CACHE + "/firewalls", "firewalls:latest")
    p = subprocess.Popen(["nsenter", "--net=/run/netns/" + h.there, sys.executable, "-c", OUTSIDE], stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"listens\n"
    yield h
    p.kill()
    p.wait()
    h.close()


@pytest.fixture
def guard(berth):
    """A workload that may do everything to the host's network; what runs a command in it."""
    guard = "guard"

    def begin(*command):
        berth.must("run", "-d", "--name", guard, "--network", "host", "--privileged", "firewalls", *command)
        return lambda line: berth.call("exec", guard, "sh", "-c", line)

    yield begin
    for name in [guard, *berth.names]:
        berth.call("rm", "-f", name)
    berth.names.clear()
    berth.sh("nft flush ruleset")


def start(berth, port):
    """A server that is published to everybody; its name, and what its start warned of."""
    name = berth.name()
    r = berth.call("run", "-d", "--name", name, "--hostname", name, "-p", f"0.0.0.0:{port}:8080", "tiny",
                   "sh", "-c", "while :; do hostname | nc -l -p 8080; done")
    return name, warnings(r)


def reaches_out(berth, name):
    """To somebody who listens there; what ping does says nothing, ufw lets it through."""
    return berth.call("exec", "--timeout", "10s", name, "nc", "-w", "2", "192.0.2.2", "8100").stdout == "outside"


def blocked_then_opened(berth, tool, chain, run):
    first, said = start(berth, 8101)
    assert len(said) == 1 and f"{tool}'s chain {chain} drops" in said[0], said
    second, _ = start(berth, 8102)
    assert not reaches_out(berth, first) and not finds(berth, first, second)
    r = run(firewall_line(berth)[1])
    assert not r or r.returncode == 0, r.stderr
    assert firewall_line(berth)[0].startswith("ok"), firewall_line(berth)
    assert reaches_out(berth, first) and finds(berth, first, second)
    assert berth.fetch(berth.there, "192.0.2.1", 8101) == first and berth.fetch(berth.here, "127.0.0.1", 8102) == second
    third, said = start(berth, 8103)
    assert said == [] and berth.fetch(berth.there, "192.0.2.1", 8103) == third


def test_ufw(berth, guard):
    inside = guard("sleep", "1000000")
    r = inside("ufw --force enable && ufw status verbose")
    assert r.returncode == 0 and "deny (incoming)" in r.stdout, r.stdout + r.stderr
    blocked_then_opened(berth, "ufw", "ip filter FORWARD", lambda line: berth.sh(line) and None)
    r = inside("ufw allow 8104/tcp && ufw reload && ufw status") # its own tools still read its tables
    assert r.returncode == 0 and "8104/tcp" in r.stdout, r.stdout + r.stderr
    assert start(berth, 8105)[1] == [], "a reload leaves the rules"


def test_firewalld(berth, guard):
    inside = guard("sh", "-c", "dbus-daemon --system --fork && exec firewalld --nofork --nopid")
    until(lambda: inside("firewall-cmd --state").stdout.strip() == "running", 60)
    blocked_then_opened(berth, "firewalld", "inet firewalld filter_FORWARD", inside)
