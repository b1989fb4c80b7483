import json
import os
import shutil
import signal
import time

import cv2
import numpy as np
import pytest
import torch
from forked_runs import launch, launch_group

from distill import load_model
from distill.cli import main
from distill.data import to_tensor
from distill.data.files.labels import StoredLabel, read_manifest
from distill.data.files.png import depth_scale
from distill.data.files.reading import read_image
from students import save_student
from teachers import DepthModel


@pytest.fixture
def photos(tmp_path):
    """Six photographs of two sizes in two folders, among them two of one name."""
    rng = np.random.default_rng(0)
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/4.png", "b/5.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        size = (32, 64, 3) if path.parent.name == "a" else (64, 32, 3)
        assert cv2.imwrite(str(path), rng.integers(0, 256, size, np.uint8))
    return tmp_path / "photos"


@pytest.fixture
def label(finished, tmp_path):
    """label(*words): the exit code of `distill label` by a trained student, into `labels`."""

    def run(*words, teacher=finished):
        return main(["label", str(teacher), *map(str, words), "--output", str(tmp_path / "labels")])

    return run


class Odd(DepthModel):
    """A teacher whose depth is what a test wants."""

    feature_channels, min_depth, max_depth = (1, 1, 1, 1), None, None

    def __init__(self, row, output="metric", max_depth=None):
        super().__init__()
        self.encoder = self.decoder = torch.nn.Identity()
        self.row, self.output, self.max_depth = torch.tensor(row), output, max_depth

    def forward(self, image):
        depth = self.row.repeat(image.shape[-1] // len(self.row))
        return depth.expand(len(image), 1, *image.shape[-2:]).clone()


@pytest.fixture
def odd(monkeypatch, label):
    """odd(row, *words, **meaning): labels by a teacher whose depth repeats that row."""

    def run(row, *words, **meaning):
        monkeypatch.setattr("distill.commands.label.open_model", lambda name: Odd(row, **meaning))
        return label(*words, teacher="odd")

    return run


def labels_of(folder):
    """Lines by the name of their image, and each one's quantity."""
    lines = read_manifest(folder)
    stored = [StoredLabel(str(folder / one.depth), one.scale, one.offset, (one.height, one.width)) for one in lines]
    return {one.image: (one, file.read()) for one, file in zip(lines, stored, strict=True)}


def files_of(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_label_is_what_the_teacher_gives_and_its_line_says_where_from(label, finished, photos, tmp_path, capsys):
    assert label(photos) == 0
    printed = capsys.readouterr()
    labels = labels_of(tmp_path / "labels")
    assert len(labels) == 6
    one, depth = labels[str(photos / "a/2.png")]
    with torch.inference_mode():
        wanted = load_model(finished)(to_tensor(read_image(photos / "a/2.png"))[None])[0, 0].numpy()
    np.testing.assert_allclose(depth, wanted, atol=0.51 / one.scale)
    assert (one.depth, one.height, one.width, one.output) == ("depth/a/2.png", 32, 64, "metric")
    assert (one.teacher, one.scale, len(one.fingerprint)) == (str(finished), 256, 16)
    assert one.seconds > 0
    assert "6 images labelled in" in printed.err
    assert f"distill train configs/folder.yaml data.root={tmp_path / 'labels'} method.name=output" in printed.out
    assert cv2.imread(str(tmp_path / "labels/depth_sheet.png")).shape[1] > 2 * 320


def test_an_image_whose_name_is_no_text_is_named_and_the_others_are_labelled(label, photos, tmp_path, capsys):
    strange = os.path.join(os.fsencode(photos / "a"), b"\xff.png")
    shutil.copy(photos / "a/2.png", strange)
    assert label(photos / "a") == 2
    assert "its name is no UTF-8 text, rename it" in capsys.readouterr().err
    assert labels_of(tmp_path / "labels").keys() == {str(photos / f"a/{name}.png") for name in (1, 2, 3)}
    assert len(list((tmp_path / "labels/depth").rglob("*.png"))) == 3


def test_relative_depth_is_labelled_as_such_in_all_of_its_range(label, finished, photos, tmp_path, capsys):
    student = load_model(finished)
    student.output = "relative"
    save_student(student, tmp_path / "student")
    assert label(photos / "a", teacher=tmp_path / "student") == 0
    assert "relative inverse depth" in capsys.readouterr().err
    one, inverse = labels_of(tmp_path / "labels")[str(photos / "a/2.png")]
    with torch.inference_mode():
        wanted = 1 / student.eval()(to_tensor(read_image(photos / "a/2.png"))[None])[0, 0].numpy()
    np.testing.assert_allclose(inverse, wanted, atol=1.01 * (one.high - one.low) / 65534)
    assert one.output == "relative"
    assert depth_scale((tmp_path / "labels" / one.depth).read_bytes()) is None


@pytest.mark.parametrize("options", [["--batch", "2"], ["--batch", "100"], ["--size", "64x96"]])
def test_images_of_one_size_go_together_and_every_label_has_the_size_of_its_image(label, photos, tmp_path, options):
    assert label(photos, *options) == 0
    sizes = {one.image: depth.shape for one, depth in labels_of(tmp_path / "labels").values()}
    assert sizes == {str(path): read_image(path).shape[:2] for path in photos.rglob("*.png")}


def test_batches_change_no_label(label, photos, tmp_path):
    label(photos)
    alone = labels_of(tmp_path / "labels")
    shutil.rmtree(tmp_path / "labels")
    label(photos, "--batch", "3")
    for image, (one, depth) in labels_of(tmp_path / "labels").items():
        np.testing.assert_allclose(depth, alone[image][1], atol=1.01 / one.scale)


def test_values_that_are_no_depth_and_those_beyond_the_range_are_nothing_and_counted(odd, photos, tmp_path, capsys):
    assert odd([1.5, 40.0, float("nan"), float("inf"), 0.0, -1.0, 65.6, 9.0], photos / "a", max_depth=60.0) == 0
    ((one, depth), *_) = labels_of(tmp_path / "labels").values()
    np.testing.assert_allclose(depth[0, :8], [1.5, 40, *[np.nan] * 5, 9.0])
    assert (one.scale, one.low, one.high) == (1000, 1.5, 40)
    assert "62.50% of the pixels have no label" in capsys.readouterr().err


def test_an_image_of_which_the_teacher_says_nothing_gets_no_label_and_is_named(odd, photos, tmp_path, capsys):
    assert odd([float("nan")] * 8, photos / "a/1.png") == 2
    assert f"skipped: {photos / 'a/1.png'} has no label" in capsys.readouterr().err
    assert (tmp_path / "labels/manifest.jsonl").read_bytes() == b""
    assert not (tmp_path / "labels/depth").exists()


def test_unreadable_images_are_counted_and_named_and_the_rest_goes_on(label, photos, tmp_path, capsys):
    broken = photos / "a/2.png"
    broken.write_bytes(broken.read_bytes()[:100])
    assert label(photos, "--json", tmp_path / "result.json") == 2
    message = capsys.readouterr().err
    assert f"skipped: cannot read {broken}: the file is cut short" in message
    assert "5 images labelled" in message
    assert "1 inputs skipped" in message
    assert str(broken) not in labels_of(tmp_path / "labels")
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["images"], result["output"], len(result["skipped"])) == (5, "metric", 1)


# --------------------------------------------------------------------------------------------------------------- names


def test_names_stay_unique_and_tell_where_an_image_comes_from(label, photos, tmp_path):
    shutil.copy(photos / "a/2.png", photos / "a/2.jpg")
    assert label(photos / "a", photos / "b", photos / "a") == 0
    names = {image: one.depth for image, (one, _) in labels_of(tmp_path / "labels").items()}
    assert len(set(names.values())) == len(names) == 7
    assert names[str(photos / "a/1.png")] == "depth/1.png"
    assert names[str(photos / "b/1.png")] == "depth/b/1.png.png"
    assert {names[str(photos / f"a/2.{kind}")] for kind in ("jpg", "png")} == {"depth/2.png", "depth/a/2.png.png"}


def test_a_link_to_an_image_is_that_image(label, photos, tmp_path):
    (photos / "again.png").symlink_to(photos / "a/1.png")
    assert label(photos) == 0
    assert len(labels_of(tmp_path / "labels")) == 6


def write_film(path, *greys):
    path.parent.mkdir(parents=True, exist_ok=True)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 32))
    if not film.isOpened():
        pytest.skip("this OpenCV writes no MJPG video")
    for grey in greys:
        film.write(np.full((32, 64, 3), grey, np.uint8))
    film.release()
    return path


