"""`distill`, of which process number 1 meets a fault in its third step: for tests that launch several of them.

python tests/runs/faulty_rank.py {raise,nan} train ...
"""

import os
import sys

from distill.cli import main
from distill.method import Method

fault = sys.argv.pop(1)
calls = []
consult = Method.consult


def faulty(method, teacher, image, valid, truth=None, *labels):
    calls.append(valid)
    guide = consult(method, teacher, image, valid, truth, *labels)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        if fault == "raise":
            raise RuntimeError("a fault of process 1")
        truth.fill_(float("nan"))  # no network takes an image of it
    return guide


Method.consult = faulty
sys.exit(main())
