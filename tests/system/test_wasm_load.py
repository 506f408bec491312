# SPDX-License-Identifier: Apache-2.0
"""
Services under load (wrk) while instances trap, run out of memory and time, and others are stopped and started beside them: who asked for
nothing strange is answered, and the counters tell afterwards what happened. tests/wasm/http.wat says what each path does.
"""
import os, subprocess, threading, time
import pytest
from place import TOP, until

HTTP = TOP + "/tests/wasm/http.wat"
SECONDS = 8
# Every 20th request traps, every 50th runs out of memory; each status is counted.
SCRIPT = """
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() n, s200, s500, other = 0, 0, 0, 0 end
function request()
  n = n + 1
  return wrk.format("GET", MIXED and (n % 50 == 7 and "/m" or n % 20 == 3 and "/t") or "/")
end
function response(status)
  if status == 200 then s200 = s200 + 1 elseif status == 500 then s500 = s500 + 1 else other = other + 1 end
end
function done(summary)
  local e, t = summary.errors, threads[1]
  print(string.format("RESULT %d %d %d %d %d %d", t:get("s200"), t:get("s500"), t:get("other"), e.connect + e.read + e.write, e.timeout, summary.requests))
end
"""


@pytest.fixture
def wasm(berth):
    if "wasm" not in berth.must("engines").split():
        pytest.skip("this build has no Wasm (-Dwasm=disabled)")
    return berth


def serve(wasm, *flags):
    name = wasm.name()
    wasm.must("run", "-d", "--name", name, "--runtime", "wasm", "-p", "8080", "--set", "wasm.time_limit=1s", "--set", "wasm.memory=4194304", *flags, HTTP)
    return name, f"http://{wasm.must('port', name, '8080')}"


class Wrk:
    """One thread, 16 connections; `mixed`: some requests trap."""

    def __init__(self, folder, url, seconds, mixed):
        script = f"{folder}/{'mixed' if mixed else 'plain'}.lua"
        with open(script, "w") as f:
            f.write(f"MIXED = {'true' if mixed else 'false'}\n" + SCRIPT)
        self.process = subprocess.Popen(["wrk", "-t1", "-c16", f"-d{seconds}s", "--timeout", "10s", "-s", script, url], stdout=subprocess.PIPE, text=True)

    def end(self):
        out = self.process.communicate(timeout=60)[0]
        words = [line.split()[1:] for line in out.splitlines() if line.startswith("RESULT ")]
        assert words, out
        keys = "ok failed other broken timeouts all".split()
        return dict(zip(keys, map(int, words[0])))


def status_of(url, seconds=20):
    r = subprocess.run(["curl", "-s", "-m", str(seconds), "-o", "/dev/null", "-w", "%{http_code}", url], capture_output=True, text=True)
    return int(r.stdout)


class Asker(threading.Thread):
    """Asks for one path again and again until it is told to end; which statuses came."""

    def __init__(self, url):
        super().__init__()
        self.url, self.statuses, self.over = url, [], threading.Event()
        self.start()

    def run(self):
        while not self.over.is_set():
            self.statuses.append(status_of(self.url))

    def end(self):
        self.over.set()
        self.join()
        return self.statuses


def counters(wasm, name):
    return wasm.json("stats", "--no-stream", name)["wasm"]


def open_files(wasm, name):
    return len(os.listdir(f"/proc/{wasm.status(name)['pid']}/fd"))


def is_quiet(wasm, name):
    c = counters(wasm, name)
    return all(c[k] == 0 for k in ("active", "waiting", "connections", "instances", "memory_bytes"))


def test_load_while_instances_fail_and_services_come_and_go(wasm, tmp_path):
    steady, url = serve(wasm)
    moving, other = serve(wasm)
    assert status_of(url) == 200 and status_of(other) == 200
    until(lambda: is_quiet(wasm, steady))
    files, began = open_files(wasm, steady), counters(wasm, steady)
    load, beside = Wrk(tmp_path, url, SECONDS, True), Wrk(tmp_path, other, SECONDS, False)
    spinning, sleeping, waiting = Asker(url + "/s"), Asker(url + "/w"), Asker(url + "/")
    until(lambda: counters(wasm, moving)["requests"] > 1) # wrk is there before the first stop
    restarts = 0
    while load.process.poll() is None:
        wasm.must("stop", "--timeout", "2s", moving)
        assert wasm.status(moving)["state"] == "stopped"
        wasm.must("start", moving)
        restarts += 1
        time.sleep(0.5)
    seen, beside = load.end(), beside.end()
    slow = spinning.end() + sleeping.end()
    plain = waiting.end()

    # who asked for nothing strange was answered, whatever else went on
    assert plain and set(plain) == {200}
    assert seen["ok"] > 500 and seen["other"] == seen["broken"] == seen["timeouts"] == 0, seen
    assert slow and set(slow) <= {500, 504}
    assert restarts >= 2 and beside["ok"] > 0, (restarts, beside)

    # the counters say the same as the clients, but for what wrk left under way when it ended
    until(lambda: is_quiet(wasm, steady))
    now = counters(wasm, steady)
    asked = seen["ok"] + seen["failed"] + len(slow) + len(plain)
    assert asked <= now["requests"] - began["requests"] <= asked + 16, (now, seen, len(slow), len(plain))
    failed = now["traps"] + now["memory_outs"]
    assert seen["failed"] <= failed <= seen["failed"] + 16 and now["traps"] > 0 and now["memory_outs"] > 0, (now, seen)
    assert len(slow) <= now["timeouts"] <= len(slow), (now, slow)
    assert now["rejected"] == now["bad_requests"] == 0 and now["cancelled"] <= 16, now
    assert now["instantiations"] - began["instantiations"] == now["requests"] - began["requests"], now

    # nothing is left of it
    assert open_files(wasm, steady) <= files + 2
    for name, at in ((steady, url), (moving, other)):
        assert wasm.status(name)["state"] == "running" and status_of(at) == 200
    until(lambda: is_quiet(wasm, moving))
    assert counters(wasm, moving)["requests"] >= 1 and counters(wasm, moving)["traps"] == 0
    lines = wasm.call("logs", "-n", "200", steady).stderr
    assert "unreachable" in lines and "out of memory" in lines
