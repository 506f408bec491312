# SPDX-License-Identifier: Apache-2.0
"""What registries do that they should not, and how one gets through to those that are right: each with its outcome."""
import base64, json, os, pty, select, shutil, subprocess, sys, tempfile, termios, threading, time
import pytest
from faulty import INDEX, Answer, Faulty, body, cut, early_cut, endless, headers, many_headers, silent, slow, status
from image_tool import ImageTool
from place import TOP, PROGRAMS
from proxy import Proxy
from registry import CONFIG, MANIFEST, Registry, sha

DENIED, CORRUPT, IO, TIMED_OUT, NOT_FOUND = "DENIED", "CORRUPT", "IO", "TIMED_OUT", "NOT_FOUND"
BLOB, MANIFESTS = r"GET .*/blobs/sha256", r"GET .*/manifests/"


class Puller(ImageTool):
    """A store whose settings and home are its own."""

    def __init__(self):
        super().__init__()
        self.home, self.settings = self.folder + "/home", self.folder + "/berth.toml"
        os.makedirs(self.home + "/.docker")
        self.env = {"HOME": self.home, "BERTH_CONFIG": self.settings, "PATH": self.folder + ":" + os.environ["PATH"],
                    "XDG_RUNTIME_DIR": "", "XDG_CONFIG_HOME": "", "REGISTRY_AUTH_FILE": "", "DOCKER_CONFIG": ""}
        self.set("")

    def set(self, text):
        with open(self.settings, "w") as f:
            f.write(text)

    def docker(self, **config):
        with open(self.home + "/.docker/config.json", "w") as f:
            json.dump(config, f)

    def login(self, host, user="u", password="p"):
        self.docker(auths={host: {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}})

    def helper(self, script):
        path = self.folder + "/docker-credential-own"
        with open(path, "w") as f:
            f.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)

    def call(self, *words, env=None):
        return super().call(*words, env={**self.env, **(env or {})})

    def pull(self, name):
        self.must("pull", name)
        assert self.list("refs")

    def refused(self, name, code, *says, within=40, applet="pull"):
        """It fails so, in time, and the image is absent."""
        began = time.monotonic()
        error = self.call(applet, name)
        assert error, "it was taken"
        assert error["code"] == code, error
        for words in says:
            assert words in error["message"], error
        assert time.monotonic() - began < within
        assert not any(c < " " for c in error["message"])
        if applet == "pull":
            assert (self.list("refs"), self.list("layers"), self.list("blobs/sha256"), self.list("aside")) == ([], [], [], []), error
        return error


@pytest.fixture
def puller():
    p = Puller()
    yield p
    p.close()


@pytest.fixture
def faulty():
    f = Faulty()
    yield f
    f.close()


@pytest.fixture(scope="module")
def certificates():
    """A CA, and a certificate of it for 127.0.0.1 and localhost."""
    class Made(Registry):
        def __init__(self):
            self.folder = tempfile.mkdtemp(prefix="berth-ca.", dir="/var/tmp")
            self.certificates()
    made = Made()
    yield made.folder
    shutil.rmtree(made.folder)


@pytest.fixture(scope="module")
def real_tls():
    r = Registry(tls=True, auth=True)
    yield r
    r.close()


@pytest.fixture
def faulty_tls(certificates):
    f = Faulty(tls=(certificates + "/server.crt", certificates + "/server.key"))
    f.ca = certificates + "/ca.crt"
    yield f
    f.close()


def test_what_is_right_is_pulled(faulty, puller):
    puller.pull(faulty.name)
    assert not any("Authorization" in h for _, h in faulty.log)


# ---- what is sent is not what was asked for


def test_another_blob_is_refused(faulty, puller):
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", body(os.urandom(len(faulty.blobs[faulty.big]))))
    puller.refused(faulty.name, CORRUPT, faulty.big[7:20])


def test_another_config_is_refused(faulty, puller):
    faulty.at(f"{BLOB}.*{faulty.config[7:20]}", lambda h, a: Answer(200, a.body[:-1] + b" "))
    puller.refused(faulty.name, CORRUPT)


def test_another_manifest_than_the_digest_is_refused(faulty, puller):
    other = faulty.manifest.replace(b'"schemaVersion": 2', b'"schemaVersion":  2')
    faulty.at(MANIFESTS, body(other))
    puller.refused(f"{faulty.host}/a/b@{faulty.entry['digest']}", CORRUPT, "digest")


def test_a_digest_header_that_is_not_the_body_is_refused(faulty, puller):
    faulty.at("(GET|HEAD) .*/manifests/", headers(Docker_Content_Digest="sha256:" + "0" * 64))
    puller.refused(faulty.name, CORRUPT, "digest")


def test_more_than_was_promised_is_refused(faulty, puller):
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", endless)
    puller.refused(faulty.name, CORRUPT)


def test_a_blob_of_another_length_is_refused_before_it_is_read(faulty, puller):
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", body(b"x" * (4 << 20)))
    puller.refused(faulty.name, CORRUPT)


def test_headers_without_end_are_refused(faulty, puller):
    faulty.at("GET|HEAD", many_headers)
    puller.refused(faulty.name, CORRUPT, "more")