def test_frames_are_written_beside_their_labels_and_films_of_one_name_stay_apart(label, photos, tmp_path, capsys):
    one, other = write_film(tmp_path / "x/clip.avi", 0, 99, 200), write_film(tmp_path / "y/clip.avi", 50, 60)
    assert label(one, "--frames", 2) == 0
    assert label(one, other, photos / "a") == 0
    assert "2 images have labels already" in capsys.readouterr().err
    labels = labels_of(tmp_path / "labels")
    assert len(labels) == 3 + 2 + 3
    assert {"images/clip/000002.png", "images/y/clip.avi/000001.png"} <= labels.keys()
    line, _ = labels["images/clip/000001.png"]
    assert (line.depth, line.source) == ("depth/clip/000001.png", str(one))
    assert abs(read_image(tmp_path / "labels" / line.image).mean() - 99) < 3


def test_what_a_camera_sees_in_another_call_is_something_else(label, tmp_path, monkeypatch):
    film, opened = write_film(tmp_path / "clip.avi", 0, 99), cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda place: opened(str(film) if place == 7 else place))
    assert [label("7", "--frames", 2) for _ in range(2)] == [0, 0]
    frames = {f"images/{name}/{number:06d}.png" for name in ("camera7", "camera7_2") for number in range(2)}
    assert labels_of(tmp_path / "labels").keys() == frames


