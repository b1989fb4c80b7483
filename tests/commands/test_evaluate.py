"""`distill evaluate`: models and folders of predictions, one protocol and all, one process and two."""

import json
import multiprocessing
import os
import re
import socket
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from distill import load_model
from distill.assembly.datasets import choose_protocol
from distill.cli import main
from distill.data import SceneDataset
from distill.evaluation import METRICS, PROTOCOLS
from students import save_student

FOLDER = ["--data", "folder", "--depth-scale", 256]


def write_frame(root, folder, name, size, depth_m, scale):
    """A grey picture and a flat depth map with some holes; returns nothing but leaves both files."""
    image, depth = root / folder / f"{name}.jpg", root / f"{folder}_depth" / f"{name}.png"
    for path in (image, depth):
        path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(image), np.full((*size, 3), 128, np.uint8))
    flat = np.full(size, round(depth_m * scale), np.uint16)
    flat[::3] = 0
    assert cv2.imwrite(str(depth), flat)
    return f"{image.relative_to(root)} {depth.relative_to(root)} 700.0\n"


@pytest.fixture(scope="session")
def tiny_kitti(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    line = write_frame(root, "2011_09_26", "0000000005", (375, 1242), 12.0, 256)
    (root / "test_files_with_gt.txt").write_text(line)
    return root


@pytest.fixture(scope="session")
def tiny_nyu(tmp_path_factory):
    root = tmp_path_factory.mktemp("nyu")
    line = write_frame(root, "official_splits/test/kitchen", "00001", (480, 640), 3.0, 1000)
    (root / "test_files_with_gt.txt").write_text(line)
    return root


@pytest.fixture(autouse=True)
def one_scene(monkeypatch):
    """Sixty embedded scenes take a while to render."""
    monkeypatch.setattr("distill.assembly.datasets.kept_scenes", lambda kind, _, *rest: SceneDataset(kind, 1, *rest))


@pytest.fixture
def evaluated(tmp_path):
    """evaluated(model, *options): what `distill evaluate --json` writes."""

    def run(model, *options):
        path = tmp_path / "deep" / "results.json"
        assert main(["evaluate", str(model), *map(str, options), "--json", str(path)]) == 0
        return json.loads(path.read_text())

    return run


def test_evaluate_writes_what_is_promised(evaluated, finished, streets, capsys):
    result = evaluated(finished, "--data", "folder", "--root", streets, "--depth-scale", 256)
    assert result["protocol"] == "folder"
    assert result["fingerprint"] == PROTOCOLS["folder"].fingerprint
    assert (result["images"], result["skipped"]) == (2, 0)
    assert {"d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"} == set(METRICS)
    assert set(METRICS) <= result["metrics"].keys()
    assert [image["name"] for image in result["per_image"]] == ["image/test0.png", "image/test1.png"]
    for metric in METRICS:
        assert result["metrics"][metric] == pytest.approx(np.mean([image[metric] for image in result["per_image"]]))
    assert PROTOCOLS["folder"].fingerprint in capsys.readouterr().out


def test_evaluate_agrees_with_the_run_for_student_and_teacher(evaluated, finished, streets, micro_weights):
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    teacher, student, _ = json.loads((finished / "results.json").read_text())
    for model, expected in ((f"dpt_micro:{micro_weights}", teacher), (finished / "student", student)):
        assert evaluated(model, *folder)["metrics"] == pytest.approx(expected["metrics"], rel=1e-5)


@pytest.mark.parametrize("place", ["", "student"])
def test_a_runs_folder_knows_its_data_and_protocol(evaluated, finished, streets, place):
    again, student = evaluated(finished / place), json.loads((finished / "results.json").read_text())[1]
    assert again["fingerprint"] == student["fingerprint"]
    assert again["metrics"] == pytest.approx(student["metrics"], rel=1e-5)
    elsewhere = evaluated(finished / place, "--root", streets, "--max-depth", 30)
    assert elsewhere["settings"]["max_depth"] == 30


def test_what_is_no_run_is_told_to_name_its_data(refused, tmp_path):
    line = refused("evaluate", "dpt_micro")
    assert "--data is needed: dpt_micro is no run's folder" in line
    assert "leave it out" in refused("evaluate", "dpt_micro", "--data", "nyu", "--root", tmp_path, "--scenes", "road")


def test_the_cap_and_the_list_of_a_folder_are_options(evaluated, finished, streets, tmp_path):
    (tmp_path / "one.txt").write_text("image/train3.png depth/train3.png\n")
    result = evaluated(
        *[finished, "--data", "folder", "--root", streets, "--depth-scale", 256],
        *["--split", tmp_path / "one.txt", "--max-depth", 30, "--tta", "flip"],
    )
    assert [image["name"] for image in result["per_image"]] == ["image/train3.png"]
    assert (result["settings"]["max_depth"], result["settings"]["tta"]) == (30, "flip")
    assert result["fingerprint"] == PROTOCOLS["folder"].with_(max_depth=30, tta="flip").fingerprint


def test_scenes_need_no_root_and_are_scored_as_what_they_are(evaluated, finished):
    result = evaluated(finished, "--data", "scenes", "--scenes", "room", "--all-protocols")
    assert [one["protocol"] for one in result] == ["scenes_room"]
    assert result[0]["per_image"][0]["name"].startswith("room-")


def test_all_protocols_of_kitti_stand_side_by_side(evaluated, finished, tiny_kitti):
    result = evaluated(finished, "--data", "kitti", "--root", tiny_kitti, "--all-protocols")
    names = ["kitti_eigen_garg_full", "kitti_eigen_garg_kb", "kitti_eigen_crop_full", "kitti_eigen_crop_kb"]
    assert [one["protocol"] for one in result] == names
    assert [one["fingerprint"] for one in result] == [PROTOCOLS[name].fingerprint for name in names]
    assert len({one["per_image"][0]["pixels"] for one in result}) == 4


def test_all_protocols_of_nyu_are_one(evaluated, finished, tiny_nyu):
    (result,) = evaluated(finished, "--data", "nyu", "--root", tiny_nyu, "--all-protocols", "--size", "64x96")
    assert result["protocol"] == "nyu_eigen"
    assert result["input_size"] == [64, 96]
    assert result["per_image"][0]["pixels"] == (471 - 45) // 3 * 2 * (601 - 41)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere", "--data", "scenes"], "no student in nowhere"),
        (["dpt_hybird", "--data", "scenes"], "did you mean dpt_hybrid"),
        (["RUN", "--data", "scenes", "--protocol", "scenes"], "did you mean scenes_ro"),
        (["dpt_huge:x.pt", "--data", "scenes"], "unknown teacher 'dpt_huge', did you mean"),
        (["dpt_hybrid:x.pt", "--data", "scenes"], "no checkpoint at x.pt"),
        (["dpt_hybrid", "--data", "scenes"], "dpt_hybrid needs weights: give dpt_hybrid:CHECKPOINT"),
        (["RUN", "--data", "kitti"], "--root is needed for --data kitti: the folder of the data set"),
        (["RUN", "--data", "scenes", "--protocol", "scenes_rod"], "did you mean scenes_ro"),
        (["RUN", "--data", "scenes", "--protocol", "nyu_eigen"], "does not score scenes, expected one of scenes_road"),
        (["RUN", "--data", "folder", "--root", "nowhere"], "data root nowhere does not exist"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--max-depth", "-1"], "data.max_depth=-1.0"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--split", "absent.txt"], "absent.txt does not exist"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--json", "RUN"], "cannot be written; give a file"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--json", "FILE/x.json"], "cannot be written; give a file"),
    ],
)
def test_evaluate_refuses_what_it_cannot_score(refused, finished, streets, words, message):
    places = {"RUN": str(finished), "STREETS": str(streets), "FILE/x.json": f"{__file__}/x.json"}
    assert message in refused("evaluate", *[places.get(word, word) for word in words])


