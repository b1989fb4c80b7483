"""A student's folder away from home: on the Hub, with its card, in a process that has little installed."""

import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml

from distill.data import DATA_SETS
from students import CNNStudent, Student, create_student, load_student, save_student
from students.card import LICENCES, METHODS, model_card

ROOT = Path(__file__).parents[2]
METADATA = {
    "method": "disdepth",
    "teacher": "/home/someone/runs/kitti_b5",
    "data": "kitti",
    "step": 1200,
    "input_size": [352, 1120],
    "protocol": "kitti_eigen_garg_full",
    "fingerprint": "e024b0eaa586",
    "metrics": {"abs_rel": 0.06512, "d1": 0.95},
}
# Everything that distill depends on and timm does not.
BARE = """
import sys
sys.modules |= dict.fromkeys({names})
import torch, distill
for folder in {folders}:
    model = distill.load_model(folder)
    print(tuple(model(torch.rand(1, 3, 32, 64)).shape), model.training)
"""
ABSENT = "accelerate tensorboard cv2 einops pydantic rich onnx onnxruntime transformers h5py scipy matplotlib"


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    torch.manual_seed(0)
    student = create_student("test_resnet", lg_conv=True, pretrained=False, width=16, bins=8, max_depth=80.0).eval()
    folder = tmp_path_factory.mktemp("cnn")
    save_student(student, folder, METADATA)
    return student, folder


def test_students_load_with_torch_and_timm_alone(cnn, tmp_path):
    save_student(create_student("dpt_micro", hooks=(0, 1), attention="performer"), tmp_path)
    code = BARE.format(names=ABSENT.split(), folders=[str(cnn[1]), str(tmp_path)])
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stdout.splitlines() == ["(1, 1, 32, 64) False"] * 2, told.stderr


@pytest.mark.parametrize("kind", [Student, CNNStudent])
def test_a_folder_is_loaded_as_a_repository_is(kind, cnn):
    student, folder = cnn
    image = torch.rand(1, 3, 64, 96)
    loaded = kind.from_pretrained(folder)
    assert torch.equal(loaded(image), student(image))
    assert loaded.metadata == METADATA


def test_what_goes_up_comes_down_with_its_card(cnn, tmp_path, monkeypatch):
    """The Hub is a folder here: uploads copy into it, downloads say where it is."""
    import shutil

    student, folder = cnn
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "create_repo",
        lambda self, repo_id, **_: huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}"),
    )
    monkeypatch.setattr(
        huggingface_hub.HfApi,
        "upload_folder",
        lambda self, repo_id, folder_path, **_: shutil.copytree(folder_path, tmp_path / repo_id),
    )
    load_student(folder).push_to_hub("someone/kitti_b0")
    there = tmp_path / "someone" / "kitti_b0"
    assert sorted(path.name for path in there.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((there / "config.json").read_text()) == json.loads((folder / "config.json").read_text())
    assert (there / "README.md").read_text() == (folder / "README.md").read_text()

    asked = []
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **_: str(there / "config.json"))
    monkeypatch.setattr("students.hub.snapshot_download", lambda name, **_: asked.append(name) or str(there))
    back = Student.from_pretrained("someone/kitti_b0")
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(back(image), student(image))
    assert asked == ["someone/kitti_b0"]


# ------------------------------------------------------------------------------------------------------------- the card


def test_the_card_says_method_teacher_data_protocol_figures_and_licence(cnn):
    card = (cnn[1] / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-nc-sa-3.0"
    assert (front["library_name"], front["pipeline_tag"]) == ("distill", "depth-estimation")
    for said in ("DisDepth", "`kitti_b5`", "KITTI", "e024b0eaa586", "0.06512", "LG-Conv", "352x1120", "0.001 to 80 m"):
        assert said in card
    assert "/home/someone" not in card  # whose runs lie where is nobody's business


def test_a_student_of_unknown_origin_claims_nothing():
    card = model_card({"student": "test_resnet", "options": {}}, {})
    assert yaml.safe_load(card.split("---")[1])["license"] == "other"
    assert "Figures" not in card
    assert "None" not in card


def test_every_method_and_data_set_has_its_words():
    from distill.method import METHODS as KNOWN

    assert set(METHODS) == set(KNOWN)
    assert set(LICENCES) == set(DATA_SETS)
