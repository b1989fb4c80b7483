import os
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.data.files.probing import Facts, holds_depth, probe, probe_all
from distill.data.files.reading import DecodeError, read_values

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
METRES = np.random.default_rng(1).uniform(1, 9, (24, 32)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "array", "facts"),
    [
        ("image.png", NOISE, Facts(size=(24, 32), bits=8, channels=3)),
        ("grey.png", NOISE[..., 0], Facts(size=(24, 32), bits=8, channels=1)),
        ("depth.png", NOISE[..., 0].astype(np.uint16) * 200, Facts(size=(24, 32), bits=16, channels=1)),
        ("image.jpg", NOISE, Facts(size=(24, 32), bits=8, channels=3)),
        ("small.jpg", NOISE[:4, :6], Facts(size=(4, 6), bits=8, channels=3)),
    ],
)
def test_the_header_tells_size_and_bits(tmp_path, write_image, name, array, facts):
    assert probe(write_image(tmp_path / name, array)) == facts


def test_empty_missing_and_looping_files_are_reported(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert probe(tmp_path / "empty.png").fault == "the file is empty"
    assert probe(tmp_path / "none.png").fault == "no such file"
    assert "symbolic links" in probe(tmp_path / "loop.png").fault


@pytest.mark.parametrize("name", ["a.png", "a.h5", "a.npy"])
def test_what_may_never_end_is_not_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"device{name}").symlink_to("/dev/zero")
    for path, what in ((tmp_path / name, "a FIFO"), (tmp_path / f"device{name}", "a device")):
        assert what in str(probe(path).fault)
        with pytest.raises(DecodeError, match=what):
            read_values(path)


def test_a_picture_of_too_many_pixels_is_not_called_cut(tmp_path, write_image, monkeypatch):
    path = write_image(tmp_path / "a.png", NOISE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert "768 pixels" in str(probe(path).fault)


def test_of_other_formats_nothing_is_reported(tmp_path):
    (tmp_path / "scan.bin").write_bytes(bytes(64))
    assert probe(tmp_path / "scan.bin") == Facts()


def test_many_files_are_looked_at_once_each(tmp_path, write_image):
    paths = [str(write_image(tmp_path / f"{i}.png", NOISE[:, : i + 1])) for i in range(30)]
    done = []
    facts = probe_all([*paths, *paths], lambda *counts: done.append(counts))
    assert [facts[path].size for path in paths] == [(24, i + 1) for i in range(30)]
    assert done == [(30, 30)]


def test_of_a_large_file_only_the_ends_are_read(tmp_path):
    path = tmp_path / "large.png"
    assert cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8))
    assert path.stat().st_size > 1_000_000
    tracemalloc.start()
    probe(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_copies_have_one_mark_and_others_have_not(tmp_path, write_image):
    arrays = {"a.png": NOISE, "b.png": NOISE, "c.png": 255 - NOISE}
    one, copy, other = (probe(write_image(tmp_path / name, array)).mark for name, array in arrays.items())
    assert one == copy != other


FORMATS = {
    "a.tif": METRES,
    "a.tiff": METRES.astype(np.float64),
    "b.tif": (METRES * 1000).astype(np.uint16),
    "c.tif": NOISE,
    "a.bmp": NOISE,
    "a.webp": NOISE,
    "a.npy": METRES,
    "b.npy": METRES[None].astype(np.float16),
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.95, 0.5, 0.1])
def test_files_of_every_format_are_whole_or_reported(tmp_path, write_image, name, share):
    array, path = FORMATS[name], tmp_path / name
    np.save(path, array) if path.suffix == ".npy" else write_image(path, array)
    channels = 3 if array is NOISE else 1
    assert probe(path) == Facts(size=(24, 32), bits=8 * array.itemsize, channels=channels)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert probe(path).fault


@pytest.mark.parametrize(
    ("name", "array", "depth"),
    [
        ("a/1.png", NOISE, False),
        ("a/1.png", NOISE[..., 0], False),  # a grey photograph
        ("image/1.png", (METRES * 1000).astype(np.uint16), True),
        ("a/1.tif", METRES, True),
        ("depth_1.png", NOISE[..., 0], True),
        ("depth_set/color_1.png", NOISE, False),
        ("depth_set/1.jpg", NOISE, False),
    ],
)
def test_content_tells_depth_and_names_tell_what_content_does_not(tmp_path, write_image, name, array, depth):
    assert holds_depth(name, probe(write_image(tmp_path / name, array))) == depth