def test_what_the_check_refuses_is_not_evaluated(refused, finished, own_streets):
    words = "evaluate", finished, "--data", "folder", "--root", own_streets, "--depth-scale", 256
    (own_streets / "image" / "test0.png").write_bytes(b"")
    assert "1 of 4 files cannot be read" in refused(*words)
    (own_streets / "test_files_with_gt.txt").write_text("image/train0.png image/train1.png\n")
    assert "image/train1.png is a 8-bit picture" in refused(*words)
    for name in ("depth", "image/test0.png", "train_files_with_gt.txt", "test_files_with_gt.txt"):
        (own_streets / name).rename(own_streets.with_name(os.path.basename(name)))
    assert "has no depth to evaluate on" in refused(*words)


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "DATA/test_files_with_gt.txt"],
        ["--json", "DATA/image/test0.png"],
        ["--report", "DATA/test_files_with_gt.txt"],
        ["--json", "RUN/student/model.safetensors"],
        ["--json", "RUN/student/config.json"],
        ["--json", "RUN/results.json"],
        ["--report", "RUN/report.html"],
        ["--json", "NEW/a", "--report", "NEW/a"],
        ["--save-predictions", "DATA"],
        ["--save-predictions", "DATA", "--save-as", "png"],
        ["--save-predictions", "DATA/image"],
        ["--save-predictions", "RUN/student"],
    ],
)
def test_nothing_that_evaluate_reads_or_does_not_know_is_replaced(refused, own_run, own_streets, tmp_path, words):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before, places = files(), {"DATA": own_streets, "RUN": own_run, "NEW": tmp_path / "new"}
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    message = refused("evaluate", own_run, "--data", "folder", "--root", own_streets, "--depth-scale", 256, *words)
    assert words[0] in message
    assert files() == before


