"""`distill`, of which process number 1 meets a fault in its third step: for tests that launch several of them.

python tests/faulty_rank.py {raise,nan} train ...
"""

import os
import sys

from distill.assembly import run as assembly
from distill.cli import main

fault = sys.argv.pop(1)
calls = []
consult = assembly.consult


def faulty(teacher, method, image, valid):
    calls.append(valid)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        if fault == "raise":
            raise RuntimeError("a fault of process 1")
        image.fill_(float("nan"))
    return consult(teacher, method, image, valid)


assembly.consult = faulty
sys.exit(main())
