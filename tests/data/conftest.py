"""Small data sets on disk, and where the real sample data lies."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill.data.files.reading import DecodeError
from distill.data.sample import Sample


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of the real KITTI and NYU samples, named by DISTILL_SAMPLE_DATA."""
    folder = os.environ.get("DISTILL_SAMPLE_DATA")
    if not folder:
        pytest.skip("DISTILL_SAMPLE_DATA does not name the folder of the KITTI and NYU samples")
    return Path(folder)


@pytest.fixture(scope="session")
def write_image():
    """write_image(path, rgb): any array that OpenCV can store, its folders made on the way."""

    def write(path, array):
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.asarray(array)
        assert cv2.imwrite(str(path), array[..., ::-1] if array.ndim == 3 else array)
        return path

    return write


@pytest.fixture(scope="session")
def make_sample():
    """make_sample(height, width): random colours and depth up to 10 m, a tenth of it not measured."""

    def make(height, width, seed=0):
        rng = np.random.default_rng(seed)
        depth = rng.uniform(0.5, 10, (height, width)).astype(np.float32)
        depth[rng.random(depth.shape) < 0.1] = 0
        intrinsics = np.array([[700.0, 0, width / 2 + 3], [0, 710, height / 2 - 2], [0, 0, 1]])
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Sample(image, depth, depth > 0, f"sample {seed}", intrinsics)

    return make


class Numbered:
    """Sample i is called i, has random colours, and is i + 1 metres away. Those in `broken` cannot be read."""

    max_depth, contents = 80.0, None

    def __init__(self, count, broken=(), prefix=""):
        self.count, self.broken, self.prefix = count, broken, prefix

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        if index in self.broken:
            raise DecodeError(f"{self.prefix}{index}.png", "the file is cut short")
        depth = np.full((10, 12), index + 1, np.float32)
        image = np.random.default_rng(index).integers(0, 256, (10, 12, 3), dtype=np.uint8)
        return Sample(image, depth, depth > 0, f"{self.prefix}{index}")


@pytest.fixture
def numbered():
    return Numbered
