"""Tools are scripts that nothing imports: their tests load them by path."""

import importlib.util
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
TOOLS = TESTS.parents[1] / "tools"


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as Python does for a script, which may import its neighbours
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


@pytest.fixture(scope="session")
def load_tool():
    """load_tool("measure/soak.py"): that tool as a module."""
    return lambda name: load(TOOLS / name)


@pytest.fixture(scope="module")
def tool(request):
    """The tool that the tests are named after: tools/measure/soak.py for tests/tools/measure/test_soak.py."""
    return load(TOOLS / request.path.relative_to(TESTS).with_name(request.path.name.removeprefix("test_")))
