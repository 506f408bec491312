# SPDX-License-Identifier: Apache-2.0
"""The two programs for Wasm by themselves: what they compile, run, serve, limit and refuse."""
import os, select, socket, stat, subprocess, time
import pytest
import wasm_programs
from wasm_programs import Compiled, Service, Worker

pytestmark = pytest.mark.skipif(not wasm_programs.there(), reason="built with -Dwasm=disabled")


@pytest.fixture
def place():
    """Makes workers and ends them."""
    made = []

    def make(compiled, *a, kind=Worker, **kw):
        made.append(kind(compiled, *a, **kw))
        return made[-1]
    yield make
    for w in made:
        w.close()


def command(body, memory="1", more=""):
    """A preview 1 command in text form."""
    return f"""(module
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") {memory})
      {more}
      (func $main (export "_start") {body}))""".encode()


HELLO = command('(i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 6))'
                '(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))',
                more='(data (i32.const 16) "hello\\n")')


@pytest.fixture(scope="module")
def guests(tmp_path_factory):
    """C programs, built once; each is a preview 1 command."""
    folder = tmp_path_factory.mktemp("guests")

    def build(name, text):
        source, target = folder / f"{name}.c", folder / f"{name}.wasm"
        if not target.exists():
            source.write_text(text)
            subprocess.run(["clang", "--target=wasm32-wasi", "-O1", "-o", target, source], check=True)
        return target.read_bytes()
    return build


@pytest.fixture(scope="module")
def http():
    c = Compiled(wasm_programs.text_of("http.wat"), "serve")
    assert c.done.returncode == 0, c.done.stderr
    return c


# ---- the compiler

def test_tag_is_one_word_and_tells_settings_apart():
    tags = {subprocess.run([wasm_programs.PROGRAMS + "/berth-wasmc", "tag", *f], check=True, capture_output=True, text=True).stdout
            for f in (["--profile", "command"], ["--profile", "serve"], ["--profile", "command", "--fuel"])}
    assert len(tags) == 3
    assert all(t.startswith("wasmtime-48.") and len(t.split()) == 1 and t.endswith("\n") for t in tags)


def test_meta_says_what_a_module_is():
    c = Compiled(HELLO)
    assert c.done.returncode == 0 and c.error[0] == 0
    assert c.line("kind") == ["module"] and c.line("guest") == ["command1"]
    assert "wasi_snapshot_preview1 fd_write" in c.line("import") and "_start" in c.line("export")
    assert c.line("needs") == ["m1.b65536.t0.e0"]


def test_meta_says_what_a_component_is(http):
    assert http.line("kind") == ["component"] and http.line("guest") == ["http"]
    assert "wasi:http/incoming-handler@0.2.0#handle" in http.line("export")


def test_names_of_a_module_stay_in_their_line():
    c = Compiled(b'(module (func (export "a\\nguest http\\1b[31m \\\\")))')
    assert c.line("guest") == ["reactor"]
    assert c.line("export") == ["a\\x0aguest\\x20http\\x1b[31m\\x20\\\\"]


@pytest.mark.parametrize("module, code, words", [
    (b"", -1001, "not a valid module"), (b"\0as", -1001, ""), (b"\0asm", -1001, "cut off"), (b"\0asm\1\0\0\0\1", -1001, "not a valid module"),
    (b"\0asm\x63\0\0\0", -1005, "version"), (b"\x7fELF" + bytes(100), -1001, ""), (b"\xff\xfe", -1001, "neither"),
    (b"(module (func (result i32)))", -1001, "not a valid module"), (b"(modul", -1001, "not a valid module"),
    (b"\0asm\x0d\0\1\0\1", -1001, "not a valid module"),
])
def test_what_is_no_module_is_refused(module, code, words):
    c = Compiled(module)
    assert c.done.returncode == 1 and c.error[0] == code and words in c.error[2]
    assert c.done.stderr.count("\n") == 1 and c.error[2] in c.done.stderr


