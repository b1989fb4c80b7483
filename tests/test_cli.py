import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from distill import __version__
from distill.cli import main, parse
from distill.data import SceneDataset
from distill.evaluation import METRICS, PROTOCOLS

VERBS = ("demo", "train", "evaluate", "predict", "benchmark")


def start(*words):
    """A process of its own, in which nothing is imported yet."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


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
    monkeypatch.setattr("distill.build.kept_scenes", lambda kind, _, *rest: SceneDataset(kind, 1, *rest))


@pytest.fixture
def evaluated(tmp_path):
    """evaluated(model, *options): what `distill evaluate --json` writes."""

    def run(model, *options):
        path = tmp_path / "deep" / "results.json"
        assert main(["evaluate", str(model), *map(str, options), "--json", str(path)]) == 0
        return json.loads(path.read_text())

    return run


# ------------------------------------------------------------------------------------------------------- the surface


def test_help_lists_the_verbs_and_takes_less_than_a_second():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    shown = start("-m", "distill", "--help")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert shown.returncode == 0
    assert [verb for verb in VERBS if f"\n    {verb} " not in shown.stdout] == []
    # Processor time, as a busy machine is no fault of the command.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("module", ["distill", "distill.cli", "distill.config"])
def test_importing_the_surface_does_not_import_torch(module):
    lines = f"import sys, {module}; print(sorted({{'torch', 'timm', 'cv2', 'accelerate'}} & sys.modules.keys()))"
    assert start("-c", lines).stdout == "[]\n"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb, capsys):
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"usage: distill {verb}" in capsys.readouterr().out


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"distill {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["c.yaml", "a.b=1", "seed=2", "--output", "o", "--resume"],
        ["c.yaml", "--output", "o", "a.b=1", "--resume", "seed=2"],
        ["--output", "o", "c.yaml", "a.b=1", "--resume", "seed=2"],
        ["c.yaml", "a.b=1", "--resume", "seed=2", "--output=o"],
        ["--resume", "--output", "o", "c.yaml", "a.b=1", "seed=2"],
    ],
)
def test_overrides_stand_anywhere_among_the_options(words):
    args = parse(["train", *words])
    assert (args.config, args.overrides, args.output, args.resume) == (
        Path("c.yaml"),
        ["a.b=1", "seed=2"],
        Path("o"),
        True,
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "invalid choice: 'trian'"),
        ([], "the following arguments are required: COMMAND"),
        (["train"], "the following arguments are required: CONFIG.yaml"),
        (["train", "c.yaml", "--ouput", "x"], "unrecognized arguments: --ouput"),
        (["train", "c.yaml", "--resume", "stray"], "unrecognized arguments: stray"),
        (["predict", "m", "i", "--sise=1"], "unrecognized arguments: --sise=1"),
        (["evaluate", "m"], "the following arguments are required: --data"),
        (["evaluate", "m", "--data", "kiti"], "argument --data: invalid choice: 'kiti'"),
        (["evaluate", "m", "--data", "scenes", "--size", "big"], "expected HEIGHTxWIDTH such as 352x1216, got 'big'"),
        (["evaluate", "m", "--data", "scenes", "--size", "16x64"], "expected at least 32x32, got 16x64"),
        (["evaluate", "m", "--data", "kitti", "--protocol", "p", "--all-protocols"], "not allowed with argument"),
    ],
)
def test_a_command_that_does_not_exist_is_refused_in_one_line(refused, words, said):
    line = refused(*words)
    assert said in line
    assert line.endswith(" --help")


def test_the_process_gives_the_code_and_the_line():
    left = start("-m", "distill", "train", "absent.yaml")
    assert left.returncode == 2
    assert left.stderr == "distill: no configuration at absent.yaml; see configs/ for examples\n"
    assert left.stdout == ""


def test_the_runs_folder_is_named_by_the_option_the_configuration_or_its_file(config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr("distill.run.train_run", lambda config, output, resume: started.append(output) or output)
    for words in (["output=a", "--output", "b"], ["output=a"], []):
        assert main(["train", str(config_file), *words]) == 0
    assert started == [Path("b"), Path("a"), Path("runs/tiny")]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt, 130), (PermissionError(13, "no", "secret"), 2)])
def test_an_interruption_and_a_lack_of_permission_have_their_codes(monkeypatch, capsys, error, code):
    def demo(*_):
        raise error

    monkeypatch.setattr("distill.cli.run_demo", demo)
    assert main(["demo"]) == code
    assert "Traceback" not in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ evaluate


def test_evaluate_writes_what_is_promised(evaluated, finished, streets, capsys):
    found = evaluated(finished, "--data", "folder", "--root", streets, "--depth-scale", 256)
    assert found["protocol"] == "folder"
    assert found["fingerprint"] == PROTOCOLS["folder"].fingerprint
    assert (found["images"], found["skipped"]) == (2, 0)
    assert {"d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog"} == set(METRICS)
    assert set(METRICS) <= found["metrics"].keys()
    assert [image["name"] for image in found["per_image"]] == ["image/test0.png", "image/test1.png"]
    for metric in METRICS:
        assert found["metrics"][metric] == pytest.approx(np.mean([image[metric] for image in found["per_image"]]))
    assert PROTOCOLS["folder"].fingerprint in capsys.readouterr().out


def test_evaluate_agrees_with_the_run_for_student_and_teacher(evaluated, finished, streets, micro_weights):
    folder = ["--data", "folder", "--root", streets, "--depth-scale", 256]
    teacher, student = json.loads((finished / "results.json").read_text())
    for model, expected in ((f"dpt_micro:{micro_weights}", teacher), (finished / "student", student)):
        assert evaluated(model, *folder)["metrics"] == pytest.approx(expected["metrics"], rel=1e-5)


def test_the_cap_and_the_list_of_a_folder_are_options(evaluated, finished, streets, tmp_path):
    (tmp_path / "one.txt").write_text("image/train3.png depth/train3.png\n")
    found = evaluated(
        *[finished, "--data", "folder", "--root", streets, "--depth-scale", 256],
        *["--split", tmp_path / "one.txt", "--max-depth", 30, "--tta", "flip"],
    )
    assert [image["name"] for image in found["per_image"]] == ["image/train3.png"]
    assert (found["settings"]["max_depth"], found["settings"]["tta"]) == (30, "flip")
    assert found["fingerprint"] == PROTOCOLS["folder"].with_(max_depth=30, tta="flip").fingerprint


def test_scenes_need_no_root_and_are_judged_as_what_they_are(evaluated, finished):
    found = evaluated(finished, "--data", "scenes", "--scenes", "room", "--all-protocols")
    assert [one["protocol"] for one in found] == ["scenes_room"]
    assert found[0]["per_image"][0]["name"].startswith("room-")


def test_all_protocols_of_kitti_stand_side_by_side(evaluated, finished, tiny_kitti):
    found = evaluated(finished, "--data", "kitti", "--root", tiny_kitti, "--all-protocols")
    names = ["kitti_eigen_garg_full", "kitti_eigen_garg_kb", "kitti_eigen_crop_full", "kitti_eigen_crop_kb"]
    assert [one["protocol"] for one in found] == names
    assert [one["fingerprint"] for one in found] == [PROTOCOLS[name].fingerprint for name in names]
    assert len({one["per_image"][0]["pixels"] for one in found}) == 4


def test_all_protocols_of_nyu_are_one(evaluated, finished, tiny_nyu):
    (found,) = evaluated(finished, "--data", "nyu", "--root", tiny_nyu, "--all-protocols", "--size", "64x96")
    assert found["protocol"] == "nyu_eigen"
    assert found["input_size"] == [64, 96]
    assert found["per_image"][0]["pixels"] == (471 - 45) // 3 * 2 * (601 - 41)


def test_published_weights_are_converted_to_metres_and_the_shipped_ones_are_metres(monkeypatch):
    from distill import judging
    from distill.config import DataConfig

    asked = []
    monkeypatch.setattr("distill.build.open_model", lambda name, **options: asked.append((name, options)))
    kitti = DataConfig(name="kitti", root="x")
    judging.open_for("dpt_hybrid:weights.pt", kitti)
    judging.open_for("dpt_micro:weights.pt", kitti)
    judging.open_for("dpt_hybrid:weights.pt", DataConfig(name="scenes"))
    assert asked == [
        ("dpt_hybrid:weights.pt", {"scale": 6.016e-5, "shift": 0.00579, "invert": True}),
        ("dpt_micro:weights.pt", {}),
        ("dpt_hybrid:weights.pt", {}),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--data", "scenes"], "no student in nowhere"),
        (["dpt_huge:x.pt", "--data", "scenes"], "unknown teacher 'dpt_huge', did you mean"),
        (["dpt_hybrid:x.pt", "--data", "scenes"], "no checkpoint at x.pt"),
        (["dpt_hybrid", "--data", "scenes"], "dpt_hybrid needs weights: give dpt_hybrid:CHECKPOINT"),
        (["RUN", "--data", "kitti"], "--root is needed for --data kitti: the folder of the data set"),
        (["RUN", "--data", "scenes", "--protocol", "scenes_rod"], "did you mean 'scenes_ro"),
        (["RUN", "--data", "scenes", "--protocol", "nyu_eigen"], "does not judge scenes, expected one of scenes_road"),
        (["RUN", "--data", "folder", "--root", "nowhere"], "data root nowhere does not exist"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--max-depth", "-1"], "data.max_depth=-1.0"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--split", "absent.txt"], "absent.txt does not exist"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--json", "RUN"], "cannot be written; give a file"),
        (["RUN", "--data", "folder", "--root", "STREETS", "--json", "FILE/x.json"], "cannot be written; give a file"),
    ],
)
def test_evaluate_refuses_what_it_cannot_judge(refused, finished, streets, words, said):
    places = {"RUN": str(finished), "STREETS": str(streets), "FILE/x.json": f"{__file__}/x.json"}
    assert said in refused("evaluate", *[places.get(word, word) for word in words])


def test_images_that_cannot_be_read_are_named_and_the_rest_is_judged(evaluated, finished, own_streets, capsys):
    (own_streets / "image" / "test0.png").write_bytes(b"")
    found = evaluated(finished, "--data", "folder", "--root", own_streets, "--depth-scale", 256)
    assert found["images"] == 1
    assert found["faults"] == [str(own_streets / "image" / "test0.png")]
    assert "1 images could not be read" in capsys.readouterr().out


def test_if_nothing_can_be_judged_that_is_the_mistake(refused, finished, own_streets):
    for name in ("test0", "test1"):
        (own_streets / "image" / f"{name}.png").write_bytes(b"")
    said = refused("evaluate", finished, "--data", "folder", "--root", own_streets, "--depth-scale", 256)
    assert said.startswith("nothing to evaluate by folder: 0 without ground truth in range, 2 unreadable")
    assert os.path.exists(own_streets)
