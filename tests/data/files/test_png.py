import struct
import zlib

import cv2
import numpy as np
import pytest

from distill.data.files import png
from distill.data.files.reading import DecodeError, decode

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
DEPTH = np.random.default_rng(1).integers(0, 65536, (24, 32), dtype=np.uint16)
FILTERS = {"none": 0, "sub": 1, "up": 2, "average": 3, "paeth": 4}


def encode(array, filters="none"):
    """A PNG file whose rows all have one filter, or each the next one of the numbers given."""
    height, width = array.shape[:2]
    rows = array.astype(array.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8).reshape(height, -1)
    step = rows.shape[1] // width
    cycle = [FILTERS[filters]] if isinstance(filters, str) else filters
    numbers = [cycle[y % len(cycle)] for y in range(height)]
    lines = [bytes([number]) + filtered(rows, y, number, step) for y, number in enumerate(numbers)]
    kind = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, 2 if array.ndim == 3 else 0, 0, 0, 0)
    chunks = {b"IHDR": kind, b"IDAT": zlib.compress(b"".join(lines)), b"IEND": b""}
    return png.START + b"".join(png.chunk(name, content) for name, content in chunks.items())


def filtered(rows, y, number, step):
    """Row y relative to what the filter predicts: nothing, the left, the upper, their mean, or the nearest of three."""
    row = rows[y].astype(int)
    up = rows[y - 1].astype(int) if y else np.zeros_like(row)
    left, corner = (np.concatenate([np.zeros(step, int), line[:-step]]) for line in (row, up))
    guess = left + up - corner
    nearest = np.stack([abs(guess - one) for one in (left, up, corner)]).argmin(0)
    predicted = (0 * row, left, up, (left + up) // 2, np.choose(nearest, (left, up, corner)))[number]
    return ((row - predicted) % 256).astype(np.uint8).tobytes()


KINDS = {2: png.GREY16, 3: png.COLOUR8}


def decoded(raw, like):
    return decode(raw, "a.png", KINDS[like.ndim])


def read(raw, like):
    return png.read(raw, KINDS[like.ndim])


@pytest.mark.parametrize("array", [NOISE, DEPTH, NOISE[:1, :1], DEPTH[:1, :1]])
@pytest.mark.parametrize("filters", [*FILTERS, (0, 0, 2, 4), (0, 1, 2, 3, 4)])
def test_values_are_those_that_were_written(array, filters):
    raw = encode(array, filters)
    values = decoded(raw, array)
    assert values.dtype == array.dtype
    assert np.array_equal(values, array)
    assert png.pyspng is None or np.array_equal(read(raw, array), array)


@pytest.mark.parametrize("array", [NOISE, DEPTH])
def test_the_libraries_may_be_missing(monkeypatch, array):
    monkeypatch.setattr(png, "pyspng", None)
    assert read(encode(array), array) is None
    assert np.array_equal(decoded(encode(array), array), array)


@pytest.mark.parametrize("array", [NOISE[..., 0], np.dstack([NOISE, NOISE[..., :1]]), NOISE.astype(np.uint16)])
def test_other_kinds_are_left_to_opencv(array):
    done, data = cv2.imencode(".png", array)
    assert done
    assert png.read(data.tobytes(), png.COLOUR8) is png.read(data.tobytes(), png.GREY16) is None
    assert np.array_equal(decode(data.tobytes(), "a.png", png.GREY16), array)


def test_other_formats_are_left_to_opencv():
    done, data = cv2.imencode(".jpg", NOISE)
    assert done
    assert png.read(data.tobytes(), png.COLOUR8) is png.read(b"", png.COLOUR8) is None


def test_rows_in_several_portions_are_one_stream():
    raw = encode(NOISE)
    content = raw[41:-16]
    parts = [(b"tEXt", b"a\0b"), (b"IDAT", content[:100]), (b"IDAT", content[100:])]
    split = raw[:33] + b"".join(png.chunk(*part) for part in parts) + raw[-12:]
    assert np.array_equal(decoded(split, NOISE), NOISE)


@pytest.mark.parametrize("array", [NOISE, DEPTH])
@pytest.mark.parametrize("filters", ["none", "paeth"])
def test_damage_is_refused(array, filters):
    raw = bytearray(encode(array, filters))
    raw[len(raw) // 2] ^= 0xFF
    assert read(bytes(raw), array) is None
    with pytest.raises(DecodeError):
        decoded(bytes(raw), array)


@pytest.mark.parametrize("width", [31, 33, 2**24, 2**31 - 1])
def test_a_header_that_does_not_suit_the_rows_is_not_believed(width):
    raw = bytearray(encode(DEPTH))
    raw[16:20] = width.to_bytes(4, "big")
    assert read(bytes(raw), DEPTH) is None


def test_every_real_file_is_the_same_to_opencv(sample_data):
    depths = [*sample_data.glob("kitti/data_depth_annotated/**/*.png"), *sample_data.glob("nyu/sync/basement*/*.png")]
    for path in depths:
        assert np.array_equal(decode(path.read_bytes(), path, png.GREY16), cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    images = list(sample_data.glob("kitti/2011_09_26/**/*.png"))
    for path in images:
        assert np.array_equal(decode(path.read_bytes(), path, png.COLOUR8), cv2.imread(str(path))[..., ::-1])
    assert (len(depths), len(images)) == (15, 7)
