# SPDX-License-Identifier: Apache-2.0
"""Many at once, by many processes; and what doctor finds of what was planted."""
import ctypes, json, os, re, subprocess, tempfile, urllib.request
import pytest
from conftest import Berth
from place import TOP, until

pytestmark = pytest.mark.kernel

WORKERS = 8
EACH = 25

# One of the processes: all of its own are started, seen in the list, stopped and removed.
WORKER = """
set -e
names=; for i in $(seq %d); do names="$names c%d-$i"; done
for n in $names; do "$BERTH" run -d --name $n --network none tiny sleep 1000 >/dev/null; done
"$BERTH" ps --format '{{.name}}' > "$LIST"
for n in $names; do grep -qx $n "$LIST"; done
"$BERTH" stop -t 0 $names >/dev/null
"$BERTH" rm $names >/dev/null
"""


@pytest.fixture
def crowd():
    """A root on tmpfs: the disk is not what is tried here."""
    b = Berth(image=False)
    os.rmdir(b.folder)
    b.folder = tempfile.mkdtemp(prefix="berth-crowd.", dir="/dev/shm")
    b.env.update(BERTH_ROOT=b.folder + "/root", BERTH_RUN=b.folder + "/run")
    b.must("--quiet", "image", "import", "/var/cache/berth-tests/tiny", "tiny:latest")
    yield b
    b.close() # which looks that nothing is left