def test_every_cut_of_a_module_is_refused(guests):
    whole = guests("cut", "int main(void){return 0;}")
    for at in sorted({*range(9, 64, 7), *range(64, len(whole) - 1, len(whole) // 8)}):
        error = Compiled(whole[:at]).error
        assert error[0] == -1001 or (error[0] == 0 and at < 100), at  # a border before the functions ends a whole module


def test_preview_3_is_refused_by_name():
    c = Compiled(b'(component (import "wasi:cli/run@0.3.0" (instance (export "run" (func async)))))')
    assert c.done.returncode == 1 and c.error[0] == -1005 and "wasi:cli/run@0.3.0" in c.error[2]


def test_a_hundred_thousand_functions():
    c = Compiled(b"(module" + b"(func (result i32) i32.const 1)" * 100_000 + b')', timeout=300)
    assert c.done.returncode == 0, c.done.stderr


def number(n):
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + number(n >> 7)


def section(kind, data):
    return bytes([kind]) + number(len(data)) + data


def test_a_module_of_200_mb():
    n, body = 29, b"\0" + b"\1" * 7_000_000 + b"\x0b" # one function may not be much larger
    module = b"\0asm\1\0\0\0" + section(1, b"\1\x60\0\0") + section(3, number(n) + bytes(n)) + section(7, b"\1\6_start\0\0") + \
        section(10, number(n) + n * (number(len(body)) + body))
    assert len(module) > 200_000_000
    c = Compiled(module, timeout=300)
    assert c.done.returncode == 0, c.done.stderr


def test_memory_limit_of_the_compiler_holds():
    c = Compiled(b"(module" + b"(func (result i32) i32.const 1)" * 100_000 + b')', flags=["--memory", str(160 << 20)])
    assert c.done.returncode != 0


def test_time_limit_of_the_compiler_holds():
    body = b"(local i64)" + b"(local.set 0 (i64.add (local.get 0) (i64.mul (local.get 0) (i64.const 3))))" * 4_000
    c = Compiled(b"(module" + (b"(func " + body + b")") * 200 + b")", flags=["--time", "1"], timeout=100)
    assert c.done.returncode in (-24, -9) and c.error is None  # SIGXCPU


# ---- commands

def test_a_command_runs_in_an_empty_root(place):
    w = place(Compiled(HELLO)).end()
    assert (w.code, w.out) == (0, b"hello\n"), w.err
    assert w.said() == b"ready\n" and w.last_words()[:2] == ("exit", 0)


@pytest.mark.parametrize("code", [0, 1, 125, 126, 134, 255])
def test_exit_codes_are_as_given(place, code):
    w = place(Compiled(command(f"(call $exit (i32.const {code}))"))).end()
    assert w.code == code and w.last_words()[:2] == ("exit", code) and w.err == ""


def test_a_trap_has_its_name_and_a_backtrace(place):
    w = place(Compiled(command("(call $inner)", more="(func $inner (unreachable))"))).end()
    kind, code, _, name, text = w.last_words()
    assert (w.code, kind, code, name) == (134, "trap", 134, "unreachable")
    assert "0: inner (" in text and "1: main (" in text and text in w.err
    assert w.said() == b"ready\ntrap: unreachable: inner, main"


def test_names_in_a_backtrace_are_cleaned_and_cut(place):
    name = b"\\1b[2J\\n" + b"x" * 5000
    w = place(Compiled(command(f'(call $"{name.decode()}")', more=f'(func $"{name.decode()}" (unreachable))'))).end()
    text = w.last_words()[4]
    assert w.code == 134 and "\\x1b[2J\\x0a" in text and max(map(len, text.splitlines())) < 250
    assert len(w.said()) <= 410


def test_deep_recursion_is_a_trap(place):
    w = place(Compiled(command("(call $main)"))).end()
    assert w.code == 134 and w.last_words()[3] == "call stack exhausted" and len(w.last_words()[4].splitlines()) <= 33


GROW = command("(loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)")


def test_out_of_memory_is_told_apart(place):
    w = place(Compiled(GROW), flags=["--memory", str(8 << 20)]).end()
    kind, code, asked, _, _ = w.last_words()
    assert (w.code, kind, code) == (137, "memory", 137) and 8 << 20 < asked <= 9 << 20
    assert w.said().startswith(b"ready\nout of memory: ")


def test_a_memory_that_never_fits_is_out_of_memory(place):
    w = place(Compiled(command("", memory="65536")), flags=["--memory", str(64 << 20)]).end()
    assert w.code == 137 and w.last_words()[0] == "memory"


def test_memory_of_64_gib_is_refused(place):
    c = Compiled(b'(module (memory i64 1048576) (func (export "_start")))')
    assert c.done.returncode == 0 and c.line("needs") == ["m1.b68719476736.t0.e0"]
    w = place(c).end()
    assert w.code == 137


def test_tables_are_limited(place):
    c = Compiled(command("(if (i32.ne (table.grow (ref.null func) (i32.const 5000)) (i32.const -1)) (then (unreachable)))",
                         more="(table 1 funcref)"))
    assert place(c, flags=["--table-elements", "1000"]).end().code == 0
    assert place(c).end().code == 134


SPIN = command("(loop $again (br $again))")


def test_a_time_limit_ends_what_computes(place):
    w = place(Compiled(SPIN), flags=["--call-time", "200000"]).end(timeout=10)
    assert w.code == 134 and w.last_words()[0] == "time" and w.said().startswith(b"ready\nout of time")


def test_fuel_ends_what_computes(place):
    w = place(Compiled(SPIN, flags=["--fuel"]), flags=["--fuel", "100000"]).end(timeout=10)
    assert w.code == 134 and w.last_words()[0] == "time" and "fuel" in w.last_words()[3]


def test_a_start_function_that_loops_is_ended_by_a_signal(place):
    w = place(Compiled(b'(module (func $s (loop (br 0))) (start $s) (func (export "_start")))'))
    w.wait_ready()
    assert w.stop().code == 143


def test_a_missing_import_is_said_before_anything_runs(place):
    w = place(Compiled(b'(module (import "env" "magic" (func)) (func (export "_start")))')).end()
    code, what, message = wasm_programs.error_of(w.said())
    assert (w.code, code, what) == (125, -1002, "env.magic") and "env.magic" in message


def test_arguments_that_are_not_utf8_are_refused(place):
    w = place(Compiled(HELLO), args=["guest", b"\xff".decode(errors="surrogateescape")]).end()
    assert w.code == 125 and wasm_programs.error_of(w.said())[0] == -1001


def test_code_of_another_profile_and_rubbish_are_corrupt(place):
    c = Compiled(HELLO, "serve")
    c.profile = "command"
    assert wasm_programs.error_of(place(c).end() and place(c).said())[0] == -1013
    c = Compiled(HELLO)
    c.code.truncate(3000)
    assert wasm_programs.error_of(place(c).said())[0] == -1013
    c.code.truncate(0)
    assert wasm_programs.error_of(place(c).said())[0] == -1013


def test_a_c_program_sees_arguments_environment_and_stdin(place, guests):
    c = Compiled(guests("world", r"""#include <stdio.h>
        #include <stdlib.h>
        int main(int argc, char **argv) { char line[80]; for (int i = 0; i < argc; i++) puts(argv[i]);
        puts(getenv("COLOUR")); puts(getenv("PWD")); puts(getenv("BERTH_READY_FD") ? "seen" : "unseen");
        fgets(line, sizeof line, stdin); fputs(line, stderr); return 3; }"""))
    w = place(c, args=["prog", "a b", "ü"], env={"COLOUR": "red"}, stdin=subprocess.PIPE).end(data=b"typed\n")
    assert w.code == 3 and w.out.decode().splitlines() == ["prog", "a b", "ü", "red", "/", "unseen"] and w.err == "typed\n"


FILES = r"""#include <stdio.h>
#include <fcntl.h>
#include <string.h>
#include <errno.h>
#include <sys/stat.h>
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        int write = argv[i][0] == 'w', fd = open(argv[i] + 1, write ? O_WRONLY | O_CREAT : O_RDONLY);
        printf("%s %s\n", argv[i], fd < 0 ? strerror(errno) : "open");
    }
}"""


def test_folders_hold_what_is_in_them(place, guests, tmp_path):
    for folder in ("rw", "ro", "hidden"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file").write_text("x")
    (tmp_path / "rw/out").symlink_to("../hidden/file")
    (tmp_path / "rw/absolute").symlink_to("/hidden/file")
    ways = ["r/rw/file", "w/rw/new", "r/ro/file", "w/ro/file", "w/ro/new", "r/hidden/file", "r/rw/../hidden/file", "r/rw/out",
            "r/rw/absolute"]
    w = place(Compiled(guests("files", FILES)), flags=["--dir", "/rw", "--dir-ro", "/ro"], args=["p", *ways], root=str(tmp_path)).end()
    opened = [l.split()[0] for l in w.out.decode().splitlines() if l.endswith(" open")]
    assert opened == ["r/rw/file", "w/rw/new", "r/ro/file"], w.out.decode()


def test_a_folder_that_is_missing_is_named(place):
    w = place(Compiled(HELLO), flags=["--dir", "/nowhere"])
    assert wasm_programs.error_of(w.said())[:2] == (-1002, "/nowhere")


def test_an_infinite_writer_ends_with_its_reader(place):
    w = place(Compiled(command("(i32.store (i32.const 4) (i32.const 6)) (loop $a (drop (call $write (i32.const 1) (i32.const 0) "
                               "(i32.const 1) (i32.const 8))) (br $a))")))
    w.wait_ready()
    assert len(w.process.stdout.read(1 << 20)) == 1 << 20
    assert w.stop().code == 143


def test_no_memory_becomes_code_behind_the_guest(place):
    w = place(Compiled(SPIN))
    w.wait_ready()
    time.sleep(0.1)
    status = dict(l.split(":\t") for l in open(f"/proc/{w.process.pid}/status").read().splitlines() if ":\t" in l)
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    maps = open(f"/proc/{w.process.pid}/maps").read()
    assert not [l for l in maps.splitlines() if "w" in l.split()[1] and "x" in l.split()[1]]
    assert w.stop().code == 143


# ---- names

@pytest.mark.parametrize("flags, code", [
    (["--sockets", "yes", "--allow", "known.example", "--host", "known.example=192.0.2.7"], 0),
    (["--sockets", "yes", "--allow", "192.0.2.0/24", "--host", "known.example=192.0.2.7"], 0),
    (["--sockets", "yes", "--allow", "known.example"], 1), (["--sockets", "yes", "--host", "known.example=192.0.2.7"], 1),
    (["--allow", "known.example", "--host", "known.example=192.0.2.7"], 1),
    (["--sockets", "yes", "--allow", "other.example", "--host", "known.example=192.0.2.7"], 1)])
def test_names_are_looked_up_as_the_rules_say(place, flags, code):
    c = Compiled(wasm_programs.text_of("lookup.wat"))
    assert c.line("guest") == ["command2"], c.error
    w = place(c, flags=flags).end()
    assert w.code == code, w.err


NAMESERVER = r"""import socket, subprocess
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::1", 53))
print("up", flush=True)
while True:
    asked, who = s.recvfrom(4096)
    end = asked.index(0, 12) + 5
    four = asked[end - 4:end - 2] == b"\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\7" if four else b""
    s.sendto(asked[:2] + b"\x81\x80\0\1" + bytes([0, four]) + bytes(4) + asked[12:end] + answer, who)
"""


def test_names_are_asked_of_a_server_at_an_ipv6_address(place):
    server = subprocess.Popen(["unshare", "-n", "python3", "-c", NAMESERVER], stdout=subprocess.PIPE)
    try:
        assert server.stdout.readline() == b"up\n"
        w = place(Compiled(wasm_programs.text_of("lookup.wat")), wrap=("nsenter", "-n", "-t", str(server.pid)),
                  flags=["--sockets", "yes", "--allow", "known.example", "--nameserver", "::1"]).end()
        assert w.code == 0, w.err
    finally:
        server.kill()
        server.wait()


# ---- invoke

ADD = b"""(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.div (local.get 0) (f64.const 2)))
  (global $set (mut i32) (i32.const 0)) (func (export "_initialize") (global.set $set (i32.const 7)))
  (func (export "read") (result i32) (global.get $set)))"""


@pytest.mark.parametrize("call, args, out", [("add(1, 2)", [], b"3\n"), ("add", ["40", "2"], b"42\n"), ("half(3)", [], b"1.5\n"),
                                             ("read", [], b"7\n"), ("add", ["-1", "-1"], b"-2\n")])
def test_exports_of_a_core_module_are_called(place, call, args, out):
    w = place(Compiled(ADD), "invoke", flags=["--call", call], args=["m", *args]).end()
    assert (w.code, w.out) == (0, out), w.err


@pytest.mark.parametrize("call, words", [("sub(1)", "there are: add, half"), ("add(1)", "add(1): "), ("add(1, x)", "add(1, x): ")])
def test_a_wrong_call_says_what_is_wrong(place, call, words):
    w = place(Compiled(ADD), "invoke", flags=["--call", call]).end()
    assert w.code == 125 and words in w.err


WAVE = b"""(component
  (core module $m (memory (export "memory") 1) (global $t (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (global.get $t)
      (global.set $t (i32.add (global.get $t) (local.get 3))))
    (func (export "greet") (param i32 i32) (result i32)
      (i32.store (i32.const 0) (local.get 0)) (i32.store (i32.const 4) (local.get 1)) (i32.const 0)))
  (core instance $i (instantiate $m))
  (func $greet (param "name" string) (result string)
    (canon lift (core func $i "greet") (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))
  (instance $api (export "greet" (func $greet)))
  (export "test:api/names@1.0.0" (instance $api)))"""


@pytest.mark.parametrize("call", ['greet("you")', 'test:api/names@1.0.0#greet("you")'])
def test_exports_of_a_component_are_called_in_wave(place, call):
    w = place(Compiled(WAVE), "invoke", flags=["--call", call]).end()
    assert (w.code, w.out) == (0, b'"you"\n'), w.err
    assert "wasi" not in w.err and place(Compiled(WAVE), "invoke", flags=["--call", "greet(3)"]).end().code == 125


# ---- serving

def serve(place, http, *flags, **kw):
    return place(http, flags=flags, kind=Service, **kw)


def test_each_request_has_a_fresh_instance(place, http):
    s = serve(place, http)
    with s.connect() as c:
        for _ in range(20):
            c.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            answer = c.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"hello 1\n") and b"content-length: 8\r\n" in answer.lower()
    assert s.counters()["requests"] == 20 and s.counters()["instantiations"] == 20
    s.until("instances", 0)
    assert s.counters()["memory_bytes"] == 0 and s.counters()["cpu_nsec"] > 0
    assert s.stop().code == 0


def test_instances_are_reused_where_the_plan_says_so(place, http):
    s = serve(place, http, "--reuse", "3", "--threads", "1")
    with s.connect() as c:
        bodies = []
        for _ in range(7):
            c.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            bodies.append(c.recv(65536)[-2:-1])
    assert bodies == [b"1", b"2", b"3", b"1", b"2", b"3", b"1"] and s.counters()["instantiations"] == 3


@pytest.mark.parametrize("path, status, counter, words", [
    ("/trap", 500, "traps", "trap: unreachable"), ("/memory", 500, "memory_outs", "out of memory"),
    ("/spin", 504, "timeouts", "out of time"), ("/nothing", 500, None, "without an answer")])
def test_what_fails_is_a_500_and_in_the_log(place, http, path, status, counter, words):
    s = serve(place, http, "--memory", str(4 << 20), "--call-time", "300000")
    got, body = s.get(path)
    assert got == status and b"unreachable" not in body
    assert s.get("/")[0] == 200
    if counter:
        assert s.counters()[counter] == 1
    assert s.stop().code == 0 and words in s.err and " r1 " in s.err


def test_an_answer_that_breaks_off_does_not_look_whole(place, http):
    s = serve(place, http)
    answer = s.raw(b"GET /half HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    assert b"200 OK" in answer and len(answer) > 4096 and not answer.endswith(b"0\r\n\r\n")
    assert s.counters()["traps"] == 1


def test_large_answers_stream(place, http):
    s = serve(place, http)
    answer = s.raw(b"GET /big HTTP/1.0\r\n\r\n")
    assert len(answer.partition(b"\r\n\r\n")[2]) == 4 << 20


def test_lines_of_an_instance_are_whole_records(place, http):
    s = serve(place, http)
    assert s.get("/lines")[0] == 200
    s.stop()
    lines = s.out.decode().splitlines()
    assert [l.split(" ", 2)[2] for l in lines] == ["first line", "second", "the rest"]
    assert len({tuple(l.split(" ")[:2]) for l in lines}) == 1 and lines[0].startswith("i1 r1 ")


def test_access_lines_are_written_when_asked_for(place, http):
    s = serve(place, http, "--access-log", "yes")
    s.get("/x?y=1")
    s.stop()
    assert s.out.decode().startswith("r1 GET /x?y=1 200 8 bytes ")


def test_one_that_prints_for_ever_delays_nobody(place, http):
    s = serve(place, http, "--call-time", "3000000", "--threads", "1")
    with s.connect() as c:
        c.sendall(b"GET /print HTTP/1.1\r\nHost: t\r\n\r\n")
        s.until("instances", 1)
        time.sleep(0.2)  # nobody reads its pipe: it is full
        for _ in range(5):
            begin = time.monotonic()
            assert s.get("/")[0] == 200 and time.monotonic() - begin < 1


def test_one_that_computes_starves_nobody(place, http):
    s = serve(place, http, "--call-time", "3000000", "--threads", "1")
    with s.connect() as c:
        c.sendall(b"GET /spin HTTP/1.1\r\nHost: t\r\n\r\n")
        s.until("instances", 1)
        begin = time.monotonic()
        assert all(s.get("/")[0] == 200 for _ in range(5)) and time.monotonic() - begin < 2


def test_a_small_request_waits_for_one_that_computes_and_not_for_all(place, http):
    """A hundred on one thread, each for a tick at a time: the best of five small ones has waited for one or two of them."""
    s = serve(place, http, "--call-time", "60000000", "--threads", "1", "--max-concurrency", "200")
    busy = [s.connect() for _ in range(100)]
    for c in busy:
        c.sendall(b"GET /spin HTTP/1.1\r\nHost: t\r\n\r\n")
    s.until("active_requests", 100, timeout=30)

    def small():
        begun = time.monotonic()
        assert s.get() == (200, b"hello 1\n")
        return time.monotonic() - begun
    assert min(small() for _ in range(5)) < 0.5
    for c in busy:
        c.close()


def test_a_client_that_goes_away_ends_its_instance(place, http):
    s = serve(place, http)
    for path in (b"/wait", b"/spin"):
        with s.connect() as c:
            c.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: t\r\n\r\n")
            s.until("instances", 1)
        s.until("instances", 0)
    assert s.counters()["cancelled"] == 2


def test_beyond_the_queue_is_503_with_retry_after(place, http):
    s = serve(place, http, "--max-concurrency", "2", "--queue", "2")
    waiting = [s.connect() for _ in range(4)]
    for n, c in enumerate(waiting):
        c.sendall(b"GET /wait HTTP/1.1\r\nHost: t\r\n\r\n")
        s.until("active_requests", n + 1)
    s.until("waiting", 2)
    answer = s.raw(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1\r\n" in answer.lower()
    for c in waiting:
        c.close()
    s.until("active_requests", 0)
    assert s.get("/")[0] == 200 and s.counters()["rejected"] == 1


@pytest.mark.parametrize("request_", [
    b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\ncontent-length : 3\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \r\n\r\n", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", b"GET / HTTP/1.1\r\nHost : t\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +3\r\n\r\nabc", b"GET / HTTP/1.1\nHost: t\0\n\n", b"\x16\x03\x01\x02\0\1\0",
    b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nHost: a/b\r\n\r\n",
])
def test_doubtful_requests_are_400_before_any_instance(place, http, request_):
    s = serve(place, http)
    assert s.raw(request_).startswith(b"HTTP/1.1 400")
    assert s.counters()["instantiations"] == 0


def test_a_doubtful_request_behind_a_good_one_is_400(place, http):
    s = serve(place, http)
    with s.connect() as c:
        c.sendall(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabcPOST /two HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n"
                  b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        data = b""
        while part := c.recv(65536):
            data += part
    assert data.count(b"HTTP/1.1 200") == 1 and data.count(b"HTTP/1.1 400") == 1


def test_chunked_requests_pass(place, http):
    s = serve(place, http)
    for _ in range(2):
        assert b"200 OK" in s.raw(b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n")


def test_upgrades_are_ignored(place, http):
    s = serve(place, http)
    assert b"200 OK" in s.raw(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\n\r\n")


def test_limits_of_head_and_body_hold(place, http):
    s = serve(place, http, "--header-bytes", "16384", "--body-bytes", "1000", "--header-time", "300000", "--response-bytes", "100000")
    assert b" 431 " in s.raw(b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"y" * 30000 + b"\r\n\r\n")[:20]
    assert s.raw(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n").startswith(b"HTTP/1.1 413")
    begin = time.monotonic()
    s.raw(b"GET / HTTP/1.1\r\nHos")
    assert time.monotonic() - begin < 5
    assert len(s.raw(b"GET /big HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")) < 200_000


def test_silent_peers_hold_nobody_up(place, http):
    s = serve(place, http, "--connections", "20", "--header-time", "300000")
    silent = [s.connect() for _ in range(200)]
    assert s.get("/")[0] == 200 and s.counters()["connections"] <= 20
    for c in silent:
        c.close()


def test_a_peer_that_takes_nothing_is_gone(place, http):
    s = serve(place, http, "--header-time", "2000000")
    with s.connect() as c:
        c.sendall(b"GET /big HTTP/1.1\r\nHost: t\r\n\r\n" * 8) # more than both sides' buffers
        s.until("active_requests", 1)
        s.until("connections", 0)
        assert s.counters()["requests"] < 8
    s.until("instances", 0)
    assert s.get("/")[0] == 200


def test_http2_with_prior_knowledge(place, http):
    s = serve(place, http)
    r = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-w", "%{http_version} %{http_code}", f"http://127.0.0.1:{s.port}/"],
                       capture_output=True, text=True)
    assert r.stdout == "hello 1\n2 200", r.stderr


def test_draining_answers_what_was_asked(place, http):
    s = serve(place, http, "--drain-time", "5000000")
    with s.connect() as idle, s.connect() as busy:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        idle.recv(1000)
        busy.sendall(b"GET /spin HTTP/1.1\r\nHost: t\r\n\r\n")
        s.until("instances", 1)
        s.process.terminate()
        assert idle.recv(1000) == b""
        assert s.process.poll() is None
        s.process.terminate()
        assert s.end(timeout=30).code == 0


def test_an_idle_worker_ends_and_its_socket_stays(place, http):
    s = serve(place, http, "--idle-timeout", "300000")
    assert s.get("/")[0] == 200
    assert s.end(timeout=30).code == 0
    with s.connect() as c:  # waits in the backlog
        c.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        again = place(http, "serve", sockets=[s.socket])
        again.wait_ready()
        assert c.recv(1000).startswith(b"HTTP/1.1 200")
        again.stop()


def test_an_idle_worker_does_not_wake(place, http):
    s = serve(place, http)
    s.get("/")
    time.sleep(1.5)

    def switches():
        total = 0
        for t in os.listdir(f"/proc/{s.process.pid}/task"):
            total += sum(int(l.split()[1]) for l in open(f"/proc/{s.process.pid}/task/{t}/status") if "ctxt" in l)
        return total
    before = switches()
    time.sleep(2)
    assert switches() - before < 5


def test_a_module_without_a_handler_is_not_served(place):
    s = socket.create_server(("127.0.0.1", 0))
    w = place(Compiled(WAVE, "serve"), "serve", sockets=[s])
    assert wasm_programs.error_of(w.said())[0] == -1002 and w.end().code == 125
