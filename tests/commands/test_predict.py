import json
import os
import shutil
import threading

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from distill import load_model
from distill.cli import main
from distill.commands.predict import open_network
from distill.data import to_tensor
from distill.data.files.png import encode_depth
from distill.data.files.reading import Units, read_depth
from distill.errors import UserError
from distill.inference.models import trained_size
from distill.inference.network import Network
from distill.inference.stored import find_maps
from distill.predict.inputs import check_names, find_inputs
from students import save_student


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


def test_confidence_is_metres_beside_the_depth_and_no_depth_map_itself(predict, finished, streets, tmp_path):
    image = streets / "image" / "test0.png"
    code, folder = predict(image, "--confidence", "--npy")
    assert code == 0
    beside = [f"test0_uncertainty{end}" for end in (".npy", ".png", "_colour.png")]
    assert names(folder) == ["test0.npy", "test0.png", "test0_colour.png", *beside]
    with torch.inference_mode():
        depth, spread = load_model(finished).with_uncertainty(to_tensor(read(image)[..., ::-1].copy())[None])
    assert np.abs(np.load(folder / "test0.npy") - depth[0, 0].numpy()).max() <= 1e-3
    assert np.abs(np.load(folder / "test0_uncertainty.npy") - spread[0, 0].numpy()).max() <= 1e-3
    assert np.abs(read(folder / "test0_uncertainty.png") / 256 - spread[0, 0].numpy()).max() <= 0.5 / 256 + 1e-3
    assert list(find_maps(folder)) == ["test0"]
    predict(image)
    assert names(folder) == ["test0.png", "test0_colour.png"]  # nothing of the earlier call's


def test_confidence_of_what_has_no_bins_is_refused_with_the_fix(refused, relative_student, micro_weights, streets):
    for model, reason in ((f"dpt_micro:{micro_weights}", "has no bins"), (relative_student, "is in metres")):
        message = refused("predict", model, streets / "image" / "test0.png", "--confidence")
        assert reason in message
        assert message.endswith("leave it out")


def test_images_of_any_size_keep_it(predict, tmp_path):
    code, folder = predict(write_image(tmp_path / "odd.jpg", (45, 201)), "--size", "64x96")
    assert code == 0
    assert read(folder / "odd.png").shape == (45, 201)
    colour = read(folder / "odd_colour.png")
    assert colour.shape[1:] == (201, 3)
    assert colour.shape[0] > 45  # the scale of its colours is below


def test_images_are_shown_at_the_size_that_the_student_states_and_depth_has_theirs(finished, tmp_path):
    student = shutil.copytree(finished / "student", tmp_path / "student")
    stated = json.loads((student / "config.json").read_text())
    stated["metadata"]["input_size"] = [32, 96]
    (student / "config.json").write_text(json.dumps(stated))
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (5, 9, 3), np.uint8), (300, 90))
    as_stated = open_network(str(student), trained_size(str(student))).images([image])[0]
    whole = open_network(str(finished), trained_size(str(finished))).images([image])[0]
    np.testing.assert_array_equal(as_stated, open_network(str(finished), (32, 96)).images([image])[0])
    assert as_stated.shape == whole.shape == (90, 300)
    assert not np.allclose(as_stated, whole)


def test_what_16_bits_cannot_hold_is_cut_and_nan_is_no_measurement(tmp_path):
    depth = np.array([[0.5, 1.0, 300.0, np.inf], [-1.0, np.nan, -np.inf, 255.0]], np.float32)
    (tmp_path / "x.png").write_bytes(encode_depth(depth, 256.0))
    assert read(tmp_path / "x.png").tolist() == [[128, 256, 65535, 65535], [0, 0, 0, 65280]]


def test_the_16_bit_png_says_its_scale_and_unit_and_is_read_by_them(predict, streets):
    _, folder = predict(streets / "image" / "test0.png", "--npy")
    texts = Image.open(folder / "test0.png").text
    assert (texts["depth_scale"], texts["depth_unit"]) == ("256", "metre")
    exact = np.load(folder / "test0.npy")
    assert (exact.dtype, exact.shape) == (np.float32, (32, 64))
    for units in (Units(), Units(usual=500.0)):  # what the file says counts
        assert np.abs(read_depth(folder / "test0.png", units) - exact).max() <= 0.5 / 256 + 1e-6