def test_results_and_predictions_of_an_earlier_call_are_replaced(finished, streets, tmp_path):
    words = ["--json", tmp_path / "a.json", "--report", tmp_path / "a.html", "--save-predictions", tmp_path / "saved"]
    for _ in range(2):
        assert main(list(map(str, ["evaluate", finished, *FOLDER, "--root", streets, *words]))) == 0


def test_results_are_written_before_they_are_shown(finished, streets, tmp_path, monkeypatch, capsys):
    def closed(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("distill.pages.evaluation_page.display", closed)
    path = tmp_path / "a.json"
    assert main(list(map(str, ["evaluate", finished, *FOLDER, "--root", streets, "--json", path]))) == 2
    assert json.loads(path.read_text())["images"] == 2
    assert "Traceback" not in capsys.readouterr().err


# -------------------------------------------------------------------------------------------------- protocols and data


def test_every_protocol_is_reported_with_all_that_decides_it(evaluated, finished, tiny_kitti, capsys):
    evaluated(finished, "--data", "kitti", "--root", tiny_kitti, "--all-protocols", "--max-depth", 50)
    message = " ".join(capsys.readouterr().out.split())
    for name in ("kitti_eigen_garg_full", "kitti_eigen_garg_kb", "kitti_eigen_crop_full", "kitti_eigen_crop_kb"):
        protocol = PROTOCOLS[name].with_(max_depth=50)
        assert f"{name} ({protocol.fingerprint}): {protocol.describe()}" in message
    assert "rows do not compare" in message


def test_frames_of_the_selection_are_scored_by_the_selection(evaluated, refused, finished, tmp_path):
    folder = tmp_path / "depth_selection" / "val_selection_cropped"
    write_frame(folder, "any", "frame", (352, 1216), 12.0, 256)
    for kind, made in (("image", "any/frame.jpg"), ("groundtruth_depth", "any_depth/frame.png")):
        target = folder / kind / f"2011_09_26_drive_0002_sync_{kind}_0000000005_image_02.png"
        target.parent.mkdir()
        (folder / made).rename(target)
    (result,) = evaluated(finished, "--data", "kitti", "--root", tmp_path, "--all-protocols")
    assert result["per_image"][0]["pixels"] == (352 - 118) * 1216  # every third row is a hole
    assert result["fingerprint"] == PROTOCOLS["kitti_selection"].fingerprint
    message = refused("evaluate", finished, "--data", "kitti", "--root", tmp_path, "--protocol", "kitti_eigen_garg_kb")
    assert "kitti_eigen_garg_kb does not score KITTI's depth_selection, expected one of kitti_selection" in message


@pytest.mark.parametrize(
    ("data", "name", "usual", "other", "share", "otherwise"),
    [
        ("kitti", "kitti_eigen_garg_kb", "official annotated depth", "single Velodyne scans", 0.19, 0.04),
        ("kitti", "kitti_eigen_garg_kb", "official annotated depth", "dense depth", 0.14, 1.0),
        ("nyu", "nyu_eigen", "raw depth", "filled depth", 0.76, 1.0),  # BTS' test pictures were made of the raw depth
    ],
)
def test_another_kind_of_truth_has_another_fingerprint(tmp_path, data, name, usual, other, share, otherwise):
    """Whether the files' names tell it, or only how many of their pixels are measured."""
    from distill.config import DataConfig

    def protocol_for(truth, measured=share):
        contents = SimpleNamespace(truth=truth, pairs=(), measured=measured)
        return choose_protocol(
            DataConfig(name=data, root=tmp_path), None, None, 80.0, SimpleNamespace(contents=contents)
        )

    protocol = PROTOCOLS[name]
    assert protocol_for(usual) == protocol_for("depth maps") == protocol
    assert protocol_for(other).fingerprint != protocol.fingerprint
    assert protocol_for(usual, otherwise) == protocol_for(other)
    assert protocol_for(other).describe().startswith(f"{other}; {protocol.crop.capitalize()} crop")


def test_a_result_carries_the_truth_that_its_files_hold(evaluated, finished, tiny_kitti, tmp_path, refused):
    depth = cv2.imread(str(tiny_kitti / "2011_09_26_depth/0000000005.png"), cv2.IMREAD_UNCHANGED)
    made = [evaluated(finished, "--data", "kitti", "--root", tiny_kitti)]
    line = write_frame(tmp_path, "2011_09_26", "0000000005", depth.shape, 12.0, 256)
    (tmp_path / "test_files_with_gt.txt").write_text(line)
    depth[np.arange(len(depth)) % 20 > 0] = 0
    assert cv2.imwrite(str(tmp_path / "2011_09_26_depth/0000000005.png"), depth)
    made.append(evaluated(finished, "--data", "kitti", "--root", tmp_path))
    assert made[0]["settings"]["ground_truth"] == PROTOCOLS["kitti_eigen_garg_kb"].ground_truth
    assert made[1]["settings"]["ground_truth"] == "single Velodyne scans"
    for path, one in zip((tmp_path / "a.json", tmp_path / "b.json"), made, strict=True):
        path.write_text(json.dumps(one | {"fingerprint": "one and the same"}))
    assert "two ground truths" in refused("compare", tmp_path / "a.json", tmp_path / "b.json")


def test_median_scaling_and_the_plain_flip_are_options(evaluated, finished, streets):
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    result = evaluated(finished, *folder, "--median-scaling", "--tta", "flip-plain")
    assert (result["settings"]["median_scaling"], result["settings"]["tta"]) == (True, "flip-plain")
    assert result["metrics"] != evaluated(finished, *folder)["metrics"]


def test_frames_without_truth_are_counted_and_named(evaluated, finished, own_streets, capsys):
    with (own_streets / "test_files_with_gt.txt").open("a") as lines:
        lines.write("image/train0.png None\n")
    result = evaluated(finished, "--data", "folder", "--root", own_streets, "--depth-scale", 256)
    assert (result["images"], result["skipped"], result["skipped_names"]) == (2, 1, ["image/train0.png"])
    assert "1 images without ground truth in range were skipped: image/train0.png" in capsys.readouterr().out


def test_images_too_small_for_a_network_are_refused(refused, finished, tmp_path):
    line = write_frame(tmp_path, "image", "a", (20, 40), 3.0, 1000)
    (tmp_path / "test_files_with_gt.txt").write_text(line)
    (tmp_path / "images").mkdir()
    message = refused("evaluate", finished, "--data", "folder", "--root", tmp_path)
    assert "a.jpg is 20x40 (height x width), expected at least 32 both ways" in message


def test_a_wrong_scale_of_the_truth_is_refused_with_one_that_fits(refused, finished, streets):
    message = refused("evaluate", finished, "--data", "folder", "--root", streets, "--depth-scale", 1)
    assert "no valid ground truth in the whole set" in message
    assert "256 units per metre would fit" in message


def test_predictions_of_other_units_are_suspected(evaluated, tiny_kitti, tmp_path, capsys):
    folder = write_predictions(tmp_path / "theirs", ["0000000005.png"], scale=1000)
    evaluated(folder, "--data", "kitti", "--root", tiny_kitti)
    assert "100% of pixels are predicted much too far: check the units" in " ".join(capsys.readouterr().out.split())
    evaluated(folder, "--data", "kitti", "--root", tiny_kitti, "--prediction-scale", 1000)
    assert "check the units" not in capsys.readouterr().out


# -------------------------------------------------------------------------------------------------------- predictions


@pytest.mark.parametrize("options", [[], ["--tta", "flip"], ["--tta", "flip-edge", "--size", "64x96"]])
def test_saved_predictions_are_the_model_to_the_last_digit(evaluated, finished, streets, tmp_path, options):
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    saved = tmp_path / "saved"
    model = evaluated(finished, *folder, *options, "--save-predictions", saved)
    assert sorted(path.name for path in saved.rglob("*.npy")) == ["test0.npy", "test1.npy"]
    again = evaluated(saved, *folder, *options[:2])
    for key in ("protocol", "fingerprint", "metrics", "per_image", "breakdown", "error_histogram"):
        assert again[key] == model[key]


def test_saved_predictions_serve_every_protocol(evaluated, finished, tiny_kitti, tmp_path):
    kitti = ["--data", "kitti", "--root", tiny_kitti, "--all-protocols"]
    model = evaluated(finished, *kitti, "--save-predictions", tmp_path / "saved")
    again = evaluated(tmp_path / "saved", *kitti)
    assert [one["metrics"] for one in again] == [one["metrics"] for one in model]


def test_pictures_of_predictions_are_as_good_as_16_bits(evaluated, finished, streets, tmp_path):
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    model = evaluated(finished, *folder, "--save-predictions", tmp_path / "saved", "--save-as", "png")
    again = evaluated(tmp_path / "saved", *folder)
    assert abs(again["metrics"]["mae"] - model["metrics"]["mae"]) < 0.5 / 256
    assert again["metrics"] == pytest.approx(model["metrics"], rel=0.02)
    assert again["metrics"] != model["metrics"]


def write_predictions(folder, names, depth=12.0, scale=256, size=(375, 1242)):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(folder / name), np.full(size, round(depth * scale), np.uint16))
    return folder


