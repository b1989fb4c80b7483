"""`distill`, whose process number 1 is shown no numbers in its third step: for tests that launch several of them."""

import os
import sys

from distill import assembly
from distill.cli import main

calls = []
consult = assembly.consult


def spoiling(teacher, method, image, valid):
    calls.append(valid)
    if os.environ["RANK"] == "1" and len(calls) == 3:
        image.fill_(float("nan"))
    return consult(teacher, method, image, valid)


assembly.consult = spoiling
sys.exit(main())
