#!/bin/sh
# Tests every target of `distill export` in an environment of its own: sh tools/test_targets.sh [PYTHON]
# Safe to repeat. A target that does not install here is said and left out; a test that fails ends with its exit code.
set -u
python=${1:-python3}
code=0
for extra in openvino executorch litert coreml; do
    place=.venv-targets/$extra
    echo "targets: $extra, in $place"
    "$python" -m venv "$place" || exit 2
    if ! "$place/bin/python" -m pip --disable-pip-version-check install --quiet --editable ".[export,$extra]" pytest; then
        echo "targets: $extra skipped, as it cannot be installed here"
        continue
    fi
    if ! "$place/bin/python" -c 'import cv2' 2>/dev/null; then # no libGL, as in a bare container
        "$place/bin/python" -m pip install --quiet --force-reinstall --no-deps opencv-python-headless
    fi
    # its own alone: ExecuTorch brings coremltools, and a NumPy that breaks them
    "$place/bin/python" -m pytest -rs tests/deploy/test_targets.py -k "$extra" || code=$?
done
exit $code
