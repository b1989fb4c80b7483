import struct
import tracemalloc

import cv2
import numpy as np
import pytest

from distill.data.files.probe import Facts, probe, probe_all
from distill.data.files.reading import DecodeError, read_image

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)  # about 9 kB as PNG


@pytest.mark.parametrize(
    ("name", "array", "facts"),
    [
        ("image.png", NOISE, Facts(size=(48, 64), bits=8, channels=3)),
        ("grey.png", NOISE[..., 0], Facts(size=(48, 64), bits=8, channels=1)),
        ("depth.png", NOISE[..., 0].astype(np.uint16) * 200, Facts(size=(48, 64), bits=16, channels=1)),
        ("image.jpg", NOISE, Facts(size=(48, 64), bits=8, channels=3)),
        ("small.jpg", NOISE[:4, :6], Facts(size=(4, 6), bits=8, channels=3)),
    ],
)
def test_the_header_tells_size_and_bits(tmp_path, write_image, name, array, facts):
    assert probe(write_image(tmp_path / name, array)) == facts


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9, -1])
def test_a_cut_file_is_reported_as_the_decoder_would(tmp_path, write_image, name, keep):
    path = write_image(tmp_path / name, NOISE)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep < 0 else int(keep * len(whole))])
    with pytest.raises(DecodeError, match="the file is cut short"):
        read_image(path)
    assert probe(path) == Facts(fault="the file is cut short")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("extra", [1, 4000, 9000])
def test_bytes_after_the_end_are_no_fault(tmp_path, write_image, name, extra):
    path = write_image(tmp_path / name, NOISE)
    path.write_bytes(path.read_bytes() + bytes(extra))
    assert probe(path).size == (48, 64)


def test_empty_missing_and_looping_files_are_reported(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert probe(tmp_path / "empty.png").fault == "the file is empty"
    assert probe(tmp_path / "none.png").fault == "no such file"
    assert "symbolic links" in probe(tmp_path / "loop.png").fault


def test_of_other_formats_nothing_is_reported(tmp_path):
    (tmp_path / "scan.bin").write_bytes(bytes(64))
    assert probe(tmp_path / "scan.bin") == Facts()


def test_a_turned_picture_has_the_size_that_is_read(tmp_path, write_image):
    path = write_image(tmp_path / "a.jpg", NOISE)
    raw = path.read_bytes()
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # orientation: turned by a quarter
    body = b"Exif\0\0" + b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + bytes(4)
    path.write_bytes(raw[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + raw[2:])
    assert read_image(path).shape == (64, 48, 3)
    assert probe(path).size == (64, 48)


def test_long_headers_are_read_to_their_end(tmp_path, write_image):
    path = write_image(tmp_path / "a.jpg", NOISE)
    raw = path.read_bytes()
    comment = b"\xff\xfe" + struct.pack(">H", 60_002) + b"\xff\xd9" * 30_000
    path.write_bytes(raw[:2] + comment + raw[2:])
    assert probe(path).size == (48, 64)
    path.write_bytes(raw[:2] + comment + raw[2 : len(raw) // 2])
    assert probe(path).fault == "the file is cut short"


def test_many_files_are_looked_at_once_each(tmp_path, write_image):
    paths = [str(write_image(tmp_path / f"{i}.png", NOISE[:, : i + 1])) for i in range(60)]
    done = []
    facts = probe_all([*paths, *paths], lambda *counts: done.append(counts))
    assert [facts[path].size for path in paths] == [(48, i + 1) for i in range(60)]
    assert done == [(60, 60)]


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
    paths = [
        write_image(tmp_path / name, array)
        for name, array in (("a.png", NOISE), ("b.png", NOISE), ("c.png", 255 - NOISE))
    ]
    one, copy, other = (probe(path).mark for path in paths)
    assert one == copy != other
