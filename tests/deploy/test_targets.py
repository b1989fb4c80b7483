"""Each target's file in its own runtime, where that is installed: `make test-targets` installs each in turn."""

import sys

import pytest
import torch

from distill.deploy.runtime import HALF_TOLERANCE, deviation
from distill.deploy.targets import TARGETS, Cargo
from distill.errors import UserError
from distill.inference.models import open_model
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
def test_the_file_is_a_model_with_its_depth_and_facts_and_no_damaged_one(target, make, tmp_path):
    torch.manual_seed(0)
    student, path = make().eval(), tmp_path / f"x{target.suffix}"
    target.write(Cargo(student, SIZE, FACTS), path)
    written = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert any(b"distill 0" in file.read_bytes() for file in written)
    names = {path.name, *(f"x{end}" for end in target.beside)}
    assert {one.name for one in tmp_path.iterdir()} == names
    if target.open is not None:
        model, exact = open_model(str(path)), student.double()
        assert model.size == SIZE
        assert FACTS.items() <= model.facts.items()
        assert deviation(model, lambda image: exact(image.double()), [IMAGE]).acceptable
        content = path.read_bytes()
        path.unlink()  # what a runtime has mapped stays as it was
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match="is no exported model"):
            open_model(str(path))


def test_16_bits_make_the_file_smaller_and_hardly_move_the_depth(target, tmp_path):
    if not target.half:
        pytest.skip("this target has no 16 bits")
    torch.manual_seed(0)
    student, sizes = create_student("test_efficientnet", decoder="light", pretrained=False, bins=8, width=64).eval(), []
    for half in (False, True):
        path = tmp_path / str(half) / f"x{target.suffix}"
        path.parent.mkdir()
        cargo = Cargo(student, SIZE, FACTS, half=half)
        target.write(cargo, path)
        sizes.append(sum(file.stat().st_size for file in path.parent.rglob("*") if file.is_file()))
    assert sizes[1] < 0.8 * sizes[0]
    if target.open is not None:
        exact, model = student.double(), target.model(path, cargo)
        assert model(IMAGE).dtype == torch.float32
        assert deviation(model, lambda image: exact(image.double()), [IMAGE]).within(HALF_TOLERANCE)


def test_8_bits_are_computed_in_the_targets_own_runtime(target, tmp_path):
    if target.quantiser is None:
        pytest.skip("this target has no 8 bits")
    torch.manual_seed(0)
    student, path = create_student("test_efficientnet", pretrained=False, bins=8, width=8).eval(), tmp_path / "float"
    cargo, rounded = Cargo(student, SIZE, FACTS), tmp_path / f"x{target.suffix}"
    quantiser = target.quantiser(cargo, path, [IMAGE])
    quantiser.write(rounded)
    assert quantiser.share > 0.9
    target.state(rounded, {"remark": "my own"})
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"my own" in written
    assert b"distill 0" in written
    with torch.no_grad():
        expected = student(IMAGE)
    assert 0 < ((target.model(rounded, cargo)(IMAGE) - expected).abs() / expected).mean() < 0.02


@pytest.mark.parametrize("name", OTHERS)
def test_a_target_that_is_not_installed_names_its_extra(name, monkeypatch):
    kind = TARGETS[name]
    monkeypatch.setitem(sys.modules, kind.modules[0], None)
    with pytest.raises(UserError, match=rf"this needs {kind.modules[0].split('.')[0]}: .*'\.\[{kind.extra}\]'"):
        kind.require()
