# SPDX-License-Identifier: Apache-2.0
"""Names of workloads as each language's resolver asks for them: glibc, musl, Python, Node and Go."""
import os, shutil, subprocess, time
import pytest
from test_real import image

C = r"""
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    struct addrinfo *a, hints = {.ai_socktype = SOCK_STREAM};
    char text[64], name[256];
    int r = getaddrinfo(argv[1], "80", &hints, &a);
    if (r) { puts(gai_strerror(r)); return 1; }
    getnameinfo(a->ai_addr, a->ai_addrlen, text, sizeof(text), 0, 0, NI_NUMERICHOST);
    getnameinfo(a->ai_addr, a->ai_addrlen, name, sizeof(name), 0, 0, NI_NAMEREQD);
    printf("%s %s\n", text, name);
}
"""
GO = """package main

import ("fmt"; "net"; "os")

func main() {
	a, err := net.LookupHost(os.Args[1])
	if err != nil { fmt.Println(err); os.Exit(1) }
	names, _ := net.LookupAddr(a[0])
	fmt.Println(a[0], names[0][:len(names[0])-1])
}
"""
PYTHON = "import socket,sys; a=socket.getaddrinfo(sys.argv[1],80)[0][4]; print(a[0], socket.getnameinfo(a,0)[0])"
NODE = ("const d=require('dns').promises, n=process.argv[1];"
        "(async()=>{const a=(await d.lookup(n)).address; console.log(a, (await d.reverse(a))[0]); if ((await d.resolve4(n))[0]!==a) process.exit(2)})()"
        ".catch(e=>{console.log(e.code); process.exit(1)})")


def musl(folder):
    open(folder + "/look.c", "w").write(C)
    subprocess.run(["musl-gcc", "-static", "-o", folder + "/look", folder + "/look.c"], check=True)


def go(folder):
    tool = shutil.which("go") or "/usr/local/go/bin/go"
    open(folder + "/look.go", "w").write(GO)
    env = {"PATH": os.environ["PATH"], "HOME": folder, "CGO_ENABLED": "0", "GOCACHE": folder + "/cache", "GO111MODULE": "off"}
    subprocess.run([tool, "build", "-o", folder + "/look", folder + "/look.go"], check=True, env=env)


WAYS = {
    "musl": ("tiny", musl, ["/look"]),
    "go": ("tiny", go, ["/look"]),
    "glibc": ("python3", None, ["getent", "ahosts"]),
    "python": ("python3", None, ["python3", "-c", PYTHON]),
    "node": ("nodejs", None, ["node", "-e", NODE]),
}


@pytest.fixture(scope="module")
def two(place):
    """A workload with names, and its address."""
    place.must("--quiet", "run", "-d", "--name", "names-db", "--network-alias", "db.alias", "tiny", "sleep", "1000")
    yield place.must("address", "names-db", "80").rsplit(":", 1)[0]
    place.must("rm", "-f", "names-db")


@pytest.mark.parametrize("way", WAYS)
def test_names_by(place, two, way, tmp_path):
    where, make, argv = WAYS[way]
    mount = []
    if make:
        make(str(tmp_path))
        mount = ["-v", f"{tmp_path}/look:/look:ro"]
    if where != "tiny":
        image(place, where)

    def ask(name):
        return place.call("run", "--rm", *mount, where, *argv, name)
    for name in ("names-db", "NAMES-db", "db.alias"):
        r = ask(name)
        assert r.returncode == 0 and r.stdout.split()[0] == two, (name, r.stdout, r.stderr)
        assert way == "glibc" or r.stdout.split()[1] == "names-db", r.stdout
    begun = time.monotonic()
    assert ask("no-such-name.invalid").returncode != 0
    assert time.monotonic() - begun < 30
