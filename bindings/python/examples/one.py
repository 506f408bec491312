# SPDX-License-Identifier: Apache-2.0
"""One container through the ten verbs, blocking: python3 one.py IMAGE"""
import sys

import berth

runtime = berth.Runtime("container")
handle = runtime.create({
    "name": "example-one", "image": sys.argv[1], "network": "none", "resources": {"memory": "64Mi"},
    "command": ["/bin/sh", "-c", "echo hello; trap 'exit 0' TERM; while :; do sleep 1; done"],
})
try:
    runtime.start(handle)
    result = runtime.exec(handle, ["/bin/sh", "-c", "echo inside; cat; exit 3"], stdin=b"from outside\n")
    print("exec ended with", result.exit_code, "and said:", result.stdout.decode(), end="")
    stats = runtime.stats(handle)
    print(f"it uses {stats.memory_bytes // 1000} kB of memory and used {stats.cpu_usec} us of CPU")
    runtime.stop(handle, timeout=5)
    for line in runtime.logs(handle, timestamps=True):
        print(line.decode(), end="")
    status = runtime.status(handle)
    print(handle.name, "is", status.state, "exit code", status.exit_code)
finally:
    runtime.remove(handle, force=True)
