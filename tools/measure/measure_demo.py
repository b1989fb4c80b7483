"""Measures what the demo takes on this machine: seconds, and the largest memory of any of its processes together.

    python tools/measure_demo.py

Runs `distill demo` in a new folder, so nothing finished is reused, and prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path


def resident_bytes(root: int) -> int:
    """Memory of a process and all its descendants, pages shared between them counted once each (PSS), Linux only."""
    family, grown = {root}, True
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    while grown:
        more = {child for child, parent in parents.items() if parent in family} - family
        family |= more
        grown = bool(more)
    return sum(proportional_set_size(process) for process in family)


def proportional_set_size(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def watch(process: int, stop: threading.Event, peak: list[int]) -> None:
    """Note the largest memory until `stop` is set."""
    while not stop.wait(2.0):
        peak[0] = max(peak[0], resident_bytes(process))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="an absent folder that keeps what the demo writes")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as folder:
        started, peak, stop = time.perf_counter(), [0], threading.Event()
        run = subprocess.Popen([sys.executable, "-m", "distill", "demo", "--output", str(keep or f"{folder}/demo")])
        watcher = threading.Thread(target=watch, args=(run.pid, stop, peak))
        watcher.start()
        code = run.wait()
        seconds = time.perf_counter() - started
        stop.set()
        watcher.join()
    record = {"exit": code, "seconds": round(seconds), "peak_gib": round(peak[0] / 2**30, 2)}
    print(json.dumps(record | {"cores": os.cpu_count(), "machine": platform.machine()}))
    sys.exit(code)


if __name__ == "__main__":
    main()
