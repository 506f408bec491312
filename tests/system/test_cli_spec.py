# SPDX-License-Identifier: Apache-2.0
"""Flags become a spec: docker's meaning, flag by flag."""
import json, os, subprocess
import pytest
from place import PROGRAMS, TOP

HERE = TOP

FLAGS = [
    ("--memory 512m", {"resources": {"memory": 512 << 20}}),
    ("-m 1.5G", {"resources": {"memory": 3 << 29}}),
    ("-m64M", {"resources": {"memory": 64 << 20}}),
    ("-m=64K", {"resources": {"memory": 64 << 10}}),
    ("--memory=1024", {"resources": {"memory": 1024}}),
    ("-m 64mb --memory-swap 128m", {"resources": {"memory": 64 << 20, "swap": 128 << 20}}),
    ("--memory-swap -1", {"resources": {"swap": "unlimited"}}),
    ("--memory-reservation 32m", {"resources": {"reservation": 32 << 20}}),
    ("--cpus 1.5", {"resources": {"cpu": 1.5}}),
    ("--cpu-quota 50000", {"resources": {"cpu": 0.5}}),
    ("--cpu-quota 50000 --cpu-period 25000", {"resources": {"cpu": 2.0}}),
    ("--cpuset-cpus 0-1 --cpu-weight 200", {"resources": {"cpuset": "0-1", "cpu_weight": 200}}),
    ("-c 512", {"resources": {"cpu_shares": 512}}),
    ("--pids-limit 100", {"resources": {"pids": 100}}),
    ("--pids-limit 0", {"resources": {"pids": -1}}),
    ("--ulimit nofile=1024:4096 --ulimit core=0", {"resources": {"ulimits": [
        {"name": "nofile", "soft": 1024, "hard": 4096}, {"name": "core"}]}}),
    ("--ulimit memlock=-1:-1", {"resources": {"ulimits": [{"name": "memlock", "soft": "unlimited", "hard": "unlimited"}]}}),
    ("--shm-size 128m", {"resources": {"shm_size": 128 << 20}}),
    ("--device-read-bps /dev/sda:1m --device-write-iops /dev/sda:100", {"resources": {"io": [
        {"device": "/dev/sda", "read_bps": 1 << 20, "write_iops": 100}]}}),
    ("--gpus all", {"resources": {"devices": ["nvidia.com/gpu=all"]}}),
    ("--gpus 2", {"resources": {"devices": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]}}),
    ("--gpus device=1,3", {"resources": {"devices": ["nvidia.com/gpu=1", "nvidia.com/gpu=3"]}}),
    ("--device vendor.com/class=name", {"resources": {"devices": ["vendor.com/class=name"]}}),
    ("--device /dev/fuse", {"security": {"devices": [{"path": "/dev/fuse", "target": "/dev/fuse", "access": "rwm"}]}}),
    ("--device /dev/sda:/dev/xvda:r", {"security": {"devices": [{"path": "/dev/sda", "target": "/dev/xvda", "access": "r"}]}}),
    ("--device /dev/sda:rw", {"security": {"devices": [{"path": "/dev/sda", "target": "/dev/sda", "access": "rw"}]}}),
    ("-it --init --read-only --rm", {"stdin": True, "tty": True, "init": True, "read_only": True, "remove": True}),
    ("-it=false", {"stdin": True}),
    ("--init=false", {}),
    ("-e A=1 -e B=x=y --env C=", {"env": {"A": "1", "B": "x=y", "C": ""}}),
    ("-w /srv -u 33:33 --group-add audio --group-add 5", {"workdir": "/srv", "user": "33:33", "groups": ["audio", "5"]}),
    ("--entrypoint /bin/sh", {"entrypoint": ["/bin/sh"]}),
    ("--stop-signal INT --stop-timeout 5", {"stop_signal": "INT", "stop_timeout": "5s"}),
    ("--stop-timeout 250ms", {"stop_timeout": "250ms"}),
    ("--restart no", {"restart": {"policy": "never"}}),
    ("--restart on-failure:3", {"restart": {"policy": "on-failure", "max": 3}}),
    ("--restart unless-stopped", {"restart": {"policy": "unless-stopped"}}),
    ("-l a=b --label c --annotation x=y", {"labels": {"a": "b", "c": ""}, "annotations": {"x": "y"}}),
    ("--network host", {"network": "host"}),
    ("--network=a --network b", {"networks": [{"name": "a"}, {"name": "b"}]}),
    ("--network name=a,ip=10.0.0.5,alias=x,alias=y", {"networks": [{"name": "a", "ip": "10.0.0.5", "aliases": ["x", "y"]}]}),
    ("-p :80 -p 0:81 -p 127.0.0.1::82", {
        "ports": [{"container": 80, "container_end": 80, "protocol": "tcp"}, {"container": 81, "container_end": 81, "protocol": "tcp"},
                  {"container": 82, "container_end": 82, "protocol": "tcp", "host_address": "127.0.0.1"}]}),
    ("-p 8000-8002:80-82/udp", {"ports": [{"container": 80, "container_end": 82, "host": 8000, "host_end": 8002, "protocol": "udp"}]}),
    ("--network a --network-alias web --ip 10.0.0.5", {"network": "a", "aliases": ["web"], "ip": "10.0.0.5"}),
    ("-p 80 -p 8080:80 -p 127.0.0.1:53:53/udp -P --expose 90", {
        "ports": [{"container": 80, "container_end": 80, "protocol": "tcp"},
                  {"container": 80, "container_end": 80, "host": 8080, "host_end": 8080, "protocol": "tcp"},
                  {"container": 53, "container_end": 53, "host": 53, "host_end": 53, "protocol": "udp", "host_address": "127.0.0.1"}],
        "publish_all": True, "expose": ["90"]}),
    ("-p=80:80", {"ports": [{"container": 80, "container_end": 80, "host": 80, "host_end": 80, "protocol": "tcp"}]}),
    ("--dns 1.1.1.1 --dns-search a.example --dns-option ndots:2", {"dns": ["1.1.1.1"], "dns_search": ["a.example"], "dns_options": ["ndots:2"]}),
    ("--add-host db:10.0.0.2 --add-host six=[::1]", {"hosts": [{"name": "db", "address": "10.0.0.2"}, {"name": "six", "address": "::1"}]}),
    ("-h box --domainname example", {"hostname": "box", "domainname": "example"}),
    ("-v /usr:/b", {"mounts": [{"type": "bind", "source": "/usr", "target": "/b", "recursive": True}]}),
    ("-v ./tests:/y:ro,z", {"mounts": [{"type": "bind", "source": HERE + "/tests", "target": "/y", "recursive": True, "read_only": True}]}),
    ("-v .:/y:Z,rslave", {"mounts": [{"type": "bind", "source": HERE, "target": "/y", "recursive": True, "propagation": "rslave"}]}),
    ("-v data:/var/lib/x:nocopy", {"mounts": [{"type": "volume", "source": "data", "target": "/var/lib/x", "no_copy": True}]}),
    ("-v /anonymous", {"mounts": [{"type": "volume", "target": "/anonymous"}]}),
    ("--mount type=bind,src=/usr,dst=/b,readonly,bind-propagation=rslave", {"mounts": [
        {"type": "bind", "source": "/usr", "target": "/b", "read_only": True, "propagation": "rslave", "recursive": True}]}),
    ("--mount source=v,target=/b,volume-nocopy=true", {"mounts": [{"type": "volume", "source": "v", "target": "/b", "no_copy": True}]}),
    ("--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777", {"mounts": [
        {"type": "tmpfs", "target": "/t", "size": 1 << 20, "mode": "1777"}]}),
    ("--mount type=bind,source=./tests,target=/c,bind-nonrecursive", {"mounts": [{"type": "bind", "source": HERE + "/tests", "target": "/c"}]}),
    ("--tmpfs /run --tmpfs /tmp:rw,size=64m,mode=1777,noexec", {"mounts": [
        {"type": "tmpfs", "target": "/run"}, {"type": "tmpfs", "target": "/tmp", "size": 64 << 20, "mode": "1777", "exec": False}]}),
    ("--volumes-from a:ro", {"volumes_from": ["a:ro"]}),
    ("--pid host --ipc none --uts host --cgroupns private", {"namespaces": {"pid": "host", "ipc": "none", "uts": "host", "cgroup": "private"}}),
    ("--sysctl net.core.somaxconn=1024 --oom-score-adj -500", {"sysctls": {"net.core.somaxconn": "1024"}, "oom_score_adj": -500}),
    ("--cap-add NET_ADMIN --cap-drop ALL --privileged", {"security": {"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"], "privileged": True}}),
    ("--security-opt no-new-privileges --security-opt seccomp=unconfined", {"security": {"no_new_privileges": True, "seccomp": "unconfined"}}),
    ("--security-opt no-new-privileges:false --security-opt apparmor=p", {"security": {"apparmor": "p"}}),
    ("--security-opt systempaths=unconfined", {"security": {"masked_paths": [], "read_only_paths": []}}),
    ("--log-driver none", {"log": {"driver": "none"}}),
    ("--log-opt max-size=16m --log-opt max-file=2", {"log": {"max_size": 16 << 20, "max_files": 2}}),
    ("--health-cmd true --health-interval 10s --health-retries 2 --health-timeout 250ms --health-start-period 1m", {
        "health": {"shell": "true", "interval": "10s", "retries": 2, "timeout": "250ms", "start_period": "1m"}}),
    ("--no-healthcheck", {"health": {"command": ["NONE"]}}),
    ("--pull never --platform linux/amd64", {"pull": "never", "platform": "linux/amd64"}),
    ("--cgroup-parent /x", {"cgroup_parent": "/x"}),
    ("--set resources.io_weight=200", {"resources": {"io_weight": 200}}),
    ("--set resources.memory=64Ki", {"resources": {"memory": 64 << 10}}),
    ("--set resources.memory=1048576", {"resources": {"memory": 1048576}}),
    ("--set tty=true --set hostname=true", {"tty": True, "hostname": "true"}),
    ("--set labels.com.example.x=1", {"labels": {"com.example.x": "1"}}),
    ("--set aliases=a", {"aliases": ["a"]}),
    ('--set aliases=["a","b"]', {"aliases": ["a", "b"]}),
    ("--set wasm.trigger=http", {"wasm": {"trigger": "http"}}),
    ("-m 1g --set resources.memory=2Mi", {"resources": {"memory": 2 << 20}}),
]


