"""`python -m distill`, and what `accelerate launch -m distill` and `torchrun -m distill` start."""

import sys

from distill.cli import main

sys.exit(main())