@pytest.mark.parametrize("name, data, type, code", [
    ("mediatype", lambda m: m, "application/vnd.docker.distribution.manifest.v2+json", CORRUPT), # CVE-2021-41190
    ("both", lambda m: m[:-1] + b', "manifests": []}', MANIFEST, CORRUPT),
    ("twice", lambda m: m[:-1] + b', "config": {}}', MANIFEST, CORRUPT),
    ("deep", lambda m: b"[" * 100000 + b"]" * 100000, MANIFEST, CORRUPT),
    ("huge", lambda m: m + b" " * (100 << 20), MANIFEST, CORRUPT),
    ("not json", lambda m: b"<html>", "text/html", CORRUPT),
    ("schema 1", lambda m: b'{"schemaVersion": 1}', "application/vnd.docker.distribution.manifest.v1+prettyjws", "UNSUPPORTED"),
    ("path", lambda m: m.replace(b'"digest": "sha256:', b'"digest": "sha256:../../'), MANIFEST, CORRUPT), # CVE-2024-3727
])
def test_manifests_that_are_none(faulty, puller, name, data, type, code):
    faulty.put("1", data(faulty.manifest), type)
    puller.refused(faulty.name, code)


def test_an_index_that_contains_itself(faulty, puller):
    """No document has its own digest in it: what comes for that digest is another, or a chain without end."""
    entry = {"mediaType": INDEX, "digest": "sha256:" + "1" * 64, "size": 10, "platform": {"os": "linux", "architecture": "amd64"}}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    faulty.put("1", index, INDEX)
    faulty.manifests["sha256:" + "1" * 64] = (index, INDEX)
    puller.refused(faulty.name, CORRUPT)


@pytest.mark.parametrize("change", [{"size": 1}, {"mediaType": "application/vnd.docker.distribution.manifest.v2+json"}])
def test_an_index_that_lies_about_its_manifest(faulty, puller, change):
    entry = {**faulty.put("x", faulty.manifest), "platform": {"os": "linux", "architecture": "amd64"}, **change}
    faulty.put("1", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode(), INDEX)
    puller.refused(faulty.name, CORRUPT, "its index says")


def test_indexes_too_deep(faulty, puller):
    entry = faulty.put("x", faulty.manifest)
    for i in range(10):
        entry["platform"] = {"os": "linux", "architecture": "amd64"}
        entry = faulty.put("1", json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry], "n": i}).encode(), INDEX)
    puller.refused(faulty.name, CORRUPT, "deep")


# ---- it breaks, is slow, is busy


def test_a_broken_connection_goes_on_where_it_broke(faulty, puller):
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", cut(1 << 20), 1)
    puller.pull(faulty.name)
    ranges = [h.get("Range") for _, h in faulty.asked(faulty.big[7:20])]
    assert len(ranges) == 2 and ranges[0] is None and ranges[1].startswith("bytes=") and 0 < int(ranges[1][6:-1]) <= 1 << 20


def test_a_source_without_ranges_sends_it_all_again(faulty, puller):
    def whole(h, a):
        return Answer(200, faulty.blobs[faulty.big])
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", cut(1 << 20), 1).at(f"{BLOB}.*{faulty.big[7:20]}", whole)
    puller.pull(faulty.name)


def test_a_wrong_range_is_not_taken(faulty, puller):
    def wrong(h, a):
        return Answer(206, faulty.blobs[faulty.big][5:], Content_Range=f"bytes 5-{len(faulty.blobs[faulty.big]) - 1}/{len(faulty.blobs[faulty.big])}")
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", cut(1 << 20), 1).at(f"{BLOB}.*{faulty.big[7:20]}", wrong)
    puller.refused(faulty.name, CORRUPT)


def test_a_connection_that_always_breaks_is_given_up(faulty, puller):
    faulty.at(BLOB, cut(100))
    puller.refused(faulty.name, IO, "break", within=60)
    assert len(faulty.asked(faulty.big[7:20])) <= 5


def test_a_byte_a_second_is_silence(faulty, puller):
    puller.set(f'[registries."{faulty.host}"]\ntimeout = "1s"\n')
    faulty.at(f"{BLOB}.*{faulty.big[7:20]}", slow(20))
    puller.refused(faulty.name, TIMED_OUT, "nothing", within=60)


def test_silence_is_not_waited_for(faulty, puller):
    puller.set(f'[registries."{faulty.host}"]\ntimeout = "1s"\n')
    faulty.at("GET|HEAD", silent(20))
    puller.refused(faulty.name, TIMED_OUT, within=60)


def test_retry_after_is_kept_to(faulty, puller):
    faulty.at(MANIFESTS, status(429, Retry_After="1"), 1)
    began = time.monotonic()
    puller.pull(faulty.name)
    assert time.monotonic() - began >= 1


def test_a_long_retry_after_is_an_answer(faulty, puller):
    faulty.at("(GET|HEAD) .*/manifests/", status(429, Retry_After="7200"))
    puller.refused(faulty.name, IO, "429", "7200 seconds")


def test_errors_of_the_server_pass(faulty, puller):
    faulty.at(MANIFESTS, status(500), 1).at(BLOB, status(503), 2)
    puller.pull(faulty.name)


def test_errors_of_the_server_that_stay_end_it(faulty, puller):
    faulty.at("GET|HEAD", status(500, b'{"errors":[{"code":"X","message":"the\\u001b[31m disk"}]}'))
    puller.refused(faulty.name, IO, "500")
    assert len(faulty.log) <= 12


# ---- redirects