# ------------------------------------------------------------------------------------------------------------ going on


def test_what_has_a_label_is_not_labelled_again_and_what_is_missing_is(label, photos, tmp_path, capsys):
    folder = tmp_path / "labels"
    label(photos)
    before = files_of(folder)
    assert label(photos) == 0
    assert "0 images labelled" in capsys.readouterr().err
    assert files_of(folder) == before
    (folder / "depth/a/2.png").unlink()
    with (folder / "manifest.jsonl").open("rb+") as file:
        file.truncate(file.seek(0, os.SEEK_END) - 10)  # as a power cut may leave it
    (folder / "depth/.0123.part").write_bytes(b"half")
    assert label(photos) == 0
    assert "2 images labelled" in capsys.readouterr().err
    assert files_of(folder).keys() == before.keys()
    assert len(labels_of(folder)) == 6


def test_a_changed_image_is_labelled_anew_and_one_that_was_only_touched_is_not(label, photos, tmp_path, capsys):
    label(photos)
    later = time.time() + 10
    assert cv2.imwrite(str(photos / "a/1.png"), np.zeros((32, 64, 3), np.uint8))
    for name in ("a/1.png", "a/2.png"):
        os.utime(photos / name, (later, later))
    former = labels_of(tmp_path / "labels")[str(photos / "a/1.png")][0]
    assert label(photos) == 0
    assert "1 images labelled" in capsys.readouterr().err
    now = labels_of(tmp_path / "labels")[str(photos / "a/1.png")][0]
    assert now.sha256 != former.sha256
    assert now.depth == former.depth