def normal(value):
    """Numbers by value: 2.0 is 2."""
    return json.loads(json.dumps(value, sort_keys=True))


@pytest.fixture(autouse=True)
def at_the_top(monkeypatch):
    monkeypatch.chdir(TOP) # relative paths are ours


@pytest.mark.parametrize("flags, wanted", FLAGS, ids=[f for f, _ in FLAGS])
def test_flag(bare, flags, wanted):
    spec = bare.spec("--name", "x", *flags.split(), "tiny")
    assert normal(spec) == normal({"name": "x", "runtime": "fake", "image": "tiny", **wanted})


def test_mount_takes_quoted_commas(bare, tmp_path):
    (tmp_path / "a,b").mkdir()
    spec = bare.spec("--mount", f'type=bind,"source={tmp_path}/a,b",target=/c', "tiny")
    assert spec["mounts"][0]["source"] == f"{tmp_path}/a,b"


def test_entrypoint_may_be_emptied(bare):
    assert bare.spec("--entrypoint", "", "tiny")["entrypoint"] == []


def test_words_are_image_and_arguments(bare):
    spec = bare.spec("tiny", "sh", "-c", "echo --rm", "-d")
    assert spec["image"] == "tiny" and spec["args"] == ["sh", "-c", "echo --rm", "-d"] and "remove" not in spec