def test_a_redirect_gets_no_credentials_of_another_host(faulty, puller):
    other = Faulty()
    other.blobs = faulty.blobs
    puller.login(faulty.host)
    def auth(h, a):
        return a if h.headers.get("Authorization") else Answer(401, WWW_Authenticate='Basic realm="x"')
    def away(h, a):
        return Answer(307, Location=f"{other.url}{h.path}") if h.headers.get("Authorization") else auth(h, a)
    faulty.at(BLOB, away).at("", auth)
    puller.pull(faulty.name)
    assert any("Authorization" in h for _, h in faulty.log)
    assert other.log and not any("Authorization" in h for _, h in other.log)
    other.close()


def test_redirects_in_a_circle_end(faulty, puller):
    faulty.at(BLOB, lambda h, a: Answer(302, Location=h.path))
    puller.refused(faulty.name, CORRUPT, "circle")


@pytest.mark.parametrize("where", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://[", ""])
def test_redirects_to_nowhere_are_refused(faulty, puller, where):
    faulty.at(BLOB, lambda h, a: Answer(302, Location=where))
    puller.refused(faulty.name, CORRUPT)


def test_https_is_never_left_for_http(faulty, faulty_tls, puller):
    faulty.blobs, faulty.manifests = faulty_tls.blobs, faulty_tls.manifests
    puller.set(f'[registries."{faulty_tls.host}"]\nca = "{faulty_tls.ca}"\n')
    faulty_tls.at(BLOB, lambda h, a: Answer(302, Location=f"{faulty.url}{h.path}"))
    puller.refused(faulty_tls.name, DENIED, "https to http")
    assert faulty.log == []


# ---- who are you?


def test_401_for_ever(faulty, puller):
    puller.login(faulty.host)
    faulty.at("GET|HEAD", status(401, WWW_Authenticate='Basic realm="x"'))
    puller.refused(faulty.name, DENIED, "berth login")
    assert len(faulty.log) <= 6


def test_401_for_ever_with_tokens(faulty, puller):
    faulty.at("/token", status(200, b'{"token":"abc"}'))
    faulty.at("GET|HEAD", status(401, WWW_Authenticate=f'Bearer realm="{faulty.url}/token",service="s",scope="repository:a/b:pull"'))
    puller.refused(faulty.name, DENIED, "berth login")
    assert len(faulty.log) <= 12


def bearer(faulty, realm=None, token=b'{"token":"abc"}'):
    def act(h, a):
        return a if h.headers.get("Authorization") == "Bearer abc" else \
            Answer(401, WWW_Authenticate=f'Bearer realm="{realm or faulty.url + "/token"}",service="s",scope="repository:a/b:pull"')
    faulty.at("/token", status(200, token)).at("", act)


def test_a_token_is_asked_for_once(faulty, puller):
    bearer(faulty)
    puller.pull(faulty.name)
    assert len(faulty.asked("/token")) == 1
    assert "scope=repository%3Aa%2Fb%3Apull" in faulty.asked("/token")[0][0]
    assert "Authorization" not in faulty.asked("/token")[0][1]


def test_a_token_is_asked_for_with_the_login(faulty, puller):
    puller.login(faulty.host)
    bearer(faulty)
    puller.pull(faulty.name)
    assert faulty.asked("/token")[0][1]["Authorization"] == "Basic dTpw"


def test_an_identity_token_is_refreshed(faulty, puller):
    puller.docker(auths={faulty.host: {"identitytoken": "refresh me"}})
    bearer(faulty, token=b'{"access_token":"abc"}')
    puller.pull(faulty.name)
    assert faulty.asked("POST /token")


@pytest.mark.parametrize("code", [302, 307, 308])
def test_an_identity_token_follows_no_redirect(faulty, puller, code):
    puller.docker(auths={faulty.host: {"identitytoken": "refresh me"}})
    faulty.at("/elsewhere", status(200, b'{"access_token":"abc"}')).at("/token", status(code, Location=faulty.url + "/elsewhere"))
    bearer(faulty)
    puller.refused(faulty.name, IO, f"token server answers {code}")
    assert not faulty.asked("/elsewhere")


@pytest.mark.parametrize("token", [b"{}", b"[]", b'{"token":"a\\r\\nX: y"}', b'{"token":""}', b"x" * (1 << 20)],
                         ids=["none", "a list", "a header", "empty", "huge"])
def test_tokens_that_are_none(faulty, puller, token):
    bearer(faulty, token=token)
    assert puller.refused(faulty.name, CORRUPT if len(token) < 1000 else IO, "token")


@pytest.mark.parametrize("realm", ["file:///etc/passwd", "ftp://127.0.0.1/"])
def test_token_servers_that_are_none(faulty, puller, realm):
    bearer(faulty, realm=realm)
    puller.refused(faulty.name, CORRUPT, "token server")


def test_a_token_server_without_tls_gets_no_password(faulty, faulty_tls, puller):
    puller.set(f'[registries."{faulty_tls.host}"]\nca = "{faulty_tls.ca}"\n')
    puller.login(faulty_tls.host)
    bearer(faulty_tls, realm=faulty.url + "/token")
    puller.refused(faulty_tls.name, DENIED, "TLS")
    assert faulty.log == []


def test_a_silent_token_server_is_not_waited_for(faulty, puller):
    puller.set(f'[registries."{faulty.host}"]\ntimeout = "1s"\n')
    faulty.at("/token", silent(20))
    bearer(faulty)
    puller.refused(faulty.name, TIMED_OUT, "token server", within=15)


def test_a_slow_token_server_stops_no_other_layer(faulty, puller):
    """One layer wants a token of its own, whose server answers once the other layer is here."""
    hello, partial = faulty.layers[0][0]["digest"], f"{puller.root}/images/partial/{faulty.big[7:]}"

    def token(h, a):
        end = time.monotonic() + 10
        while time.monotonic() < end:
            if os.path.exists(partial) and os.path.getsize(partial) == len(faulty.blobs[faulty.big]):
                return Answer(200, b'{"token":"abc"}')
            time.sleep(0.02)
        return Answer(500)

    def asking(h, a):
        return a if h.headers.get("Authorization") else Answer(401, WWW_Authenticate=f'Bearer realm="{faulty.url}/token"')
    faulty.at("/token", token).at(f"{BLOB}.*{hello[7:20]}", asking)
    puller.pull(faulty.name)


def test_layers_that_want_a_token_at_once_share_it(faulty, puller):
    def asking(h, a):
        return a if h.headers.get("Authorization") else Answer(401, WWW_Authenticate=f'Bearer realm="{faulty.url}/token"')
    faulty.at("/token", lambda h, a: time.sleep(0.5) or Answer(200, b'{"token":"abc"}'))
    faulty.at(f"{BLOB}.*({faulty.big[7:20]}|{faulty.layers[0][0]['digest'][7:20]})", asking)
    puller.pull(faulty.name)
    assert len(faulty.asked("/token")) == 1


def test_nobody_is_logged_in(faulty, puller):
    faulty.at("", status(401, WWW_Authenticate='Basic realm="x"'))
    puller.refused(faulty.name, DENIED, f"berth login {faulty.host}")


# ---- where logins are


def basic(faulty):
    faulty.at("", lambda h, a: a if h.headers.get("Authorization") == "Basic dTpw" else Answer(401, WWW_Authenticate='Basic realm="x"'))


def test_a_login_of_docker(faulty, puller):
    basic(faulty)
    puller.login(faulty.host)
    puller.pull(faulty.name)


@pytest.mark.parametrize("key", ["HOST", "HOST/a", "HOST/a/b"])
def test_a_login_of_podman(faulty, puller, key):
    basic(faulty)
    path = puller.folder + "/auth.json"
    with open(path, "w") as f:
        json.dump({"auths": {faulty.host: {"auth": "d3Jvbmc6eA=="}, faulty.host + "/z": {"auth": "d3Jvbmc6eA=="},
                             key.replace("HOST", faulty.host): {"auth": "dTpw"}}}, f)
    puller.env["REGISTRY_AUTH_FILE"] = path
    puller.pull(faulty.name)


def test_a_credential_helper(faulty, puller):
    basic(faulty)
    puller.docker(credHelpers={faulty.host: "own"})
    puller.helper(f'read x; [ "$1 $x" = "get {faulty.host}" ] && echo \'{{"Username":"u","Secret":"p"}}\'')
    puller.pull(faulty.name)


@pytest.mark.parametrize("script, code", [("echo no", IO), ("yes", "TOO_BIG"), ('echo \'{"Username":"u\\r\\nX: y","Secret":"p"}\'', IO), ("exit 1", IO)])
def test_credential_helpers_that_misbehave(faulty, puller, script, code):
    puller.docker(credsStore="own")
    puller.helper(script)
    puller.refused(faulty.name, code, "docker-credential-own")


def test_a_credential_helper_has_a_name_only(faulty, puller):
    puller.docker(credsStore="../../bin/sh")
    puller.refused(faulty.name, "INVALID", "credential helper")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths":{"HOST":{"auth":"%%%"}}}', '{"auths":{"HOST":{"auth":"dQ=="}}}'])
def test_a_broken_file_of_logins_is_said(faulty, puller, text):
    with open(puller.home + "/.docker/config.json", "w") as f:
        f.write(text.replace("HOST", faulty.host))
    puller.refused(faulty.name, "INVALID", "config.json")


# ---- logins in a credential helper, and from a terminal


KEEPER = """case $1 in
store) cat > FOLDER/kept;;
erase) cat > FOLDER/erased; rm FOLDER/kept;;
get) cat > FOLDER/asked; [ -e FOLDER/kept ] && cat FOLDER/kept || echo "credentials not found in native keychain";;
esac
"""


def test_a_credential_helper_keeps_and_forgets_a_login(puller, real_tls):
    config = puller.home + "/.docker/config.json"
    puller.set(f'[registries."{real_tls.host}"]\nca = "{real_tls.ca}"\n')
    puller.docker(credsStore="own")
    puller.helper(KEEPER.replace("FOLDER", puller.folder))
    r = berth(puller, "login", "-u", "u", "--password-stdin", real_tls.host, input="p\n")
    assert r.returncode == 0, r.stderr
    assert json.load(open(puller.folder + "/kept")) == {"ServerURL": real_tls.host, "Username": "u", "Secret": "p"}
    assert json.load(open(config)) == {"credsStore": "own", "auths": {real_tls.host: {}}}
    assert puller.call("pull", real_tls.host + "/none:1")["code"] == NOT_FOUND # it was let in
    assert open(puller.folder + "/asked").read() == real_tls.host
    assert berth(puller, "logout", real_tls.host).returncode == 0
    assert open(puller.folder + "/erased").read() == real_tls.host
    assert json.load(open(config)) == {"credsStore": "own", "auths": {}}
    assert puller.call("pull", real_tls.host + "/none:1")["code"] == DENIED


@pytest.mark.parametrize("script, says", [("cat >/dev/null; echo the keychain is locked", "the keychain is locked"), ("yes", "more than is read")])
def test_a_credential_helper_that_keeps_nothing_is_said(puller, real_tls, script, says):
    puller.set(f'[registries."{real_tls.host}"]\nca = "{real_tls.ca}"\n')
    puller.docker(credsStore="own")
    puller.helper(script)
    r = berth(puller, "login", "-u", "u", "--password-stdin", real_tls.host, input="p\n")
    assert r.returncode == 1 and "docker-credential-own" in r.stderr and says in r.stderr, r.stderr
    assert json.load(open(puller.home + "/.docker/config.json")) == {"credsStore": "own"}


class Person:
    """`berth` at a terminal."""

    def __init__(self, puller, *words):
        self.master, slave = pty.openpty()
        env = {**os.environ, **puller.env, "BERTH_ROOT": puller.root, "BERTH_RUN": puller.folder + "/run", "BERTH_PROGRAMS": PROGRAMS}
        self.process = subprocess.Popen([PROGRAMS + "/berth", *words], env=env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.seen = ""

    def sees(self, text):
        end = time.monotonic() + 20
        while text not in self.seen and time.monotonic() < end:
            if not select.select([self.master], [], [], 1)[0]:
                continue
            try:
                self.seen += os.read(self.master, 4096).decode()
            except OSError:
                break
        assert text in self.seen, self.seen

    def echoes(self):
        return bool(termios.tcgetattr(self.master)[3] & termios.ECHO)

    def types(self, text):
        os.write(self.master, text.encode())

    def end(self):
        code = self.process.wait(20)
        os.close(self.master)
        return code


def test_a_password_is_asked_for_and_not_shown(puller, real_tls):
    puller.set(f'[registries."{real_tls.host}"]\nca = "{real_tls.ca}"\n')
    person = Person(puller, "login", real_tls.host)
    person.sees("User name: ")
    assert person.echoes()
    person.types("u\n")
    person.sees("Password: ")
    assert not person.echoes()
    person.types("p\n")
    person.sees("logged in")
    assert person.echoes() and "\np" not in person.seen and "word: p" not in person.seen
    assert person.end() == 0
    auth = json.load(open(puller.home + "/.docker/config.json"))["auths"][real_tls.host]["auth"]
    assert base64.b64decode(auth) == b"u:p"


def test_a_person_who_thinks_better_of_it_gets_the_terminal_back(puller, real_tls):
    person = Person(puller, "login", "-u", "u", real_tls.host)
    person.sees("Password: ")
    person.types("\x03\n")
    person.sees("no password was given")
    assert person.echoes()
    assert person.end() == 1 and not os.path.exists(puller.home + "/.docker/config.json")


# ---- mirrors, blocked ones, TLS


def mirrored(puller, faulty, *mirrors):
    puller.set(f'[registries."{faulty.host}"]\nmirrors = [{", ".join(json.dumps(m) for m in mirrors)}]\n')


def test_a_mirror_is_asked_first(faulty, puller):
    mirror = Faulty()
    mirror.blobs, mirror.manifests = faulty.blobs, faulty.manifests
    mirrored(puller, faulty, mirror.host)
    puller.pull(faulty.name)
    assert mirror.log and faulty.log == []
    mirror.close()


def test_a_mirror_that_lies_is_found_out_and_the_next_is_asked(faulty, puller):
    liar = Faulty()
    liar.blobs, liar.manifests = dict(faulty.blobs), faulty.manifests
    liar.blobs[faulty.big] = os.urandom(len(faulty.blobs[faulty.big]))
    mirrored(puller, faulty, liar.host)
    puller.pull(faulty.name)
    assert liar.asked(faulty.big[7:20]) and faulty.asked(faulty.big[7:20])
    liar.close()


def test_a_mirror_that_breaks_off_and_a_registry_that_goes_on(faulty, puller):
    mirror = Faulty()
    mirror.blobs, mirror.manifests = faulty.blobs, faulty.manifests
    mirror.at(f"{BLOB}.*{faulty.big[7:20]}", cut(1 << 20), 1).at(f"{BLOB}.*{faulty.big[7:20]}", status(500))
    mirrored(puller, faulty, mirror.host)
    puller.pull(faulty.name)
    assert faulty.asked(faulty.big[7:20])[0][1].get("Range")
    mirror.close()


@pytest.mark.parametrize("mirror", ["127.0.0.1:1", "nosuch.invalid"])
def test_a_mirror_that_is_not_there(faulty, puller, mirror):
    mirrored(puller, faulty, mirror)
    puller.pull(faulty.name)


def test_a_mirror_gets_no_login_of_the_registry(faulty, puller):
    mirror = Faulty()
    mirror.at("", status(401, WWW_Authenticate='Basic realm="x"'))
    puller.login(faulty.host)
    mirrored(puller, faulty, mirror.host)
    puller.pull(faulty.name)
    assert mirror.log and not any("Authorization" in h for _, h in mirror.log)
    mirror.close()


def test_a_blocked_registry_is_not_asked(faulty, puller):
    puller.set(f'[registries."{faulty.host}"]\nblocked = true\n')
    puller.refused(faulty.name, DENIED, "block")
    puller.set(f'[registries."*"]\nblocked = true\n')
    puller.refused(faulty.name, DENIED, "block")
    assert faulty.log == []
    puller.set(f'[registries."*"]\nblocked = true\n[registries."{faulty.host}"]\n')
    puller.pull(faulty.name)


@pytest.mark.parametrize("text", ['mirors = ["x"]', "blocked = 1", 'timeout = "soon"', 'mirrors = ["a b"]', 'certificate = "/x"', 'ca = "/nosuch"'])
def test_settings_that_are_wrong_are_said(faulty, puller, text):
    puller.set(f'[registries."{faulty.host}"]\n{text}\n')
    error = puller.call("pull", faulty.name)
    assert error and error["code"] in ("INVALID", "NOT_FOUND") and faulty.log == []


def test_an_unknown_ca_is_refused_and_a_known_one_is_not(faulty_tls, puller):
    puller.refused(faulty_tls.name, DENIED, "certificate", "certs.d")
    puller.set(f'[registries."{faulty_tls.host}"]\nca = "{faulty_tls.ca}"\n')
    puller.pull(faulty_tls.name)


def test_a_client_certificate_is_shown_where_it_is_asked_for(certificates, puller):
    f = Faulty(tls=(certificates + "/server.crt", certificates + "/server.key"), client_ca=certificates + "/ca.crt")
    ca = f'[registries."{f.host}"]\nca = "{certificates}/ca.crt"\n'
    ours = f'certificate = "{certificates}/server.crt"\nkey = "{certificates}/server.key"\n'
    try:
        puller.set(ca)
        puller.refused(f.name, IO, f.host)
        assert f.log == []
        puller.set(ca + ours)
        puller.pull(f.name)
    finally:
        f.close()


def test_a_client_certificate_is_for_one_host(certificates, faulty_tls, puller):
    other = Faulty(tls=(certificates + "/server.crt", certificates + "/server.key"), client_ca=certificates + "/ca.crt")
    other.blobs = faulty_tls.blobs
    faulty_tls.at(BLOB, lambda h, a: Answer(307, Location=f"{other.url}{h.path}"))
    puller.set(f'[registries."{faulty_tls.host}"]\nca = "{certificates}/ca.crt"\n'
               f'certificate = "{certificates}/server.crt"\nkey = "{certificates}/server.key"\n')
    try:
        puller.refused(faulty_tls.name, IO)
        assert other.log == []
    finally:
        other.close()


def test_a_ca_of_one_host_vouches_for_no_other(certificates, faulty_tls, puller):
    """Also when a redirect of the first has led there before: the connection is nobody else's."""
    other = Faulty(tls=(certificates + "/server.crt", certificates + "/server.key"))
    other.blobs, other.manifests = faulty_tls.blobs, faulty_tls.manifests
    faulty_tls.at(BLOB, lambda h, a: Answer(307, Location=f"{other.url}{h.path}"), 1)
    faulty_tls.at(BLOB, status(404))
    puller.set(f'[registries."{faulty_tls.host}"]\nca = "{certificates}/ca.crt"\n[registries."{other.host}"]\n'
               f'mirrors = ["{faulty_tls.host}"]\n')
    try:
        puller.refused(other.name, DENIED, "certificate", other.host)
        assert len(other.log) == 1
    finally:
        other.close()


def test_insecure_takes_any_certificate(faulty_tls, puller):
    puller.set(f'[registries."{faulty_tls.host}"]\ninsecure = true\n')
    puller.pull(faulty_tls.name)


@pytest.mark.parametrize("folder", ["/etc/docker/certs.d", "/etc/containers/certs.d"])
def test_certs_d(faulty_tls, puller, folder):
    made = [p for p in (os.path.dirname(folder), folder) if not os.path.isdir(p)]
    place = f"{folder}/{faulty_tls.host}"
    os.makedirs(place)
    try:
        shutil.copy(faulty_tls.ca, place + "/ca.crt")
        puller.pull(faulty_tls.name)
    finally:
        shutil.rmtree(place)
        for p in reversed(made):
            os.rmdir(p)


def test_a_proxy_of_the_environment_is_not_asked_for_loopback(faulty, puller):
    puller.env |= {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    puller.pull(faulty.name)


@pytest.mark.parametrize("login", [None, "dTpw"])
def test_a_registry_behind_a_proxy(faulty_tls, puller, login):
    port = faulty_tls.host.split(":")[1]
    name = f"registry.test:{port}/a/b:1"
    proxy = Proxy({"registry.test": "127.0.0.1"}, login)
    puller.set(f'[registries."registry.test:{port}"]\nca = "{faulty_tls.ca}"\n')
    try:
        puller.refused(name, NOT_FOUND, "no such host")
        puller.env["https_proxy"] = f"http://{'u:p@' if login else ''}{proxy.host}"
        puller.env["no_proxy"] = "registry.test"
        puller.refused(name, NOT_FOUND, "no such host")
        puller.env["no_proxy"] = ""
        puller.pull(name)
        assert all(l.startswith(f"CONNECT registry.test:{port} ") for l in proxy.log) and proxy.log
        assert not any(h.lower().startswith("proxy-") for _, hs in faulty_tls.log for h in hs)
        if login:
            puller.env["https_proxy"] = f"http://{proxy.host}"
            assert "407" in puller.call("pull", name)["message"]
    finally:
        proxy.close()


def test_a_registry_without_tls_behind_a_proxy(faulty, puller):
    port = faulty.host.split(":")[1]
    proxy = Proxy({"registry.test": "127.0.0.1"})
    puller.set(f'[registries."registry.test:{port}"]\ninsecure = true\n')
    puller.env |= {"HTTP_PROXY": f"http://{proxy.host}", "HTTPS_PROXY": f"http://{proxy.host}"}
    try:
        puller.pull(f"registry.test:{port}/a/b:1")
        assert any(l.startswith(f"GET http://registry.test:{port}/v2/a/b/manifests/1 ") for l in proxy.log)
    finally:
        proxy.close()


# ---- push


@pytest.fixture
def made(faulty, puller):
    puller.pull(faulty.name)
    faulty.log.clear()
    return faulty


def test_what_is_there_is_not_sent(made, puller):
    puller.must("push", made.name)
    assert not made.asked("PATCH|POST")


def test_a_broken_upload_goes_on_where_it_broke(made, puller):
    data = made.blobs.pop(made.big)
    made.at("PATCH", early_cut(1 << 20), 1)
    puller.must("push", made.name)
    assert made.blobs[made.big] == data
    sent = [h["Content-Range"] for _, h in made.asked("PATCH")]
    assert sent[0].startswith("0-") and int(sent[1].split("-")[0]) == 1 << 20


def test_an_upload_that_always_breaks_is_given_up(made, puller):
    made.blobs.pop(made.big)
    made.at("PATCH", early_cut(0))
    made.at("PUT .*manifests", status(500))
    puller.refused(made.name, IO, applet="push")
    assert made.big not in made.blobs and len(made.asked("PATCH")) <= 5


def test_blobs_are_sent_beside_each_other(made, puller):
    together = threading.Barrier(2, timeout=10)
    blobs = {made.big, made.layers[0][0]["digest"]}
    for digest in blobs:
        made.blobs.pop(digest)
    made.mounts = False
    made.at("PATCH", lambda h, a: (together.wait(), a)[1])
    puller.must("push", made.name)
    assert blobs <= set(made.blobs)


def test_a_pruned_layer_comes_from_where_it_came_from(made, puller):
    other, third = Faulty(), Faulty()
    for f in (other, third):
        f.blobs, f.manifests = {}, {}
    def blobs():
        return {"sha256:" + b for b in puller.list("blobs/sha256")}
    try:
        assert berth(puller, "image", "prune", "--blobs", "-f").returncode == 0 and made.big not in blobs()
        for f in (other, third):
            assert berth(puller, "tag", made.name, f.host + "/a/b:1").returncode == 0
        r = berth(puller, "push", other.host + "/a/b:1")
        assert r.returncode == 0 and "fetching it again" in r.stderr, r.stderr
        assert other.blobs[made.big] == made.blobs[made.big] and made.asked(f"{BLOB}.*{made.big[7:20]}")
        end = time.monotonic() + 30 # it is kept behind the answer
        while made.big not in blobs():
            assert time.monotonic() < end
            time.sleep(0.05)
        assert puller.list("partial") == [] and berth(puller, "image", "verify").returncode == 0
        made.at(BLOB, status(404))
        puller.must("push", third.host + "/a/b:1") # nothing has to be fetched
        assert third.blobs[made.big] == made.blobs[made.big]
        third.blobs.clear()
        third.log.clear()
        assert berth(puller, "image", "prune", "--blobs", "-f").returncode == 0
        assert other.host + "/a/b:1" in berth(puller, "push", other.host + "/a/b:1").stdout # it has them
        other.at("", status(404))
        puller.refused(third.host + "/a/b:1", NOT_FOUND, "pruned here", "berth pull", applet="push")
        assert not third.asked("PUT .*manifests")
    finally:
        other.close()
        third.close()


def test_an_upload_to_another_host_takes_no_credentials_along(made, puller):
    other = Faulty()
    puller.login(made.host)
    other.blobs = made.blobs
    other.uploads["u1"] = b""
    made.blobs.pop(made.big)
    def auth(h, a):
        return a if h.headers.get("Authorization") else Answer(401, WWW_Authenticate='Basic realm="x"')
    made.at("POST .*uploads", lambda h, a: Answer(202, Location=f"{other.url}/v2/a/b/blobs/uploads/u1") if h.headers.get("Authorization") else auth(h, a))
    made.at("", auth)
    puller.must("push", made.name)
    assert other.asked("PATCH") and not any("Authorization" in h for _, h in other.log)
    other.close()


def test_a_manifest_that_the_registry_changes_is_said(made, puller):
    made.at("PUT .*manifests", headers(Docker_Content_Digest="sha256:" + "0" * 64))
    puller.refused(made.name, CORRUPT, applet="push")


# ---- real registries


def berth(puller, *words, input=None):
    env = {**os.environ, **puller.env, "BERTH_ROOT": puller.root, "BERTH_RUN": puller.folder + "/run", "BERTH_PROGRAMS": PROGRAMS}
    return subprocess.run([PROGRAMS + "/berth", *words], env=env, input=input, capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL if input is None else None)


def test_login_push_and_pull_with_tls_and_a_password(made, puller, real_tls):
    name = real_tls.host + "/x/y:1"
    puller.set(f'[registries."{real_tls.host}"]\nca = "{real_tls.ca}"\n')
    assert berth(puller, "tag", made.name, name).returncode == 0
    r = berth(puller, "push", name)
    assert r.returncode == 1 and f"berth login {real_tls.host}" in r.stderr
    r = berth(puller, "login", "-u", "u", "--password-stdin", real_tls.host, input="wrong\n")
    assert r.returncode == 1 and "refuses" in r.stderr
    assert not os.path.exists(puller.home + "/.docker/config.json")
    r = berth(puller, "login", "-u", "u", "--password-stdin", real_tls.host, input="p\n")
    assert r.returncode == 0, r.stderr
    assert os.stat(puller.home + "/.docker/config.json").st_mode & 0o777 == 0o600
    r = berth(puller, "push", name)
    assert r.returncode == 0 and made.entry["digest"] in r.stdout, r.stderr
    inspected = subprocess.run(["skopeo", "inspect", "--authfile", puller.home + "/.docker/config.json", "--tls-verify=false",
                                "docker://" + name], check=True, capture_output=True, text=True)
    assert json.loads(inspected.stdout)["Digest"] == made.entry["digest"]
    assert berth(puller, "rmi", name).returncode == 0
    assert berth(puller, "pull", name).returncode == 0
    r = berth(puller, "logout", real_tls.host)
    assert r.returncode == 0 and json.load(open(puller.home + "/.docker/config.json")) == {"auths": {}}
    assert "nobody" in berth(puller, "logout", real_tls.host).stderr


def test_logins_go_both_ways_with_skopeo(puller, real_tls):
    path = puller.folder + "/auth.json"
    puller.set(f'[registries."{real_tls.host}"]\nca = "{real_tls.ca}"\n')
    puller.env["REGISTRY_AUTH_FILE"] = path
    subprocess.run(["skopeo", "login", "--tls-verify=false", "-u", "u", "-p", "p", "--authfile", path, real_tls.host], check=True, capture_output=True)
    error = puller.call("pull", real_tls.host + "/none:1")
    assert error["code"] == NOT_FOUND, error
    assert berth(puller, "logout", real_tls.host).returncode == 0
    r = subprocess.run(["skopeo", "login", "--get-login", "--authfile", path, real_tls.host], capture_output=True, text=True)
    assert r.returncode != 0


def test_a_layer_is_taken_from_a_neighbour(made, puller):
    real = Registry(log=True)
    try:
        for name in ("one/x:1", "two/y:1"):
            assert berth(puller, "tag", made.name, f"{real.host}/{name}").returncode == 0
            assert berth(puller, "push", f"{real.host}/{name}").returncode == 0
        asked = real.requests()
        assert sum("mount=" in r for r in asked) == 2 and not any("two/y" in r and "PATCH" in r for r in asked)
        assert berth(puller, "pull", f"{real.host}/two/y:1").returncode == 0
    finally:
        real.close()


def test_who_is_not_there(puller):
    assert "no such host" in puller.refused("nosuch.invalid/x", NOT_FOUND)["message"]
    assert "cannot be reached" in puller.refused("127.0.0.1:1/x", IO)["message"]
    r = berth(puller, "push", "nosuch:1")
    assert r.returncode == 1 and "nosuch:1" in r.stderr


def test_short_names_mean_what_the_settings_say(faulty, puller):
    ours = f'images = {{ registry = "{faulty.host}", tag = "1" }}\n'
    puller.set(ours)
    r = berth(puller, "pull", "a/b")
    assert r.returncode == 0, r.stderr
    assert berth(puller, "tag", "a/b", "c").returncode == 0
    shown = lambda: sorted(json.loads(l)["reference"] for l in berth(puller, "--json", "images").stdout.splitlines())
    assert shown() == ["a/b:1", "c:1"]
    assert sorted(json.loads(berth(puller, "image", "inspect", "c").stdout)["references"]) == ["a/b:1", "c:1"]
    r = berth(puller, "create", "--dry-run", "--network", "none", "c", "/x")
    assert r.returncode == 0, r.stderr
    puller.set("")
    assert shown() == [f"{faulty.host}/a/b:1", f"{faulty.host}/c:1"]
    assert berth(puller, "create", "--pull", "never", "--dry-run", "--network", "none", "c", "/x").returncode == 1
    puller.set(ours)
    assert berth(puller, "rmi", "c").returncode == 0 and shown() == ["a/b:1"]
    assert berth(puller, "push", "a/b").returncode == 0
    for text, says in (('registry = "nodots"', "line 2: images.registry"), ('tag = "-x"', "line 2: images.tag"), ('tagg = "x"', "did you mean tag?")):
        puller.set("[images]\n" + text + "\n")
        for words in (["pull", "a/b"], ["images"]):
            r = berth(puller, *words)
            assert r.returncode == 1 and says in r.stderr, r.stderr


def test_a_login_without_a_name_is_for_the_registry_of_short_names(puller, real_tls):
    puller.set(f'images.registry = "{real_tls.host}"\n[registries."{real_tls.host}"]\nca = "{real_tls.ca}"\n')
    r = berth(puller, "login", "-u", "u", "--password-stdin", input="p\n")
    assert r.returncode == 0 and real_tls.host in r.stderr, r.stderr
    assert real_tls.host in json.load(open(puller.home + "/.docker/config.json"))["auths"]
    assert berth(puller, "logout").returncode == 0
    assert json.load(open(puller.home + "/.docker/config.json")) == {"auths": {}}


def test_a_login_needs_somebody_to_ask(puller):
    r = berth(puller, "login", "x.example")
    assert r.returncode == 2 and "--password-stdin" in r.stderr
    r = berth(puller, "login", "--password-stdin", "x.example", input="p")
    assert r.returncode == 2 and "--username" in r.stderr
    r = berth(puller, "login", "-u", "u", "--password-stdin", "nodots", input="p")
    assert r.returncode == 1 and "not a registry" in r.stderr