SLOW = """
import os, sys, time
import torch
from distill.cli import main
from teachers import DepthModel

class Slow(DepthModel):
    feature_channels, min_depth, max_depth = (1, 1, 1, 1), None, 10.0

    def __init__(self):
        super().__init__()
        self.encoder = self.decoder = torch.nn.Identity()
        self.done = 0

    def encode(self, image):
        return [torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 2**n) for n in (2, 3, 4, 5)]

    def decode(self, features, size):
        self.done += int(features[0].std() > 0)  # a photograph, unlike that on which a teacher is tried
        while self.done > 3 and os.path.exists("HERE/wait"):
            time.sleep(0.01)
        return torch.nn.functional.interpolate(features[0] + 1, size)

if __name__ == "__main__":
    sys.path.insert(0, "HERE")
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def slow(photos, tmp_path, monkeypatch):
    """slow(): a process that has labelled three images, and waits at the fourth for as long as there is `wait`."""
    script = tmp_path / "slow_teacher.py"
    script.write_text(SLOW.replace("HERE", str(tmp_path)))
    monkeypatch.syspath_prepend(tmp_path)
    started = []

    def start():
        (tmp_path / "wait").touch()
        words = ["label", "slow_teacher:Slow", str(photos), "--output", str(tmp_path / "labels")]
        started.append(launch(words, tmp_path / "log", script=script))
        manifest, deadline = tmp_path / "labels/manifest.jsonl", time.monotonic() + 300
        while not (manifest.is_file() and manifest.read_bytes().count(b"\n") == 3):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.01)
        return started[0]

    yield start
    for process in started:
        process.kill()


def test_a_killed_call_goes_on_without_doing_an_image_twice(slow, label, photos, tmp_path, capsys):
    process = slow()
    process.kill()
    process.join()
    (tmp_path / "wait").unlink()
    assert label(photos, teacher="slow_teacher:Slow") == 0
    assert "3 images labelled" in capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / "labels/manifest.jsonl").read_text().splitlines()]
    assert sorted(line["image"] for line in lines) == sorted(map(str, photos.rglob("*.png")))
    assert len(labels_of(tmp_path / "labels")) == 6
    assert not list((tmp_path / "labels").rglob("*.part"))


def test_ctrl_c_finishes_the_images_in_hand_and_the_same_command_goes_on(slow, label, photos, tmp_path, capsys):
    process = slow()
    os.kill(process.pid, signal.SIGINT)
    (tmp_path / "wait").unlink()
    process.join(300)
    assert process.exitcode == 130
    assert "stopped by SIGINT; 4 images are labelled, the same command goes on" in (tmp_path / "log").read_text()
    assert len(labels_of(tmp_path / "labels")) == 4
    assert label(photos, teacher="slow_teacher:Slow") == 0
    assert "2 images labelled" in capsys.readouterr().err


def test_two_calls_into_one_folder_at_a_time_are_refused(slow, refused, photos, tmp_path):
    slow()
    message = refused("label", "slow_teacher:Slow", photos, "--output", tmp_path / "labels")
    assert "another distill label writes into" in message


def test_two_processes_share_the_images_and_write_one_manifest(label, finished, photos, tmp_path):
    write_film(photos / "clip.avi", 0, 50, 100, 150, 200)
    broken = photos / "b/5.png"
    broken.write_bytes(broken.read_bytes()[:100])
    words = ["label", str(finished), str(photos), "--output", str(tmp_path / "shared")]
    processes = launch_group(words, tmp_path / "log", 2)
    for process in processes:
        process.join(300)
    logs = [(tmp_path / f"log.{rank}").read_text() for rank in (0, 1)]
    assert [process.exitcode for process in processes] == [2, 2], logs
    assert "10 images labelled" in logs[0]
    assert f"skipped: cannot read {broken}" in logs[0]
    assert logs[1] == ""
    assert label(photos) == 2
    shared, alone = labels_of(tmp_path / "shared"), labels_of(tmp_path / "labels")
    assert len((tmp_path / "shared/manifest.jsonl").read_text().splitlines()) == 10
    assert shared.keys() == alone.keys()
    for image, (_, depth) in shared.items():
        np.testing.assert_array_equal(depth, alone[image][1])


# ------------------------------------------------------------------------------------------------------------- refusals


def test_labels_of_another_teacher_size_or_meaning_share_no_folder(label, odd, refused, finished, photos, tmp_path):
    label(photos / "a")
    before, words = files_of(tmp_path / "labels"), [photos / "b", "--output", tmp_path / "labels"]
    message = refused("label", "dpt_micro", *words)
    assert f"{tmp_path / 'labels'} holds labels of {finished}" in message
    assert "dpt_micro is another teacher" in message
    assert "now at 64x64; give the same --size again" in refused("label", finished, *words, "--size", "64x64")
    assert files_of(tmp_path / "labels") == before


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("photos", "is a folder that is read"),
        ("photos/a", "is a folder that is read"),
        ("other", "holds other files (notes.txt) and no manifest.jsonl"),
        ("photos/a/1.png/labels", "cannot be written"),
    ],
)
def test_labels_are_written_into_a_folder_of_their_own(refused, finished, photos, tmp_path, output, message):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").touch()
    before = files_of(tmp_path)
    assert message in refused("label", finished, photos / "a", "--output", tmp_path / output) or output == "photos"
    assert message in refused("label", finished, photos, "--output", tmp_path / output) or output == "photos/a"
    assert files_of(tmp_path) == before


def test_labels_inside_the_photographs_folder_are_no_photographs(label, finished, photos, tmp_path):
    for _ in range(2):
        assert main(["label", str(finished), str(photos), "--output", str(photos / "labels")]) == 0
    assert len(read_manifest(photos / "labels")) == 6
    assert label(photos) == 0
    assert len(read_manifest(tmp_path / "labels")) == 6  # into another folder


def test_a_full_disk_ends_the_call_and_what_is_labelled_stays(label, photos, tmp_path, monkeypatch, capsys):
    label(photos / "a")

    def full(path, content):
        raise OSError(28, os.strerror(28), str(path))

    monkeypatch.setattr("distill.predict.labelling.write_atomically", full)
    assert label(photos) == 2
    message = capsys.readouterr().err
    assert f"cannot be written to {tmp_path / 'labels'}" in message
    assert "make room and give the same command again" in message
    assert "Traceback" not in message
    assert len(labels_of(tmp_path / "labels")) == 3
