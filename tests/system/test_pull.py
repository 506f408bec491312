# SPDX-License-Identifier: Apache-2.0
"""Pull from a real registry: what comes, what need not, what is left after every kind of end."""
import base64, glob, hashlib, json, os, random, re, shutil, signal, stat, subprocess, tarfile, tempfile, threading, time
import pytest
from image_tool import ImageTool
from place import CACHE, LONG, PROGRAMS, TOP
from registry import Layout, Registry, Slow, sha, tar_of

rnd = random.Random(7)


class Store(ImageTool):
    def steps(self):
        return [json.loads(line) for line in self.err.splitlines()]

    def layers(self):
        return ["sha256:" + l for l in self.list("layers")]

    def record(self):
        names = self.list("refs")
        assert len(names) == 1, names
        return json.loads(open(f"{self.root}/images/refs/{names[0]}").readline())

    def made_of_another_boot(self, boot):
        """The record as a boot left it that could not sync it."""
        file = f"{self.root}/images/refs/{self.list('refs')[0]}"
        record, settings = open(file).read().split("\n", 1)
        record = {**json.loads(record), "boot": boot}
        with open(file, "w") as f:
            f.write(json.dumps(record, separators=(",", ":")) + "\n" + settings)
        return record

    def nothing_left(self):
        """What killed ones left goes behind the next answer."""
        end = time.monotonic() + 30
        while (self.list("aside") or self.list("partial")) and time.monotonic() < end:
            time.sleep(0.02)
        assert self.list("aside") == [] and self.list("partial") == [], (self.list("aside"), self.list("partial"))

    def settled(self):
        """Synced: no record names its boot any more."""
        end = time.monotonic() + 60
        while any(b'"boot"' in open(p, "rb").read() for p in glob.glob(self.root + "/images/refs/*.json")):
            assert time.monotonic() < end, "never synced"
            time.sleep(0.02)


@pytest.fixture
def store():
    s = Store()
    yield s
    s.close()


@pytest.fixture(scope="module")
def registry():
    r = Registry(log=True)
    yield r
    r.close()


@pytest.fixture(scope="module")
def layouts():
    folder = tempfile.mkdtemp(prefix="berth-layouts.", dir="/var/tmp")
    yield lambda name: Layout(f"{folder}/{name}")
    shutil.rmtree(folder)


def blob(n):
    return rnd.randbytes(n)


def common_layer():
    return tar_of({"base": b"b" * 3000000})


@pytest.fixture(scope="module")
def three(registry, layouts):
    """Three layers of some megabytes."""
    layout = layouts("three")
    layout.image("1", [layout.layer(common_layer())] + [layout.layer(tar_of({f"f{i}": blob(3 << 20), "last": b"%d" % i})) for i in range(2)])
    return registry.push(f"oci:{layout.folder}:1", "three:1")


# ---- what comes


@pytest.mark.parametrize("compression", ["gzip", "zstd", "zstd-long", "plain"])
def test_every_compression_is_pulled(registry, layouts, store, compression):
    layout = layouts("c-" + compression)
    tar = tar_of({"a/b": b"text " * 100000, "c": blob(100000)})
    layout.image("1", [layout.layer(tar, compression)])
    name = registry.push(f"oci:{layout.folder}:1", f"c-{compression}:1")
    store.must("pull", name)
    assert store.layers() == [sha(tar)]
    assert open(store.fs(sha(tar)) + "/a/b", "rb").read() == b"text " * 100000
    assert store.must("verify")[-1]["wrong"] == 0
    store.nothing_left()


