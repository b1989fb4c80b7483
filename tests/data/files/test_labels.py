import json

import cv2
import numpy as np
import pytest
from PIL import Image

from distill.data.files import png
from distill.data.files.labels import Label, StoredLabel, decode_values, encode, encode_png, read_manifest
from distill.data.files.reading import NotDepth, read_depth
from distill.errors import UserError

NOTHING = [np.nan, np.inf, -np.inf]


def label(image="images/a.png", output="metric", scale=1000.0, offset=0.0, **facts):
    known = {"sha256": "0" * 64, "depth": "depth/a.png", "height": 2, "width": 3, "teacher": "dpt_micro"}
    known |= {"fingerprint": "f" * 64, "low": 1.0, "high": 2.0, "seconds": 0.1, "output": output}
    return Label(image=image, scale=scale, offset=offset, **(known | facts))


@pytest.mark.parametrize(("cap", "scale"), [(10.0, 1000), (80.0, 256), (None, 1000)])
def test_metres_come_back_to_a_unit_of_the_scale_that_the_cap_fits(cap, scale):
    depth = np.array([[0.001, 3.3333, 9.99], [0, -1, np.nan]], np.float32)
    values, coding = encode(depth, "metric", cap)
    assert (coding.scale, coding.offset, coding.low) == (scale, 0, np.float32(0.001))
    back = decode_values(values, coding.scale, coding.offset)
    np.testing.assert_allclose(back[0], depth[0], atol=1 / scale)
    assert np.isnan(back[1]).all()


def test_metres_beyond_the_range_are_nothing_and_not_clamped():
    values, coding = encode(np.array([[65.5, 65.6, np.inf]]), "metric", 20.0)
    assert values.tolist() == [[65500, 0, 0]]
    assert coding.high == 65.5
    assert encode(np.array([[65.5, 70.0]]), "metric")[1].scale == 256


def test_a_relative_map_uses_all_values_and_may_be_zero_or_negative():
    r = np.array([[-2.0, 0, 6.0, *NOTHING]], np.float32)
    values, coding = encode(r, "relative")
    assert values.tolist() == [[1, 1 + round(2 / 8 * 65534), 65535, 0, 0, 0]]
    back = decode_values(values, coding.scale, coding.offset)[0]
    np.testing.assert_allclose(back[:3], r[0, :3], atol=8 / 65534)
    assert np.isnan(back[3:]).all()


@pytest.mark.parametrize("output", ["metric", "relative"])
def test_a_flat_or_an_empty_map_has_a_finite_coding(output):
    values, coding = encode(np.full((2, 3), 5.0), output)
    np.testing.assert_allclose(decode_values(values, coding.scale, coding.offset), 5.0)
    values, coding = encode(np.full((2, 3), np.nan), output)
    assert np.isfinite(coding).all()
    assert not values.any()


def test_a_png_states_what_its_line_says_and_metres_are_read_as_of_any_depth_map(tmp_path):
    values, coding = encode(np.array([[1.0, 2.0, 0], [3.0, 4.0, 5.0]]), "metric", 10.0)
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(values, label(licence="apache-2.0")))
    with Image.open(path) as picture:
        assert {"label_teacher": "dpt_micro", "label_licence": "apache-2.0"}.items() <= picture.info.items()
    assert png.is_written_depth(path)
    np.testing.assert_allclose(read_depth(path), [[1, 2, 0], [3, 4, 5]])
    stored = StoredLabel(str(path), coding.scale, coding.offset, (2, 3))
    np.testing.assert_allclose(stored.read(), [[1, 2, np.nan], [3, 4, 5]])


def test_relative_values_never_state_a_scale_in_metres():
    raw = encode_png(np.ones((2, 3), np.uint16), label(output="relative"))
    assert png.depth_scale(raw) is None


@pytest.mark.parametrize("picture", [np.ones((4, 3), np.uint16), np.ones((2, 3), np.uint8)])
def test_a_file_that_is_not_what_its_line_says_is_refused(tmp_path, picture):
    path = tmp_path / "a.png"
    assert cv2.imwrite(str(path), picture)
    with pytest.raises(NotDepth, match=r"uint16 of 2x3 .*: label that image again"):
        StoredLabel(str(path), 1000.0, 0.0, (2, 3)).read()


# ------------------------------------------------------------------------------------------------------------- manifest


def manifest(folder, *lines):
    (folder / "manifest.jsonl").write_text("".join(lines))
    return folder


def test_lines_come_back_and_of_an_image_that_comes_twice_the_last_counts(tmp_path):
    first, other, again = label("a.png"), label("/photos/b.png"), label("a.png", seconds=2)
    assert read_manifest(manifest(tmp_path, first.line(), other.line(), again.line())) == [again, other]


def test_a_line_that_was_cut_off_while_it_was_written_is_passed_over(tmp_path):
    one, two = label("a.png"), label("b.png").line()
    assert read_manifest(manifest(tmp_path, one.line(), two[:-9])) == [one]
    assert len(read_manifest(manifest(tmp_path, one.line(), two[:-1]))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": "../a.png"}, r"manifest.jsonl:2: depth: .*without '\.\.'"),
        ({"depth": "/etc/passwd"}, "depth: .* is absolute"),
        ({"image": "a/../../b.png"}, "image: .* leaves the folder"),
        ({"scale": 0}, "scale: .*greater than 0"),
        ({"sha256": "x"}, "sha256: "),
        ({"output": "log"}, "output: "),
        ({"height": None}, "height: "),
    ],
)
def test_a_wrong_line_is_refused_by_its_number_and_key(tmp_path, change, message):
    line = json.dumps(json.loads(label().line()) | change) + "\n"
    with pytest.raises(UserError, match=message):
        read_manifest(manifest(tmp_path, label().line(), line))


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_manifest_is_refused(tmp_path, content):
    with pytest.raises(UserError, match=r"holds no line: label images .*distill label"):
        read_manifest(manifest(tmp_path, content))


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"manifest.jsonl cannot be read \(No such file.*name the folder that it wrote"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("change", [{"fingerprint": "e" * 64, "teacher": "dpt_large"}, {"output": "relative"}])
def test_labels_of_two_teachers_in_one_folder_are_refused(tmp_path, change):
    lines = label().line(), label("b.png", **change).line()
    with pytest.raises(UserError, match=r"labels of dpt_.* and dpt_.*: write each teacher's into a folder of its own"):
        read_manifest(manifest(tmp_path, *lines))
