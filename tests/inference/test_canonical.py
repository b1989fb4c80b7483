"""A network that knows canonical depth without error gives metres without error, whatever the camera."""

import numpy as np
import pytest
import torch

from distill.data import Sample
from distill.data.focal import CANONICAL
from distill.data.scenes.scene_dataset import render
from distill.errors import UserError
from distill.evaluation import PROTOCOLS
from distill.inference.evaluating import evaluate
from distill.inference.network import Network
from teachers import DepthModel

SIZE = (48, 96)


def scene(focal):
    """A street seen by a camera of a focal length."""
    camera = np.array([[focal, 0, SIZE[1] / 2], [0, focal, SIZE[0] / 2], [0, 0, 1.0]])
    view = render("road", 3, SIZE, intrinsics=camera)
    image = view.image.mul(255).byte().permute(1, 2, 0).numpy()
    return Sample(image, view.depth.numpy(), view.depth.numpy() > 0, f"street at {focal}", camera)


class Knowing(DepthModel):
    """Gives what it was told, as a camera of the canonical focal length would measure it."""

    canonical_focal = CANONICAL

    def __init__(self, sample, zoom):
        super().__init__()
        focal = sample.intrinsics[0, 0] * zoom
        self.depth = torch.from_numpy(np.where(sample.valid, sample.depth, 50)) * float(CANONICAL / focal)

    def forward(self, image):
        depth = torch.nn.functional.interpolate(self.depth[None, None], size=image.shape[-2:], mode="nearest")
        return depth.expand(len(image), -1, -1, -1)


@pytest.mark.parametrize("focal", [40.0, 60.0, 120.0])
@pytest.mark.parametrize("zoom", [1, 2])
def test_scenes_of_three_focal_lengths_are_exact(focal, zoom):
    sample, size = scene(focal), None if zoom == 1 else (zoom * SIZE[0], zoom * SIZE[1])
    result = evaluate(Knowing(sample, zoom), [sample], PROTOCOLS["scenes_road"], size=size, tta="none")
    assert result.metrics["abs_rel"] < (1e-6 if zoom == 1 else 0.05)  # the second is resized at edges
    model = Knowing(sample, zoom)
    model.canonical_focal = None
    assert evaluate(model, [sample], PROTOCOLS["scenes_road"], size=size, tta="none").metrics["abs_rel"] > 0.5


def test_images_without_a_camera_are_refused():
    sample = scene(60.0)
    network = Network(Knowing(sample, 1), None, torch.device("cpu"))
    with pytest.raises(UserError, match="focal length of these images is not known"):
        network.images([sample.image])
    network.intrinsics = sample.intrinsics
    assert np.allclose(network.images([sample.image])[0][sample.valid], sample.depth[sample.valid], rtol=1e-5)
