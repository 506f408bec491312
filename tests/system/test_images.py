# SPDX-License-Identifier: Apache-2.0
"""Images in and out, and what a hostile one may try: refused with a clear error, nothing led out, nothing left."""
import gzip, hashlib, io, json, os, shutil, signal, stat, subprocess, sys, tarfile, tempfile, time
import pytest
from image_tool import ImageTool
from place import CACHE, PROGRAMS, TOP

LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Store(ImageTool):
    def call(self, *words, **kw):
        error = super().call(*words, **kw)
        assert error is None or error["code"] != "LOST", self.err
        return error

    def must(self, *words, **kw):
        try:
            return super().must(*words, **kw)
        except ValueError: # a tar, not lines
            return None

    def refused(self, code, *words, says=None, **kw):
        error = self.call(*words, **kw)
        assert error is not None, "it was taken"
        assert error["code"] == code, error
        assert error["message"] and "\n" not in error["message"]
        assert says is None or says in error["message"], error
        self.empty_aside()
        return error

    def empty_aside(self):
        assert os.listdir(self.root + "/images/aside") == []

    def images(self):
        return self.list("refs")

    def layers(self):
        return os.listdir(self.root + "/images/layers")


@pytest.fixture
def store():
    s = Store()
    yield s
    s.close()


@pytest.fixture
def box(tmp_path):
    return str(tmp_path)


# ---- making archives

def member(name, data=b"", type=tarfile.REGTYPE, **kw):
    t = tarfile.TarInfo(name)
    t.type, t.size, t.mtime, t.mode = type, len(data), 1000000000, 0o755 if type == tarfile.DIRTYPE else 0o644
    for key, value in kw.items():
        setattr(t, key, value)
    return t, data


def tar(*members, format=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as t:
        for info, data in members:
            t.addfile(info, io.BytesIO(data) if data else None)
    return out.getvalue()


def raw(name, data=b"", type=b"0", size=None, link=b"", uid=b"0000000\0"):
    """A header as no tar would write it; `size` as the field's bytes."""
    h = bytearray(512)
    h[0:len(name)] = name
    h[100:108], h[108:116], h[116:124] = b"0000644\0", uid.ljust(8, b"\0"), b"0000000\0"
    h[124:136] = size if size is not None else b"%011o\0" % len(data)
    h[136:148], h[148:156], h[156:157] = b"07346545000\0", b" " * 8, type
    h[157:157 + len(link)] = link
    h[257:265] = b"ustar\x0000"
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h) + data + b"\0" * (-len(data) % 512)


END = b"\0" * 1024


def layout(folder, layers, *, diff_ids=None, config=None, manifest=None, index=None, name="latest", media=None):
    """An OCI layout of these blobs (bytes). What is given in dicts replaces what would be right."""
    os.makedirs(folder + "/blobs/sha256", exist_ok=True)
    def blob(data):
        open(f"{folder}/blobs/sha256/{sha(data)[7:]}", "wb").write(data)
        return {"digest": sha(data), "size": len(data)}
    def plain(data):
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    if diff_ids is None:
        diff_ids = [sha(plain(l)) for l in layers]
    config_data = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
                              **(config or {})}).encode()
    m = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"mediaType": CONFIG, **blob(config_data)},
         "layers": [{"mediaType": media or LAYER, **blob(l)} for l in layers]}
    m.update(manifest or {})
    m = {k: v for k, v in m.items() if v is not None}
    descriptor = {"mediaType": MANIFEST, **blob(json.dumps(m).encode()), "annotations": {"org.opencontainers.image.ref.name": name}}
    i = {"schemaVersion": 2, "manifests": [descriptor]}
    i.update(index or {})
    open(folder + "/index.json", "w").write(json.dumps(i))
    open(folder + "/oci-layout", "w").write('{"imageLayoutVersion":"1.0.0"}')
    return folder


def run(*words, **kw):
    return subprocess.run(words, check=True, capture_output=True, **kw).stdout


