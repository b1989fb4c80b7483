"""`distill`, of which one process meets a fault in one of its steps: the process of rank 1, or the only one.

python tests/runs/faulty_rank.py {raise,nan,SIGTERM,SIGINT,SIGKILL}@STEP train ...
"""

import os
import signal
import sys

from distill.cli import main
from distill.method import Method

fault, step = sys.argv.pop(1).split("@")
calls = []
consult = Method.consult


def faulty(method, teacher, image, valid, truth=None, *labels):
    if method.training:  # not for a picture
        calls.append(valid)
    guide = consult(method, teacher, image, valid, truth, *labels)
    if os.environ.get("RANK") != "0" and method.training and len(calls) == int(step):
        if fault == "raise":
            raise RuntimeError("a fault of process 1")
        if fault == "nan":
            truth.fill_(float("nan"))  # no network takes an image of it
        else:
            os.kill(os.getpid(), signal.Signals[fault])
    return guide


Method.consult = faulty
sys.exit(main())
