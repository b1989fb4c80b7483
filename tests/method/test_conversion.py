"""A relative teacher's map in metres: a fit that outliers do not break, and a shape where no fit holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.method import METHODS
from distill.method.conversion import convert, shape_loss
from distill.method.guide import guide_of_relative, known_pixels
from teachers import FrozenTeacher
from tests.method.conftest import ToyModel

CAP = 40.0


def scene(images: int = 2) -> tuple[Tensor, Tensor]:
    """Depth of ramps from 2 to 30 m, and r of which 1 / depth = 0.5 r + 0.01, each (B, 1, 16, 32)."""
    depth = torch.linspace(2, 30, 512).view(1, 1, 16, 32).expand(images, 1, 16, 32).contiguous()
    return depth, (1 / depth - 0.01) / 0.5


def test_a_relative_map_of_the_truth_becomes_the_truth() -> None:
    depth, r = scene()
    made = convert(r, depth, torch.rand(depth.shape) < 0.3, CAP)
    assert made.good.all()
    torch.testing.assert_close(made.depth, depth, rtol=1e-3, atol=1e-3)


def test_a_tenth_of_gross_outliers_does_not_move_the_fit() -> None:
    depth, r = scene()
    generator = torch.Generator().manual_seed(0)
    wrong = torch.rand(depth.shape, generator=generator) < 0.1
    measured = torch.where(wrong, 2 + 70 * torch.rand(depth.shape, generator=generator), depth)
    made = convert(r, measured, torch.ones_like(wrong), 80.0)
    assert made.good.all()
    assert ((made.depth / depth).log().abs().mean()) < 0.02


@pytest.mark.parametrize("case", ["few", "flat", "upside down"])
def test_a_fit_that_does_not_hold_is_not_good(case: str) -> None:
    depth, r = scene(1)
    valid = torch.ones_like(depth, dtype=torch.bool)
    if case == "few":
        valid = torch.zeros_like(valid)
        valid[..., :2, :31] = True  # 62 pixels
    elif case == "flat":
        valid = (depth > 10) & (depth < 14)
    else:
        r = -r
    made = convert(r, depth, valid, CAP)
    assert not made.good.any()
    assert made.measured.all() == (case != "few")


def test_what_is_farther_than_the_cap_teaches_the_cap() -> None:
    depth, r = scene(2)
    r[:, :, -4:] = -0.1  # the sky
    valid = torch.ones_like(depth, dtype=torch.bool)
    valid[:, :, -4:] = False
    valid[1] = False  # of which nothing can be known
    guide = guide_of_relative(r, depth, valid, (1e-3, CAP))
    assert (guide.depth[0, :, -4:] == CAP).all()
    assert (guide.depth[0, :, :-4] < CAP).all()
    assert known_pixels(guide)[0].all()
    assert not known_pixels(guide)[1].any()


def test_the_loss_of_shapes_ignores_scale_and_shift_and_images_that_do_not_count() -> None:
    depth, r = scene()
    assert shape_loss(depth, 3 * r + 7, torch.tensor([True, True])) < 1e-4
    other = depth.clone()
    other[1] = other[1].flip(-1)
    assert shape_loss(other, r, torch.tensor([True, False])) < 1e-4
    assert shape_loss(other, r, torch.tensor([True, True])) > 0.1


class Exact(ToyModel):
    """A teacher that knows the batch's depth by its red, in metres or as inverse depth with a scale and a shift."""

    def __init__(self, output: str) -> None:
        super().__init__((5, 7, 9, 11))
        self.output = output

    def encode(self, image: Tensor) -> list[Tensor]:
        self.depth = 2 + 30 * image[:, :1]
        return super().encode(image)

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        return self.depth if self.output == "metric" else 3 / self.depth + 1


@pytest.mark.parametrize("name", ["output", "fill"])
def test_a_relative_copy_of_a_teacher_teaches_the_same_metres(name: str, student, batch) -> None:
    image, depth, valid = batch
    method = METHODS[name](student)
    guides = [method.consult(FrozenTeacher(Exact(kind)), image, valid, depth) for kind in ("metric", "relative")]
    torch.testing.assert_close(guides[0].depth, guides[1].depth, rtol=1e-3, atol=1e-3)
    assert guides[1].known.all()
    losses = [method(image, depth, valid, guide, 0).loss for guide in guides]
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", ["output", "fill"])
def test_without_truth_a_relative_teacher_still_teaches_the_shape(name: str, student, batch) -> None:
    image, depth, valid = batch
    nothing = torch.zeros_like(valid)
    method = METHODS[name](student)
    guide = method.consult(FrozenTeacher(Exact("relative")), image, nothing, depth)
    assert guide.shape_only is not None
    assert guide.shape_only.all()
    result = method(image, depth, nothing, guide, 0)
    result.loss.backward()
    moved = [parameter.grad.abs().sum() for parameter in student.parameters() if parameter.grad is not None]
    assert sum(moved) > 0


def test_a_map_of_the_wrong_order_is_dropped_and_counted(student, batch) -> None:
    image, depth, valid = batch
    method = METHODS["output"](student)
    guide = method.consult(FrozenTeacher(Exact("relative")), image, valid, 34 - depth)
    result = method(image, 34 - depth, valid, guide, 0)
    assert not guide.known.any()
    assert result.logs["guides_dropped"] == 1


class DepthWithoutUnit(Exact):
    """A relative teacher whose output is depth in place of its inverse, as a student's of a relative loss is."""

    def decode(self, features: list[Tensor], size: tuple[int, int]) -> Tensor:
        return 5 * self.depth

    def inverse(self, output: Tensor) -> Tensor:
        return output.reciprocal()


def test_depth_without_a_unit_is_inverted_once(student, batch, monkeypatch) -> None:
    monkeypatch.setattr("distill.method.base.is_relative", lambda model: model.output == "relative")
    monkeypatch.setattr("distill.method.base.relative_inverse", lambda model, output: model.inverse(output))
    image, depth, valid = batch
    guide = METHODS["output"](student).consult(DepthWithoutUnit("relative"), image, valid, depth)
    assert guide.known.all()
    torch.testing.assert_close(guide.depth, depth.clamp(max=40.0), rtol=1e-3, atol=1e-3)
