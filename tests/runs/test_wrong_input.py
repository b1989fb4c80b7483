"""Every mistake that a person can make with a run: exit code 2, one line with the fix, nothing lost."""

import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml

from distill.cli import main

SPLIT = "train_files_with_gt.txt"


@pytest.fixture
def refused_run(refused, config_file, tmp_path):
    """refused_run(*overrides): the line that refuses a run, which leaves nothing behind."""

    def run(*words):
        output = tmp_path / "run"
        message = refused("train", config_file, *words, "--output", output)
        assert not output.exists() or not list(output.iterdir())
        return message

    return run


def spoil_depth(root, name, depth):
    assert cv2.imwrite(str(root / "depth" / f"{name}.png"), depth)


def leave_out_truth(root):
    """Only the images stay, found by name."""
    shutil.rmtree(root / "depth")
    for part in ("train", "test"):
        (root / f"{part}_files_with_gt.txt").unlink()


# ------------------------------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.lrr=1", "unknown key optim.lrr, did you mean lr?"),
        ("method.warmup_steps=4", "the warm-up of 4 steps is as long as the whole training of 4"),
        ("train.micro_batch=3", "batch_size 4 is not a multiple of micro_batch 3: choose a micro_batch among 1, 2, 4"),
        ("student.min_depth=80", "depth limits must satisfy 0 < min < max, got 80.0 and 80.0 metres"),
        ("eval.protocol=nyu_eign", "unknown protocol 'nyu_eign', did you mean nyu_eigen?"),
        ("data.crop=[64, 64]", "64x64"),
        ("method.ghost=nowhere", "method.ghost: no student in nowhere"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused(refused_run, override, message):
    assert message in refused_run(override)


def test_a_warm_up_without_end_is_refused_before_a_network_is_built(refused_run, monkeypatch):
    monkeypatch.setattr("distill.assembly.run.build_teacher", None)
    assert "the warm-up of 9 steps is as long as the whole training of 4" in refused_run("method.warmup_steps=9")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that knows fp16")
def test_a_precision_that_the_device_lacks_is_refused(refused_run, other_precision):
    assert "train.precision=fp16 does not work on cpu; use bf16 or no" in refused_run("train.precision=fp16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU that can")
def test_batchnorm_is_not_shared_by_processes_without_a_gpu(refused_run):
    assert "train.sync_batchnorm works on GPUs only, this is cpu" in refused_run("train.sync_batchnorm=true")


def test_a_teacher_is_not_divided_among_one(refused_run):
    assert "teacher.shard divides a teacher among processes, and this is the only one" in refused_run(
        "teacher.shard=true"
    )


def test_a_precision_that_the_gpu_lacks_is_refused(refused_run, other_precision, monkeypatch):
    def none(**options):
        raise ValueError("bf16 mixed precision requires PyTorch >= 1.10 and a supported device.")

    monkeypatch.setattr("distill.assembly.run.Accelerator", none)
    assert "train.precision=bf16 does not work here: bf16 mixed precision requires" in refused_run(
        "train.precision=bf16"
    )


def test_a_precision_that_the_gpu_only_imitates_is_refused(refused_run, other_precision, monkeypatch):
    gpu = SimpleNamespace(device=torch.device("cuda"), native_amp=True)
    monkeypatch.setattr("distill.assembly.run.Accelerator", lambda **options: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert "bf16 is only imitated by this GPU, which is slow; use fp16" in refused_run("train.precision=bf16")


# -------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", ["kitti", "nyu", "folder"])
def test_a_missing_root_is_refused(refused_run, name, tmp_path):
    message = refused_run(f"data.name={name}", f"data.root={tmp_path / 'absent'}")
    assert f"data root {tmp_path / 'absent'} does not exist, expected the" in message


@pytest.mark.parametrize("name", ["kitti", "nyu"])
def test_another_layout_is_refused_with_what_is_there_and_what_should_be(refused_run, name, own_streets):
    (own_streets / SPLIT).unlink()
    lines = own_streets / "test_files_with_gt.txt"
    assert "holds the test half alone, nothing to train" in refused_run(f"data.name={name}", f"data.root={own_streets}")
    lines.write_text(lines.read_text().replace("image/", "lost/"))
    message = refused_run(f"data.name={name}", f"data.root={own_streets}")
    assert "layout: it holds depth/, image/, test_files_with_gt.txt, expected" in message


def test_lines_without_files_are_counted_and_the_first_three_named(refused_run, own_streets):
    lines = (own_streets / SPLIT).read_text().replace("image/train", "image/lost", 5)
    (own_streets / SPLIT).write_text(lines)
    message = refused_run(f"data.root={own_streets}")
    assert "5 of 8 lines" in message
    assert "image/lost0.png, image/lost1.png, image/lost2.png, ..." in message
    assert "image/lost3.png" not in message


def test_a_depth_map_of_8_bits_is_refused(refused_run, own_streets):
    spoil_depth(own_streets, "train0", np.full((32, 64), 9, np.uint8))
    message = refused_run(f"data.root={own_streets}")
    assert "train0.png is a 8-bit picture with 1 channel, expected a 16-bit" in message


@pytest.mark.parametrize("method", ["supervised", "disdepth"])
def test_a_set_whose_truth_is_empty_is_refused_by_every_method(refused_run, own_streets, method):
    for i in range(8):
        spoil_depth(own_streets, f"train{i}", np.zeros((32, 64), np.uint16))
    message = refused_run(f"data.root={own_streets}", f"method.name={method}")
    assert "no valid ground truth in the whole set (8 of 8 depth maps looked at)" in message


def test_a_wrong_depth_scale_is_refused_with_one_that_fits(refused_run):
    message = refused_run("data.depth_scale=1")
    assert "no valid ground truth in the whole set" in message
    assert "units per metre would fit" in message


def test_images_smaller_than_a_network_takes_are_refused(refused_run, own_streets):
    leave_out_truth(own_streets)
    for path in (own_streets / "image").iterdir():
        assert cv2.imwrite(str(path), np.zeros((20, 40, 3), np.uint8))
    message = refused_run(f"data.root={own_streets}")
    assert "is 20x40 (height x width), expected at least 32 both ways; enlarge the images with data.size" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_images_of_several_sizes_are_refused_with_the_key_that_helps(
    config_file, own_streets, tmp_path, capsys, workers
):
    leave_out_truth(own_streets)
    for i in range(0, 8, 2):
        assert cv2.imwrite(str(own_streets / "image" / f"train{i}.png"), np.zeros((40, 64, 3), np.uint8))
    words = [f"data.root={own_streets}", f"data.workers={workers}", "--output", str(tmp_path / "run")]
    assert main(["train", str(config_file), *words]) == 2
    message = capsys.readouterr().err.splitlines()
    assert "data.size" in message[-1]


def test_the_truth_of_a_later_image_stops_the_run_in_one_line(config_file, own_streets, tmp_path, capsys):
    spoil_depth(own_streets, "train5", np.full((32, 64), 9, np.uint8))
    words = [f"data.root={own_streets}", "data.workers=1", "--output", str(tmp_path / "run")]
    assert main(["train", str(config_file), *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert "train5.png is a 8-bit picture" in line
    assert not (tmp_path / "run" / "run.lock").exists()


def test_a_test_image_smaller_than_a_network_takes_stops_the_run_in_one_line(
    config_file, own_streets, tmp_path, capsys
):
    assert cv2.imwrite(str(own_streets / "image" / "test0.png"), np.zeros((20, 40, 3), np.uint8))
    spoil_depth(own_streets, "test0", np.full((20, 40), 999, np.uint16))
    assert main(["train", str(config_file), f"data.root={own_streets}", "--output", str(tmp_path / "run")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert "20x40 (height x width), expected at least 32 both ways" in line


def test_validating_on_an_image_twice_is_refused(refused_run, own_streets):
    (own_streets / "test_files_with_gt.txt").write_text("image/test0.png depth/test0.png\n" * 2)
    message = refused_run(f"data.root={own_streets}")
    assert "1 lines of" in message
    assert "image/test0.png, which would count twice: drop them" in message


@pytest.fixture
def two_hundred(streets, tmp_path):
    """The streets many times over, to lose some of."""
    root = tmp_path / "two_hundred"
    lines = []
    for folder in ("image", "depth"):
        (root / folder).mkdir(parents=True)
    for i in range(200):
        for folder in ("image", "depth"):
            (root / folder / f"{i}.png").symlink_to(streets / folder / f"train{i % 8}.png")
        lines.append(f"image/{i}.png depth/{i}.png\n")
    (root / SPLIT).write_text("".join(lines))
    return root


def break_images(root, *numbers):
    for number in numbers:
        path = root / "image" / f"{number}.png"
        whole = path.read_bytes()
        path.unlink()
        path.write_bytes(whole[: len(whole) // 2])


ONE_EPOCH = ["method.name=supervised", "train.batch_size=20", "train.steps=10"]


def test_one_broken_image_among_two_hundred_is_named_counted_and_replaced(train, two_hundred, capsys):
    break_images(two_hundred, 77)
    folder = train(f"data.root={two_hundred}", *ONE_EPOCH)
    broken = str(two_hundred / "image" / "77.png")
    assert json.loads((folder / "done.json").read_text())["unreadable"] == [broken]
    assert f"1 training images could not be read, others took their place; the first: {broken}" in (
        capsys.readouterr().err
    )


def test_more_broken_images_than_one_in_a_hundred_end_the_run(config_file, two_hundred, tmp_path, capsys):
    break_images(two_hundred, 7, 77, 177)
    words = [f"data.root={two_hundred}", *ONE_EPOCH, "--output", str(tmp_path / "run")]
    assert main(["train", str(config_file), *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("distill: ")]
    assert "files cannot be read (more than data.max_faults allows)" in line
    assert str(two_hundred / "image" / "77.png") in line
    assert "get them again, remove them, or raise data.max_faults" in line


def test_a_set_of_broken_images_is_refused(refused_run, two_hundred):
    break_images(two_hundred, *range(200))
    assert "no valid ground truth in the whole set" in refused_run(f"data.root={two_hundred}")


# ------------------------------------------------------------------------------------------------------------- models


class Intruder:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(refused_run, tmp_path):
    trap, path = tmp_path / "sprung", tmp_path / "weights.pt"
    for save in (
        lambda: path.write_bytes(pickle.dumps({"a": Intruder(trap)}, protocol=2)),
        lambda: torch.save(Intruder(trap), path),
    ):
        save()
        assert "contains code, which is never run" in refused_run(f"teacher.checkpoint={path}")
        assert not trap.exists()


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_checkpoint_that_is_a_text_file_is_refused(refused_run, tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    path.write_text("<html>404 Not Found</html>")
    assert str(path) in refused_run(f"teacher.checkpoint={path}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["teacher.name=dpt_hybird", "teacher.checkpoint=null"],
            "unknown teacher 'dpt_hybird', did you mean dpt_hybrid",
        ),
        (
            ["teacher=null"],
            "method.name=disdepth needs a teacher and there is none; name one with teacher.name (dpt_base",
        ),
        (["teacher.name=null", "teacher.checkpoint=null"], "module:factory), or set method.name=supervised"),
        (["teacher.checkpoint=absent.pt"], "teacher.checkpoint: no file at absent.pt"),
        (["teacher.readout=add"], "does not fit: the file has readout=project, asked was add"),
        (["teacher.name=dpt_hybrid", "teacher.checkpoint=MICRO"], "this file is a dpt_micro, give that name"),
        (["teacher.name=dpt_hybrid", "teacher.checkpoint=null"], "teacher.checkpoint is needed for dpt_hybrid"),
        (["teacher.name=STREETS", "teacher.checkpoint=null"], "no student in"),
        (
            ["student.backbone=efficientnet_b00"],
            "timm has no model named 'efficientnet_b00'; the nearest are efficient",
        ),
        (["student.frozen=[stem]"], "the student has no part 'stem' to freeze; it has encoder"),
    ],
)
def test_a_network_that_does_not_exist_is_refused(refused_run, streets, micro_weights, words, message):
    words = [word.replace("STREETS", str(streets)).replace("MICRO", str(micro_weights)) for word in words]
    assert message in refused_run(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["student.backbone=vit_tiny_patch16_224"], "maps at strides [16, 16, 16], but [4, 8, 32] are needed; choose"),
        (["student.backbone=test_convnext", "student.lg_conv=true"], "give student.lg_conv=false, or auto"),
        (
            ["student.decoder=light", "student.width=4", "student.bins=64"],
            "give student.width at least that, or student.bins=16",
        ),
    ],
)
def test_a_student_that_cannot_be_is_refused_before_a_network_is_built(refused_run, monkeypatch, words, message):
    monkeypatch.setattr("distill.assembly.run.build_teacher", None)
    assert message in refused_run(*words)


def test_a_folder_that_is_called_like_a_teacher_is_not_meant(config_file, micro_weights, tmp_path, monkeypatch):
    from distill.assembly.networks import build_teacher, check_teacher
    from distill.config import load_config

    (tmp_path / "dpt_micro").mkdir()
    monkeypatch.chdir(tmp_path)
    config = load_config(config_file)
    check_teacher(config)
    assert build_teacher(config).feature_channels == (64, 128, 160, 160)


# ------------------------------------------------------------------------------------------------------------- output


def test_an_output_with_another_run_is_refused_and_untouched(refused, config_file, finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    message = refused("train", config_file, "--output", finished)
    assert "holds another run; continue it with --resume, or choose another --output" in message
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_an_output_that_cannot_be_written_is_refused(refused, config_file):
    assert "cannot be written" in refused("train", config_file, "--output", f"{__file__}/run")
    assert "is a file" in refused("train", config_file, "--output", __file__)


def test_a_mistake_does_not_spoil_the_folder_for_the_corrected_command(config_file, tmp_path, refused, content):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(content | {"student": {**content["student"], "backbone": "mnasnet_smal"}}))
    assert "the nearest are mnasnet_small" in refused("train", wrong, "--output", tmp_path / "run")
    command = ["train", str(config_file), "method.name=supervised", "train.steps=1"]
    assert main([*command, "--output", str(tmp_path / "run")]) == 0
