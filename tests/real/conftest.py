# SPDX-License-Identifier: Apache-2.0
import os, sys
import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from place import Place


@pytest.fixture(scope="module")
def place():
    p = Place()
    yield p
    p.close()