@pytest.mark.parametrize("size", [(375, 1242), (352, 1216)])
def test_pngs_of_another_toolkit_are_scored_with_the_data_sets_scale(evaluated, tiny_kitti, tmp_path, size):
    folder = write_predictions(tmp_path / "theirs", ["2011_09_26_0000000005.png"], size=size)
    result = evaluated(folder, "--data", "kitti", "--root", tiny_kitti)
    assert result["metrics"]["rmse"] == 0  # the truth is 12 m everywhere
    half = evaluated(folder, "--data", "kitti", "--root", tiny_kitti, "--prediction-scale", 512)
    assert half["metrics"]["rmse"] == 6


def test_a_scale_that_would_not_count_is_refused(refused, finished, tiny_kitti, tmp_path):
    words = ["--data", "kitti", "--root", tiny_kitti, "--prediction-scale", 512]
    assert "is a model" in refused("evaluate", finished, *words)
    folder = write_predictions(tmp_path / "theirs", ["0000000005.png"])
    (folder / "predictions.json").write_text('{"scale": 256}')
    assert "states 256 units per metre" in refused("evaluate", folder, *words)
    (folder / "0000000005.png").unlink()
    np.save(folder / "0000000005.npy", np.ones((375, 1242), np.float32))
    assert "holds arrays" in refused("evaluate", folder, *words)


