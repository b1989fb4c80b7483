"""Two DPTs of a few thousand weights: one on a convolutional stem, one on the image itself."""

from dataclasses import replace

import pytest
import torch

from teachers import DPT, DPTConfig
from teachers.stem import StemConfig

STEM = StemConfig(layers=(1, 2, 1), channels=(16, 24, 32), width=8, groups=4)
SIZES = {
    "hybrid": DPTConfig(
        width=16, heads=2, hooks=(0, 2), channels=(16, 24, 16, 20), stem=STEM, grid=4, features=8, head_hidden=4
    ),
    "plain": DPTConfig(
        width=16, heads=2, hooks=(0, 1, 3, 4), channels=(8, 12, 16, 20), stem=None, grid=4, features=8, head_hidden=4
    ),
}


@pytest.fixture(scope="session")
def tiny_config():
    """tiny_config("hybrid" | "plain", **changes): the configuration of a DPT that runs in a millisecond."""
    return lambda kind, **changes: replace(SIZES[kind], **changes)


@pytest.fixture(scope="session")
def tiny_dpt(tiny_config):
    """tiny_dpt("hybrid" | "plain", **changes): that DPT in eval mode, seeded, its output free to be negative.

    Its blocks have weights of a trained size: at birth they hardly matter beside the position embedding.
    """

    def make(kind, seed=0, **changes):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = DPT(tiny_config(kind, **{"non_negative": False, **changes})).eval()
        for weight in model.encoder.vit.blocks.parameters():
            weight.data *= 10 if weight.ndim == 2 else 1
        return model

    return make


@pytest.fixture
def images():
    """images(H, W): two images in [0, 1], always the same."""
    return lambda height, width: torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