def tree(folder):
    """Everything about files that an image brings, by path; times of folders and links left out."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(at, name)
            s = os.lstat(path)
            one = [stat.S_IFMT(s.st_mode), stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid]
            if stat.S_ISREG(s.st_mode):
                one += [hashlib.sha256(open(path, "rb").read()).hexdigest(), int(s.st_mtime), s.st_nlink]
            if stat.S_ISLNK(s.st_mode):
                one.append(os.readlink(path))
            else:
                one.append(sorted((x, os.getxattr(path, x, follow_symlinks=False)) for x in os.listxattr(path, follow_symlinks=False)
                                  if not x.startswith("trusted.overlay.")))
            if stat.S_ISBLK(s.st_mode) or stat.S_ISCHR(s.st_mode):
                one.append(s.st_rdev)
            found[os.path.relpath(path, folder)] = one
    return found


@pytest.fixture(scope="session")
def tiny():
    run(TOP + "/tests/images/make", "tiny", CACHE)
    return CACHE + "/tiny"


# ---- import

def rich(folder):
    """One of each kind of file."""
    os.makedirs(folder + "/d/e")
    open(folder + "/d/a", "w").write("a")
    os.link(folder + "/d/a", folder + "/d/b")
    os.symlink("/nowhere", folder + "/link")
    open(folder + "/setuid", "w").write("s")
    os.chown(folder + "/setuid", 33, 44)
    os.chmod(folder + "/setuid", 0o6755)
    os.setxattr(folder + "/setuid", "user.note", b"n")
    os.setxattr(folder + "/d/a", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    os.mknod(folder + "/null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.mkfifo(folder + "/fifo")
    with open(folder + "/holes", "wb") as f:
        f.seek(10 << 20)
        f.write(b"end")
    os.mkdir(folder + "/d/sticky")
    os.chmod(folder + "/d/sticky", 0o1777)
    open(folder.encode() + b"/latin-\xe4", "w").write("x")
    open(folder + "/unicode-ä", "w").write("y")
    os.utime(folder + "/d", (5, 1234567890))
    return folder


def test_import_keeps_everything_and_is_the_same_each_time(store, box):
    source = rich(box + "/s")
    first = store.must("import", "--reference", "a:1", source)[0]
    assert first["reference"] == "docker.io/library/a:1"
    fs = f"{store.root}/images/layers/{store.layers()[0]}/fs"
    assert tree(fs) == tree(source)
    assert os.stat(fs + "/holes").st_blocks < 100
    assert int(os.lstat(fs + "/d").st_mtime) == 1234567890
    second = store.must("import", "--reference", "b", source)[0]
    assert second["id"] == first["id"]
    assert len(store.images()) == 2 and len(store.layers()) == 1
    store.must("verify")


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd", "stdin", "two gzip members"])
def test_import_of_a_tar(store, box, tiny, how):
    run("tar", "-C", tiny, "--sort=name", "-cf", box + "/t.tar", ".")
    data = open(box + "/t.tar", "rb").read()
    if how == "gzip":
        data = gzip.compress(data, 1)
    if how == "two gzip members":
        data = gzip.compress(data[:100000]) + gzip.compress(data[100000:]) + b"\0" * 100
    if how == "zstd":
        data = run("zstd", "-qc", box + "/t.tar")
    open(box + "/x", "wb").write(data)
    if how == "stdin":
        store.must("import", "--reference", "a", "-", stdin=data)
    else:
        store.must("import", "--reference", "a", box + "/x")
    assert tree(f"{store.root}/images/layers/{store.layers()[0]}/fs") == tree(tiny)


def test_import_takes_a_config(store, box):
    os.makedirs(box + "/s")
    open(box + "/c.json", "w").write('{"config":{"User":"www","Cmd":["/x"]}}')
    store.must("import", "--reference", "a", "--config", box + "/c.json", box + "/s")
    store.must("import", "--reference", "b", "--config", '{"User":"www","Cmd":["/x"]}', "--platform", "linux/arm64/v8", box + "/s")
    records = [open(f"{store.root}/images/refs/{f}").read().splitlines() for f in store.images()]
    assert [json.loads(r[1])["config"] for r in records] == [{"User": "www", "Cmd": ["/x"]}] * 2
    assert json.loads(records[1][0])["variant"] == "v8"
    store.refused("INVALID", "import", "--config", '{"User":1}', box + "/s", says="User")
    store.refused("INVALID", "import", "--config", '{"User":', box + "/s")
    store.refused("INVALID", "import", "--platform", "linux", box + "/s", says="platform")
    store.refused("NOT_FOUND", "import", box + "/nothere", says="nothere")
    store.refused("INVALID", "import", "--reference", "Bad Name", box + "/s")


def test_a_module_becomes_an_artifact_by_its_bytes_and_load_says_what_takes_it(store, box):
    for name, data in (("m.wasm", b"\0asm\1\0\0\0"), ("text.wat", b";; text\n(module)\n"), ("no-ending", b"\0asm\1\0\0\0")):
        open(f"{box}/{name}", "wb").write(data)
        store.must("import", "--reference", "module:" + name.split(".")[0], f"{box}/{name}")
    store.refused("UNSUPPORTED", "load", box + "/m.wasm", says="image import")


# ---- load and save, beside skopeo and umoci

@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny):
    """An image of two layers by umoci, with deletions, an opaque folder and a hard link, in all its forms by skopeo."""
    box = str(tmp_path_factory.mktemp("made"))
    lay = box + "/lay"
    run("umoci", "init", "--layout", lay)
    run("umoci", "new", "--image", lay + ":one")
    run("umoci", "unpack", "--image", lay + ":one", box + "/b")
    run("cp", "-a", tiny + "/.", box + "/b/rootfs/")
    run("umoci", "repack", "--image", lay + ":one", box + "/b")
    shutil.rmtree(box + "/b")
    run("umoci", "unpack", "--image", lay + ":one", box + "/b")
    root = box + "/b/rootfs"
    os.unlink(root + "/etc/issue")
    shutil.rmtree(root + "/var")
    os.makedirs(root + "/var/only")
    open(root + "/etc/new", "w").write("new")
    os.link(root + "/etc/new", root + "/etc/hard")
    run("umoci", "repack", "--image", lay + ":two", box + "/b")
    run("umoci", "config", "--image", lay + ":two", "--config.user", "www", "--config.cmd", "/bin/id")
    run("umoci", "unpack", "--image", lay + ":two", box + "/plain")
    for target in ["docker-archive:" + box + "/d.tar:x.io/two:3", "oci-archive:" + box + "/o.tar:two"]:
        run("skopeo", "copy", "-q", f"oci:{lay}:two", target)
    run("skopeo", "copy", "-q", "--dest-compress-format", "zstd", f"oci:{lay}:two", f"oci:{box}/zstd:two")
    run("skopeo", "copy", "-q", "--format", "v2s2", f"oci:{lay}:two", f"dir:{box}/v2")
    run("gzip", "-k", box + "/d.tar")
    return box


def merged(store, reference, box):
    record = json.loads(open(f"{store.root}/images/refs/{reference}").readline())
    lower = ":".join(store.fs(d) for d in reversed(record["layers"]))
    os.makedirs(box + "/m", exist_ok=True)
    run("mount", "-t", "overlay", "overlay", "-o", "lowerdir=" + lower, box + "/m")
    try:
        return tree(box + "/m"), record
    finally:
        run("umount", box + "/m")


@pytest.mark.parametrize("source,file", [
    ("oci:lay:two", "docker.io%2flibrary%2flay%3atwo.json"), ("d.tar", "x.io%2ftwo%3a3.json"), ("d.tar.gz", "x.io%2ftwo%3a3.json"),
    ("o.tar", "docker.io%2flibrary%2fo%3atwo.json"), ("zstd", "docker.io%2flibrary%2fzstd%3atwo.json")])
def test_load_gives_what_umoci_unpacks(store, box, made, source, file):
    store.must("load", "--folder", made, source)
    found, record = merged(store, file, box)
    assert found == tree(made + "/plain/rootfs")
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{made}/lay:two"))
    assert config["config"]["User"] == "www"
    store.must("verify")


def test_load_by_another_name_and_one_of_several(store, made):
    store.refused("INVALID", "load", "--reference", "n", made + "/lay", says="one, two")
    assert store.must("load", "--reference", "n", f"oci:{made}/lay:one")[0]["reference"] == "docker.io/library/n:latest"
    store.refused("NOT_FOUND", "load", f"oci:{made}/lay:three", says="one, two")
    assert len(store.must("load", made + "/lay")) == 2
    assert store.must("load", "-", stdin=open(made + "/d.tar", "rb").read())[0]["reference"] == "x.io/two:3"


def test_save_is_read_by_skopeo_and_umoci_with_the_same_digests(store, made, box):
    one, two = store.must("load", made + "/lay")
    digest = lambda where: json.loads(run("skopeo", "inspect", where))["Digest"]
    store.must("save", box + "/out/", "lay:one", "lay:two")
    assert digest(f"oci:{box}/out:two") == digest(f"oci:{made}/lay:two")
    assert digest(f"oci:{box}/out:one") == digest(f"oci:{made}/lay:one")
    run("umoci", "unpack", "--image", box + "/out:two", box + "/u")
    assert tree(box + "/u/rootfs") == tree(made + "/plain/rootfs")
    store.must("save", box + "/o.tar", "lay:two")
    assert digest(f"oci-archive:{box}/o.tar") == digest(f"oci:{made}/lay:two")
    store.must("save", "--format", "docker", box + "/d.tar", "lay:two", "lay:one")
    run("skopeo", "copy", "-q", f"docker-archive:{box}/d.tar:lay:two", f"oci:{box}/back:two")
    run("umoci", "unpack", "--image", box + "/back:two", box + "/v")
    assert tree(box + "/v/rootfs") == tree(made + "/plain/rootfs")
    assert store.call("save", "-", "lay:two") is None
    assert "oci-layout" in tarfile.open(fileobj=io.BytesIO(store.out)).getnames()
    other = Store()
    try:
        assert other.must("load", box + "/d.tar")[0]["id"] == two["id"]
        assert [i["id"] for i in other.must("load", box + "/out")] == [one["id"], two["id"]]
        other.must("verify")
    finally:
        other.close()


if shutil.which("podman"): # the bench's peers: where they are, they are asked
    @pytest.mark.parametrize("form", ["oci", "docker"])
    def test_podman_loads_what_was_saved(store, made, box, form):
        """The same id, and the same files."""
        _, two = store.must("load", made + "/lay")
        store.must("save", "--format", form, box + "/x.tar", "lay:two")
        short = tempfile.mkdtemp(prefix="bp.", dir="/var/tmp") # podman takes no long one
        podman = ["podman", "--root", box + "/root", "--runroot", short, "--storage-driver", "vfs"]
        try:
            run(*podman, "load", "-i", box + "/x.tar")
            (image,) = json.loads(run(*podman, "images", "--format", "json"))
            assert "sha256:" + image["Id"] == two["id"]
            where = run(*podman, "image", "mount", image["Id"]).decode().strip()
            assert tree(where) == tree(made + "/plain/rootfs")
        finally:
            run(*podman, "image", "umount", "-a")
            run(*podman, "rmi", "-af")
            shutil.rmtree(short)


if shutil.which("dockerd"):
    def test_docker_loads_what_was_saved_and_gives_it_back(store, made):
        sys.path.insert(0, TOP + "/bench")
        import peers
        folder = tempfile.mkdtemp(prefix="berth-docker.", dir="/var/tmp")
        groups, docker, other = peers.groups_of_peers(), peers.docker(folder, "none"), Store()
        cli = ["docker", "-H", "unix://" + docker.socket]
        try:
            _, two = store.must("load", made + "/lay")
            store.must("save", "--format", "docker", folder + "/x.tar", "lay:two")
            run(*cli, "load", "-i", folder + "/x.tar")
            assert run(*cli, "images", "--no-trunc", "-q").decode().split() == [two["id"]]
            run(*cli, "save", "-o", folder + "/back.tar", "lay:two")
            (back,) = other.must("load", folder + "/back.tar")
            assert back["id"] == two["id"] and sorted(other.layers()) == sorted(store.layers())
        finally:
            docker.close()
            peers.remove_groups(peers.groups_of_peers() - groups)
            other.close()
            run("rm", "-rf", "--one-file-system", folder)


def test_save_refuses_and_leaves_nothing(store, made, box):
    store.must("load", f"oci:{made}/lay:one")
    store.refused("NOT_FOUND", "save", box + "/x.tar", "nothere", says="nothere")
    store.refused("NOT_FOUND", "save", box + "/f/", "lay:one", "nothere")
    assert os.listdir(box) == ["f"] and os.listdir(box + "/f") == []
    store.must("save", box + "/f/", "lay:one")
    store.refused("EXISTS", "save", box + "/f/", "lay:one")
    store.refused("INVALID", "save", "--format", "docker", box + "/f/", "lay:one")
    store.refused("INVALID", "save", "--format", "tgz", box + "/y", "lay:one", says="tgz")
    blobs = store.root + "/images/blobs/sha256/"
    biggest = max(os.listdir(blobs), key=lambda f: os.stat(blobs + f).st_size)
    os.truncate(blobs + biggest, 1000)
    store.refused("CORRUPT", "save", box + "/x.tar", "lay:one", says=biggest)
    assert not os.path.exists(box + "/x.tar")


def test_verify_finds_what_was_changed(store, made):
    store.must("load", made + "/lay")
    assert store.must("verify")[-1]["wrong"] == 0
    fs = next(store.root + "/images/layers/" + l + "/fs" for l in store.layers() if os.path.exists(store.root + "/images/layers/" + l + "/fs/bin/busybox"))
    for change in [lambda: os.chown(fs + "/etc/passwd", 7, 7), lambda: open(fs + "/etc/passwd", "a").write("x")]:
        change()
        error = store.call("verify")
        assert error["code"] == "CORRUPT"
        wrong = [json.loads(line) for line in store.out.splitlines()]
        assert wrong[-1]["wrong"] == 1 and wrong[0]["kind"] == "layer" and os.path.basename(os.path.dirname(fs)) in wrong[0]["object"]
    blob = store.root + "/images/blobs/sha256/" + os.listdir(store.root + "/images/blobs/sha256")[0]
    open(blob, "ab").write(b"x")
    store.call("verify")
    assert any(json.loads(line).get("kind") == "blob" for line in store.out.splitlines())


def test_platform_is_chosen(store, box):
    entries = []
    for architecture, variant in [("arm64", "v8"), ("amd64", None), ("arm", "v6"), ("arm", "v7")]:
        layout(box + "/l", [tar(member("is-" + architecture + (variant or ""), b"x"))], config={"architecture": architecture})
        d = json.load(open(box + "/l/index.json"))["manifests"][0]
        del d["annotations"]
        entries.append({**d, "platform": {"os": "linux", "architecture": architecture, **({"variant": variant} if variant else {})}})
    data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    open(f"{box}/l/blobs/sha256/{sha(data)[7:]}", "wb").write(data)
    top = {"mediaType": INDEX, "digest": sha(data), "size": len(data), "annotations": {"org.opencontainers.image.ref.name": "x"}}
    def files(*words):
        before = set(store.layers()) if store.images() else set()
        store.must("load", *words, box + "/l")
        return [f for l in set(store.layers()) - before for f in os.listdir(f"{store.root}/images/layers/{l}/fs")]
    open(box + "/l/index.json", "w").write(json.dumps({"schemaVersion": 2, "manifests": [top]}))
    assert files("--platform", "linux/arm64") == ["is-arm64v8"]
    assert files("--platform", "linux/arm/v7") == ["is-armv7"]
    store.refused("NOT_FOUND", "load", "--platform", "linux/s390x", box + "/l", says="linux/arm64/v8")
    store.refused("NOT_FOUND", "load", "--platform", "linux/arm/v5", box + "/l")
    open(box + "/l/index.json", "w").write(json.dumps({"schemaVersion": 2, "manifests": entries}))
    assert files("--platform", "linux/amd64") == ["is-amd64"]


# ---- documents that lie

def lie(kind):
    """Keyword arguments of layout() for a document that lies, with the code and a word of the answer."""
    digest = "sha256:" + "0" * 64
    return {
        "manifest and index": (dict(manifest={"manifests": []}), "CORRUPT", "at once"),
        "neither": (dict(manifest={"config": None, "layers": None}), "CORRUPT", "neither"),
        "media type of an index": (dict(manifest={"mediaType": INDEX}), "CORRUPT", "mediaType"),
        "schema 1": (dict(manifest={"schemaVersion": 1}), "CORRUPT", "schemaVersion"),
        "no config": (dict(manifest={"config": None}), "CORRUPT", "config"),
        "config not there": (dict(manifest={"config": {"mediaType": CONFIG, "digest": digest, "size": 1}}), "NOT_FOUND", "config"),
        "an artifact": (dict(manifest={"config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": digest, "size": 1}}), "UNSUPPORTED", "artifact"),
        "layer not there": (dict(manifest={"layers": [{"mediaType": LAYER, "digest": digest, "size": 1}]}), "NOT_FOUND", "layer"),
        "foreign layer": (dict(media="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), "UNSUPPORTED", "foreign"),
        "no tar": (dict(media="application/octet-stream"), "UNSUPPORTED", "application/octet-stream"),
        "no module": (dict(media="application/wasm"), "CORRUPT", "no WebAssembly module"),
        "diff id of another": (dict(diff_ids=[digest]), "CORRUPT", "config says"),
        "more diff ids": (dict(diff_ids=[digest, digest]), "CORRUPT", "layers"),
        "diff id a path": (dict(diff_ids=["sha256:../../../../../etc/passwd"]), "CORRUPT", "diff id"),
        "diff ids a number": (dict(config={"rootfs": {"type": "layers", "diff_ids": 7}}), "CORRUPT", "diff ids"),
        "digest a path": (dict(index={"manifests": [{"mediaType": MANIFEST, "digest": "sha256:../../../../etc/passwd", "size": 1}]}), "CORRUPT", "digest"),
        "digest of another kind": (dict(index={"manifests": [{"mediaType": MANIFEST, "digest": "sha512:" + "0" * 128, "size": 1}]}), "UNSUPPORTED", "sha512"),
        "negative size": (dict(index={"manifests": [{"mediaType": MANIFEST, "digest": digest, "size": -1}]}), "CORRUPT", "size"),
        "index.json a manifest": (dict(index={"manifests": None, "layers": [], "config": {}}), "CORRUPT", "index.json"),
        "no images": (dict(index={"manifests": []}), "NOT_FOUND", "no image"),
        "bad config": (dict(config={"config": {"Env": 7}}), "INVALID", "Env"),
    }[kind]


@pytest.mark.parametrize("kind", [
    "manifest and index", "neither", "media type of an index", "schema 1", "no config", "config not there", "an artifact", "layer not there",
    "foreign layer", "no tar", "no module", "diff id of another", "more diff ids", "diff id a path", "diff ids a number", "digest a path",
    "digest of another kind", "negative size", "index.json a manifest", "no images", "bad config"])
def test_a_document_that_lies_is_refused(store, box, kind):
    how, code, says = lie(kind)
    layout(box + "/l", [tar(member("a", b"a"))], **how)
    store.refused(code, "load", box + "/l", says=says)
    assert store.images() == []


@pytest.mark.parametrize("what", ["config", "manifest", "layer"])
def test_a_blob_that_was_changed_is_refused(store, box, what):
    layout(box + "/l", [tar(member("a", b"a"))])
    digest = json.load(open(box + "/l/index.json"))["manifests"][0]["digest"]
    m = json.load(open(f"{box}/l/blobs/sha256/{digest[7:]}"))
    digest = {"manifest": digest, "config": m["config"]["digest"], "layer": m["layers"][0]["digest"]}[what]
    path = f"{box}/l/blobs/sha256/{digest[7:]}"
    data = bytearray(open(path, "rb").read())
    data[-3] ^= 1
    open(path, "wb").write(data)
    store.refused("CORRUPT", "load", box + "/l", says="digest")
    assert store.images() == []


def test_sizes_must_be_right(store, box):
    layer = tar(member("a", b"a"))
    for part in ["layers", "config"]:
        layout(box + "/l", [layer])
        digest = json.load(open(box + "/l/index.json"))["manifests"][0]["digest"]
        m = json.load(open(f"{box}/l/blobs/sha256/{digest[7:]}"))
        (m["layers"][0] if part == "layers" else m["config"])["size"] += 1
        layout(box + "/l", [layer], manifest={part: m[part]})
        store.refused("CORRUPT", "load", box + "/l", says="bytes")


@pytest.mark.parametrize("text,code", [
    ('{"schemaVersion":2,"schemaVersion":2,"manifests":[]}', "CORRUPT"), ("[" * 100000, "CORRUPT"), ('{"a":' * 100000, "CORRUPT"),
    ("", "CORRUPT"), ("7", "CORRUPT"), ('{"schemaVersion":2,"manifests":"x"}', "CORRUPT"), ("\xff", "CORRUPT"), ("x" * (100 << 20), "TOO_BIG")],
    ids=["duplicate key", "deep list", "deep object", "empty", "number", "no list", "no utf-8", "100 MB"])
def test_an_index_that_is_none(store, box, text, code):
    layout(box + "/l", [])
    open(box + "/l/index.json", "w", encoding="latin-1").write(text)
    store.refused(code, "load", box + "/l", says="index.json")


def test_an_index_within_itself_and_indexes_without_end(store, box):
    layout(box + "/l", [tar(member("a", b"a"))])
    digest = json.load(open(box + "/l/index.json"))["manifests"][0]
    for _ in range(6):
        digest.pop("annotations", None)
        data = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [digest]}).encode()
        open(f"{box}/l/blobs/sha256/{sha(data)[7:]}", "wb").write(data)
        digest = {"mediaType": INDEX, "digest": sha(data), "size": len(data)}
    open(box + "/l/index.json", "w").write(json.dumps({"schemaVersion": 2, "manifests": [digest]}))
    store.refused("CORRUPT", "load", box + "/l", says="deep")
    # A document can't hold its own digest; one that claims to is caught by it.
    liar = "sha256:" + "a" * 64
    open(f"{box}/l/blobs/sha256/{'a' * 64}", "w").write(json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": liar, "size": 1}]}))
    open(box + "/l/index.json", "w").write(json.dumps({"schemaVersion": 2, "manifests": [{"mediaType": INDEX, "digest": liar, "size": 150}]}))
    store.refused("CORRUPT", "load", box + "/l", says="digest")


def test_blobs_that_are_links_lead_nowhere(store, box):
    layout(box + "/l", [tar(member("a", b"a"))])
    secret = json.dumps({"architecture": "amd64", "os": "linux"}).encode()
    open(box + "/secret", "wb").write(secret)
    digest = json.load(open(box + "/l/index.json"))["manifests"][0]["digest"]
    path = f"{box}/l/blobs/sha256/{digest[7:]}"
    os.unlink(path)
    os.symlink(box + "/secret", path)
    store.refused("CORRUPT", "load", box + "/l")
    os.unlink(path)
    os.mkfifo(path)
    store.refused("CORRUPT", "load", box + "/l", says="not a file")


@pytest.mark.parametrize("name", ["../../../../../../etc/passwd", "/etc/passwd", "link"])
def test_a_docker_archive_names_files_outside(store, box, name):
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}).encode()
    m = json.dumps([{"Config": name, "RepoTags": ["a:1"], "Layers": []}]).encode()
    data = tar(member("manifest.json", m), member("c.json", config), member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"))
    open(box + "/d.tar", "wb").write(data)
    error = store.refused("CORRUPT", "load", box + "/d.tar", says="out of the image")


def test_an_old_docker_archive_and_something_else(store, box):
    open(box + "/d.tar", "wb").write(tar(member("repositories", b"{}")))
    store.refused("UNSUPPORTED", "load", box + "/d.tar", says="1.10")
    open(box + "/e.tar", "wb").write(tar(member("etc/passwd", b"x")))
    store.refused("INVALID", "load", box + "/e.tar", says="berth image import")
    open(box + "/f.tar", "wb").write(b"no tar at all" * 100)
    store.refused("CORRUPT", "load", box + "/f.tar")


def test_a_docker_archive_with_links_for_layers(store, box):
    layer = tar(member("a", b"a"))
    config = json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [sha(layer), sha(layer)]}}).encode()
    m = json.dumps([{"Config": sha(config)[7:] + ".json", "RepoTags": ["a:1", "x.io/b"], "Layers": ["1/layer.tar", "2/layer.tar"]}]).encode()
    open(box + "/d.tar", "wb").write(tar(member("2", type=tarfile.DIRTYPE), member("2/layer.tar", type=tarfile.SYMTYPE, linkname="../1/layer.tar"),
                                         member("1/layer.tar", layer), member(sha(config)[7:] + ".json", config), member("manifest.json", m)))
    assert [i["reference"] for i in store.must("load", box + "/d.tar")] == ["docker.io/library/a:1", "x.io/b:latest"]
    assert len(store.layers()) == 1
    config = b'{"architecture":"amd64"}'
    m = json.dumps([{"Config": "0" * 64 + ".json", "RepoTags": ["a:1"], "Layers": []}]).encode()
    open(box + "/e.tar", "wb").write(tar(member("0" * 64 + ".json", config), member("manifest.json", m)))
    store.refused("CORRUPT", "load", box + "/e.tar", says="digest")


# ---- layers that want out

@pytest.fixture
def outside():
    """A folder that no layer may touch, known by everything about it."""
    folder = tempfile.mkdtemp(prefix="berth-outside.", dir="/var/tmp")
    open(folder + "/file", "w").write("untouched")
    os.chmod(folder + "/file", 0o640)
    os.utime(folder + "/file", (7, 7))
    before = (tree(folder), os.stat(folder + "/file").st_ctime_ns)
    yield folder
    assert (tree(folder), os.stat(folder + "/file").st_ctime_ns) == before, "the layer came out"
    shutil.rmtree(folder)


def load(store, box, layer, compress=False):
    layout(box + "/l", [gzip.compress(layer, 1) if compress else layer], diff_ids=[sha(layer)])
    error = store.call("load", box + "/l")
    store.empty_aside()
    if error:
        assert store.images() == [] and store.layers() == [], "a refused layer is left"
    else:
        store.must("verify")
    return error, store.fs(sha(layer))


SYM, LNK, DIR, CHR, FIFO = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE


@pytest.mark.parametrize("name", ["../x", "a/../../x", "..", "a/..", "./../x", "a/../b"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "hard link", "whiteout"])
def test_dots_are_refused(store, box, outside, name, kind):
    members = {"file": [member(name, b"x")], "folder": [member(name, type=DIR)], "link": [member(name, type=SYM, linkname="y")],
               "hard link": [member("f", b"x"), member("h", type=LNK, linkname=name)],
               "whiteout": [member(name.rsplit("/", 1)[0] + "/../.wh.x" if "/" in name else "../.wh.x")]}[kind]
    error, _ = load(store, box, tar(*members))
    assert error["code"] == "CORRUPT" and ".." in error["message"]


def test_absolute_names_are_inside(store, box, outside):
    error, fs = load(store, box, tar(member(outside + "/file", b"x"), member("//double//slash", b"y")))
    assert error is None
    assert open(fs + outside + "/file").read() == "x" and open(fs + "/double/slash").read() == "y"


def test_odd_names(store, box):
    error, fs = load(store, box, tar(member("new\nline", b"1"), member("blank ", b"2"), member("x" * 255, b"3"), member("\udce4", b"4")))
    assert error is None
    assert sorted(os.listdir(fs.encode())) == sorted([b"new\nline", b"blank ", b"x" * 255, b"\xe4"])
    store.refused("CORRUPT", "import", "-", stdin=tar(member("y" * 256)), says="too long")


def test_a_name_with_nul_stays_inside(store, box, outside):
    data = tar(member("a" * 120 + "NUL" + "/../../b", b"x")).replace(b"NUL", b"\0\0\0")
    error, fs = load(store, box, data)
    assert error is None or error["code"] == "CORRUPT"


@pytest.mark.parametrize("target", ["{}", "../../../../../../../../../../..{}", "/proc/self/root{}", "/proc/1/cwd{}"])
def test_writing_through_a_link_ends_inside(store, box, outside, target):
    link = target.format(outside)
    error, fs = load(store, box, tar(member("var/tmp", type=DIR), member("l", type=SYM, linkname=link), member("l/file", b"evil"),
                                     member("l/new", b"evil"), member("l/sub", type=DIR)))
    assert error is None or error["code"] == "CORRUPT", error


def test_a_chain_of_links_ends_inside(store, box, outside):
    members = [member("a", type=SYM, linkname="b"), member("b", type=SYM, linkname="c/../.."), member("c", type=SYM, linkname="/d"),
               member("d", type=DIR), member("d/e", type=SYM, linkname=outside), member("a/x", b"evil"), member("d/e/file", b"evil")]
    error, fs = load(store, box, tar(*members))
    assert error is None or error["code"] == "CORRUPT"


def test_a_loop_of_links_is_refused(store, box):
    error, _ = load(store, box, tar(member("a", type=SYM, linkname="b"), member("b", type=SYM, linkname="a"), member("a/x", b"")))
    assert error["code"] == "CORRUPT"


def test_the_last_name_is_never_followed(store, box, outside):
    link = member("f", type=SYM, linkname=outside + "/file")
    for last in [member("f", b"evil"), member("f", type=FIFO), member("f", type=CHR, devmajor=1, devminor=3), member("f", type=DIR),
                 member("f", type=SYM, linkname="other"), member("f", type=SYM, linkname=outside + "/file", mode=0o777, uid=7)]:
        other = Store()
        error, fs = load(other, box, tar(link, last))
        assert error is None, error
        other.close()


def test_owner_mode_and_attributes_are_not_set_through_a_link(store, box, outside):
    link, _ = member("f", type=SYM, linkname=outside + "/file", mode=0o4777, uid=33, gid=33)
    link.pax_headers = {"SCHILY.xattr.user.evil": "x"}
    error, fs = load(store, box, tar((link, b"")))
    assert error is None or error["code"] in ("DENIED", "IO")


def test_a_folder_that_becomes_a_link(store, box, outside):
    error, fs = load(store, box, tar(member("d", type=DIR), member("d/x", b"1"), member("d", type=SYM, linkname=outside), member("d/file", b"evil"),
                                     member("d/y", b"evil")))
    assert error is None or error["code"] == "CORRUPT"


@pytest.mark.parametrize("target", ["{}/file", "/etc/passwd", "nothere", "d", "self", "sym/file"])
def test_hard_links_to_what_is_not_in_the_layer(store, box, outside, target):
    target = target.format(outside)
    error, _ = load(store, box, tar(member("d", type=DIR), member("sym", type=SYM, linkname=outside), member("self", type=LNK, linkname=target)))
    assert error["code"] == "CORRUPT" and "hard link" in error["message"], error


def test_a_hard_link_to_a_link_is_a_link(store, box, outside):
    error, fs = load(store, box, tar(member("s", type=SYM, linkname=outside + "/file"), member("h", type=LNK, linkname="s"), member("h2", type=LNK, linkname="/s")))
    assert error is None
    assert os.path.islink(fs + "/h") and os.lstat(fs + "/s").st_nlink == 3


def test_a_hard_link_with_data_or_to_itself_changes_nothing(store, box):
    data = raw(b"f", b"first") + raw(b"h", b"other", type=b"1", link=b"f") + raw(b"f", type=b"1", link=b"f") + END
    error, fs = load(store, box, data)
    if error is None:
        assert open(fs + "/f").read() == "first" and os.stat(fs + "/f").st_nlink == 2
    else:
        assert error["code"] == "CORRUPT"


@pytest.mark.parametrize("name,code", [(".wh.", "CORRUPT"), (".wh..", "CORRUPT"), (".wh...", "CORRUPT"), ("d/.wh..", "CORRUPT"), ("d/.wh...", "CORRUPT")])
def test_whiteouts_without_a_name(store, box, outside, name, code):
    error, _ = load(store, box, tar(member(name)))
    assert error["code"] == code


def test_whiteouts_become_overlayfs_own(store, box):
    error, fs = load(store, box, tar(member("gone/.wh.x"), member("d", type=DIR), member("d/.wh..wh..opq"), member("d/new", b"n"),
                                     member("both", b"b"), member(".wh.both"), member(".wh.back"), member("back", type=DIR), member(".wh..wh.plnk"),
                                     member("late", type=DIR), member(".wh.late")))
    assert error is None
    s = os.lstat(fs + "/gone/x")
    assert stat.S_ISCHR(s.st_mode) and s.st_rdev == 0
    for name in ["d", "back", "late"]:
        assert os.getxattr(fs + "/" + name, "trusted.overlay.opaque") == b"y"
    assert open(fs + "/both").read() == "b"
    assert sorted(os.listdir(fs)) == ["back", "both", "d", "gone", "late"]


def test_whiteouts_through_a_link(store, box, outside):
    error, _ = load(store, box, tar(member("l", type=SYM, linkname=outside), member("l/.wh.file"), member("l/.wh..wh..opq")))
    assert error is None or error["code"] == "CORRUPT"


def test_overlay_attributes_and_devices_of_the_archive_count_nothing(store, box):
    d, _ = member("d", type=DIR)
    d.pax_headers = {"SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.security.selinux": "x",
                     "SCHILY.xattr.user.kept": "k", "LIBARCHIVE.xattr.trusted.overlay.opaque": "eQ"}
    error, fs = load(store, box, tar((d, b""), member("hidden", type=CHR, devmajor=0, devminor=0)))
    assert error is None
    assert os.listxattr(fs + "/d") == ["user.kept"]
    assert os.listdir(fs) == ["d"]


def test_devices_and_fifos_stand_where_files_should(store, box):
    error, fs = load(store, box, tar(member("etc/passwd", type=FIFO), member("etc/group", type=CHR, devmajor=1, devminor=3), member("etc/passwd/x", b"")))
    assert error["code"] == "CORRUPT" and "not a folder" in error["message"]
    error, fs = load(store, box, tar(member("etc/passwd", type=FIFO), member("etc/group", type=CHR, devmajor=1, devminor=3)))
    assert error is None and stat.S_ISFIFO(os.lstat(fs + "/etc/passwd").st_mode)


def test_setuid_survives_the_change_of_owner(store, box):
    f, data = member("su", b"x", uid=33, gid=44, mode=0o6755)
    f.pax_headers = {"SCHILY.xattr.security.capability": bytes.fromhex("0100000200200000000000000000000000000000").decode("latin-1")}
    error, fs = load(store, box, tar((f, data)))
    s = os.stat(fs + "/su")
    assert error is None and (stat.S_IMODE(s.st_mode), s.st_uid, s.st_gid) == (0o6755, 33, 44)
    assert "security.capability" in os.listxattr(fs + "/su")


@pytest.mark.parametrize("uid,taken", [(2**31 - 1, True), (2**31, False), (2**32 - 1, False), (2**32, False), (2**40, False), (-1, False)])
def test_owners_beyond_31_bits(store, box, uid, taken):
    error, fs = load(store, box, tar(member("f", b"x", uid=uid), format=tarfile.GNU_FORMAT))
    assert (error is None) == taken, error
    assert taken or (error["code"] == "CORRUPT" and "owner" in error["message"])


@pytest.mark.parametrize("size", [b"\xff" * 12, b"\x80" + b"\0" * 2 + b"\xff" * 9, b"\x80" + b"\0" * 6 + b"\x10\0\0\0\0", b"77777777777\0", b"-0000000001\0"],
                         ids=["negative", "base 256 huge", "base 256 64 GiB", "8 GiB", "minus"])
def test_sizes_that_lie(store, box, size):
    error, _ = load(store, box, raw(b"f", b"data", size=size) + raw(b"g", b"more") + END)
    assert error and error["code"] in ("CORRUPT", "TOO_BIG"), error


def test_a_size_overridden_by_pax(store, box):
    f, data = member("f", b"x" * 600)
    f.pax_headers = {"size": "5"}
    error, fs = load(store, box, tar((f, data)))
    assert error is None or error["code"] == "CORRUPT"
    if error is None:
        assert os.stat(fs + "/f").st_size in (5, 600)


def test_an_exabyte_of_holes(store, box):
    f, data = member("f", b"1\n0\n0\n".ljust(512, b"\0"))
    f.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": str(1 << 60)}
    error, _ = load(store, box, tar((f, data)))
    assert error["code"] in ("TOO_BIG", "CORRUPT")


def test_a_file_of_holes_is_one(store, box):
    os.makedirs(box + "/s")
    with open(box + "/s/h", "wb") as f:
        f.truncate(1 << 34)
    run("tar", "-C", box + "/s", "-S", "-cf", box + "/s.tar", "h")
    error, fs = load(store, box, open(box + "/s.tar", "rb").read())
    assert error is None
    assert os.stat(fs + "/h").st_size == 1 << 34 and os.stat(fs + "/h").st_blocks < 100


@pytest.mark.parametrize("layer", [b"", END, b"\0" * 10240], ids=["nothing", "two blocks", "twenty"])
def test_an_empty_layer_is_one(store, box, layer):
    error, fs = load(store, box, layer)
    assert error is None and os.listdir(fs) == []


@pytest.mark.parametrize("layer", [b"x" * 5000, os.urandom(5000), b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd1234", b"PK\3\4" + b"z" * 600, tar(member("a", b"a" * 5000))[:2000]],
                         ids=["text", "noise", "gzip cut", "zstd cut", "zip", "tar cut"])
def test_what_is_no_tar(store, box, layer):
    layout(box + "/l", [layer], diff_ids=["sha256:" + "0" * 64])
    store.refused("CORRUPT", "load", box + "/l")


def test_other_compressions_are_named(store, box):
    for tool in ["bzip2", "xz"]:
        data = run(tool, "-c", input=tar(member("a", b"a")))
        layout(box + "/l", [data], diff_ids=["sha256:" + "0" * 64])
        store.refused("UNSUPPORTED", "load", box + "/l", says=tool)


def test_the_same_layer_twice(store, box):
    layer = tar(member("a", b"a"))
    layout(box + "/l", [layer, layer, tar(member("b", b"b")), layer])
    store.must("load", box + "/l")
    assert len(store.layers()) == 2


def test_bombs_are_stopped_early(store, box):
    layer = tar(member("zeros", b"\0" * (64 << 20)))
    layout(box + "/l", [gzip.compress(layer, 9)])
    store.refused("TOO_BIG", "load", "--max-bytes", str(32 << 20), box + "/l", says="33554432")
    part = gzip.compress(b"\0" * (32 << 20), 9)
    bomb = part * 40 # members one after another: 1.25 GiB
    layout(box + "/l", [bomb], diff_ids=["sha256:" + "0" * 64])
    store.refused("TOO_BIG", "load", box + "/l", says="times")


def test_entries_without_end(store, box):
    layer = tar(*[member(f"f{i}") for i in range(300)])
    layout(box + "/l", [layer])
    store.refused("TOO_BIG", "load", "--max-entries", "299", box + "/l", says="299")
    store.must("load", "--max-entries", "300", box + "/l")


def test_zstd_windows(store, box):
    layer = tar(member("a", os.urandom(1 << 20)))
    for log, taken in [(27, True), (28, False), (31, False)]:
        data = run("zstd", "-q", f"--long={log}", "--ultra", "-c", "--single-thread", "--no-content-size", "-", input=layer)
        layout(box + "/l", [data], diff_ids=[sha(layer)])
        if taken:
            store.must("load", box + "/l")
        else:
            other = Store()
            other.refused("TOO_BIG", "load", box + "/l", says="window")
            other.close()


# ---- many at once, and cut off

def test_two_at_once_make_it_once(store, made):
    running = [store.start("load", made + "/lay") for _ in range(4)]
    for process, read in running:
        process.communicate(timeout=60)
        assert json.loads(os.fdopen(read).read()) == {"done": True}
    assert len(store.layers()) == 2 and len(store.images()) == 2
    store.empty_aside()
    store.must("verify")


@pytest.mark.parametrize("how", ["signal", "let go", "killed"])
def test_cut_off_it_is_whole_or_absent(store, box, tiny, how):
    for i in range(12):
        process, read = store.start("import", "--reference", "a", tiny)
        time.sleep(0.005 * i)
        if how == "signal":
            process.send_signal(signal.SIGTERM)
        elif how == "let go":
            os.close(read)
        else:
            process.kill()
        process.communicate(timeout=30)
        if how != "let go":
            with os.fdopen(read) as f:
                end = f.read()
        if how == "signal" and end: # without a word it was killed before it had begun
            end = json.loads(end)
            assert end == {"done": True} or end["error"]["code"] == "CANCELLED", end
        if how != "killed" and os.path.isdir(store.root + "/images/aside"):
            store.empty_aside()
        for _ in range(100): # the jail of a killed one dies a moment later
            error = store.call("collect")
            if not error:
                break
            time.sleep(0.02)
        assert error is None
        store.must("verify")
        if os.path.isdir(store.root + "/images/aside"):
            store.empty_aside()
        if not store.images():
            assert store.layers() == [] and os.listdir(store.root + "/images/blobs/sha256") == []


def test_a_full_disk_leaves_nothing(store, box, tiny):
    run("truncate", "-s", "3M", box + "/disk")
    run("mkfs.ext4", "-q", box + "/disk")
    os.makedirs(store.root)
    run("mount", "-o", "loop", box + "/disk", store.root)
    try:
        store.refused("NO_SPACE", "import", "--reference", "a", tiny)
        assert store.images() == [] and store.layers() == []
    finally:
        run("umount", store.root)


def test_collect_removes_what_nothing_needs(store, made):
    store.must("load", made + "/lay")
    assert store.must("collect")[0]["layers"] == []
    report = store.must("collect", "--unused")[0]
    assert len(report["images"]) == 2 and len(report["layers"]) == 2 and report["freed_bytes"] > 1000000
    assert store.images() == [] and store.layers() == [] and os.listdir(store.root + "/trash") == []


# ---- files of workloads

def test_copies_never_leave_the_workload(berth, box):
    name = berth.run("sh", "-c", "mkdir /d; ln -s /etc /d/etc; ln -s / /d/root; ln -s ../../../../../../etc /d/up; echo in > /etc/secret; exec sleep 100")
    time.sleep(0.3)
    host = open("/etc/passwd").read()
    open(box + "/passwd", "w").write("from outside\n")
    for stopped in [False, True]:
        if stopped:
            berth.must("stop", "-t", "0", name)
        for link in ["etc", "root/etc", "up"]:
            berth.must("cp", box + "/passwd", f"{name}:/d/{link}/copied")
            berth.must("cp", f"{name}:/d/{link}/copied", box + "/back")
            assert open(box + "/back").read() == "from outside\n"
            assert not os.path.exists("/etc/copied")
        r = berth.call("cp", f"{name}:/proc/1/root/etc/passwd", box + "/x")
        assert r.returncode == 1
    assert open("/etc/passwd").read() == host


def test_a_copy_into_a_workload_that_changes_its_folders_meanwhile_stays_inside(berth, box):
    """A folder becomes a link out and a folder again, as fast as it can."""
    outside = tempfile.mkdtemp(prefix="berth-outside.", dir="/var/tmp")
    name = berth.run("sh", "-c", f"mkdir -p /a/real {outside}; cd /a; while :; do mv real d; mv d real; ln -s {outside} d; rm d; ln -s / d; rm d; done")
    open(box + "/f", "w").write("from outside\n")
    for i in range(40):
        berth.call("cp", box + "/f", f"{name}:/a/d/f{i}") # there may be no such folder just then
    assert os.listdir(outside) == [] and not any(os.path.exists(f"/f{i}") for i in range(40))
    os.rmdir(outside)


def test_diff_and_export(berth, box):
    name = berth.run("sh", "-c", "echo a > /new; rm /etc/issue; rm -rf /var/www; mkdir /var/www; echo b > /var/www/q; chmod 700 /root; exec sleep 100")
    time.sleep(0.3)
    for stopped in [False, True]:
        if stopped:
            berth.must("stop", "-t", "0", name)
        lines = set(berth.must("diff", name).splitlines())
        assert {"A /new", "D /etc/issue", "D /var/www/index.html", "A /var/www/q"} <= lines
        assert not any("hosts" in line or "resolv" in line for line in lines)
        data = subprocess.run(berth.argv("export", name), env=berth.env, check=True, capture_output=True).stdout
        names = tarfile.open(fileobj=io.BytesIO(data)).getnames()
        names = {n.removeprefix("./") for n in names}
        assert {"new", "bin/busybox", "var/www/q", "etc/passwd"} <= names
        assert "etc/issue" not in names and not any(n.startswith("proc/") for n in names)