@pytest.mark.parametrize(
    ("about", "dtype", "why"),
    [
        ('{"output": "relat', np.float32, r"predictions.json should state what .* cannot be read .*remove it"),
        (None, np.uint16, r"holds uint16 .*expected depth in metres, float32"),
    ],
)
def test_predictions_whose_unit_cannot_be_known_are_refused(refused, tiny_kitti, tmp_path, about, dtype, why):
    np.save(tmp_path / "0000000005.npy", np.ones((375, 1242), dtype))
    if about:
        (tmp_path / "predictions.json").write_text(about)
    assert re.search(why, refused("evaluate", tmp_path, "--data", "kitti", "--root", tiny_kitti))


def test_what_predict_writes_can_be_evaluated(evaluated, finished, streets, tmp_path):
    assert main(["predict", str(finished), str(streets / "image"), "--output", str(tmp_path / "out")]) == 0
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    result = evaluated(tmp_path / "out", *folder)
    assert result["metrics"] == pytest.approx(evaluated(finished, *folder)["metrics"], rel=0.02)


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["else.png"], [], "1 of 1 images have no prediction in"),
        (["0000000005.png"], ["--tta", "flip"], "holds no prediction for the mirrored image, which --tta flip needs"),
        (["0000000005.png"], ["--size", "64x96"], "--size is for models, and"),
    ],
)
def test_predictions_that_cannot_be_evaluated_are_refused(refused, tiny_kitti, tmp_path, names, options, message):
    folder = write_predictions(tmp_path / "theirs", names)
    assert message in refused("evaluate", folder, "--data", "kitti", "--root", tiny_kitti, *options)


