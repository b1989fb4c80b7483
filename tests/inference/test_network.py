import numpy as np
import pytest
import torch

from distill.data import Sample, collate, resize
from distill.evaluation import PROTOCOLS
from distill.inference.network import Network, network_image
from distill.inference.panels import network_input


class Recording:
    def __call__(self, image):
        self.seen = image.clone()
        return image[:, :1]


@pytest.mark.parametrize("size", [(24, 40), (20, 33), (96, 160), (96, 40), (48, 80)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_every_command_shows_a_network_what_training_showed_it(size, dtype):
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    image = image if dtype == np.uint8 else image / np.float32(255)
    depth = np.ones((48, 80), np.float32)
    sample, protocol = Sample(image, depth, depth > 0, "a"), PROTOCOLS["scenes_road"]
    trained = collate([resize(sample, size)]).to("cpu").image
    model = Recording()
    network = Network(model, protocol, torch.device("cpu"), size)
    network(sample)  # evaluate
    assert torch.equal(model.seen, trained)
    network.images([image])  # predict
    assert torch.equal(model.seen, trained)
    assert torch.equal(network_image(image, size)[None], trained)  # export and its calibration
    assert torch.equal(collate([network_input(sample, protocol, size)]).to("cpu").image, trained)  # panels