def resident(group):
    """KiB of each process of a session that is a berth-image."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.getsid(int(pid)) == group:
                text = open(f"/proc/{pid}/status").read()
                found[pid] = int(re.search(r"VmRSS:\s+(\d+)", text)[1])
        except (OSError, TypeError):
            pass
    return found


def test_large_zstd_windows_are_one_at_a_time(registry, layouts, store):
    """Three layers that each want a window of 48 MiB and come at once: never two of those."""
    layout = layouts("windows")
    piece = blob(1 << 20)
    layout.image("1", [layout.layer(tar_of({f"f{i}": piece * 48}), "zstd-long") for i in range(3)])
    registry.push(f"oci:{layout.folder}:1", "windows:1")
    line = Slow(registry, 1 << 20) # all are under way for some seconds
    process, read = store.start("pull", line.host + "/windows:1")
    worst, most = 0, 0
    while process.poll() is None:
        sizes = resident(process.pid).values()
        worst = max(worst, sum(s > 40 << 10 for s in sizes))
        most = max(most, sum(sizes))
        time.sleep(0.005)
    assert store.end(process, read) is None
    line.close()
    assert worst <= 1 and most < 128 << 10, (worst, most)
    assert len(store.layers()) == 3


def test_a_zstd_window_above_128_mib_is_refused(registry, layouts, store):
    layout = layouts("huge")
    layout.image("1", [layout.layer(tar_of({"a": bytes(300 << 20)}), "zstd-huge")])
    name = registry.push(f"oci:{layout.folder}:1", "huge:1")
    error = store.call("pull", name)
    assert error["code"] == "TOO_BIG" and "window" in error["message"]
    assert store.list("refs") == [] and store.list("layers") == []
    store.nothing_left()


def test_an_image_that_is_here_costs_one_request(registry, three, store):
    store.must("pull", three)
    registry.requests()
    assert store.must("pull", three)[0]["status"] == "here"
    assert len(registry.requests()) <= 2
    assert store.must("pull", "--policy", "missing", three)[0]["status"] == "here"
    assert registry.requests() == []


def test_a_layer_that_is_here_is_not_fetched(registry, layouts, three, store):
    store.must("pull", three)
    layout = layouts("other")
    base = common_layer()
    own = tar_of({"own": b"own"})
    # The same files in another compression: another blob, the same diff id.
    layout.image("1", [layout.layer(base, "zstd"), layout.layer(own)])
    name = registry.push(f"oci:{layout.folder}:1", "other:1")
    registry.requests()
    store.must("pull", "--progress", name)
    assert sum("/blobs/" in r for r in registry.requests()) == 2 # config, own
    assert [s["step"] for s in store.steps()].count("here") == 1
    assert len(store.layers()) == 4


def test_a_tag_that_moved_is_pulled_again_and_the_old_image_keeps_its_id(registry, layouts, store):
    layout = layouts("moving")
    one = layout.image("1", [layout.layer(tar_of({"v": b"1"}))])
    name = registry.push(f"oci:{layout.folder}:1", "moving:x")
    first = store.must("pull", name)[0]["id"]
    layout.image("2", [layout.layer(tar_of({"v": b"2"}))])
    registry.push(f"oci:{layout.folder}:2", "moving:x")
    second = store.must("pull", name)[0]["id"]
    assert first != second and len(store.list("refs")) == 2
    assert store.must("pull", f"{name.rsplit(':', 1)[0]}@{one['digest']}")[0]["id"] == first


def test_newer_takes_what_is_here_when_nobody_answers_and_always_does_not(registry, layouts, store):
    own = Registry()
    layout = layouts("newer")
    layout.image("1", [layout.layer(tar_of({"v": b"1"}))])
    name = own.push(f"oci:{layout.folder}:1", "n:1")
    store.must("pull", name)
    own.close()
    assert store.must("pull", "--policy", "newer", name)[0]["status"] == "here"
    assert store.call("pull", name)["message"]
    assert store.call("pull", "--policy", "newer", name + "2")["message"]


def test_the_right_platform_is_chosen_and_a_missing_one_named(registry, layouts, store):
    for arch in ("amd64", "arm64"):
        layout = layouts("p-" + arch)
        layout.image("1", [layout.layer(tar_of({"arch": arch.encode()}))], platform=("linux", arch))
        registry.push(f"oci:{layout.folder}:1", f"p:{arch}")
    manifests = []
    for arch in ("amd64", "arm64"):
        raw = subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/p:{arch}"], check=True,
                             capture_output=True).stdout
        manifests.append({"mediaType": json.loads(raw)["mediaType"], "digest": sha(raw), "size": len(raw),
                          "platform": {"os": "linux", "architecture": arch}})
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests})
    subprocess.run(["curl", "-sf", "-X", "PUT", "-H", "Content-Type: application/vnd.oci.image.index.v1+json", "--data-binary", index,
                    f"http://{registry.host}/v2/p/manifests/both"], check=True)
    name = registry.host + "/p:both"
    store.must("pull", name)
    assert open(store.fs(store.layers()[0]) + "/arch").read() == "amd64"
    assert store.record()["source"] == sha(index.encode())
    registry.requests()
    store.must("pull", name)
    assert len(registry.requests()) <= 2
    store.must("pull", "--platform", "linux/arm64", name)
    assert sorted(open(store.fs(l) + "/arch").read() for l in store.layers()) == ["amd64", "arm64"]
    store.must("pull", name) # without a platform this machine's is meant
    assert any(json.loads(open(f"{store.root}/images/refs/{f}").readline())["architecture"] == "amd64"
               for f in store.list("refs") if f.startswith("127"))
    assert "linux/arm64" in store.call("pull", "--platform", "linux/s390x", name)["message"]


def test_a_foreign_layer_is_refused_clearly(registry, layouts, store):
    layout = layouts("foreign")
    layout.image("1", [layout.layer(tar_of({"v": b"1"}))])
    name = registry.push(f"oci:{layout.folder}:1", "foreign:1")
    raw = json.loads(subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://" + name], check=True, capture_output=True).stdout)
    raw["layers"][0] = {"mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "urls": ["http://127.0.0.1:1/x"],
                        "digest": sha(b"x"), "size": 1}
    subprocess.run(["curl", "-s", "-X", "PUT", "-H", "Content-Type: " + raw["mediaType"], "--data-binary", json.dumps(raw),
                    f"http://{registry.host}/v2/foreign/manifests/2"], check=True, capture_output=True)
    error = store.call("pull", f"{registry.host}/foreign:2")
    assert error["code"] in ("UNSUPPORTED", "NOT_FOUND"), error
    assert error["code"] == "NOT_FOUND" or "foreign" in error["message"]


def test_sixty_layers(registry, layouts, store):
    layout = layouts("sixty")
    layout.image("1", [layout.layer(tar_of({f"d{i % 7}/f{i}": b"%d" % i, "last": b"%d" % i})) for i in range(60)])
    name = registry.push(f"oci:{layout.folder}:1", "sixty:1")
    store.must("pull", "--progress", name)
    assert len(store.layers()) == 60
    assert sum(s["step"] == "unpack" for s in store.steps()) == 60
    store.nothing_left()


# ---- by a workload that wants it


@pytest.fixture(scope="module")
def tiny(registry, bare):
    folder = tempfile.mkdtemp(prefix="berth-tiny.", dir="/var/tmp")
    subprocess.run([TOP + "/tests/images/make", "tiny", CACHE], check=True, capture_output=True)
    bare.must("image", "import", CACHE + "/tiny", "pulltiny")
    bare.must("image", "save", "-o", folder + "/tiny.tar", "pulltiny")
    bare.must("rmi", "pulltiny")
    yield registry.push(f"oci-archive:{folder}/tiny.tar", "tiny:1")
    shutil.rmtree(folder)


def test_run_pulls_what_is_missing_as_its_policy_says(registry, bare, tiny):
    run = ["run", "--rm", "--network", "none"]
    r = bare.call(*run, "--pull", "never", tiny, "true")
    assert r.returncode == 125 and "berth pull" in r.stderr
    r = bare.call(*run, tiny, "echo", "pulled")
    assert r.returncode == 0 and r.stdout == "pulled\n" and "downloading" in r.stderr, r.stderr
    registry.requests()
    assert bare.must(*run, tiny, "echo", "here") == "here" and registry.requests() == []
    assert bare.must(*run, "--pull", "always", tiny, "echo", "asked") == "asked"
    assert 1 <= len(registry.requests()) <= 2
    r = bare.call(*run, "--pull", "newer", tiny + "2", "true")
    assert r.returncode == 125 and "tiny" in r.stderr and not bare.must("ps", "-aq")
    assert bare.must("pull", "-q", tiny).startswith(tiny)
    lines = [json.loads(l) for l in bare.call("--json", "pull", tiny).stderr.splitlines()]
    assert lines and lines[0]["step"] == "ask"
    bare.must("rmi", tiny)


def test_a_cancelled_create_leaves_nothing_and_the_next_goes_on(registry, layouts, bare):
    layout = layouts("cancel")
    layout.image("1", [layout.layer(tar_of({"f": blob(8 << 20)}), "plain")])
    registry.push(f"oci:{layout.folder}:1", "cancel:1")
    slow = Slow(registry, 4 << 20)
    name = slow.host + "/cancel:1"
    process = subprocess.Popen(bare.argv("create", "--network", "none", name, "x"), env=bare.env, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if line.startswith("downloading"):
            break
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert not bare.must("ps", "-aq") and bare.call("image", "inspect", name).returncode != 0
    bare.must("pull", name)
    bare.must("rmi", name)
    slow.close()


# ---- beside umoci


def exact(folder):
    """Everything about files, by path: kind, mode, owner, content, seconds, attributes, and which are one file."""
    found, inodes = {}, {}
    for at, folders, files in os.walk(folder):
        for name in [""] + folders + files if at == folder else folders + files:
            path = os.path.join(at, name)
            s = os.lstat(path)
            one = [s.st_mode, s.st_uid, s.st_gid, int(s.st_mtime)]
            if stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    one += [hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()]
                one += [s.st_nlink, inodes.setdefault(s.st_ino, os.path.relpath(path, folder)) if s.st_nlink > 1 else ""]
            one.append(os.readlink(path) if stat.S_ISLNK(s.st_mode) else sorted(
                (x, os.getxattr(path, x, follow_symlinks=False)) for x in os.listxattr(path, follow_symlinks=False) if not x.startswith("trusted.")))
            found[os.path.relpath(path, folder)] = one + ([s.st_rdev] if stat.S_ISBLK(s.st_mode) or stat.S_ISCHR(s.st_mode) else [])
    return found


def tar_of_folder(folder):
    return subprocess.run(["tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--sort=name", "-C", folder, "-cf", "-", "."],
                          check=True, capture_output=True).stdout


def over(folder, names):
    """A second layer: changes, removals, links and attributes over what the first has."""
    info = tarfile.TarInfo("usr/bin/su2")
    info.mode, info.uid, info.gid, info.mtime = 0o4755, 0, 33, 1500000000
    info.pax_headers = {"SCHILY.xattr.user.note": "x", "SCHILY.xattr.security.capability":
                        bytes.fromhex("0100000200200000000000000000000000000000").decode("latin-1")}
    hard = tarfile.TarInfo("usr/bin/su3")
    hard.type, hard.linkname, hard.mtime = tarfile.LNKTYPE, "usr/bin/su2", 1500000000
    gone = {f"etc/.wh.{n}": b"" for n in names}
    above = {}
    for name in (".", "usr", "usr/bin", "etc", "var"): # as those do who make layers: overlayfs takes a folder's mode from the highest
        st = os.stat(f"{folder}/{name}")
        above[name] = tarfile.TarInfo(name)
        above[name].type, above[name].mode, above[name].mtime = tarfile.DIRTYPE, stat.S_IMODE(st.st_mode), int(st.st_mtime) + 1
        above[name].uid, above[name].gid = st.st_uid, st.st_gid
    return tar_of({**above, "usr/bin/su2": (info, b"#!/bin/sh\n"), "usr/bin/su3": hard, "etc/passwd": b"root:x:0:0::/:/bin/sh\n", "var/.wh..wh..opq": b"",
                   "var/new": b"n", **gone})


@pytest.fixture(scope="module")
def other_registry():
    """With TLS by a CA of its own, and a password."""
    r = Registry(tls=True, auth=True)
    yield r
    r.close()


def unpacked(store, folder):
    """The one image that is here, as a workload would see it."""
    lower = ":".join(store.fs(d) for d in reversed(store.record()["layers"]))
    os.makedirs(f"{folder}/m/e", exist_ok=True)
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"ro,lowerdir={lower}:{folder}/m/e", f"{folder}/m"], check=True)
    try:
        return exact(f"{folder}/m")
    finally:
        subprocess.run(["umount", f"{folder}/m"], check=True)


def there_and_back(store, name, registry):
    """Pushed to another registry, forgotten here, pulled from there."""
    with open(store.folder + "/berth.toml", "w") as f:
        f.write(f'[registries."{registry.host}"]\nca = "{registry.ca}"\n')
    with open(store.folder + "/auth.json", "w") as f:
        json.dump({"auths": {registry.host: {"auth": base64.b64encode(b"u:p").decode()}}}, f)
    env = {**os.environ, "BERTH_ROOT": store.root, "BERTH_RUN": store.folder + "/run", "BERTH_PROGRAMS": PROGRAMS,
           "BERTH_CONFIG": store.folder + "/berth.toml", "REGISTRY_AUTH_FILE": store.folder + "/auth.json"}
    other = registry.host + "/" + name.split("/", 1)[1]
    for words in (["tag", name, other], ["push", other], ["rmi", name, other], ["pull", other]):
        r = subprocess.run([PROGRAMS + "/berth", *words], env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert r.returncode == 0, (words, r.stderr)
        assert words[0] != "rmi" or store.layers() == []


@pytest.mark.parametrize("image, compression", [("nginx", "gzip"), ("python3", "zstd"), ("files", "gzip"), ("bigfile", "gzip")]
                         + ([("postgresql", "gzip"), ("nodejs", "zstd")] if LONG else []))
def test_what_is_pulled_is_what_umoci_unpacks(registry, other_registry, layouts, store, image, compression, tmp_path):
    layout = layouts("u-" + image)
    if image == "files":
        files = {f"d{i % 97}/s{i % 7}/f{i}": b"%d" % i for i in range(100000 if LONG else 6000)}
        folders = {}
        for name in [""] + sorted({p.rsplit("/", 1)[0] for p in files} | {p.split("/")[0] for p in files}):
            folders["./" + name] = tarfile.TarInfo("./" + name)
            folders["./" + name].type, folders["./" + name].mtime, folders["./" + name].mode = tarfile.DIRTYPE, 1600000000, 0o750
        tars = [tar_of({**folders, **files})]
    elif image == "bigfile":
        tars = [tar_of({"big": (rnd.randbytes(1 << 14) + rnd.randbytes(1 << 10) * 1008) * (2000 if LONG else 80)})] # 50:1
    else:
        subprocess.run([TOP + "/tests/images/make", image, CACHE], check=True, capture_output=True)
        tars = [tar_of_folder(f"{CACHE}/{image}"), over(f"{CACHE}/{image}", ["group"])]
    layout.image("1", [layout.layer(t, compression) for t in tars])
    name = registry.push(f"oci:{layout.folder}:1", f"u-{image}:1")
    if compression == "gzip":
        subprocess.run(["umoci", "unpack", "--image", layout.folder + ":1", f"{tmp_path}/umoci"], check=True, capture_output=True)
        wanted = exact(f"{tmp_path}/umoci/rootfs")
    else: # umoci reads no zstd: the same layers as gzip
        twin = layouts("twin-" + image)
        twin.image("1", [twin.layer(t) for t in tars])
        subprocess.run(["umoci", "unpack", "--image", twin.folder + ":1", f"{tmp_path}/umoci"], check=True, capture_output=True)
        wanted = exact(f"{tmp_path}/umoci/rootfs")
    store.must("pull", name)
    found, first = unpacked(store, tmp_path), store.record()
    assert set(found) == set(wanted)
    different = {k: (found[k], wanted[k]) for k in found if found[k] != wanted[k] and (k != "." or image != "bigfile")}
    assert not different, list(different.items())[:5]
    there_and_back(store, name, other_registry)
    assert store.record()["manifest"] == first["manifest"] and unpacked(store, tmp_path) == found


# ---- WebAssembly artifacts

MODULE = b"\0asm\1\0\0\0" + b"\0\5\4name"


@pytest.mark.parametrize("layer_type, config_type, config", [
    ("application/wasm", "application/vnd.wasm.config.v0+json", {"architecture": "wasm", "os": "wasip2"}),
    ("application/vnd.wasm.content.layer.v1+wasm", "application/vnd.wasm.config.v1+json", None),
    ("application/vnd.module.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.config.v1+json", None)],
    ids=["cncf", "older", "krustlet"])
def test_a_wasm_artifact_is_kept_and_saved_as_it_came(registry, layouts, store, layer_type, config_type, config, request):
    layout = layouts("wasm-" + request.node.callspec.id)
    made = layout.put(json.dumps(config or {}).encode())
    layer = {"mediaType": layer_type, **layout.put(MODULE)}
    document = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": {"mediaType": config_type, **made}, "layers": [layer]}).encode()
    layout.entries.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", **layout.put(document),
                           "annotations": {"org.opencontainers.image.ref.name": "1"}})
    layout.write()
    name = registry.push(f"oci:{layout.folder}:1", f"wasm-{request.node.callspec.id}:1")
    store.must("pull", name)
    assert open(store.fs(sha(MODULE)) + "/module.wasm", "rb").read() == MODULE
    time.sleep(1.1) # a copy that is made later is the same
    record = store.record()
    assert record["manifest"] == sha(document) and record["architecture"] == "wasm" and record["os"] == (config or {}).get("os", "wasip1")
    assert store.must("verify")[-1]["wrong"] == 0
    store.must("save", store.folder + "/out/", name)
    assert json.load(open(store.folder + "/out/index.json"))["manifests"][0]["digest"] == sha(document)
    other = Store()
    other.must("load", store.folder + "/out")
    assert open(other.fs(sha(MODULE)) + "/module.wasm", "rb").read() == MODULE
    other.close()
    assert store.call("save", "docker-archive:" + store.folder + "/d.tar", name)["code"] == "UNSUPPORTED"


def test_a_wasm_artifact_that_holds_no_module_is_refused(registry, layouts, store):
    layout = layouts("nowasm")
    made, layer = layout.put(b"{}"), {"mediaType": "application/wasm", **layout.put(b"#!/bin/sh")}
    layout.entries.append({"mediaType": "application/vnd.oci.image.manifest.v1+json", **layout.put(json.dumps(
        {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
         "config": {"mediaType": "application/vnd.wasm.config.v0+json", **made}, "layers": [layer]}).encode())})
    layout.write()
    assert "no WebAssembly module" in store.call("load", layout.folder)["message"]
    assert store.list("refs") == []


# ---- what was fetched stays


def slowed(three, store, bytes_here):
    """A pull that dies once so many bytes are here."""
    process, read = store.start("pull", three)
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        if sum(os.path.getsize(p) for p in glob.glob(store.root + "/images/partial/*")) >= bytes_here:
            break
    os.killpg(process.pid, signal.SIGKILL)
    return store.end(process, read)


def test_what_a_killed_pull_fetched_is_not_fetched_again(registry, layouts, store):
    layout = layouts("resumed")
    tar = tar_of({"f": blob(8 << 20)})
    layout.image("1", [layout.layer(tar, "plain")])
    registry.push(f"oci:{layout.folder}:1", "resumed:1")
    slow = Slow(registry, 4 << 20)
    name = slow.host + "/resumed:1"
    error = slowed(name, store, 1 << 20)
    assert error is not None, "it was over before it could be killed"
    here = sum(os.path.getsize(p) for p in glob.glob(store.root + "/images/partial/*"))
    assert here >= 1 << 20
    store.must("pull", "--progress", name)
    first = next(s for s in store.steps() if s["step"] == "download")
    assert first["bytes"] > here
    slow.close()
    assert store.must("verify")[-1]["wrong"] == 0
    store.nothing_left()


def test_a_wrong_beginning_is_found_out_and_fetched_anew(registry, layouts, three, store):
    manifest = json.loads(subprocess.run(["skopeo", "inspect", "--raw", "--tls-verify=false", "docker://" + three], check=True,
                                         capture_output=True).stdout)
    os.makedirs(store.root + "/images/partial")
    for layer in manifest["layers"]:
        with open(f"{store.root}/images/partial/{layer['digest'][7:]}", "wb") as f:
            f.write(blob(layer["size"] // 2))
    with open(f"{store.root}/images/partial/{manifest['layers'][0]['digest'][7:]}", "wb") as f:
        f.write(bytes(manifest["layers"][0]["size"])) # as long as it should be
    store.must("pull", three)
    assert store.must("verify")[-1]["wrong"] == 0
    store.nothing_left()


def test_fifty_kills_at_random_moments(registry, three, layouts):
    """The time of a whole pull is measured, then cut anywhere in it."""
    store = Store()
    started = time.monotonic()
    store.must("pull", three)
    whole = time.monotonic() - started
    store.close()
    store = Store()
    done = 0
    try:
        for i in range(50 if LONG else 25):
            process, read = store.start("pull", three)
            time.sleep(rnd.uniform(0, whole * 1.1))
            os.killpg(process.pid, signal.SIGKILL)
            done += store.end(process, read) is None
            for file in store.list("refs"):
                record = json.loads(open(f"{store.root}/images/refs/{file}").readline())
                assert all(os.path.isdir(store.fs(d)) for d in record["layers"]), "a record without its layers"
            if i % 5 == 4: # a whole one, then from nothing again
                store.must("pull", three)
                assert store.must("verify")[-1]["wrong"] == 0
                store.nothing_left()
                store.must("collect", "--unused")
                assert store.list("layers") == [] and store.list("refs") == []
        store.must("pull", three)
        assert store.must("verify")[-1]["wrong"] == 0
        store.nothing_left()
    finally:
        store.close()


def test_a_record_of_another_boot_that_was_not_synced_is_no_image(registry, three, store):
    store.must("pull", three)
    store.settled()
    record = store.made_of_another_boot("00000000-0000-0000-0000-000000000000")
    torn = store.layers()[0]
    with open(f"{store.root}/images/layers/{torn[7:]}/layer.json") as f:
        note = {**json.load(f), "boot": record["boot"]}
    with open(f"{store.root}/images/layers/{torn[7:]}/layer.json", "w") as f:
        json.dump(note, f)
    for path, _, files in os.walk(store.fs(torn)):
        for name in files:
            os.truncate(os.path.join(path, name), 0) # as ext4 leaves them
    store.must("pull", "--progress", three)
    assert "unpack" in [s["step"] for s in store.steps()]
    assert store.must("verify")[-1]["wrong"] == 0
    store.nothing_left()


def test_an_unsynced_record_of_another_boot_is_collected(registry, three, store):
    store.must("pull", three)
    store.settled()
    store.made_of_another_boot("0")
    store.must("collect")
    assert store.list("refs") == [] and store.list("layers") == [] and store.list("blobs/sha256") == []


# ---- others meanwhile


def test_two_pulls_of_one_image_fetch_it_once(registry, layouts, store):
    layout = layouts("twice")
    layout.image("1", [layout.layer(tar_of({"f": blob(20 << 20)}), "plain"), layout.layer(tar_of({"g": blob(1 << 20)}))])
    name = registry.push(f"oci:{layout.folder}:1", "twice:1")
    registry.requests()
    running = [store.start("pull", name) for _ in range(3)]
    for one in running:
        assert store.end(*one) is None
    blobs = [r for r in registry.requests() if "/blobs/" in r and r.startswith("GET")]
    assert len(blobs) <= 2 + 3, blobs # the layers once; the config by each
    assert store.must("verify")[-1]["wrong"] == 0
    store.nothing_left()


def test_nobody_waits_for_a_layer_that_he_does_not_need(registry, layouts, store):
    """One pull has a slow layer; a second wants that one and another; a third only the other."""
    layout = layouts("unrelated")
    slow_one = layout.layer(tar_of({"x": blob(12 << 20)}), "plain")
    others = [layout.layer(tar_of({"y%d" % i: blob(100000)})) for i in range(8)]
    other = min(others, key=lambda l: l[1]) # locked first by those who go by order
    layout.image("slow", [slow_one])
    layout.image("both", [slow_one, other])
    layout.image("other", [other])
    names = {n: registry.push(f"oci:{layout.folder}:{n}", f"unrelated:{n}") for n in ("slow", "both", "other")}
    line = Slow(registry, 3 << 20)
    slow_name = line.host + "/unrelated:slow"
    first = store.start("pull", slow_name)
    end = time.monotonic() + 30
    while not glob.glob(store.root + "/images/partial/*") and time.monotonic() < end:
        time.sleep(0.01)
    second = store.start("pull", names["both"])
    path = store.root + "/images/layers/" + other[1][7:]
    while not os.path.isdir(path) and time.monotonic() < end:
        time.sleep(0.01)
    assert os.path.isdir(path), "the layer that nobody else makes has to wait"
    third = Store(store.folder)
    third.must("collect") # no record names it yet
    assert os.path.isdir(path)
    registry.requests()
    third.must("pull", names["other"])
    assert first[0].poll() is None and second[0].poll() is None, "it waited"
    assert not any(other[0]["digest"] in r for r in registry.requests())
    assert store.end(*first) is None and store.end(*second) is None
    line.close()
    assert store.must("verify")[-1]["wrong"] == 0
    store.nothing_left()


def test_pulls_of_common_layers_beside_a_prune_in_a_loop(registry, layouts, store):
    layout = layouts("loop")
    base = layout.layer(tar_of({"base": blob(4 << 20)}))
    names = []
    for i in range(3):
        layout.image(f"{i}", [base, layout.layer(tar_of({f"own{i}": blob(1 << 20)}))])
        names.append(registry.push(f"oci:{layout.folder}:{i}", f"loop:{i}"))
    stop, pruned, wrong = time.monotonic() + (20 if LONG else 6), [0], []

    def prune():
        other = Store(store.folder)
        while time.monotonic() < stop:
            error = other.call("collect", "--unused")
            pruned[0] += error is None
            if error and error["code"] != "WRONG_STATE":
                wrong.append(error)

    def pull(name):
        other = Store(store.folder)
        while time.monotonic() < stop:
            error = other.call("pull", name)
            if error:
                wrong.append(error)

    threads = [threading.Thread(target=prune)] + [threading.Thread(target=pull, args=(n,)) for n in names]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert wrong == [] and pruned[0] > 3, (wrong[:3], pruned)
    for name in names:
        store.must("pull", name)
    assert store.must("verify")[-1]["wrong"] == 0
    store.must("collect")
    store.nothing_left()


def test_a_file_system_that_gets_full_loses_the_longest_unused_images(registry, layouts):
    small = Small("size=40m")
    try:
        store = Store(small.folder)
        with open(small.folder + "/berth.toml", "w") as f:
            f.write('image_gc = { high = "60%", low = "45%" }\n')
        names = []
        for i in range(4):
            layout = layouts(f"gc{i}")
            layout.image("1", [layout.layer(tar_of({"f": blob(3 << 20)}), "plain")]) # 6 MiB each: blob and file
            names.append(registry.push(f"oci:{layout.folder}:1", f"gc{i}:1"))
        env = {"BERTH_CONFIG": small.folder + "/berth.toml"}
        for name in names[:3]:
            store.must("pull", name, env=env)
        store.must("pull", "--policy", "missing", names[0], env=env) # used again: names[1] is the oldest now
        store.must("pull", names[3], env=env)
        end = time.monotonic() + 20
        while len(store.list("refs")) == 4 and time.monotonic() < end:
            time.sleep(0.05)
        left = [json.loads(open(f"{store.root}/images/refs/{f}").readline())["reference"] for f in store.list("refs")]
        assert sorted(left) == sorted([names[0], names[3]]) or sorted(left) == sorted([names[0], names[2], names[3]]), left
        assert store.must("verify")[-1]["wrong"] == 0
        with open(small.folder + "/berth.toml", "w") as f:
            f.write('image_gc = { high = "60", low = "70%" }\n')
        assert "image_gc" in store.call("pull", names[0], env=env)["message"]
    finally:
        small.close()


# ---- no room


class Small:
    """A file system of its own, too small."""

    def __init__(self, *options):
        """tmpfs with these, or for ("ext4", SIZE, INODES) a file of that size as a disk."""
        self.folder = tempfile.mkdtemp(prefix="berth-small.", dir="/var/tmp")
        how = ["-t", "tmpfs", "-o", ",".join(options), "small"]
        if options[0] == "ext4":
            disk = self.folder + ".disk"
            subprocess.run(["truncate", "-s", options[1], disk], check=True)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", "-N", options[2], disk], check=True)
            how = ["-o", "loop", disk]
        subprocess.run(["mount", *how, self.folder], check=True)
        if options[0] == "ext4":
            os.unlink(disk)

    def free(self):
        st = os.statvfs(self.folder)
        return st.f_bavail * st.f_frsize, st.f_favail

    def close(self):
        subprocess.run(["umount", "-l", self.folder], check=True)
        os.rmdir(self.folder)


@pytest.mark.parametrize("options, files", [(("size=12m",), {"zeros": bytes(40 << 20), "x": b"x"}), (("size=6m",), {"f": blob(9 << 20)}),
                                            (("size=64m", "nr_inodes=400"), {f"f{i}": b"x" for i in range(1000)}),
                                            (("ext4", "14M", "2000"), {"zeros": bytes(40 << 20), "x": b"x"}),
                                            (("ext4", "64M", "400"), {f"f{i}": b"x" for i in range(1000)})],
                         ids=["unpacked", "blob", "inodes", "unpacked-disk", "inodes-disk"])
def test_a_full_disk_leaves_nothing_and_says_how_much_is_missing(registry, layouts, options, files, request):
    layout = layouts("full-" + request.node.callspec.id)
    layout.image("1", [layout.layer(tar_of({"small": b"s"})), layout.layer(tar_of(files))])
    name = registry.push(f"oci:{layout.folder}:1", f"full-{request.node.callspec.id}:1")
    small = Small(*options)
    try:
        store = Store(small.folder)
        os.makedirs(store.root + "/images")
        before = small.free()
        error = store.call("pull", name)
        assert error["code"] == "NO_SPACE", error
        assert re.search(r"\d[\d.]* (bytes|KiB|MiB|GiB|files)[^.]* missing", error["message"]), error
        assert store.list("refs") == [] and store.list("layers") == []
        store.nothing_left()
        store.call("collect", "--unused")
        after = small.free()
        assert before[0] - after[0] < 300000 and before[1] - after[1] < 60, (before, after)
    finally:
        small.close()
