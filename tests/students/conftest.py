"""Small students and images for them."""

import pytest
import torch

from students import create_student

SMALL = {"pretrained": False, "width": 16, "bins": 8, "min_depth": 0.5, "max_depth": 10.0}


@pytest.fixture(scope="session")
def make_student():
    """make_student("test_resnet", **changes): a CNN student of at most a million weights, in eval mode, seeded."""

    def make(backbone, seed=0, **changes):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return create_student(backbone, **{**SMALL, **changes}).eval()

    return make


@pytest.fixture
def images():
    """images(H, W): two images in [0, 1], always the same."""
    return lambda height, width: torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))