def test_eight_processes_start_list_stop_and_remove_their_own(crowd, tmp_path):
    processes = [subprocess.Popen(["sh", "-c", WORKER % (EACH, k)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  env={**crowd.env, "BERTH": crowd.argv()[0], "LIST": str(tmp_path / f"list{k}")}) for k in range(WORKERS)]
    failed = [(p.returncode, out) for p in processes if (out := p.communicate(timeout=300)[0]) or p.returncode]
    assert not failed, failed
    assert crowd.states() == {}
    assert "wrong" not in crowd.must("doctor")
    assert crowd.left() == set()


def test_who_asks_between_two_runs_hears_no_nonsense(crowd):
    """That it \"is running\" is no reason why nothing can be run in it, nor a signal sent."""
    crowd.must("run", "-d", "--name", "again", "--network", "none", "tiny", "sleep", "1000")
    loop = subprocess.Popen(["sh", "-c", "for i in $(seq 40); do $BERTH stop -t 0 again && $BERTH start again || exit 1; done"],
                            env={**crowd.env, "BERTH": crowd.argv()[0]}, stdout=subprocess.DEVNULL)
    while loop.poll() is None:
        for words in (["exec", "again", "true"], ["kill", "-s", "CONT", "again"], ["pause", "again"], ["unpause", "again"]):
            r = crowd.call(*words)
            assert "it is running" not in r.stderr or words[0] == "unpause", r.stderr
    assert loop.returncode == 0
    crowd.must("rm", "-f", "again")


SERVICES = 500
SERVE = """
set -e
names=; for i in $(seq %d); do names="$names s%d-$i"; done
for n in $names; do "$BERTH" run -d --name $n service:latest >/dev/null; done
echo started; read -r _
"$BERTH" stop -t 5 $names >/dev/null
"$BERTH" rm $names >/dev/null
"""


def memory(pid):
    """kB: its share of all that it has, of the code that was compiled, and the whole of that code."""
    inside, all_, code, whole = False, 0, 0, 0
    for line in open(f"/proc/{pid}/smaps"):
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            inside = "/cache/wasm/" in line
        elif m := re.match(r"(Pss|Rss): +(\d+) kB", line):
            all_ += int(m[2]) * (m[1] == "Pss")
            code += int(m[2]) * (m[1] == "Pss" and inside)
            whole += int(m[2]) * (m[1] == "Rss" and inside)
    return all_, code, whole


def test_five_hundred_wasm_services_at_once_share_their_code(crowd):
    if "wasm" not in crowd.must("engines").split():
        pytest.skip("this build has no Wasm (-Dwasm=disabled)")
    crowd.must("image", "import", TOP + "/tests/wasm/http.wat", "service:latest")
    crowd.must("image", "compile", "service:latest")
    processes = [subprocess.Popen(["sh", "-c", SERVE % (SERVICES // 2, k)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                  env={**crowd.env, "BERTH": crowd.argv()[0]}) for k in range(2)]
    assert [p.stdout.readline() for p in processes] == ["started\n"] * 2
    states = crowd.states()
    assert len(states) == SERVICES and set(states.values()) == {"running"}
    for name in list(states)[::50]:
        with urllib.request.urlopen(f"http://{crowd.must('address', name, '8080')}/", timeout=30) as answer:
            assert answer.read() == b"hello 1\n"
    workers = [crowd.status(name) for name in list(states)[::25]]
    for status in workers:
        worker, code, whole = memory(status["pid"])
        supervisor = memory(status["supervisor_pid"])[0]
        assert worker + supervisor < 2048, (worker, supervisor)
        assert code < whole / 50, (code, whole)
    failed = [(p.returncode, out) for p in processes if (out := p.communicate("\n", timeout=300)[0]) or p.returncode]
    assert not failed, failed
    assert crowd.states() == {} and "wrong" not in crowd.must("doctor")


def test_of_several_starts_at_once_the_others_hear_why(crowd):
    crowd.must("create", "--name", "race", "--network", "none", "tiny", "sleep", "1000")
    starts = [subprocess.Popen(crowd.argv("start", "race"), env=crowd.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
              for _ in range(6)]
    said = [(p.communicate(timeout=60)[1], p.returncode) for p in starts]
    assert sorted(code for _, code in said) == [0] + [1] * 5, said
    assert {err.strip() for err, code in said if code} <= {"berth: start race: it is being started", "berth: start race: it is running"}, said
    crowd.must("rm", "-f", "race")


def checks(berth, *words):
    r = berth.call("--json", "doctor", *words)
    return r.returncode, {c["check"]: c for c in map(json.loads, r.stdout.splitlines())}


def test_doctor_finds_and_mends_what_was_planted(crowd):
    root = crowd.env["BERTH_ROOT"]
    code, fine = checks(crowd)
    assert code == 0 and all(c["ok"] for c in fine.values()), fine
    assert fine["kernel"]["detail"].startswith("Linux ") and "MiB free" in fine["space"]["detail"]
    crowd.must("run", "-d", "--name", "victim", "--network", "none", "tiny", "sleep", "1000")
    pid = crowd.status("victim")["supervisor_pid"]
    parent = crowd.json("info")["cgroup_parent"] # info looks at every record, and mends what it finds dead
    os.kill(pid, 9)
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    os.makedirs(root + "/aside/" + "0" * 32, exist_ok=True)
    os.makedirs(root + "/trash/something")
    os.makedirs(root + "/leases/volume-use", exist_ok=True)
    os.symlink("f" * 32, root + "/leases/volume-use/stale")
    hierarchy = "/sys/fs/cgroup" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "/sys/fs/cgroup/pids"
    group = hierarchy + parent + "/" + "e" * 32
    os.makedirs(group)
    code, found = checks(crowd)
    bad = {name for name, c in found.items() if not c["ok"]}
    assert code == 1 and {"records", "groups", "leases", "leftovers"} <= bad, found
    assert all(found[name]["advice"] for name in bad)
    code, mended = checks(crowd, "--repair")
    assert code == 0 and all(mended[name]["repaired"] for name in bad), mended
    assert not os.path.exists(group) and not os.path.lexists(root + "/leases/volume-use/stale")
    code, after = checks(crowd)
    assert code == 0 and all(c["ok"] for c in after.values()), after
    assert crowd.states() == {"victim": "failed"}


def while_reading(berth, folder, words, change):
    """What berth says when something changes as soon as it has read a folder: code, output."""
    libc, closed = ctypes.CDLL(None), 0x10 # IN_CLOSE_NOWRITE
    watch = libc.inotify_init1(os.O_CLOEXEC)
    assert watch >= 0 and libc.inotify_add_watch(watch, folder.encode(), closed) >= 0
    process = subprocess.Popen(berth.argv(*words), env=berth.env, stdout=subprocess.PIPE, text=True)
    assert os.read(watch, 4096)
    os.close(watch)
    change()
    return process.communicate(timeout=60)[0], process.returncode


def test_what_is_half_only_for_a_moment_is_not_wrong(crowd):
    """Something in the trash, as another's rm leaves it for its helper."""
    trash = crowd.env["BERTH_ROOT"] + "/trash"
    crowd.must("doctor")
    os.makedirs(trash + "/something")
    out, code = while_reading(crowd, trash, ["doctor"], lambda: os.rmdir(trash + "/something"))
    assert code == 0 and "wrong" not in out, out


def test_an_image_that_is_removed_meanwhile_is_not_damaged(crowd):
    crowd.must("--quiet", "image", "import", "/var/cache/berth-tests/tiny", "gone:1")
    refs = crowd.env["BERTH_ROOT"] + "/images/refs"
    record = next(f"{refs}/{name}" for name in os.listdir(refs) if "gone" in name)
    out, code = while_reading(crowd, refs, ["image", "verify"], lambda: os.unlink(record))
    assert code == 0 and out.rstrip().endswith(" 0 wrong"), out
    crowd.must("image", "prune", "-f")
    crowd.must("image", "verify")


def test_doctor_says_what_is_wrong_with_the_store(crowd):
    crowd.must("create", "--name", "hurt", "--network", "none", "tiny", "true")
    ident = crowd.status("hurt")["id"]
    with open(f"{crowd.env['BERTH_ROOT']}/workloads/{ident}/status", "w") as f:
        f.write("no record")
    code, found = checks(crowd, "--repair")
    assert code == 1 and "1 damaged" in found["records"]["detail"] and "rm -f" in found["records"]["advice"]
    crowd.must("rm", "-f", "hurt")
    assert checks(crowd)[0] == 0
