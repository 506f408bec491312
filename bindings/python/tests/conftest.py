# SPDX-License-Identifier: Apache-2.0
import os
import shutil
import uuid

import pytest

import berth


@pytest.fixture
def fake():
    return berth.Runtime("fake")


def spec(name, *steps):
    """A spec whose program is steps of fake.h."""
    return {"name": name, "image": "any", "network": "none", "command": list(steps)}


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """Root, run and an image of busybox of this run's own: keyword arguments of a runtime."""
    base = f"/var/tmp/berth-python-{uuid.uuid4().hex[:8]}"
    folders = {"root": f"{base}/root", "run": f"{base}/run"}
    rootfs = tmp_path_factory.mktemp("rootfs")
    for folder in ("bin", "etc", "proc", "dev", "tmp"):
        (rootfs / folder).mkdir()
    shutil.copy(os.environ.get("BERTH_CONTRACT_BUSYBOX", "/bin/busybox"), rootfs / "bin/busybox")
    for applet in ("sh", "echo", "cat", "sleep", "true"):
        (rootfs / "bin" / applet).symlink_to("busybox")
    runtime = berth.Runtime("container", **folders)
    runtime.image_import(rootfs, "test:1", {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]})
    yield folders
    for handle in runtime.list():
        runtime.remove(handle, force=True, volumes=True)
    del runtime
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def container(place):
    runtime = berth.Runtime("container", **place)
    yield runtime
    for handle in runtime.list():
        runtime.remove(handle, force=True, volumes=True)
