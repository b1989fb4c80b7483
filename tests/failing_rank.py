"""`distill`, whose process number 1 fails in its third step: for tests that launch several of them."""

import os
import sys

from distill import assembly
from distill.cli import main

calls = []
consult = assembly.consult


def failing(*given):
    calls.append(given)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        raise RuntimeError("a fault of process 1")
    return consult(*given)


assembly.consult = failing
sys.exit(main())
