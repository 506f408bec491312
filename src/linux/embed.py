#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write a text file as a C string: embed.py IN OUT NAME."""
import sys

source, target, name = sys.argv[1:]
with open(source, 'rb') as f:
    data = f.read()
rows = [', '.join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
with open(target, 'w') as f:
    f.write('extern const char %s[];\nconst char %s[] = {\n%s, 0 };\n' % (name, name, ',\n'.join(rows)))
