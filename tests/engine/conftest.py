"""A model of two numbers, and everything a loop needs to train it on the CPU."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from distill.data import Batch
from distill.engine.faults import FaultLog
from distill.engine.loop import Parts
from distill.engine.step import Learner
from distill.method import StepResult


class Affine(nn.Module):
    """A method: depth = a * image + b, a mean squared error over valid pixels, and another over images, by a guide.

    `guide` is a number, or a function of the teacher, the images and their valid pixels that gives one.
    """

    def __init__(self, guide=0.5):
        super().__init__()
        self.guide = guide
        self.a, self.b = nn.Parameter(torch.tensor(0.5)), nn.Parameter(torch.tensor(0.1))

    def limit(self, depth, valid):
        return valid

    def counted(self, valid, metres, relative):
        return valid.sum()

    def explained_by(self, teacher):
        return True

    def acclimation(self):
        return []

    def consult(self, teacher, image, valid, truth=None, label=None, relative=None, canonical=None, measured=None):
        return self.guide(image) if callable(self.guide) else self.guide

    def forward(self, image, depth, valid, guide, step):
        gap = self.a * image[:, :1] + self.b - depth
        return StepResult(gap[valid].square().mean(), guide * gap.square().mean(), {"task": gap.detach().mean()})


class Acclimated(Affine):
    """The same beside a weight of acclimation, whose loss is `strength` times its square."""

    strength = 1.0

    def __init__(self):
        super().__init__()
        self.fam = nn.Parameter(torch.tensor(3.0))

    def acclimation(self):
        return [self.fam]

    def forward(self, image, depth, valid, guide, step):
        result = super().forward(image, depth, valid, guide, step)
        return replace(result, ghost_loss=self.strength * self.fam.square())


class Normed(Affine):
    """The same behind a BatchNorm, whose statistics move in the forward pass."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, image, depth, valid, guide, step):
        return super().forward(self.norm(image), depth, valid, guide, step)


class Drawing(Affine):
    """The same on an image with noise that it draws."""

    def forward(self, image, depth, valid, guide, step):
        return super().forward(image + torch.randn_like(image), depth, valid, guide, step)


class Recorder:
    """A tracker that only remembers."""

    def __init__(self):
        self.records, self.watched = [], []

    def log(self, kind, step, values):
        self.records.append((kind, step, values))


@pytest.fixture
def models():
    return SimpleNamespace(affine=Affine, acclimated=Acclimated, normed=Normed, drawing=Drawing)


@pytest.fixture
def make_learner():
    """make_learner(module, lr, guide, clip): what a step works on."""

    def make(module=None, lr=0.1, guide=0.5, clip=None):
        accelerator = Accelerator()
        method = module or Affine()
        method.guide = guide
        optimizer = torch.optim.AdamW(method.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 10)
        module, optimizer = accelerator.prepare(method, optimizer)
        return Learner(accelerator, method, module, None, optimizer, schedule, clip)

    return make


@pytest.fixture
def make_parts(make_learner, tmp_path):
    """make_parts(..., max_unreadable): the objects of a run and the list of its calls."""

    def make(*inputs, max_unreadable=float("inf"), **options):
        learner, calls, tracker = make_learner(*inputs, **options), [], Recorder()
        return Parts(
            learner,
            save=lambda: calls.append("save") or True,
            validate=lambda interrupted: calls.append("validate"),
            tracker=tracker,
            watch=tracker.watched.append,
            faults=FaultLog(learner.accelerator, tmp_path / "faults", max_unreadable),
        ), calls

    return make


@pytest.fixture
def make_batch():
    """make_batch(count, seed, faults): random images and depth; image i has i + 1 valid pixels."""

    def make(count=4, seed=0, faults=()):
        generator = torch.Generator().manual_seed(seed)
        image = torch.rand(count, 3, 4, 6, generator=generator)
        depth = torch.rand(count, 1, 4, 6, generator=generator)
        valid = torch.arange(24).view(1, 1, 4, 6) < torch.arange(1, count + 1).view(-1, 1, 1, 1)
        return Batch(image, depth, valid, tuple(f"{seed}/{i}" for i in range(count)), faults)

    return make


@pytest.fixture
def spoilt(make_batch):
    """spoilt(...): a batch with a pixel that is no number."""

    def make(*inputs, **options):
        batch = make_batch(*inputs, **options)
        batch.image[0, 0, 0, 0] = float("nan")
        return batch

    return make


@pytest.fixture
def weights_of():
    """weights_of(learner): a copy of everything its module holds."""
    return lambda learner: {key: value.clone() for key, value in learner.module.state_dict().items()}
