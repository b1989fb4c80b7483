"""What a CNN student can start from beside ImageNet: a plain timm file, or a student that was trained."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from students import LGConv, create_student, save_student


@pytest.fixture(params=["safetensors", "pth"])
def plain_file(request, tmp_path):
    """(path, the state dict in it) of a whole timm network, classifier and all."""
    torch.manual_seed(1)
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    path = tmp_path / f"plain.{request.param}"
    if request.param == "safetensors":
        save_file(state, path)
    else:
        torch.save({"state_dict": state}, path)
    return path, state


@pytest.mark.parametrize("lg_conv", [False, True])
def test_the_backbone_starts_from_a_plain_file(make_student, plain_file, images, lg_conv):
    path, state = plain_file
    student = make_student("test_resnet", checkpoint=path, lg_conv=lg_conv)
    expected = timm.create_model("test_resnet", features_only=True).eval()
    expected.load_state_dict(state, strict=False)
    for module in student.modules():
        if isinstance(module, LGConv):
            torch.nn.init.zeros_(module.norm_out.weight)
    image = images(64, 64)
    maps = expected((image - student.encoder.mean) / student.encoder.std)
    for mine, theirs in zip(student.encode(image), maps[-4:], strict=True):
        assert torch.equal(mine, theirs)


def test_nothing_is_fetched_where_there_is_a_checkpoint(make_student, plain_file, monkeypatch):
    asked, create = [], timm.create_model

    def note(name, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", note)
    make_student("test_resnet", checkpoint=plain_file[0], pretrained=True)
    assert set(asked) == {False}


def test_counts_of_batches_may_be_missing_as_in_old_files(make_student, tmp_path):
    state = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, tmp_path / "old.safetensors")
    student = make_student("test_resnet", checkpoint=tmp_path / "old.safetensors")
    assert torch.equal(student.state_dict()["encoder.net.conv1.0.weight"], state["conv1.0.weight"])


def test_a_student_goes_on_from_a_trained_one(make_student, images, tmp_path):
    trained = make_student("test_resnet", seed=3)
    save_student(trained, tmp_path / "student")
    for place in (tmp_path, tmp_path / "student", tmp_path / "student" / "model.safetensors"):
        assert torch.equal(make_student("test_resnet", checkpoint=place)(images(64, 64)), trained(images(64, 64)))


def test_lg_conv_may_be_new(make_student, images, tmp_path):
    trained = make_student("test_resnet", seed=3)
    save_student(trained, tmp_path)
    student = make_student("test_resnet", checkpoint=tmp_path, lg_conv=True)
    assert any(isinstance(module, LGConv) for module in student.modules())
    torch.testing.assert_close(student(images(64, 64)), trained(images(64, 64)), rtol=0.05, atol=0)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_file_of_another_network_is_refused(plain_file):
    with pytest.raises(ValueError, match=r"is no checkpoint of timm's test_efficientnet: \d+ of \d+ tensors are miss"):
        create_student("test_efficientnet", checkpoint=plain_file[0])


def test_a_file_with_nan_is_refused(plain_file, tmp_path):
    state = {key: value.clone() for key, value in plain_file[1].items()}
    next(iter(state.values())).fill_(torch.nan)
    save_file(state, tmp_path / "spoilt.safetensors")
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        create_student("test_resnet", checkpoint=tmp_path / "spoilt.safetensors")


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*absent\.pt"):
        create_student("test_resnet", checkpoint=tmp_path / "absent.pt")


@pytest.mark.parametrize(
    "other",
    [
        {"backbone": "test_efficientnet"},
        {"backbone": "test_resnet", "width": 12},
        {"backbone": "test_resnet", "bins": 12},
        {"backbone": "test_resnet", "lg_conv": True},
    ],
    ids=lambda other: list(other)[-1],
)
def test_a_student_that_was_built_otherwise_is_refused_with_its_options(make_student, tmp_path, other):
    save_student(make_student(**other), tmp_path)
    with pytest.raises(ValueError, match=rf"holds a {other['backbone']} with the options .*; give the"):
        make_student("test_resnet", checkpoint=tmp_path)
