import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from students import create_student, load_student, save_student


@pytest.fixture
def student(make_student):
    return make_student("test_resnet", lg_conv=True)


@pytest.fixture
def folder(student, tmp_path):
    save_student(student, tmp_path / "student", {"trained_on": "scenes"})
    return tmp_path / "student"


def refusal(folder):
    with pytest.raises(ValueError, match=r".") as refused:
        load_student(folder)
    return str(refused.value)


def test_the_depth_is_the_same_to_the_last_bit_whatever_the_state_of_the_generator(student, folder, images):
    torch.manual_seed(99)
    assert torch.equal(load_student(folder)(images(75, 101)), student(images(75, 101)))


def test_a_run_folder_and_its_student_folder_load_alike(student, folder, images):
    image = images(32, 32)
    assert torch.equal(load_student(folder)(image), load_student(folder.parent)(image))


def test_a_loaded_student_is_in_eval_mode_and_can_go_on_learning(student, folder, images):
    loaded = load_student(folder)
    assert not any(m.training for m in loaded.modules())
    loaded.train()(images(64, 64)).mean().backward()
    assert all(p.grad is not None for p in loaded.parameters())


def test_three_files_are_written_and_nothing_is_left_over(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_the_configuration_is_readable(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config == {
        "format": 1,
        "student": "test_resnet",
        "options": {"lg_conv": True, "lg_scope": "3x3", "min_depth": 0.5, "max_depth": 10.0, "width": 16, "bins": 8},
        "metadata": {"trained_on": "scenes"},
    }


def test_saving_keeps_the_student_and_its_device_and_mode(student, tmp_path):
    student.train()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    save_student(student, tmp_path)
    assert student.training
    assert all(torch.equal(v, before[k]) for k, v in student.state_dict().items())


def test_a_channels_last_student_is_saved_like_any_other(student, tmp_path, images):
    expected = student(images(32, 32))
    save_student(student.to(memory_format=torch.channels_last), tmp_path)
    torch.testing.assert_close(load_student(tmp_path)(images(32, 32)), expected)


def test_a_later_save_replaces_an_earlier_one(student, folder, images):
    with torch.no_grad():
        student.decoder.head.scores.bias.copy_(torch.arange(8.0))
    save_student(student, folder)
    assert torch.equal(load_student(folder)(images(32, 32)), student(images(32, 32)))


def test_a_save_that_fails_leaves_the_earlier_one(student, folder, images):
    expected = student(images(32, 32))
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_student(student, folder, {"when": object()})
    assert torch.equal(load_student(folder)(images(32, 32)), expected)


def test_loading_needs_no_network(folder, monkeypatch):
    create = timm.create_model

    def checked(*args, pretrained, **options):
        assert not pretrained
        return create(*args, pretrained=pretrained, **options)

    monkeypatch.setattr(timm, "create_model", checked)
    load_student(folder)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=f"no student in {tmp_path}/none: expected model.safetensors and config"
    ):
        load_student(tmp_path / "none")


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_folder_with_one_of_the_two_files_holds_no_student(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(FileNotFoundError, match=r"no student in .*: expected model\.safetensors and config\.json"):
        load_student(folder)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_weights_that_were_cut_short_are_refused(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert refusal(folder).startswith(f"{path} does not fit its config.json or is damaged: ")


def test_a_missing_tensor_is_refused(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    del weights["decoder.neck.weight"]
    save_file(weights, path)
    assert "does not fit its config.json or is damaged" in refusal(folder)


def test_weights_of_another_student_are_refused(make_student, folder, tmp_path):
    save_student(make_student("test_efficientnet"), tmp_path / "other")
    (folder / "model.safetensors").write_bytes((tmp_path / "other/model.safetensors").read_bytes())
    assert "does not fit its config.json or is damaged" in refusal(folder)


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "3", "{}", '{"student": "test_resnet"}', '{"student": 3, "options": {}}'),
        '{"student": "test_resnet", "options": []}',
        '{"architectures": ["ResNetForImageClassification"], "model_type": "resnet"}',
    ],
)
def test_the_configuration_of_something_else_is_refused(folder, content):
    (folder / "config.json").write_text(content)
    assert refusal(folder) == (
        f"{folder}/config.json is not a student's configuration; write it again with save_student"
    )


def test_a_configuration_that_is_no_text_is_refused(folder):
    (folder / "config.json").write_bytes(b"\xff\xfe\x00")
    assert "is not a student's configuration" in refusal(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"student": "resnet19"}, "timm has no model named 'resnet19'"), ({"options": {"layers": 3}}, "its options are")],
)
def test_a_configuration_with_unknown_parts_is_refused(folder, change, said):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert said in refusal(folder)


def test_a_pruned_dpt_keeps_its_hooks_and_heads(tmp_path):
    student = create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5, max_depth=10.0)
    save_student(student, tmp_path)
    config = load_student(tmp_path).config
    assert config == student.config
    assert (config.heads, config.hooks, config.resolution_scale, config.max_depth) == (1, (0, 1), 0.5, 10)