def test_a_broken_image_is_named_and_the_others_are_written(predict, streets, tmp_path, capsys):
    broken = tmp_path / "broken.png"
    broken.write_bytes((streets / "image" / "test0.png").read_bytes()[:100])
    small = write_image(tmp_path / "small.png", (20, 64))
    note = tmp_path / "note.txt"
    note.write_text("no picture")
    code, folder = predict(broken, streets / "image" / "test0.png", small, note, streets / "image" / "test1.png")
    message = capsys.readouterr().err
    assert code == 2
    assert names(folder) == ["test0.png", "test0_colour.png", "test1.png", "test1_colour.png"]
    assert f"skipped: cannot read {broken}: the file is cut short" in message
    assert f"skipped: cannot read {small}: 20x64 (height x width) is less than 32 pixels" in message
    assert f"skipped: cannot read {note}" in message
    assert "5 inputs, 3 of them with faults: 2 frames in" in message
    assert "Traceback" not in message


@pytest.mark.parametrize("words", ["{}/in", "{}/in/**/*"])
def test_a_folder_and_a_glob_keep_the_structure_of_what_they_hold(predict, tmp_path, words):
    for name in ("a/1.png", "a/b/2.JPG", "b/1.webp"):
        write_image(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    code, folder = predict(words.format(tmp_path))
    assert code == 0
    assert [name for name in names(folder) if "colour" not in name] == ["a/1.png", "a/b/2.png", "b/1.png"]


def test_what_is_no_file_or_cannot_be_written_is_named_and_the_others_are_predicted(predict, tmp_path, capsys):
    folder = tmp_path / "in"
    for name in ("a.png", "z.png", "y" * 246 + ".png"):  # with a suffix of its own the last is too long
        write_image(folder / name)
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "itself.png").symlink_to("itself.png")
    (folder / "gone").symlink_to(tmp_path / "absent")
    (folder / "loop").symlink_to(folder)
    code, written = predict(folder)
    message = capsys.readouterr().err
    assert code == 2
    assert {"a.png", "z.png"} <= set(names(written))
    for name, why in (
        ("pipe.png", "it is a pipe, not a file"),
        ("pipe.mp4", "it is a pipe, not a file"),
        ("itself.png", "it is a link that leads nowhere"),
        ("gone", "it is a link that leads nowhere"),
        ("loop", "it is a link that leads back to"),
        ("y" * 246 + ".png", "its files cannot be written"),
    ):
        assert f"{folder / name}: {why}" in message
    assert "8 inputs, 6 of them with faults: 2 frames" in message


def test_links_are_followed_hidden_folders_left_out_and_a_folder_is_no_video(tmp_path):
    for place in ("in/clip.mp4/1.png", "in/.ipynb_checkpoints/1.png", "in/.2.png", "real/3.png"):
        write_image(tmp_path / place)
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "real")
    sources = find_inputs([str(tmp_path / "in")], tmp_path / "out")
    assert [source.name.as_posix() for source in sources] == ["clip.mp4/1", "linked/3"]
    with pytest.raises(UserError, match="no image or video matches"):
        find_inputs([f"{tmp_path}/in/clip*"], tmp_path / "out")


def test_files_of_other_kinds_are_counted_and_what_opencv_reads_is_taken(tmp_path, capsys):
    for name in ("1.jfif", "2.avif", "3.gif", "4.m4v", "5.TS", "a.txt", "b.txt", "c.heic", "Makefile"):
        (tmp_path / name).write_bytes(b"x")
    sources = find_inputs([str(tmp_path)], tmp_path / "out")
    assert [source.name.name for source in sources] == ["1", "2", "3", "4", "5"]
    assert [source.moving for source in sources] == [False, False, False, True, True]
    assert f"4 files of other kinds left out of {tmp_path}: 1 .heic, 2 .txt, 1 no suffix" in capsys.readouterr().err


def test_depth_maps_of_a_folder_are_counted_and_no_photographs(tmp_path, capsys):
    write_image(tmp_path / "in/rgb/1.png")
    (tmp_path / "in/gt").mkdir()
    cv2.imwrite(str(tmp_path / "in/gt/1.png"), np.full((40, 50), 1000, np.uint16))
    sources = find_inputs([str(tmp_path / "in")], tmp_path / "out")
    assert [source.name.as_posix() for source in sources] == ["rgb/1"]
    assert "1 depth maps left out of" in capsys.readouterr().err
    with pytest.raises(UserError, match="1 depth maps left out"):
        find_inputs([str(tmp_path / "in/gt")], tmp_path / "out")


def test_what_is_given_by_name_and_no_known_kind_says_what_would_be(predict, tmp_path, capsys):
    (tmp_path / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(50))
    (tmp_path / "other.raw").write_bytes(b"raw")
    assert predict(tmp_path / "photo.heic", tmp_path / "other.raw")[0] == 2
    message = capsys.readouterr().err
    assert f"{tmp_path / 'photo.heic'}: HEIC cannot be read; save it as JPEG" in message
    assert ".raw is no known kind of picture or video" in message


