# SPDX-License-Identifier: Apache-2.0
"""
berth/_ffi.py is made of the installed headers, as pkg-config finds them, when the wheel is built:
the declarations are theirs and can't drift. It holds no machine code; libberth is opened when the
package is imported.
"""
import os
import re
import subprocess

import cffi

HEADERS = ["berth.h", "container.h", "fake.h"]


def include_folder() -> str:
    """The folder that holds berth/berth.h."""
    program = os.environ.get("PKG_CONFIG", "pkg-config")
    flags = subprocess.run([program, "--cflags", "berth"], check=True, capture_output=True, text=True).stdout
    for folder in [f[2:] for f in flags.split() if f.startswith("-I")] + ["/usr/include"]:
        if os.path.exists(os.path.join(folder, "berth", "berth.h")):
            return folder
    raise SystemExit("build_ffi: pkg-config --cflags berth names no folder with berth/berth.h")


def declarations(text: str) -> str:
    """Headers as cffi reads them: their declarations, and those of its constants that are numbers."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S).replace("\\\n", " ")
    text = re.sub(r"#ifdef __cplusplus\n.*?#endif\n", "", text, flags=re.S)
    constants = re.findall(r"^#define (BERTH_[A-Z_]+) \(?(-?\d+)u?\)?\s*$", text, flags=re.M)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.M)
    text = re.sub(r"__attribute__\s*\(\(.*?\)\)", "", text).replace("BERTH_PUBLIC", "")
    for name, value in constants:  # the sizes of arrays; cffi wants numbers there
        text = re.sub(rf"\b{name}\b", value, text)
    return "\n".join(f"#define {name} {value}" for name, value in constants) + "\n" + text


def everything() -> str:
    folder = os.path.join(include_folder(), "berth")
    texts = []
    for name in HEADERS:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            texts.append(f.read())
    return declarations("\n".join(texts)) + "\nvoid free(void *);\n"


ffi = cffi.FFI()
ffi.cdef(everything())
ffi.set_source("berth._ffi", None)

if __name__ == "__main__":
    ffi.compile(verbose=True)
