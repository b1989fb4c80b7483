#!/bin/sh
# Makes .venv and installs this project with its development tools: sh tools/setup_env.sh [PYTHON]
# Safe to repeat. Where opencv-python cannot load (no libGL in a bare container), the headless build replaces it.
set -eu
python=${1:-python3}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: Python 3.11 or newer is needed, '$python' is $("$python" --version 2>&1 || true); try: make PYTHON=python3.11" >&2
    exit 2
fi
if ! "$python" -m venv .venv; then
    echo "setup: Python's venv module is missing; on Debian and Ubuntu: apt install python3-venv" >&2
    exit 2
fi

pip=".venv/bin/python -m pip --disable-pip-version-check"
echo "setup: installing into .venv (PyTorch is large; the first time takes a few minutes)"
$pip install --quiet --editable '.[dev]'

if ! .venv/bin/python -c 'import cv2' 2>/dev/null; then
    version=$(.venv/bin/python -c 'from importlib.metadata import version; print(version("opencv-python"))')
    echo "setup: opencv-python $version cannot load here (libGL is missing), using opencv-python-headless $version instead"
    $pip install --quiet --force-reinstall --no-deps "opencv-python-headless==$version"
    .venv/bin/python -c 'import cv2'
fi
echo "setup: ready, try: .venv/bin/distill --help"
