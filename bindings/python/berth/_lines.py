# SPDX-License-Identifier: Apache-2.0
"""Bytes cut into lines."""
from __future__ import annotations


class Lines:
    """Takes bytes as they come, gives whole lines; the last one may lack its newline."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, newlines included; empty data is the end."""
        if not data:
            last, self._rest = bytes(self._rest), bytearray()
            return [last] if last else []
        if b"\n" not in data:
            self._rest += data
            return []
        *whole, rest = (bytes(self._rest) + data).split(b"\n")
        self._rest = bytearray(rest)
        return [line + b"\n" for line in whole]