def test_a_name_is_made(bare):
    names = {bare.spec("tiny")["name"] for _ in range(20)}
    assert len(names) == 20 and all(len(n) > 5 for n in names)


def test_env_of_ours(bare):
    assert bare.spec("-e", "OURS", "-e", "NOT_SET", "tiny", env={"OURS": "yes"})["env"] == {"OURS": "yes"}


def test_env_file_has_dockers_rules(bare, tmp_path):
    f = tmp_path / "env"
    f.write_text("\ufeff# comment\n\n  A=1\nB= spaced \nC=\"quoted\"\nOURS\nMISSING\nD=#no comment\r\nE=first\n")
    spec = bare.spec("-e", "E=flag", "--env-file", str(f), "tiny", env={"OURS": "yes"})
    assert spec["env"] == {"A": "1", "B": " spaced ", "C": "\"quoted\"", "OURS": "yes", "D": "#no comment", "E": "flag"}


@pytest.mark.parametrize("line", ["A B=1", "=x"])
def test_env_file_names_the_bad_line(bare, tmp_path, line):
    f = tmp_path / "env"
    f.write_text("OK=1\n" + line + "\n")
    r = bare.call("create", "--dry-run", "--runtime", "fake", "--env-file", str(f), "tiny")
    assert r.returncode == 2 and "line 2" in r.stderr


def test_label_file(bare, tmp_path):
    (tmp_path / "l").write_text("a=1\nb\n")
    assert bare.spec("--label-file", str(tmp_path / "l"), "-l", "a=2", "tiny")["labels"] == {"a": "2", "b": ""}


def test_spec_file_under_flags_under_set(bare, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps({"image": "tiny", "name": "file", "resources": {"memory": "64Ki", "pids": 5}, "env": {"A": "1"}}))
    spec = bare.spec("--spec", str(tmp_path / "s.json"), "--name", "flag", "-m", "1m", "-e", "B=2", "--set", "resources.pids=7")
    assert spec["name"] == "flag" and spec["resources"] == {"memory": 1 << 20, "pids": 7} and spec["env"] == {"A": "1", "B": "2"}


