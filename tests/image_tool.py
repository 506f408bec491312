# SPDX-License-Identifier: Apache-2.0
"""A root of its own, and berth-image called on it as the library calls it: arguments, and its end on descriptor 3."""
import glob, json, os, shutil, subprocess, tempfile, time
from place import PROGRAMS


class ImageTool:
    def __init__(self, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="berth-images.", dir="/var/tmp")
        self.root = self.folder + "/root"

    def start(self, applet, *words, stdin=subprocess.DEVNULL, env=None):
        read, write = os.pipe()
        process = subprocess.Popen([PROGRAMS + "/berth-image", applet, self.root, self.folder + "/run", *words], stdin=stdin,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=[3, write] if write != 3 else [3],
                                   preexec_fn=lambda: os.dup2(write, 3), start_new_session=True, env={**os.environ, **(env or {})})
        os.close(write)
        return process, read

    def end(self, process, read, stdin=None):
        """Results, and how it ended: None or the error; LOST when it died without a word."""
        self.out, self.err = process.communicate(stdin, timeout=120)
        with os.fdopen(read) as f:
            end = f.read()
        end = json.loads(end) if end else {"error": {"code": "LOST", "message": ""}}
        assert "error" in end or end == {"done": True}, end
        return end.get("error")

    def call(self, applet, *words, stdin=None, **kw):
        return self.end(*self.start(applet, *words, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL, **kw), stdin)

    def must(self, *words, **kw):
        error = self.call(*words, **kw)
        assert error is None, error
        return [json.loads(line) for line in self.out.splitlines()]

    def list(self, folder):
        path = f"{self.root}/images/{folder}"
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def fs(self, diff_id):
        return f"{self.root}/images/layers/{diff_id[7:]}/fs"

    def at_work(self):
        """Whether somebody still syncs, collects or clears up behind an answer."""
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    if self.root.encode() in f.read():
                        return True
            except OSError:
                pass
        return False

    def close(self):
        end = time.monotonic() + 20
        while self.at_work() and time.monotonic() < end:
            time.sleep(0.02)
        while os.path.exists(self.folder) and time.monotonic() < end:
            shutil.rmtree(self.folder, ignore_errors=True)
