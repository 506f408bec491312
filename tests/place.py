# SPDX-License-Identifier: Apache-2.0
"""A root and run folder of its own, the command in them, and what may be left in the machine afterwards."""
import json, os, re, shutil, subprocess, tempfile, time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROGRAMS = os.environ.get("BERTH_PROGRAMS", os.path.join(TOP, "build/programs"))
CACHE = os.environ.get("BERTH_TEST_CACHE", "/var/cache/berth-tests")
LONG = bool(os.environ.get("BERTH_TEST_LONG"))
STATES = {"creating", "created", "running", "paused", "restarting", "stopping", "stopped", "completed", "failed"}


def program_of(pid):
    try:
        return os.path.basename(os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)"))
    except OSError:
        return ""


def until(condition, seconds=30):
    """What it says once it holds; nobody waits so long but on a machine that is very busy."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)
    return value


class Place:
    def __init__(self, image=True, programs=PROGRAMS):
        self.folder = tempfile.mkdtemp(prefix="berth-fault.", dir="/var/tmp")
        self.programs = programs
        self.env = {**os.environ, "BERTH_ROOT": self.folder + "/root", "BERTH_RUN": self.folder + "/run", "BERTH_PROGRAMS": programs}
        if image:
            out = subprocess.run([TOP + "/tests/images/make", "tiny", CACHE], check=True, capture_output=True, text=True)
            self.must("image", "import", CACHE + "/tiny", "tiny:latest")

    def argv(self, *words):
        return [self.programs + "/berth", *words]

    def call(self, *words, wrap=(), env=None, timeout=60):
        return subprocess.run([*wrap, *self.argv(*words)], env={**self.env, **(env or {})}, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", timeout=timeout)

    def must(self, *words):
        r = self.call(*words)
        assert r.returncode == 0, f"berth {' '.join(words)}: {r.returncode} {r.stderr}"
        return r.stdout.strip()

    def workloads(self):
        out = self.must("--json", "ps", "-a")
        return [json.loads(line) for line in out.splitlines()]

    def states(self):
        """Name to state of all workloads, each of them a state that exists."""
        found = {w["name"]: w["state"] for w in self.workloads()}
        assert set(found.values()) <= STATES, found
        return found

    def supervisors(self):
        return [int(p) for p in filter(str.isdigit, os.listdir("/proc")) if program_of(p) == "berth-supervisor" and self.owns(p)]

    def owns(self, pid):
        try:
            return any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(self.folder) for fd in os.listdir(f"/proc/{pid}/fd"))
        except OSError:
            return False

    def remove_all(self):
        for name in self.states():
            self.must("rm", "-f", "-v", name)

    def listing(self):
        """Everything of this place alone that the machine holds: another copy may run beside it."""
        found = {"mount " + line.split()[4] for line in open("/proc/self/mountinfo") if self.folder in line}
        group = json.loads(self.must("--json", "info")).get("cgroup_parent") # none before the first create
        for folder, _, _ in os.walk("/sys/fs/cgroup") if group else ():
            if folder.endswith(group) or group + "/" in folder:
                found.add("cgroup " + folder)
        found |= self.network(group)
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if program_of(pid).startswith("berth") and self.owns(pid):
                found.add(f"process {pid} {program_of(pid)}")
        for sub in ("root/workloads", "root/names", "root/aside", "root/trash"):
            path = os.path.join(self.folder, sub)
            found |= {f"file {sub}/{e}" for e in (os.listdir(path) if os.path.isdir(path) else [])}
        return found

    @staticmethod
    def network(group):
        """Links and tables of this root: their names have the hash that its group's has."""
        hash_ = group.rsplit("-", 1)[-1] if group else None
        if not hash_:
            return set()
        tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines()
        return {f"link {n}" for n in os.listdir("/sys/class/net") if hash_ in n} | {t for t in tables if hash_ in t}

    def left(self, seconds=15):
        """What is still there after the kernel and the helper had a moment (an idle bridge stays for five seconds)."""
        end = time.monotonic() + seconds
        while True:
            found = self.listing()
            if not found or time.monotonic() > end:
                return found
            time.sleep(0.02)

    def doctor_repairs(self):
        r = self.call("doctor", "--repair")
        assert r.returncode == 0, f"doctor --repair: {r.returncode} {r.stdout} {r.stderr}"

    def close(self):
        try:
            self.remove_all()
            left = self.left()
            assert left == set(), left
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def one_clear_error(r):
    """Failed with one line that says what was asked; or by the loader, before there was a berth."""
    lines = [l for l in r.stderr.splitlines() if l.strip()]
    assert "Traceback" not in r.stderr and "Sanitizer" not in r.stderr, r.stderr
    assert r.returncode < 128 and lines, (r.returncode, r.stdout, r.stderr)
    assert re.match(r"berth: |.*error while loading shared libraries|.*: cannot |sh: ", lines[0]), r.stderr