def test_an_animation_gives_its_frames_and_a_film_in_its_time(predict, tmp_path):
    pictures = [Image.new("RGB", (64, 32), (grey, 50, 100)) for grey in (0, 60, 120, 180, 240)]
    durations = [100, 500, 100, 100, 900]  # ms
    pictures[0].save(tmp_path / "steps.gif", save_all=True, append_images=pictures[1:], duration=durations)
    code, folder = predict(tmp_path / "steps.gif")
    assert code == 0
    assert [name for name in names(folder) if name.endswith(".png")] == [f"steps_{i:06d}.png" for i in range(5)]
    film = cv2.VideoCapture(str(folder / "steps_colour.mp4"))
    count, rate = (film.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    assert (count - 1) / rate == pytest.approx(0.8, abs=0.05)  # when the last frame begins


class SilentCamera:
    """A camera that opens and then gives nothing."""

    def __init__(self, place):
        self.place = place

    def isOpened(self):
        return True

    def get(self, key):
        return 0.0

    def read(self):
        threading.Event().wait()


def test_a_camera_that_gives_nothing_is_named_and_does_not_block(predict, streets, monkeypatch, capsys):
    monkeypatch.setattr(cv2, "VideoCapture", SilentCamera)
    monkeypatch.setattr("distill.predict.frames.PATIENCE", 0.1)
    monkeypatch.setattr(SilentCamera, "release", lambda camera: None, raising=False)
    code, folder = predict("5", streets / "image" / "test0.png", "--frames", "2")
    assert code == 2
    assert "cannot read camera 5: nothing comes from it for 0.1 s" in capsys.readouterr().err
    assert "test0.png" in names(folder)


@pytest.fixture
def video(tmp_path):
    """A video of three frames, 64x32, five a second."""
    path = tmp_path / "drive.avi"
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 32))
    if not film.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for grey in (0, 100, 200):
        film.write(np.full((32, 64, 3), grey, np.uint8))
    film.release()
    return path


