# SPDX-License-Identifier: Apache-2.0
"""berth-wasmc and berth-wasm without an engine around them: compile, run in an empty root, read the page."""
import os, signal, socket, struct, subprocess, tempfile, time
from place import PROGRAMS

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wasm")
COUNTERS = ("instances instantiations requests active_requests waiting traps timeouts memory_outs rejected bad_requests cancelled "
            "memory_bytes memory_peak_bytes cpu_nsec connections").split()
PAGE = 24 + 4088 + 64 * 128
ENDS = ["none", "exit", "trap", "memory", "time", "failed"]


def there():
    return os.path.exists(PROGRAMS + "/berth-wasm")


def text_of(name):
    return open(f"{HERE}/{name}", "rb").read()


def error_of(data):
    """A struct berth_error: code, object, message."""
    code, _, what, message = struct.unpack("ii136s880s", data)
    return code, what.split(b"\0")[0].decode(), message.split(b"\0")[0].decode()


class Compiled:
    def __init__(self, module, profile="command", flags=(), timeout=120):
        self.profile, self.code, self.meta_file = profile, tempfile.TemporaryFile(), tempfile.TemporaryFile()
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as error:
            source.write(module)
            source.flush()
            fds = [f.fileno() for f in (source, self.code, self.meta_file, error)]
            words = [w for p in zip(("--in", "--out", "--meta", "--error"), map(str, fds)) for w in p]
            self.done = subprocess.run([PROGRAMS + "/berth-wasmc", "compile", "--profile", profile, *flags, *words], pass_fds=fds,
                                       stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
            error.seek(0)
            said = error.read()
        self.error = error_of(said) if len(said) == 1024 else None
        self.meta_file.seek(0)
        self.meta = self.meta_file.read().decode()

    def line(self, word):
        return [l.split(" ", 1)[1] for l in self.meta.splitlines() if l.startswith(word + " ")]


class Worker:
    """One berth-wasm in a root with nothing but `folders`."""

    def __init__(self, compiled, verb="run", flags=(), args=("guest",), env=None, root=None, sockets=(), stdin=subprocess.DEVNULL,
                 cwd="/", stdout=subprocess.PIPE, wrap=()):
        self.own = None if root else tempfile.TemporaryDirectory(prefix="berth-wasm.", dir="/var/tmp")
        root = root or self.own.name
        self.page = tempfile.TemporaryFile()
        self.page.truncate(PAGE)
        ready, told = os.pipe()
        program = os.open(PROGRAMS + "/berth-wasm", os.O_RDONLY)
        needs = compiled.line("needs")
        # Sockets from 3 on, then the others, as a stage arranges them.
        give = [*(s.fileno() for s in sockets), told, compiled.code.fileno(), self.page.fileno()]
        high = [os.dup(fd) for fd in give]
        n = len(sockets)
        argv = ["berth-wasm", verb, "--code", str(3 + n + 1), "--page", str(3 + n + 2), "--profile", compiled.profile,
                *(("--needs", needs[0]) if needs else ()), *flags, "--", *args]
        environ = {**(env or {}), "BERTH_READY_FD": str(3 + n), **({"LISTEN_FDS": str(n)} if n else {})}
        setup = ("import os,sys\n"
                 f"moved=[os.dup2(f,100+i) for i,f in enumerate({high})]\n"
                 f"p=os.dup2({program},90)\n"
                 f"[os.dup2(100+i,3+i) for i in range({len(high)})]\n"
                 f"[os.close(100+i) for i in range({len(high)})]\n"
                 f"os.chroot({root!r}); os.chdir({cwd!r}); os.set_inheritable(90,False)\n"
                 f"os.execve(90,{argv!r},{environ!r})\n")
        self.process = subprocess.Popen([*wrap, "/usr/bin/python3", "-I", "-S", "-c", setup], pass_fds=[*high, program], stdin=stdin,
                                        stdout=stdout, stderr=subprocess.PIPE)
        for fd in [told, program, *high]:
            os.close(fd)
        self.ready = os.fdopen(ready, "rb")

    def said(self):
        """What came up the ready pipe, to its end."""
        return self.ready.read()

    def wait_ready(self):
        data = os.read(self.ready.fileno(), 1024)
        assert data == b"ready\n", (data, self.process.stderr.read())

    def end(self, timeout=30, data=None):
        out, err = self.process.communicate(data, timeout=timeout)
        self.code, self.out, self.err = self.process.returncode, out, err.decode()
        return self

    def last_words(self):
        raw = os.pread(self.page.fileno(), 4088, 24)
        kind, code, asked, name, text = struct.unpack("IiQ80s3992s", raw)
        return ENDS[kind], code, asked, name.split(b"\0")[0].decode(), text.split(b"\0")[0].decode()

    def counters(self):
        sums = dict.fromkeys(COUNTERS, 0)
        for slot in range(64):
            values = struct.unpack("15Q", os.pread(self.page.fileno(), 120, 24 + 4088 + 128 * slot))
            for name, value in zip(COUNTERS, values):
                sums[name] += value
        return sums

    def until(self, counter, value, timeout=10):
        end = time.monotonic() + timeout
        while self.counters()[counter] != value:
            assert time.monotonic() < end, self.counters()
            time.sleep(0.01)

    def stop(self, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.end()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.ready.close()
        if self.own:
            self.own.cleanup()


class Service(Worker):
    def __init__(self, compiled, flags=(), **kw):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        super().__init__(compiled, "serve", flags, sockets=[self.socket], **kw)
        self.wait_ready()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def raw(self, request):
        """Send bytes, read until the other side closes."""
        with self.connect() as s:
            s.sendall(request)
            parts = []
            while data := s.recv(65536):
                parts.append(data)
            return b"".join(parts)

    def get(self, path="/"):
        """Status and body."""
        answer = self.raw(f"GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]) if head else 0, body
