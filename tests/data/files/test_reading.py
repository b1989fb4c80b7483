import pickle

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.data.files.pairs import Pair, PictureReader
from distill.data.files.png import encode_depth
from distill.data.files.probing import Facts, probe
from distill.data.files.reading import DecodeError, NotDepth, Units, read_depth, read_image, saturated_share

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def test_an_image_is_rgb(tmp_path, write_image):
    red = np.zeros((2, 3, 3), np.uint8)
    red[..., 0] = 255
    image = read_image(write_image(tmp_path / "red.png", red))
    assert image.dtype == np.uint8
    assert image.tolist() == red.tolist()


def test_a_grey_image_gets_three_channels(tmp_path, write_image):
    assert read_image(write_image(tmp_path / "grey.png", NOISE[..., 0])).tolist() == NOISE[..., [0, 0, 0]].tolist()


TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
PICTURES = {  # as Pillow writes them
    "turned.jpg": ("RGB", {"quality": 95, "exif": TURNED}),
    "turned.png": ("RGB", {"exif": TURNED}),
    "turned.webp": ("RGB", {"lossless": True, "exif": TURNED}),
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
def test_pictures_of_every_kind_are_rgb_as_they_are_stored(tmp_path, name):
    mode, options = PICTURES[name]
    colours = np.zeros((24, 40, 3), np.uint8)
    colours[:12, :20], colours[12:, 20:] = (255, 0, 0), (0, 0, 255)
    picture = Image.fromarray(colours).convert(mode)
    picture.save(tmp_path / name, **options)
    expected = np.asarray(picture.convert("RGB")).astype(int)
    image = read_image(tmp_path / name)
    assert (image.shape, image.dtype) == (expected.shape, np.uint8)
    assert probe(tmp_path / name).size in (None, image.shape[:2])
    assert np.abs(image - expected)[:8, :8].max() <= 4
    assert np.abs(image - expected)[-8:, -8:].max() <= 4


@pytest.mark.parametrize("scale", [256, 1000])
def test_depth_is_divided_in_float32(tmp_path, write_image, scale):
    raw = np.array([[0, 1, 256], [1000, 12345, 65534]], np.uint16)
    depth = read_depth(write_image(tmp_path / "depth.png", raw), Units(scale))
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
    with pytest.raises(
        NotDepth, match=f"depth.png is a {what} expected a 16-bit .*: write metres x 256 as a uint16 PNG"
    ):
        read_depth(path, Units(256))


def test_depth_of_another_size_is_refused_with_both_sizes(tmp_path, write_image):
    image = write_image(tmp_path / "image.png", NOISE)
    depth = write_image(tmp_path / "depth.png", np.ones((12, 16), np.uint16))
    np.save(tmp_path / "empty.npy", np.zeros((0, 0), np.float32))
    for path, size in ((depth, "12x16"), (tmp_path / "empty.npy", "0x0")):
        with pytest.raises(NotDepth, match=rf"{size} but its image .*image.png is 24x32 \(height x width\)"):
            PictureReader(Units(256), register=path.suffix == ".npy")(Pair("a", str(image), str(path)))


CUTS = {
    "early": lambda whole: whole[: len(whole) // 20],
    "in the middle": lambda whole: whole[: len(whole) // 2],
    "late": lambda whole: whole[: 9 * len(whole) // 10],
    "before the end marker": lambda whole: whole[:-12],
    "in the end marker": lambda whole: whole[:-1],
    "tail never written": lambda whole: whole[: len(whole) // 2].ljust(len(whole), b"\0"),
}


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("repeat", [1, 4])  # shorter than what `probe` reads of either end, and longer
def test_a_file_cut_short_is_refused_and_reported(tmp_path, write_image, name, cut, repeat):
    path = write_image(tmp_path / name, np.tile(NOISE, (repeat, repeat, 1)))
    assert probe(path).fault is None
    path.write_bytes(CUTS[cut](path.read_bytes()))
    with pytest.raises(DecodeError, match=f"cannot read .*{name}: the file is cut short"):
        read_image(path)
    assert probe(path) == Facts(fault="the file is cut short")


def test_a_jpeg_is_not_taken_for_whole_by_what_stands_in_its_headers(tmp_path, write_image):
    path = write_image(tmp_path / "a.jpg", NOISE)
    whole = path.read_bytes()
    comment = b"\xff\xfe" + (60_002).to_bytes(2, "big") + b"\xff\xda\0\xff\xd9\0" * 10_000  # as thumbnails have them
    path.write_bytes(whole[:2] + comment + whole[2:])
    assert read_image(path).shape == NOISE.shape
    assert probe(path).size == NOISE.shape[:2]
    path.write_bytes(whole[:2] + comment + whole[2:-100])
    with pytest.raises(DecodeError, match="cut short"):
        read_image(path)
    assert probe(path).fault == "the file is cut short"


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize("extra", [b"\xff\xda left by a camera", bytes(4000), bytes(9000)])
def test_bytes_after_the_end_of_a_file_are_no_fault(tmp_path, write_image, name, extra):
    path = write_image(tmp_path / name, NOISE)
    path.write_bytes(path.read_bytes() + extra)
    assert read_image(path).shape == NOISE.shape
    assert probe(path).size == NOISE.shape[:2]


def test_missing_empty_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("404 not found")
    reasons = {"none.png": "no such file", "empty.png": "the file is empty", "text.png": "not a picture"}
    for name, why in reasons.items():
        with pytest.raises(DecodeError, match=f"cannot read .*{name}: {why}"):
            read_image(tmp_path / name)
    with pytest.raises(DecodeError, match=r"cannot read .*: it is a folder"):
        read_image(tmp_path)


STAND_INS = {
    "a Git LFS pointer: git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "a git-annex pointer: git annex get": b"/annex/objects/SHA256E-s12345--00.png\n",
    "a web page": b"\n<!DOCTYPE html><html><body>404 not found</body></html>" * 200,
}


@pytest.mark.parametrize("name", ["a.png", "a.NPY", "a.tif", "a.bin"])
@pytest.mark.parametrize("why", STAND_INS)
def test_what_lies_in_a_file_s_place_is_named_with_the_way_to_get_it(tmp_path, name, why):
    (tmp_path / name).write_bytes(STAND_INS[why])
    assert why in (probe(tmp_path / name).fault or "")
    with pytest.raises(DecodeError, match=f"cannot read .*{name}: {why}"):
        read_depth(tmp_path / name)


def test_an_array_is_known_by_its_content(tmp_path):
    with open(tmp_path / "a.NPY", "wb") as file:
        np.save(file, np.full((2, 3), 1.5, np.float32))
    assert read_depth(tmp_path / "a.NPY").tolist() == [[1.5] * 3] * 2


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
        depth = read_depth(path, Units(256))
        assert depth.shape == (375, 1242)
        assert (depth == cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 256).all()
        assert 0.7 < (depth == 0).mean() < 0.9


HOLES = [[0, 1500], [3000, 65535]]


@pytest.mark.parametrize(
    ("name", "values", "units"),
    [
        ("a.png", np.uint16(HOLES), Units()),
        ("a.tif", np.uint16(HOLES), Units()),
        ("a.npy", np.uint16(HOLES), Units(usual=256)),
        ("a.npy", np.float32(HOLES), Units(1000)),
        ("a.npy", np.float16([[np.nan, 1.5], [3, np.inf]]), Units()),
        ("a.npy", np.float64([[-1, 1.5], [3, np.nan]]), Units(usual=256)),  # metres, whatever pictures hold
        ("a.npy", np.float32([[np.inf, 1500], [3000, -np.inf]]), Units(1000)),
        ("a.npy", np.int32([[-7, 1500], [3000, 2**31 - 1]]), Units()),
        ("a.npy", np.int64([[[-7], [1500]], [[3000], [0]]]), Units()),
        ("a.npy", np.int32([[65535, 1500], [3000, -1]]), Units()),  # holes of 16 bits
        ("a.npy", np.uint8([[0, 15], [30, 255]]), Units(10, in_bytes=10)),
    ],
)
def test_what_is_no_measurement_is_0_and_the_rest_has_its_own_unit(tmp_path, write_image, name, values, units):
    path = tmp_path / name
    np.save(path, values) if name.endswith("npy") else write_image(path, values)
    near = 1500 / 256 if values.dtype == np.uint16 and units.usual == 256 else 1.5
    assert read_depth(path, units).tolist() == [[0, np.float32(near)], [np.float32(2 * near), 0]]


def test_the_largest_value_of_a_prediction_is_depth(tmp_path, write_image):
    path = write_image(tmp_path / "a.png", np.uint16([[65535, 1000]]))
    assert read_depth(path, saturated=True).tolist() == [[np.float32(65.535), 1]]


def test_a_declared_scale_that_a_file_contradicts_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode_depth(np.float32([[1, 2]]), 256))
    assert read_depth(path, Units(256)).tolist() == read_depth(path).tolist() == [[1, 2]]
    with pytest.raises(NotDepth, match=r"a\.png states 256 units per metre itself, but 1000 are declared: leave"):
        read_depth(path, Units(1000))


@pytest.mark.parametrize(
    "values", [np.zeros((4, 6), bool), np.zeros((4, 6), np.complex64), np.zeros(6), np.zeros((4, 6, 2))]
)
def test_arrays_that_are_no_depth_are_refused(tmp_path, values):
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(NotDepth, match=r"a\.npy is a .* expected a 16-bit single-channel depth map"):
        read_depth(tmp_path / "a.npy")
    assert saturated_share(tmp_path / "a.npy") == 0


def test_an_array_is_no_larger_than_its_file_whatever_its_header_claims(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**21)})
        file.write(bytes(64))
    with pytest.raises(DecodeError, match="cut short"):
        read_depth(path)
    with path.open("wb") as file:
        np.savez(file, a=np.ones((2, 3)))
    with pytest.raises(DecodeError, match="an archive"):
        read_depth(path)