def test_a_video_gives_every_frame_and_a_video(predict, video):
    code, folder = predict(video, "--batch", "2")
    assert code == 0
    numbers = ("000000", "000001", "000002")
    assert names(folder) == [*(f"drive_{n}.png" for n in numbers), "drive_colour.mp4"]
    film = cv2.VideoCapture(str(folder / "drive_colour.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == 5
    pictures = []
    while (read_one := film.read())[0]:
        pictures.append(read_one[1])
    assert len(pictures) == 3
    assert pictures[0].shape == (32 + 58, 160, 3)  # the scale is below, and needs that width


@pytest.mark.parametrize(("share", "message"), [(0.5, "cannot read"), (0.0, "no frame of it can be decoded")])
def test_a_video_cut_short_gives_its_frames_and_is_named(predict, video, capfd, share, message):
    whole = video.read_bytes()
    video.write_bytes(whole[: int(share * len(whole))] or bytes(100))
    assert predict(video)[0] == 2
    printed = capfd.readouterr().err
    assert str(video) in printed
    assert message in printed
    assert printed.count("\n") < 5  # none of FFmpeg's own; OpenCV's hold whatever bytes it met


def test_of_a_camera_so_many_frames_are_taken(predict, video, monkeypatch):
    """A camera is a video whose number OpenCV knows; here number 7 is the file."""
    file = cv2.VideoCapture(str(video)).__class__
    monkeypatch.setattr(cv2, "VideoCapture", lambda place: file(str(video) if place == 7 else place))
    code, folder = predict("7", "--frames", "2")
    assert code == 0
    assert names(folder) == ["camera7_000000.png", "camera7_000001.png", "camera7_colour.mp4"]


def test_batches_change_nothing(predict, tmp_path):
    rng = np.random.default_rng(0)
    for i, size in enumerate([(32, 64), (32, 64), (64, 32), (32, 64), (32, 64), (32, 64)]):
        assert cv2.imwrite(str(tmp_path / f"{i}.png"), rng.integers(0, 255, (*size, 3), np.uint8))
    inputs = [tmp_path / f"{i}.png" for i in range(6)]
    for batch in (1, 2):
        assert predict(*inputs, "--npy", "--batch", str(batch), output=tmp_path / f"out{batch}")[0] == 0
    for i in range(6):
        one, other = (np.load(tmp_path / f"out{batch}" / f"{i}.npy") for batch in (1, 2))
        np.testing.assert_allclose(one, other, rtol=1e-4)


def test_teacher_truth_and_error_are_shown_beside_the_student(predict, streets, micro_weights):
    images = [streets / "image" / "test0.png", streets / "image" / "test1.png"]
    teacher = f"dpt_micro:{micro_weights}"
    code, folder = predict(*images, "--teacher", teacher, "--truth", streets / "depth", "--depth-scale", "256")
    assert code == 0
    assert names(folder) == [f"test{i}{kind}.png" for i in range(2) for kind in ("", "_colour", "_compare")]
    both = read(folder / "test0_compare.png")
    assert both.shape[1] > 2 * 64
    _, alone = predict(images[0], "--teacher", teacher, output=folder.with_name("alone"))
    assert both.shape[0] > read(alone / "test0_compare.png").shape[0]  # a row more: truth and error, and its scale


def test_an_unreadable_truth_is_named_and_its_image_predicted(predict, streets, tmp_path, capsys):
    truth = tmp_path / "truth"
    write_image(truth / "test0.png")
    code, folder = predict(streets / "image" / "test0.png", "--truth", truth)
    assert code == 2
    assert "expected a 16-bit single-channel depth map" in capsys.readouterr().err
    assert names(folder) == ["test0.png", "test0_colour.png"]


# ----------------------------------------------------------------------------------------------- nothing is overwritten


def refuse(inputs, output, suffixes=(".png", "_colour.png")):
    with pytest.raises(UserError) as refused:
        check_names(find_inputs([str(one) for one in inputs], output), output, suffixes)
    return str(refused.value)


@pytest.mark.parametrize(
    "places",
    [("a/1.png", "b/1.jpg"), ("1.png", "1_colour.png"), ("clip.mp4", "clip_000003.png")],
    ids=["one name", "a colour picture's name", "a frame's name"],
)
def test_two_inputs_that_would_write_one_file_are_refused(tmp_path, places):
    one, other = (tmp_path / place for place in places)
    write_image(one) if one.suffix == ".png" else one.write_bytes(b"")
    message = refuse([one, write_image(other)], tmp_path / "out")
    assert message.startswith(f"{one} and {other} would both write {tmp_path / 'out'}")


def test_an_input_is_never_overwritten(tmp_path, monkeypatch):
    image = write_image(tmp_path / "photos" / "1.png")
    assert refuse([image], tmp_path / "photos") == f"{image} would be overwritten; choose another --output"
    monkeypatch.chdir(tmp_path)
    assert "would be overwritten" in refuse([image], tmp_path / "photos" / ".." / "photos")


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [[], ["--truth", "DEPTH", "--depth-scale", "256"]])
def test_predictions_never_replace_ground_truth(refused, finished, own_streets, options):
    before, depth = files_of(own_streets), own_streets / "depth"
    words = [str(depth) if word == "DEPTH" else word for word in options]
    message = refused("predict", finished, own_streets / "image", "--output", depth, *words)
    assert str(depth) in message
    assert "choose another" in message
    assert files_of(own_streets) == before


def test_predictions_replace_those_of_an_earlier_call(predict, streets):
    codes = [predict(streets / "image" / "test0.png", "--npy")[0] for _ in range(2)]
    assert codes == [0, 0]


def test_the_folder_of_the_weights_gets_no_predictions(refused, own_run, streets):
    message = refused("predict", own_run, streets / "image" / "test0.png", "--output", own_run / "student")
    assert "is a folder that is read" in message


def test_an_image_named_twice_is_predicted_once_and_what_an_earlier_call_wrote_never(tmp_path):
    image = write_image(tmp_path / "1.jpg")
    write_image(tmp_path / "predictions" / "1.png")
    (source,) = find_inputs([str(image), str(tmp_path)], tmp_path / "predictions")
    assert source.place == image


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RUN", "absent.png"], "no such input: absent.png"),
        (["RUN", "EMPTY"], "no image or video in"),
        (["RUN", "EMPTY/*"], "no image or video matches"),
        (["RUN", "99"], "camera 99 does not open; connect it"),
        (["RUN", "IMAGE", "--truth", "EMPTY"], "no depth map in"),
        (["RUN", "IMAGE", "--truth", "nowhere"], "--truth nowhere is no folder"),
        (["RUN", "IMAGE", "--depth-scale", "256"], "give --truth as well"),
        (["RUN", "IMAGE", "--intrinsics", "50", "50", "32", "16"], "give --ply as well"),
        (["RUN", "IMAGE", "--frames", "0"], "expected a whole number above 0"),
        (["nowhere", "IMAGE"], "no student in nowhere"),
        (["IMAGE", "IMAGE"], "is a file, expected a run's folder"),
        (["dpt_base", "IMAGE"], "dpt_base needs weights"),
        (["RUN", "IMAGE", "--output", "IMAGE/out"], "cannot be written"),
    ],
)
def test_predict_refuses_in_one_line(refused, finished, streets, tmp_path, words, message, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the default folder is made before a model is looked for
    (tmp_path / "empty").mkdir()
    image = str(streets / "image" / "test0.png")
    places = {
        "RUN": str(finished),
        "EMPTY": str(tmp_path / "empty"),
        "EMPTY/*": f"{tmp_path}/empty/*",
        "IMAGE": image,
        "IMAGE/out": f"{image}/out",
    }
    assert message in refused("predict", *[places.get(word, word) for word in words])


# --------------------------------------------------------------------------------------------------- what values mean

ENDS = (".npy", ".ply", ".png", "_colour.png")


@pytest.fixture(scope="session")
def relative_student(finished, tmp_path_factory):
    """The same student as if a loss without a scale had trained it."""
    student = load_model(finished)
    student.output = "relative"
    folder = tmp_path_factory.mktemp("relative") / "student"
    save_student(student, folder)
    return folder


def test_relative_depth_is_never_written_as_metres(relative_student, streets, tmp_path, capsys):
    image, out = str(streets / "image" / "test0.png"), tmp_path / "out"
    assert main(["predict", str(relative_student), image, "--ply", "--output", str(out)]) == 0
    assert "relative inverse depth" in capsys.readouterr().err
    assert names(out) == ["predictions.json", "test0.npy", "test0_colour.png"]
    with torch.inference_mode():
        depth = load_model(relative_student)(to_tensor(cv2.imread(image)[..., ::-1].copy())[None])[0, 0].numpy()
    np.testing.assert_allclose(np.load(out / "test0.npy"), 1 / depth, rtol=1e-4)  # larger is nearer


def test_frames_that_are_not_finite_are_counted(finished, relative_student, streets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Network, "images", lambda self, images: [np.full((32, 64), np.nan, np.float32)] * len(images))
    for number, model in enumerate((finished, relative_student)):
        out = tmp_path / str(number)
        assert main(["predict", str(model), str(streets / "image"), "--output", str(out)]) == 0
        assert "not finite in 10 of 10 frames" in capsys.readouterr().err
    assert not read(tmp_path / "0/test0.png").any()


def test_relative_depth_and_metres_share_no_folder(refused, relative_student, finished, streets, tmp_path):
    image, metres, relative = str(streets / "image" / "test0.png"), tmp_path / "metres", tmp_path / "relative"
    assert main(["predict", str(finished), image, "--output", str(metres)]) == 0
    assert main(["predict", str(relative_student), image, "--output", str(relative)]) == 0
    message = refused("predict", relative_student, image, "--output", metres)
    assert f"{metres} holds depth in metres of an earlier call" in message
    assert f"{relative} holds relative depth" in refused("predict", finished, image, "--output", relative)
    truth = ["--truth", streets / "depth", "--depth-scale", 256]
    message = refused("predict", relative_student, image, *truth, "--output", tmp_path / "other")
    assert f"--truth is metres, and {relative_student} gives relative" in message


@pytest.mark.parametrize("relative", ["student", "teacher", "neither"])
def test_a_teacher_is_agreed_with_in_numbers_and_a_picture(
    relative, relative_student, finished, streets, tmp_path, capsys
):
    student, teacher = (relative_student if relative == name else finished for name in ("student", "teacher"))
    words = [str(student), str(streets / "image" / "test0.png"), "--teacher", str(teacher), "--output", str(tmp_path)]
    assert main(["predict", *words]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert f"agreement with {teacher}: abs_rel " in shown
    assert "d1 0." in shown or "d1 1 on 1 frames" in shown
    assert cv2.imread(str(tmp_path / "test0_compare.png")) is not None
    if relative == "neither":
        assert "abs_rel 0, d1 1" in shown


def test_a_call_replaces_all_that_an_earlier_one_left_of_its_images(predict, streets, tmp_path):
    out, image = tmp_path / "out", streets / "image" / "test0.png"
    predict(image, streets / "image" / "test1.png", "--npy", "--ply", output=out)
    predict(image, output=out)
    assert names(out) == [f"test{i}{end}" for i, end in ((0, ".png"), (0, "_colour.png"), *((1, end) for end in ENDS))]


def test_an_array_that_is_not_surely_its_own_stays(predict, streets, tmp_path):
    out, image = tmp_path / "out", streets / "image" / "test0.png"
    predict(image, output=out)
    np.save(out / "test0.npy", np.full((32, 64), 7, np.float32))
    predict(image, output=out)
    assert (out / "test0.npy").exists()
