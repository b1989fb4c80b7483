"""A student, a teacher and a batch of a few thousand numbers."""

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from students import create_student
from students.performer import PerformerAttention
from teachers import DPT, DPTConfig, FrozenTeacher
from teachers.dpt import init_output
from teachers.stem import StemConfig

TINY_DPT = DPTConfig(
    width=16,
    heads=2,
    hooks=(0, 1),
    channels=(16, 24, 16, 20),
    stem=StemConfig(layers=(1, 1, 1), channels=(16, 24, 32), width=8, groups=4),
    grid=4,
    features=8,
    head_hidden=4,
    scale=0.1,
    shift=0.0125,
    invert=True,
    min_depth=0.5,
    max_depth=60.0,
)


class ToyDecoder(nn.Module):
    """Four maps -> depth above 1 m: projected, brought to stride 4, added, normalised."""

    def __init__(self, channels):
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, 4, 1) for c in channels)
        self.norm, self.last = nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1)

    def forward(self, features, size):
        finest = features[0].shape[-2:]
        maps = [F.interpolate(p(f), size=finest) for p, f in zip(self.project, features, strict=True)]
        depth = 1 + F.softplus(self.last(self.norm(sum(maps))))
        return F.interpolate(depth, scale_factor=4)[..., : size[0], : size[1]]


class ToyModel(nn.Module):
    """A depth model with BatchNorm in its encoder and in its decoder."""

    def __init__(self, channels):
        super().__init__()
        self.feature_channels, self.min_depth, self.max_depth, self.output = channels, 1.0, 40.0, "metric"
        sizes = zip((3, *channels), channels, (4, 2, 2, 2), strict=False)
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, k, k), nn.BatchNorm2d(b), nn.LeakyReLU()) for a, b, k in sizes
        )
        self.decoder = ToyDecoder(channels)

    def encode(self, image):
        maps, x = [], image
        for stage in self.encoder:
            x = stage(x)
            maps.append(x)
        return maps

    def decode(self, features, size):
        return self.decoder(features, size)

    def forward(self, image):
        return self.decode(self.encode(image), image.shape[-2:])


def make_student(kind):
    torch.manual_seed(1)
    if kind == "toy":
        return ToyModel((6, 8, 10, 12))
    if kind in ("cnn", "light"):
        options = {"pretrained": False, "lg_conv": True, "width": 8, "bins": 8, "min_depth": 0.5, "max_depth": 60.0}
        return create_student("test_resnet", decoder="paper" if kind == "cnn" else kind, **options)
    if kind == "performer":
        model = DPT(replace(TINY_DPT, resolution_scale=0.5), attention=partial(PerformerAttention, features=8))
        init_output(model, depth=10.0)
        return model
    return DPT(TINY_DPT)


STUDENTS = {kind: make_student(kind) for kind in ("toy", "cnn", "light", "dpt", "performer")}


@pytest.fixture(params=STUDENTS)
def any_student(request):
    """Every kind of student in turn: a toy, CNNs with LG-Conv, a DPT, one on half the image. In training mode."""
    return copy.deepcopy(STUDENTS[request.param]).train()


@pytest.fixture
def student():
    """The toy student, in training mode."""
    return copy.deepcopy(STUDENTS["toy"]).train()


@pytest.fixture(scope="session")
def teacher():
    torch.manual_seed(2)
    return FrozenTeacher(ToyModel((5, 7, 9, 11)))


@pytest.fixture
def batch():
    """Two 64x96 images whose red is their depth, of which two thirds are valid: image, depth, valid."""
    generator = torch.Generator().manual_seed(3)
    image = F.interpolate(torch.rand(2, 3, 4, 6, generator=generator), size=(64, 96), mode="bilinear")
    depth = 2 + 30 * image[:, :1]
    return image, depth, torch.rand(depth.shape, generator=generator) < 0.67