def test_predictions_of_another_size_are_refused_with_both(refused, tiny_kitti, tmp_path):
    folder = write_predictions(tmp_path / "theirs", ["0000000005.png"], size=(188, 621))
    message = refused("evaluate", folder, "--data", "kitti", "--root", tiny_kitti)
    assert "is 188x621, but" in message
    assert message.endswith("expected a depth map of 375x1242 or 352x1216")


# -------------------------------------------------------------------------------------------------- page and processes


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_confidence_is_measured_against_the_error(evaluated, finished, streets, tmp_path, capsys, tta):
    plain = evaluated(finished)
    words = ["--confidence", "--tta", tta, "--report", tmp_path / "page.html"]
    result = evaluated(finished, *words)
    assert "uncertainty" not in plain
    assert set(result["uncertainty"]["ause"]) == {"abs_rel", "rmse"}
    if tta == "none":
        assert result["metrics"] == pytest.approx(plain["metrics"], rel=1e-4)
    assert result["uncertainty"]["least_sure_first"]["rmse"][0] == pytest.approx(result["metrics"]["rmse"])
    shown = capsys.readouterr().out
    for word in ("AUSE", "AURG", "68 %"):
        assert word in shown
    assert "Does it know where it is wrong" in (tmp_path / "page.html").read_text()


def test_confidence_of_saved_predictions_is_refused(refused, tiny_kitti, tmp_path):
    np.save(tmp_path / "0000000005.npy", np.ones((375, 1242), np.float32))
    message = refused("evaluate", tmp_path, "--data", "kitti", "--root", tiny_kitti, "--confidence")
    assert "holds predictions: leave it out" in message


