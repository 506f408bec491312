# SPDX-License-Identifier: Apache-2.0
"""The library, opened once. $BERTH_LIBRARY names another file than the loader would find."""
from __future__ import annotations

import os
from typing import Any

from ._ffi import ffi

lib: Any = ffi.dlopen(os.environ.get("BERTH_LIBRARY", "libberth.so.0"))

__all__ = ["ffi", "lib"]
