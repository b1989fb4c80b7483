import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.data.files.pairs import Pair, PictureReader
from distill.data.files.reading import DecodeError, read_depth, read_image
from distill.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_an_image_is_rgb(tmp_path, write_image):
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    image = read_image(write_image(tmp_path / "red.png", red))
    assert image.dtype == np.uint8
    assert image.tolist() == red.tolist()


def test_a_grey_image_gets_three_channels(tmp_path, write_image):
    assert read_image(write_image(tmp_path / "grey.png", NOISE[..., 0])).tolist() == NOISE[..., [0, 0, 0]].tolist()


PICTURES = {  # as Pillow writes them
    "turned.jpg": (
        "RGB",
        {"quality": 95, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"},
    ),
    "palette.png": ("P", {}),
    "two_bits.png": ("1", {}),
    "see_through.png": ("RGBA", {}),
    "grey.jpg": ("L", {}),
    "four_inks.jpg": ("CMYK", {}),
    "plain.bmp": ("RGB", {}),
    "plain.tif": ("RGB", {}),
    "plain.webp": ("RGB", {"lossless": True}),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_every_kind_are_upright_rgb(tmp_path, name):
    mode, options = PICTURES[name]
    colours = np.zeros((24, 40, 3), np.uint8)
    colours[:12, :20], colours[12:, 20:] = (255, 0, 0), (0, 0, 255)
    picture = Image.fromarray(colours).convert(mode)
    picture.save(tmp_path / name, **options)
    expected = np.asarray(picture.convert("RGB")).astype(int)
    expected = np.rot90(expected, -1) if name.startswith("turned") else expected
    image = read_image(tmp_path / name)
    assert (image.shape, image.dtype) == (expected.shape, np.uint8)
    assert np.abs(image - expected)[:8, :8].max() <= 4
    assert np.abs(image - expected)[-8:, -8:].max() <= 4


@pytest.mark.parametrize("scale", [256, 1000])
def test_depth_is_divided_in_float32(tmp_path, write_image, scale):
    raw = np.array([[0, 1, 256], [1000, 12345, 65535]], np.uint16)
    depth = read_depth(write_image(tmp_path / "depth.png", raw), scale)
    assert depth.dtype == np.float32
    assert depth.tolist() == (raw.astype(np.float32) / np.float32(scale)).tolist()
    assert depth[1, 1] == np.float32(12345) / np.float32(scale)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (NOISE[..., 0], "8-bit picture with 1 channel,"),
        (NOISE, "8-bit picture with 3 channels,"),
        (NOISE.astype(np.uint16), "16-bit picture with 3 channels,"),
    ],
)
def test_a_picture_is_refused_as_depth(tmp_path, write_image, array, what):
    path = write_image(tmp_path / "depth.png", array)
    with pytest.raises(UserError) as refusal:
        read_depth(path, 256)
    assert str(refusal.value) == (
        f"{path} is a {what} expected a 16-bit single-channel depth map: write metres x 256 as a uint16 PNG"
    )


def test_depth_of_another_size_is_refused_with_both_sizes(tmp_path, write_image):
    image = write_image(tmp_path / "image.png", NOISE)
    depth = write_image(tmp_path / "depth.png", np.ones((12, 16), np.uint16))
    with pytest.raises(UserError, match=r"depth.png is 12x16 but its image .*image.png is 24x32 \(height x width\)"):
        PictureReader(256)(Pair("a", str(image), str(depth)))


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9, -12, -1])
def test_a_file_cut_short_is_refused(tmp_path, write_image, suffix, keep):
    path = write_image(tmp_path / f"cut.{suffix}", NOISE)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if keep < 0 else int(keep * len(whole))])
    with pytest.raises(DecodeError, match=f"cannot read .*cut.{suffix}: the file is cut short"):
        read_image(path)


def test_a_jpeg_is_not_taken_for_whole_by_the_end_of_its_thumbnail(tmp_path, write_image):
    path = write_image(tmp_path / "cut.jpg", NOISE)
    whole = path.read_bytes()
    comment = b"a thumbnail\xff\xda\x00 with its end \xff\xd9"
    header = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    path.write_bytes(whole[:2] + header + whole[2:])
    assert read_image(path).shape == NOISE.shape
    path.write_bytes(whole[:2] + header + whole[2:-100])
    with pytest.raises(DecodeError, match="cut short"):
        read_image(path)


def test_bytes_after_the_end_of_a_file_are_no_fault(tmp_path, write_image):
    for name in ("long.png", "long.jpg"):
        path = write_image(tmp_path / name, NOISE)
        path.write_bytes(path.read_bytes() + b"\xff\xda left by a camera")
        assert read_image(path).shape == NOISE.shape


def test_a_file_whose_tail_was_never_written_is_refused(tmp_path, write_image):
    for name in ("holes.png", "holes.jpg"):
        path = write_image(tmp_path / name, NOISE)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
        with pytest.raises(DecodeError, match="cut short"):
            read_image(path)


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("404 not found")
    for name, why in {
        "none.png": "no such file",
        "empty.png": "the file is empty",
        "text.png": "not a picture",
    }.items():
        with pytest.raises(DecodeError, match=f"cannot read .*{name}: {why}"):
            read_image(tmp_path / name)
    with pytest.raises(DecodeError, match=r"cannot read .*: Is a directory"):
        read_image(tmp_path)


def test_damage_inside_a_png_is_refused(tmp_path, write_image):
    path = write_image(tmp_path / "damaged.png", NOISE)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(DecodeError, match="not a picture, or damaged"):
        read_image(path)


def test_a_decode_error_travels_between_processes():
    error = pickle.loads(pickle.dumps(DecodeError("a.png", "no such file")))
    assert (error.path, error.why, str(error)) == ("a.png", "no such file", "cannot read a.png: no such file")


def test_every_real_file_is_read(sample_data):
    jpegs = sorted(sample_data.glob("nyu/official_splits/test/*/*.jpg"))
    assert len(jpegs) == 42
    assert {read_image(path).shape for path in jpegs[::8]} == {(480, 640, 3)}
    truth = sample_data / "kitti/data_depth_annotated/2011_09_26_drive_0001_sync/proj_depth/groundtruth/image_02"
    for path in sorted(truth.glob("*.png")):
        depth = read_depth(path, 256)
        assert depth.shape == (375, 1242)
        assert (depth == cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 256).all()
        assert 0.7 < (depth == 0).mean() < 0.9
