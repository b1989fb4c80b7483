import sys

import cv2
import numpy as np
import pytest

from distill.data.files.pairs import Pair

PEER = """
import torch

def preprocessing_transforms(mode):
    return lambda sample: {key: torch.zeros(2, 3) for key in sample}

class DataLoadPreprocess(torch.utils.data.Dataset):
    def __init__(self, args, mode, transform):
        self.args, self.transform = args, transform
        self.lines = [line.split() for line in open(args.filenames_file)]

    def __getitem__(self, index):
        image, depth, focal = self.lines[index]
        assert open(self.args.data_path + image, "rb").read(4) == open(self.args.gt_path + depth, "rb").read(4)
        assert (self.args.dataset, self.args.do_kb_crop, self.args.input_height) == ("kitti", True, 352)
        return self.transform({"image": image, "depth": depth})
"""


@pytest.fixture
def root(tmp_path):
    """Three KITTI frames."""
    drive = "2011_09_26_drive_0001_sync"
    lines = []
    for number in range(3):
        image = f"2011_09_26/{drive}/image_02/data/{number:010d}.png"
        depth = f"{drive}/proj_depth/groundtruth/image_02/{number:010d}.png"
        frame = np.zeros((375, 1242, 3), np.uint8)
        for path, array in ((image, frame), (f"gts/{depth}", frame[..., 0].astype(np.uint16) + 256)):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(tmp_path / path), array)
        lines.append(f"{image} {depth} 721.5377\n")
    (tmp_path / "train_files_with_gt.txt").write_text("".join(lines))
    return tmp_path


def test_stages_and_both_rates_are_shown(tool, root, tmp_path, monkeypatch, capsys):
    (tmp_path / "peer.py").write_text(PEER)
    words = ["--data", "kitti", "--root", str(root), "--peer", str(tmp_path / "peer.py"), "--workers", "0"]
    monkeypatch.setattr(sys, "argv", ["compare_loader", *words, "--batch", "1", "--batches", "4"])
    assert tool.main() == 0
    shown = capsys.readouterr().out
    for name in (*tool.STAGES, "distill", "peer", "times the peer"):
        assert name in shown


def test_the_usual_steps_are_the_peer_where_none_is_named(tool, root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--data", "kitti", "--root", str(root), "--workers", "0", "--batches", "4"])
    assert tool.main() == 0
    assert "usual steps" in capsys.readouterr().out


@pytest.mark.parametrize(("data", "size"), [("kitti", (375, 1242)), ("nyu", (480, 640))])
def test_the_usual_steps_make_what_our_loader_makes(tool, tmp_path, data, size):
    recipe = tool.RECIPES[data]
    paths = [str(tmp_path / name) for name in ("rgb_1.png", "sync_depth_1.png")]
    assert cv2.imwrite(paths[0], np.full((*size, 3), (0, 51, 255), np.uint8))
    assert cv2.imwrite(paths[1], np.full(size, 4 * recipe.depth_scale, np.uint16))
    made = tool.UsualSteps([Pair("a", *paths)], data)[0]
    assert (made["image"].shape, made["depth"].shape) == ((3, *recipe.crop), (1, *recipe.crop))
    assert made["depth"].median() == 4
    colours = (made["image"] * tool.STD + tool.MEAN).flatten(1).median(1).values.tolist()
    assert colours == pytest.approx([1, 0.2, 0], abs=0.4)  # red, green, blue; gains of up to 0.675 and gamma


def test_every_stage_takes_time_and_nothing_is_left_patched(tool, root):
    from distill.data import Augmentation
    from distill.data.files import reading

    before = reading.read_file, reading.decode, Augmentation.move
    spent = tool.stages(tool.open_training_set("kitti", root, None), images=4)
    assert set(spent) == {"read", "decode", "warp", "colour", "collate", "normalise", "other"}
    assert all(milliseconds > 0 for milliseconds in spent.values())
    assert (reading.read_file, reading.decode, Augmentation.move) == before


def test_a_peer_that_is_not_there_is_refused(tool, root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["x", "--data", "kitti", "--root", str(root), "--peer", "none.py"])
    assert tool.main() == 2
    assert "no peer at none.py" in capsys.readouterr().err
