"""Measures what the demo takes on this machine: seconds, and the largest memory of its processes together.

    python tools/measure/measure_demo.py

Runs `distill demo` in a new folder, so nothing finished is reused, and prints one JSON object. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

PAUSE = 2.0  # seconds between two looks at the memory


def held(process: psutil.Process) -> int:
    """Bytes that a process and all its descendants hold; a page that some of them share counts once (PSS)."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an absent folder that keeps what the demo writes")
    keep, peak, code = parser.parse_args(words).keep, 0, None
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        demo = psutil.Popen([sys.executable, "-m", "distill", "demo", "--output", str(keep or f"{folder}/demo")])
        while code is None:
            try:
                code = demo.wait(PAUSE)
            except psutil.TimeoutExpired:
                peak = max(peak, held(demo))
        seconds = time.perf_counter() - started
    record = {"exit": code, "seconds": round(seconds), "peak_gib": round(peak / 2**30, 2)}
    print(json.dumps(record | {"cores": os.cpu_count(), "machine": platform.machine()}))
    return code


if __name__ == "__main__":
    sys.exit(main())
