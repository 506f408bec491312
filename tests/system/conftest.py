# SPDX-License-Identifier: Apache-2.0
import json, os, sys, uuid
import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from place import Place


class Berth(Place):
    """The command in a place of its own; names made here are removed at the end of their test."""

    def __init__(self, **kw):
        super().__init__(**kw)
        self.names = []

    def json(self, *words):
        """One document, or the objects of a list."""
        text = self.must("--json", *words)
        try:
            return json.loads(text)
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.splitlines()]

    def name(self):
        self.names.append("t" + uuid.uuid4().hex[:8])
        return self.names[-1]

    def run(self, *words, flags=(), image="tiny"):
        """A workload in the background; its name."""
        name = self.name()
        self.must("run", "-d", "--name", name, "--network", "none", *flags, image, *words)
        return name

    def status(self, name):
        return json.loads(self.must("--json", "status", name))

    def spec(self, *words, **kw):
        """The spec that `create WORDS` makes, by an engine that adds nothing to it."""
        r = self.call("create", "--runtime", "fake", "--dry-run", *words, **kw)
        assert r.returncode == 0, r.stderr
        return json.loads(r.stdout)["spec"]


@pytest.fixture(scope="session")
def bare():
    """Without an image: for what needs no workload."""
    b = Berth(image=False)
    yield b
    b.close()


@pytest.fixture(scope="session")
def shared():
    b = Berth()
    yield b
    b.close()


@pytest.fixture
def berth(shared):
    yield shared
    for name in shared.names:
        shared.call("rm", "-f", "-v", name)
    shared.names.clear()
