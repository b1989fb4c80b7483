"""A depth model of one's own is opened by `module:factory`, or refused with what it lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from teachers import create_teacher

OWN = """
import torch
from torch import nn
from teachers import DepthModel, create_dpt


class Flat(DepthModel):
    feature_channels = (1, 1, 1, 1)
    min_depth = max_depth = None
    output = "metric"

    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleList()
        self.decoder = nn.Conv2d(1, 1, 1)

    def encode(self, image):
        return [image.mean(1, keepdim=True)[..., ::s, ::s] for s in (4, 8, 16, 32)]

    def decode(self, features, size):
        return torch.full((len(features[0]), 1, *size), 2.0)


class Half(nn.Module):
    feature_channels = (1, 1, 1, 1)


def flat():
    return Flat()


def half():
    return Half()


def words():
    return "words"


def thin():
    model = Flat()
    model.feature_channels = (1, 1, 1, 2)
    return model


def small():
    model = Flat()
    model.decode = lambda features, size: torch.zeros(1, 1, 8, 8)
    return model


def uncounted():
    model = Flat()
    model.feature_channels = 4
    return model


def failing():
    model = Flat()
    model.encode = lambda image: image.no_such_thing
    return model


def needy(size):
    return Flat()


def broken():
    return 1 / 0


number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the working directory, which is not on Python's path."""
    name = "own_teacher_of_a_test"
    (tmp_path / f"{name}.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("nowhere")
    return name


def test_the_teacher_of_the_page_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/how-to/choose-a-teacher.md").read_text(encoding="utf-8")
    code = page.split("```python\n# own.py\n")[1].split("```")[0]
    (tmp_path / "own_teacher_of_the_page.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    teacher = create_teacher("own_teacher_of_the_page:teacher")
    image = torch.rand(2, 3, 64, 96)
    assert teacher(image).shape == (2, 1, 64, 96)
    assert [tuple(x.shape[1:]) for x in teacher.encode(image)] == [(64, 16, 24), (128, 8, 12), (256, 4, 6), (512, 2, 3)]


def test_a_function_of_the_working_directory_gives_a_frozen_teacher(own: str) -> None:
    teacher = create_teacher(f"{own}:flat")
    assert teacher(torch.rand(1, 3, 40, 50)).shape == (1, 1, 40, 50)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        ("half", "lacks encode, decode"),
        ("words", "returned str"),
        ("number", "no function"),
        ("absent", "has no absent"),
        ("uncounted", "feature_channels must be four numbers, got 4"),
        ("thin", r"encode gives maps of \[1, 1, 1, 1\] channels, and feature_channels says \[1, 1, 1, 2\]"),
        ("small", r"decode gives \(1, 1, 8, 8\) for an image \(64, 96\)"),
        ("failing", "fails on an image.*no_such_thing"),
    ],
)
def test_what_is_no_depth_model_is_refused_with_what_it_lacks(own: str, factory: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        create_teacher(f"{own}:{factory}")


def test_a_module_that_is_not_there_is_told_with_where_it_was_looked_for(own: str) -> None:
    with pytest.raises(ValueError, match="no module not_there_at_all"):
        create_teacher("not_there_at_all:flat")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", r":broken fails: ZeroDivisionError: division by zero \(.*own_teacher_of_a_test.py:\d+\)"),
        ("needy", r":needy fails: TypeError: needy\(\) missing 1 required positional argument: 'size'"),
    ],
)
def test_a_fault_of_ones_own_code_is_named_with_its_line(own: str, name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_teacher(f"{own}:{name}")


def test_a_module_that_python_cannot_read_is_named_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unreadable_module_of_a_test.py").write_text("x = 1\ndef f(:\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"its module fails: SyntaxError: .*unreadable_module_of_a_test.py:2\)"):
        create_teacher("unreadable_module_of_a_test:f")
