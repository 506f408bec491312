# SPDX-License-Identifier: Apache-2.0
"""Help, suggestions, manual pages, completions: all from one table."""
import os, re, subprocess
import pytest
from place import PROGRAMS, TOP

BUILD = os.path.dirname(PROGRAMS)


def out(*words):
    return subprocess.run([PROGRAMS + "/berth", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)


def verbs():
    """Every verb, as `berth help` lists it."""
    text = out("help").stdout.split("Global flags")[0]
    return [m.strip() for m in re.findall(r"^  ([a-z]+(?: [a-z]+)?)  +\S", text, re.M)]


VERBS = verbs()
TEN = ["create", "start", "stop", "rm", "status", "logs", "exec", "stats", "port", "address"]


def test_there_are_verbs():
    assert set(TEN) < set(VERBS) and len(VERBS) > 50


def test_bare_berth_shows_the_ten_verbs_on_one_screen():
    r = out()
    assert r.returncode == 0 and r.stderr == ""
    lines = r.stdout.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 80
    shown = re.findall(r"^  (\S+)", r.stdout, re.M)
    assert shown[:10] == TEN and len(shown) == 15


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_fits_and_ends_with_two_examples(verb):
    r = out(*verb.split(), "--help")
    assert r.returncode == 0 and r.stderr == ""
    assert max(map(len, r.stdout.splitlines())) <= 80
    examples = r.stdout.split("\nExamples:\n")[1].splitlines()
    assert sum("# " in line for line in examples) == 2
    assert r.stdout.startswith(f"berth {verb}: ")


def test_help_fits():
    assert max(map(len, out("help").stdout.splitlines())) <= 80


@pytest.mark.parametrize("typed, meant", [("statsu", "status"), ("strat", "start"), ("lgos", "logs"), ("rnu", "run"), ("imags", "images"),
                                          ("image lod", "image load"), ("volume creat", "volume create")])
def test_a_misspelt_verb_suggests_the_nearest(typed, meant):
    r = out(*typed.split())
    assert r.returncode == 2 and r.stdout == ""
    assert f"did you mean {meant}?" in r.stderr and len(r.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb, typed, meant, code", [("run", "--memry", "--memory", 125), ("run", "--nam", "--name", 125),
                                                      ("logs", "--folow", "--follow", 2), ("ps", "--filtr", "--filter", 2),
                                                      ("exec", "--usr", "--user", 125)])
def test_a_misspelt_flag_suggests_the_nearest(verb, typed, meant, code):
    r = out(verb, typed, "x")
    assert r.returncode == code
    assert f"unknown flag {typed} (did you mean {meant}?)" in r.stderr


def test_a_hopeless_verb_points_to_help():
    r = out("xyzzyplugh")
    assert r.returncode == 2 and "berth help" in r.stderr


@pytest.mark.parametrize("verb", ["build", "compose", "swarm"])
def test_what_berth_does_not_do_says_what_to_use(verb):
    r = out("--json", *verb.split(), "x")
    assert r.returncode == 1
    assert '"code":"UNSUPPORTED"' in r.stderr
    assert re.search(r"skopeo|buildah|host|spec|Kubernetes|container|import", r.stderr)


def test_every_verb_has_a_manual_page_of_its_own():
    listed = set(re.findall(r"'([a-z-]+)'", re.search(r"verbs = \[(.*?)\]", open(TOP + "/doc/man/meson.build").read(), re.S)[1]))
    assert listed == {v.replace(" ", "-") for v in VERBS}


@pytest.mark.parametrize("page", ["berth.1", "berth-run.1", "berth-image-import.1", "berth-spec.5", "berth.toml.5", "berth-container.7", "berth-network.7",
                                  "libberth.3", "libberth-engine.3", "libberth-container.3", "libberth-fake.3"])
def test_manual_pages_are_sound(page):
    path = f"{BUILD}/doc/man/{page}"
    r = subprocess.run(["man", "--warnings", "-l", path], capture_output=True, text=True, env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
    assert r.returncode == 0 and r.stderr == "" and len(r.stdout.splitlines()) > 20


def test_the_manual_of_a_verb_names_every_flag():
    flags = set(re.findall(r"--[a-z][a-z-]+", out("run", "--help").stdout.split("Examples:")[0].split("Flags:")[1]))
    assert flags <= set(re.findall(r"--[a-z][a-z-]+", out("manual", "run").stdout))
    assert "--memory-swap" in flags and "--health-cmd" in flags


def test_the_spec_manual_names_every_field_of_the_schema():
    text = open(BUILD + "/doc/man/berth-spec.5").read().replace("\\&", "").replace("\\", "")
    for field in ["resources.memory", "restart.policy", "mounts[].target", "security.cap_add", "health.interval", "log.max_size"]:
        assert field in text, field


def test_the_librarys_manual_names_every_function():
    for page, name in (("libberth", "berth"), ("libberth-engine", "engine"), ("libberth-container", "container"), ("libberth-fake", "fake"), ("libberth-wrap", "wrap")):
        text = open(f"{BUILD}/doc/man/{page}.3").read().replace("\\&", "").replace("\\", "")
        functions = set(re.findall(r"\b(berth_\w+)\(", re.sub(r"/\*.*?\*/", "", open(f"{TOP}/include/berth/{name}.h").read(), flags=re.S)))
        assert functions and not [f for f in functions if f + "(" not in text]


def test_bash_completion_works():
    script = out("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0
    def complete(*words):
        line = " ".join(words)
        code = f'{script}\nCOMP_WORDS=({" ".join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; _berth; echo "${{COMPREPLY[@]}}"'
        return subprocess.run(["bash", "-c", code], capture_output=True, text=True, env={"PATH": PROGRAMS + ":/usr/bin:/bin"}).stdout.split()
    assert complete("berth", "sta") == ["start", "status", "stats"] or set(complete("berth", "sta")) == {"start", "status", "stats"}
    assert "--memory-swap" in complete("berth", "run", "--mem")
    assert "--memory-swap" in complete("berth", "--root", "/x", "run", "--mem")
    assert set(complete("berth", "volume", "")) >= {"create", "ls", "rm", "prune", "inspect"}
    assert "--follow" in complete("berth", "logs", "--f")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_completions_name_verbs_and_flags(shell):
    script = out("completion", shell).stdout
    assert "memory-swap" in script and "status" in script and "volume" in script


def test_an_unknown_shell_is_an_error():
    assert out("completion", "tcsh").returncode == 2


def test_version():
    assert re.match(r"berth \d+\.\d+\.\d+", out("--version").stdout)
    assert re.match(r"berth \d+\.\d+\.\d+", out("version").stdout)