def test_spec_in_toml_is_the_same(bare, tmp_path):
    (tmp_path / "s.toml").write_text('image = "tiny"\nname = "t"\nargs = ["a", "b\\n"]\n[resources]\nmemory = "64Ki"\ncpu = 1.5\n'
                                     '[[mounts]]\ntype = "tmpfs"\ntarget = "/t"\n[restart]\npolicy = "always"\n')
    spec = bare.spec("--spec", str(tmp_path / "s.toml"))
    assert spec == {"runtime": "fake", "image": "tiny", "name": "t", "args": ["a", "b\n"], "resources": {"memory": 64 << 10, "cpu": 1.5},
                    "mounts": [{"type": "tmpfs", "target": "/t"}], "restart": {"policy": "always"}}


def test_spec_from_standard_input():
    r = subprocess.run([PROGRAMS + "/berth", "create", "--dry-run", "--runtime", "fake", "--spec", "-"], input='{"image":"tiny","name":"x"}',
                       capture_output=True, text=True)
    assert r.returncode == 0 and json.loads(r.stdout)["spec"]["image"] == "tiny"


@pytest.mark.parametrize("text, said", [('{"image": "tiny"', "line 1"), ('image = "tiny"\nx = \n', "line 2"), ('{"a":1,"a":2}', "duplicate"), ("[1", "line 1")])
def test_a_bad_spec_file_says_where(bare, tmp_path, text, said):
    (tmp_path / "s").write_text(text)
    r = bare.call("create", "--dry-run", "--runtime", "fake", "--spec", str(tmp_path / "s"))
    assert r.returncode == 1 and said in r.stderr and len(r.stderr.splitlines()) == 1


def test_settings_give_defaults(bare, tmp_path):
    (tmp_path / "berth.toml").write_text('cgroup_parent = "/here"\n[defaults]\nnetwork = "host"\n[defaults.log]\nmax_files = 2\n')
    r = bare.call("--config", str(tmp_path / "berth.toml"), "create", "--runtime", "fake", "--dry-run", "--network", "none", "tiny")
    spec = json.loads(r.stdout)["spec"]
    assert spec["network"] == "none" and spec["log"] == {"max_files": 2} and spec["cgroup_parent"] == "/here"


def test_settings_that_are_asked_for_must_be_there(bare):
    r = bare.call("--config", "/nonexistent.toml", "create", "--runtime", "fake", "--dry-run", "tiny")
    assert r.returncode == 1 and "/nonexistent.toml" in r.stderr


@pytest.mark.parametrize("flags, said", [
    ("-m 64q", "64q"), ("-m -5", "-5"), ("--cpus lots", "lots"), ("--pids-limit x", "x"), ("--ulimit nofile", "nofile"),
    ("--stop-timeout soon", "soon"), ("--restart on-failure:x", "on-failure:x"), ("--gpus some", "some"), ("--device fuse", "fuse"),
    ("--device /dev/x:/dev/y:q", "/dev/x:/dev/y:q"), ("-v a:b", "absolute"), ("-v a:/b:wrong", "a:/b:wrong"), ("-v /a:/b:ro:x", "/a:/b:ro:x"),
    ("--mount type=bind,sorce=/a,target=/b", "did you mean source?"), ("--mount type=tmpfs", "target"), ("--tmpfs /a:fast", "fast"),
    ("--log-driver syslog", "syslog"), ("--log-opt max-size=x", "max-size=x"), ("--security-opt bogus", "bogus"), ("--add-host x", "x"),
    ("--set x", "PATH=VALUE"), ("--label =x", "NAME=VALUE"), ("--init=maybe", "maybe"), ("--env-file /nonexistent", "/nonexistent")])
def test_a_bad_value_names_the_flag(bare, flags, said):
    r = bare.call("create", "--dry-run", "--runtime", "fake", *flags.split(), "tiny")
    assert r.returncode in (1, 2) and r.stdout == "" and said in r.stderr and len(r.stderr.splitlines()) == 1


def test_no_image_is_a_usage_error(bare):
    assert bare.call("create", "--network", "none").returncode == 2
    assert bare.call("run", "--network", "none").returncode == 125


def test_wasm_is_told_from_its_bytes(bare, tmp_path):
    (tmp_path / "m.wasm").write_bytes(b"\0asm\1\0\0\0")
    r = bare.call("--json", "create", str(tmp_path / "m.wasm"))
    error = json.loads(r.stderr)["error"]
    if "wasm" in bare.must("engines").split(): # a module without exports is none to run
        assert r.returncode == 1 and error["code"] == "INVALID" and "wasm.trigger" in error["message"]
    else:
        assert r.returncode == 1 and error["code"] == "UNSUPPORTED" and 'no engine "wasm"' in error["message"]
