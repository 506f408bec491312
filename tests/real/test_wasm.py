# SPDX-License-Identifier: Apache-2.0
"""Programs that people build or fetch, as Wasm workloads: esbuild, yosys, Go, C, and HTTP services in C, JavaScript and Python."""
import json, os, re, shutil, subprocess, time
import pytest
import wasm_guests
from place import TOP


@pytest.fixture
def wasm(place):
    if "wasm" not in place.must("engines").split():
        pytest.skip("this build has no Wasm (-Dwasm=disabled)")
    yield place
    place.remove_all()


@pytest.fixture
def folder(wasm, tmp_path):
    return str(tmp_path)


def run(wasm, *words):
    r = wasm.call("run", "--rm", "--network", "none", *words, timeout=300)
    assert r.returncode == 0, r.stderr[-2000:]
    return r


def test_esbuild_bundles_a_package(wasm, folder):
    """It looks for packages in every folder up to /, so / is an image here."""
    esbuild, modules = wasm_guests.esbuild()
    root = folder + "/root"
    shutil.copytree(modules + "/lodash-es", root + "/app/node_modules/lodash-es")
    shutil.copy(esbuild, root)
    with open(root + "/app/main.js", "w") as f:
        f.write("import { chunk, sortBy } from 'lodash-es'; console.log(JSON.stringify(chunk(sortBy([3, 1, 2, 4]), 2)));\n")
    with open(folder + "/config.json", "w") as f:
        json.dump({"Entrypoint": ["/esbuild.wasm"]}, f)
    wasm.must("image", "import", "--config", folder + "/config.json", root, "esbuild:1")
    os.makedirs(folder + "/out")
    run(wasm, "-v", f"{folder}/out:/out", "-w", "/app", "esbuild:1", "main.js", "--bundle", "--minify", "--outfile=/out/out.js")
    node = wasm_guests.tool("js") + "/bin/node"
    said = subprocess.run([node, folder + "/out/out.js"], check=True, capture_output=True, text=True).stdout
    assert said == "[[1,2],[3,4]]\n" and os.path.getsize(folder + "/out/out.js") < 100_000


def test_yosys_synthesises_a_design(wasm, folder):
    yosys, share = wasm_guests.yosys()
    shutil.copy(TOP + "/tests/guests/counter.v", folder)
    run(wasm, "-v", f"{folder}:/data", "-v", f"{share}:/share:ro", "--tmpfs", "/tmp", yosys, "-q", "-p",
        "read_verilog /data/counter.v; synth_ice40 -top counter -json /data/counter.json; tee -o /data/stat.txt stat")
    cells = json.load(open(folder + "/counter.json"))["modules"]["counter"]["cells"].values()
    kinds = [c["type"] for c in cells]
    assert sum(k.startswith("SB_DFF") for k in kinds) == 4 and "SB_LUT4" in kinds, kinds
    assert "counter" in open(folder + "/stat.txt").read()


def test_a_go_program(wasm, folder):
    open(folder + "/in.txt", "w").write("a b a\nc a\n")
    go = wasm_guests.go_module()
    r = run(wasm, "-v", f"{folder}:/data", "-e", "WHO=grüß", go, "/data/in.txt", "/data/out.json")
    assert r.stdout == "3 words\n"
    assert json.load(open(folder + "/out.json")) == {"counts": {"a": 3, "b": 1, "c": 1}, "words": ["a", "b", "c"], "who": "grüß"}
    r = wasm.call("run", "--rm", "--network", "none", go, "/none", "/data/out")
    assert r.returncode == 3 and "/none" in r.stderr


@pytest.mark.parametrize("form", ["module", "component"])
def test_a_c_program_as_a_module_and_as_a_component(wasm, folder, form):
    guest = wasm_guests.text_module()
    if form == "component":
        guest = wasm_guests.adapted(guest, "text")
    os.makedirs(folder + "/in")
    for name, text in (("one", "b\nd\n"), ("two", "a\nc\n")):
        open(f"{folder}/in/{name}", "w").write(text)
    r = subprocess.run(wasm.argv("run", "--rm", "-i", "--network", "none", "-v", f"{folder}:/data", guest, "/data/in", "/data/out"),
                       env=wasm.env, input="e\n", capture_output=True, text=True, timeout=120)
    assert (r.returncode, r.stdout) == (0, "5 lines\n"), r.stderr
    assert open(folder + "/out").read() == "a\nb\nc\nd\ne\n"


# ---- services

def serve(wasm, name, module, *flags):
    wasm.must("run", "-d", "--name", name, "-p", "8080", *flags, module)
    return f"http://{wasm.must('port', name, '8080')}"


def curl(url, *words):
    r = subprocess.run(["curl", "-sS", "-m", "60", *words, url], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return r.stdout


def answers_many(wasm, name, url):
    """wrk for two seconds: every request is answered, by an instance of its own, and nothing goes on afterwards."""
    said = subprocess.run(["wrk", "-t1", "-c8", "-d2s", "--timeout", "20s", url], check=True, capture_output=True, text=True).stdout
    assert int(re.search(r"(\d+) requests in", said).group(1)) > 5 and "Non-2xx" not in said and "Socket errors" not in said, said
    stats = lambda: json.loads(wasm.must("--json", "stats", "--no-stream", name))["wasm"]
    end = time.monotonic() + 20
    while (now := stats())["active"] or now["instances"]:
        assert time.monotonic() < end, now
        time.sleep(0.05)
    assert now["traps"] == now["timeouts"] == now["memory_outs"] == now["rejected"] == 0 and now["instantiations"] >= now["requests"], now


def test_a_service_in_c_answers(wasm):
    url = serve(wasm, "c", wasm_guests.service_in_c())
    assert curl(url + "/") == "hello from C\n"
    answers_many(wasm, "c", url)


def test_a_service_in_javascript_answers_and_asks_another(wasm):
    other = serve(wasm, "c", wasm_guests.service_in_c())
    js = serve(wasm, "js", wasm_guests.service_in_javascript(), "--set", 'wasm.allowed_hosts=["c:8080"]')
    assert json.loads(curl(js + "/a", "-d", "data")) == {"language": "JavaScript", "method": "POST", "path": "/a", "body": "data"}
    assert curl(js + "/fetch/c:8080/") == "hello from C\n" and other
    assert curl(js + "/fetch/other:8080/", "-o", "/dev/null", "-w", "%{http_code}") == "500"
    answers_many(wasm, "js", js)


def test_a_service_in_python_answers(wasm):
    url = serve(wasm, "py", wasm_guests.service_in_python())
    for path in ("/a?b=c", "/"):
        assert json.loads(curl(url + path)) == {"language": "Python", "path": path}
    answers_many(wasm, "py", url)
