# SPDX-License-Identifier: Apache-2.0
"""tests/run itself: what it makes of a suite's output, when all of it ran and when one test was asked for."""
import importlib.machinery, importlib.util, os

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture
def run_suite(tmp_path, monkeypatch):
    loader = importlib.machinery.SourceFileLoader("run", os.path.join(HERE, "../run"))
    run = importlib.util.module_from_spec(importlib.util.spec_from_loader("run", loader))
    loader.exec_module(run)
    monkeypatch.setattr(run, "BUILD", str(tmp_path))
    return lambda command, extra="": run.run_suite("one", {"run": command, "minutes": 1}, extra)


@pytest.mark.parametrize("says", [
    "echo No suitable tests defined.; exit 1 #", "echo 'berth-contract: no case fits *x*'; exit 2 #", "echo no case fits #",
    "echo '28 deselected in 0.04s'; exit 5 #", "echo '0 passed, 0 failed, 0 skipped' #"])
def test_a_suite_without_a_test_of_that_name_is_passed_over(run_suite, says):
    assert run_suite(says, " x") == ((0, 0, 0), [])
    assert run_suite(says)[0][1] == 1  # when all of it was to run, that it ran nothing is a failure


@pytest.mark.parametrize("says", ["echo the daemon is not there >&2; exit 1 #", "exit 1 #", "echo '1 passed, 0 failed'; exit 1 #",
                                  "echo '1 passed, 1 failed'; exit 1 #", "echo '1 error in 0.1s'; exit 1 #"])
def test_a_failure_is_one_however_few_tests_were_asked_for(run_suite, says):
    assert run_suite(says)[0][1] == 1
    assert run_suite(says, " x")[0][1] == 1