@pytest.mark.parametrize("words", [["--alignment", "affine"], ["--protocol", "scenes_road_affine"]])
def test_confidence_is_not_measured_against_depth_that_was_aligned(refused, finished, words):
    message = refused("evaluate", finished, "--data", "scenes", *words, "--confidence")
    assert "scenes_road" in message
    assert "give --alignment none, or leave --confidence out" in message


def test_the_page_shows_errors_and_the_worst_images(evaluated, finished, streets, tmp_path):
    page = tmp_path / "page.html"
    evaluated(finished, "--data", "folder", "--root", streets, "--depth-scale", 256, "--report", page)
    text = page.read_text()
    for part in ("Where the errors are", "Worst images", "depth edges", "image/test0.png", "image/test1.png"):
        assert part in text
    assert text.count("<img") >= 2 * 3
    assert PROTOCOLS["folder"].fingerprint in text


def test_a_page_of_saved_predictions_needs_no_model(evaluated, finished, streets, tmp_path):
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    evaluated(finished, *folder, "--save-predictions", tmp_path / "saved", "--tta", "flip")
    evaluated(tmp_path / "saved", *folder, "--tta", "flip", "--report", tmp_path / "page.html")
    assert "image/test0.png" in (tmp_path / "page.html").read_text()


def evaluate_as_one_of_two(rank, port, words):
    from accelerate import PartialState

    PartialState._reset_state()
    torch.set_num_threads(1)
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in where.items()})
    os._exit(main(words))


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a forked process cannot use the GPU")
def test_two_processes_evaluate_an_uneven_set_as_one_does(evaluated, finished, own_streets, tmp_path):
    with (own_streets / "test_files_with_gt.txt").open("a") as lines:
        lines.write("image/train0.png depth/train0.png\n")
    words = [finished, "--data", "folder", "--root", own_streets, "--depth-scale", 256]
    together, port = tmp_path / "together.json", free_port()
    arguments = ["evaluate", *map(str, words), "--json", str(together)]
    fork = multiprocessing.get_context("fork")  # spares importing everything twice
    both = [fork.Process(target=evaluate_as_one_of_two, args=(rank, port, arguments)) for rank in (0, 1)]
    for one in both:
        one.start()
    for one in both:
        one.join(timeout=300)
        assert one.exitcode == 0
    alone = evaluated(*words)
    shared = json.loads(together.read_text())
    assert shared["metrics"] == pytest.approx(alone["metrics"], rel=1e-6)  # other threads add up in another order
    names = [[image["name"] for image in one["per_image"]] for one in (shared, alone)]
    assert names[0] == names[1]
    assert shared["images"] == alone["images"] == 3


def test_what_a_relative_model_gives_is_aligned_and_its_figures_are_of_another_protocol(
    evaluated, finished, streets, tmp_path, capsys
):
    student = load_model(finished)
    student.output = "relative"
    save_student(student, tmp_path / "relative")
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    result = evaluated(tmp_path / "relative", *folder, "--save-predictions", tmp_path / "saved")
    assert "relative inverse depth" in capsys.readouterr().err
    assert result["fingerprint"] == PROTOCOLS["folder"].with_(aligned=True).fingerprint
    assert result["fingerprint"] != PROTOCOLS["folder"].fingerprint
    assert evaluated(tmp_path / "saved", *folder)["metrics"] == pytest.approx(result["metrics"])


def test_predictions_that_contradict_each_other_are_refused(refused, finished, streets, tmp_path):
    folder = ["--data", "folder", "--root", str(streets), "--depth-scale", "256"]
    images = [str(streets / "image" / f"test{i}.png") for i in range(2)]
    assert main(["predict", str(finished), *images, "--npy", "--output", str(tmp_path / "p")]) == 0
    assert main(["evaluate", str(tmp_path / "p"), *folder]) == 0
    np.save(tmp_path / "p" / "test1.npy", 2 * np.load(tmp_path / "p" / "test1.npy"))
    message = refused("evaluate", tmp_path / "p", *folder)
    assert f"{tmp_path / 'p' / 'test1.npy'} and test1.png beside it hold different depth" in message
