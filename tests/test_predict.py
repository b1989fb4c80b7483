import cv2
import numpy as np
import pytest
import torch

from distill import load_model
from distill.cli import main
from distill.data import to_tensor
from distill.predict import find_inputs, name_outputs, write_depth


@pytest.fixture
def predict(finished, tmp_path):
    """predict(*inputs): the exit code and the folder that was written."""

    def run(*words, output=None):
        output = output or tmp_path / "out"
        return main(["predict", str(finished), *map(str, words), "--output", str(output)]), output

    return run


def read(path):
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def write_image(path, size=(32, 64), colour=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((*size, 3), colour, np.uint8))
    return path


def test_an_image_becomes_metres_in_16_bits_and_a_picture(predict, finished, streets):
    code, folder = predict(streets / "image" / "test0.png")
    assert code == 0
    assert names(folder) == ["test0.png", "test0_colour.png"]
    image = cv2.cvtColor(cv2.imread(str(streets / "image" / "test0.png")), cv2.COLOR_BGR2RGB)
    with torch.inference_mode():
        depth = load_model(finished)(to_tensor(image)[None])[0, 0].numpy()
    stored, colour = read(folder / "test0.png"), read(folder / "test0_colour.png")
    assert (stored.dtype, stored.shape) == (np.uint16, (32, 64))
    assert np.abs(stored / 256 - depth).max() <= 0.5 / 256 + 1e-3
    assert (colour.dtype, colour.ndim) == (np.uint8, 3)


def test_images_of_any_size_keep_it(predict, tmp_path):
    code, folder = predict(write_image(tmp_path / "odd.jpg", (45, 201)), "--size", "64x96")
    assert code == 0
    assert read(folder / "odd.png").shape == (45, 201)
    colour = read(folder / "odd_colour.png")
    assert colour.shape[1:] == (201, 3)
    assert colour.shape[0] > 45  # the scale of its colours is below


def test_what_16_bits_cannot_hold_is_cut_and_nan_is_no_measurement(tmp_path):
    depth = np.array([[0.5, 1.0, 300.0, np.inf], [-1.0, np.nan, -np.inf, 255.0]], np.float32)
    write_depth(tmp_path / "x", depth, (0.1, 80.0))
    assert read(tmp_path / "x.png").tolist() == [[128, 256, 65535, 65535], [0, 0, 0, 65280]]


def test_a_broken_image_is_named_and_the_others_are_written(predict, streets, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes((streets / "image" / "test0.png").read_bytes()[:100])
    small = write_image(tmp_path / "small.png", (20, 64))
    note = tmp_path / "note.txt"
    note.write_text("no picture")
    code, folder = predict(broken, streets / "image" / "test0.png", small, note, streets / "image" / "test1.png")
    said = capsys.readouterr().err
    assert code == 2
    assert names(folder) == ["test0.png", "test0_colour.png", "test1.png", "test1_colour.png"]
    assert f"skipped: cannot read {broken}: the file is cut short" in said
    assert f"skipped: cannot read {small}: 20x64 (height x width) is less than 32 pixels" in said
    assert f"skipped: cannot read {note}" in said
    assert "2 of 5 inputs written" in said
    assert "Traceback" not in said


def test_a_folder_gives_all_that_is_in_it_and_keeps_its_structure(predict, tmp_path):
    for name in ("a/1.png", "a/b/2.JPG", "b/1.webp"):
        write_image(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    code, folder = predict(tmp_path / "in")
    assert code == 0
    assert [name for name in names(folder) if "colour" not in name] == ["a/1.png", "a/b/2.png", "b/1.png"]


def test_a_video_gives_every_frame(predict, tmp_path):
    path = tmp_path / "drive.avi"
    video = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 32))
    if not video.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for grey in (0, 100, 200):
        video.write(np.full((32, 64, 3), grey, np.uint8))
    video.release()
    code, folder = predict(path)
    assert code == 0
    numbers = ("000000", "000001", "000002")
    assert names(folder) == [f"drive_{n}{kind}.png" for n in numbers for kind in ("", "_colour")]


def test_a_video_without_a_frame_is_named(predict, tmp_path, capsys):
    (tmp_path / "cut.mp4").write_bytes(b"\x00" * 100)
    assert predict(tmp_path / "cut.mp4")[0] == 2
    assert "no frame of it can be decoded" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------------- nothing is overwritten


def refuse(inputs, output):
    from distill.errors import UserError

    with pytest.raises(UserError) as refused:
        name_outputs(find_inputs(inputs, output), output)
    return str(refused.value)


def test_two_inputs_of_one_name_are_refused(tmp_path):
    one, other = write_image(tmp_path / "a" / "1.png"), write_image(tmp_path / "b" / "1.jpg")
    said = refuse([one, other], tmp_path / "out")
    assert said == f"{one} and {other} would both write {tmp_path / 'out' / '1.png'}; predict them into two folders"


def test_an_input_called_like_anothers_colour_picture_is_refused(tmp_path):
    one, other = write_image(tmp_path / "1.png"), write_image(tmp_path / "1_colour.png")
    assert "would both write" in refuse([one, other], tmp_path / "out")


def test_an_input_is_never_overwritten(tmp_path, monkeypatch):
    image = write_image(tmp_path / "photos" / "1.png")
    assert refuse([image], tmp_path / "photos") == f"{image} would be overwritten; choose another --output"
    monkeypatch.chdir(tmp_path)
    assert "would be overwritten" in refuse([image], tmp_path / "photos" / ".." / "photos")


def test_what_an_earlier_call_wrote_into_a_folder_inside_is_no_input(tmp_path):
    image = write_image(tmp_path / "1.jpg")
    write_image(tmp_path / "predictions" / "1.png")
    assert find_inputs([tmp_path], tmp_path / "predictions") == {image: image.relative_to(tmp_path).with_suffix("")}


def test_an_image_given_twice_is_predicted_once(tmp_path):
    image = write_image(tmp_path / "1.png")
    assert len(find_inputs([image, image], tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "absent.png"], "no such input: absent.png"),
        (["RUN", "EMPTY"], "no image or video in"),
        (["nowhere", "IMAGE"], "no student in nowhere"),
        (["dpt_base", "IMAGE"], "dpt_base needs weights"),
        (["RUN", "IMAGE", "--output", "IMAGE/out"], "cannot be written"),
    ],
)
def test_predict_refuses_in_one_line(refused, finished, streets, tmp_path, words, said):
    (tmp_path / "empty").mkdir()
    image = str(streets / "image" / "test0.png")
    places = {"RUN": str(finished), "EMPTY": str(tmp_path / "empty"), "IMAGE": image, "IMAGE/out": f"{image}/out"}
    assert said in refused("predict", *[places.get(word, word) for word in words])
