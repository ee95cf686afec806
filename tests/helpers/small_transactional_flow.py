"""The transactional flow as a process, with lanes that are full at a few open decisions."""

from __future__ import annotations

import os
import sys

from flows import transactional
from flows.up.launch import main

OPEN_MAX = 5

if __name__ == "__main__":
    wire = transactional.wire
    transactional.wire = lambda *given, **named: wire(*given, **named, open_max=OPEN_MAX)
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
