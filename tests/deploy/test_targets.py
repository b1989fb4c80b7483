"""Each target's file in its own runtime, where that is installed: `make test-targets` installs each in turn."""

import sys

import pytest
import torch

from distill.deploy.runtime import deviation
from distill.deploy.targets import TARGETS, Cargo
from distill.errors import UserError
from students import create_student

SIZE = (45, 70)
IMAGE = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
FACTS = {"units": "metres", "size": "45x70", "licence": "mine", "software": "distill 0"}
OTHERS = [name for name in TARGETS if name not in ("onnx", "onnx-portable", "pt2")]  # those have tests of their own


@pytest.fixture(params=OTHERS)
def target(request):
    """A target that is installed."""
    try:
        TARGETS[request.param].require()
    except UserError as error:
        pytest.skip(str(error))
    return TARGETS[request.param]


def light():
    return create_student("test_efficientnet", decoder="light", pretrained=False, bins=8, width=8)


def pruned():
    """Works on half of the image, which it shrinks with antialiasing."""
    return create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5)


@pytest.mark.parametrize("make", [light, pruned])
def test_the_file_gives_the_models_depth_and_holds_its_facts(target, make, tmp_path):
    torch.manual_seed(0)
    student, path = make().eval(), tmp_path / f"x{target.suffix}"
    target.write(Cargo(student, SIZE, FACTS), path)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"distill 0" in file.read_bytes() for file in written)
    names = {path.name, *(f"x{end}" for end in target.beside)}
    assert {one.name for one in tmp_path.iterdir()} == names
    if target.open is not None:
        exact = student.double()
        assert deviation(target.open(path), lambda image: exact(image.double()), [IMAGE]).acceptable


@pytest.mark.parametrize("name", OTHERS)
def test_a_target_that_is_not_installed_names_its_extra(name, monkeypatch):
    kind = TARGETS[name]
    monkeypatch.setitem(sys.modules, kind.modules[0], None)
    with pytest.raises(UserError, match=rf"this needs {kind.modules[0].split('.')[0]}: .*'\.\[{kind.extra}\]'"):
        kind.require()
