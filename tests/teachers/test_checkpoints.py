import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import teachers
from teachers import create_dpt, create_teacher
from teachers.checkpoints import load_weights, read_state_dict, rename_published


@pytest.fixture(autouse=True)
def small_teachers(tiny_config, monkeypatch):
    """The tiny networks, under names of their own."""
    for kind in ("hybrid", "plain"):
        monkeypatch.setitem(teachers.DPT_CONFIGS, kind, tiny_config(kind, non_negative=False))


@pytest.fixture(params=["hybrid", "plain"])
def kind(request):
    return request.param


@pytest.fixture
def state(tiny_dpt):
    return tiny_dpt("hybrid", seed=1).state_dict()


def published(state, first_tap):
    """A state dict of ours under the names of the published files, which count from 1."""
    out = {}
    for key, value in state.items():
        part, _, rest = key.partition(".")
        where, _, rest = rest.partition(".")
        if part == "encoder" and where == "stem":
            stage = rest.split(".", 3)
            inner = f"stages.{stage[1]}.blocks.{stage[2]}.{stage[3]}" if stage[0] == "stages" else f"stem.{rest}"
            new = f"pretrained.model.patch_embed.backbone.{inner}"
        elif part == "encoder" and where == "vit":
            new = f"pretrained.model.{rest.replace('patch.', 'patch_embed.proj.')}"
        elif part == "encoder":
            index, _, inner = rest.partition(".")
            for ours, theirs in (("readout.project.", "0.project.0."), ("conv.", "3."), ("resample.", "4.")):
                inner = inner.replace(ours, theirs)
            new = f"pretrained.act_postprocess{int(index) + first_tap}.{inner}"
        else:
            name, _, inner = rest.partition(".")
            index, _, leaf = inner.partition(".")
            new = {
                "project": lambda i=index, x=leaf: f"scratch.layer{int(i) + 1}_rn.{x}",
                "fusion": lambda i=index, x=leaf: f"scratch.refinenet{int(i) + 1}.{x}",
                "head": lambda i=index, x=leaf: f"scratch.output_conv.{2 * int(i[-1]) - 2}.{x}",
            }[name]()
            new = new.replace("skip_unit", "resConfUnit1").replace(".unit.", ".resConfUnit2.")
            new = new.replace(".out.", ".out_conv.")
        out[new] = value
    assert len(out) == len(state)
    return out


def save(state, path):
    """By the suffix: torch's zip, its older format, or safetensors."""
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=path.suffix != ".pth")
    return path


# ---------------------------------------------------------------------------------------------------------------- names


def test_published_names_round_trip(tiny_dpt, kind):
    model = tiny_dpt(kind, seed=1)
    theirs = published(model.state_dict(), first_tap=3 if kind == "hybrid" else 1)
    assert not theirs.keys() & model.state_dict().keys()
    loaded = create_dpt(kind, theirs).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[k], v) for k, v in model.state_dict().items())


def test_tensors_that_a_depth_network_never_uses_are_dropped(state):
    unused = (
        "pretrained.model.head.weight",
        "pretrained.model.norm.weight",
        "pretrained.model.fc_norm.bias",
        "scratch.refinenet4.resConfUnit1.conv1.weight",
        "auxlayer.0.weight",
    )
    theirs = published(state, first_tap=3)
    renamed = rename_published(theirs | dict.fromkeys(unused, torch.ones(1)), first_tap=3)
    assert renamed.keys() == state.keys()
    create_dpt("hybrid", theirs | dict.fromkeys(unused, torch.ones(1)))


def test_our_own_names_stay(state):
    assert rename_published(state, first_tap=3) == state


# ---------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_every_format_is_read(tmp_path, state, suffix):
    loaded = read_state_dict(save(state, tmp_path / f"teacher{suffix}"))
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[k], v) for k, v in state.items())


def test_the_older_format_is_told_from_the_zip(tmp_path, state):
    assert save(state, tmp_path / "a.pt").read_bytes()[:2] == b"PK"
    assert save(state, tmp_path / "a.pth").read_bytes()[:2] != b"PK"


WRAPPINGS = {
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {0: torch.ones(1)}}},
    "module": lambda s: {f"module.{k}": v for k, v in s.items()},
    "compiled": lambda s: {"model": {f"_orig_mod.module.{k}": v for k, v in s.items()}},
    "frozen": lambda s: {f"model.{k}": v for k, v in s.items()},
    "numbered": lambda s: s | {0: torch.ones(1)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("names", ["ours", "published"])
@pytest.mark.parametrize("place", ["file", "memory"])
def test_what_trainers_wrap_around_a_state_dict_is_taken_off(tmp_path, state, wrapping, names, place):
    given = WRAPPINGS[wrapping](published(state, first_tap=3) if names == "published" else state)
    loaded = create_dpt("hybrid", save(given, tmp_path / "a.pt") if place == "file" else given)
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_a_prefix_in_a_safetensors_file_is_taken_off(tmp_path, state):
    path = save({f"module.{k}": v for k, v in state.items()}, tmp_path / "a.safetensors")
    assert read_state_dict(path).keys() == state.keys()


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_half_precision_weights_load_as_float32(tmp_path, state, images, suffix):
    path = save({k: v.half() for k, v in state.items()}, tmp_path / f"half{suffix}")
    teacher = create_teacher("hybrid", path)
    assert {v.dtype for v in teacher.state_dict().values()} == {torch.float32}
    assert teacher(images(32, 32)).dtype == torch.float32
    loaded = create_dpt("hybrid", path).state_dict()
    assert all(torch.equal(loaded[k], v.half().float()) for k, v in state.items())


def test_a_loaded_network_can_train_without_touching_the_weights_it_was_given(state, images):
    given = {k: v.clone() for k, v in state.items()}
    model = create_dpt("hybrid", given)
    assert all(p.requires_grad for p in model.parameters())
    model(images(32, 32)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert not torch.equal(model.encoder.vit.cls_token, state["encoder.vit.cls_token"])
    assert all(torch.equal(given[k], v) for k, v in state.items())


def test_a_teacher_does_not_follow_the_network_whose_weights_it_was_given(tiny_dpt, images):
    source = tiny_dpt("hybrid", seed=1)
    teacher = create_teacher("hybrid", source.state_dict())
    before = teacher(images(32, 32))
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.zero_()
    assert torch.equal(teacher(images(32, 32)), before)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_can_be_written_over_while_its_network_lives(tmp_path, state, suffix):
    path = save(state, tmp_path / f"a{suffix}")
    model = create_dpt("hybrid", path)
    save({k: v * 2 for k, v in model.state_dict().items()}, path)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert torch.equal(read_state_dict(path)["encoder.vit.cls_token"], 2 * state["encoder.vit.cls_token"])


# ------------------------------------------------------------------------------------------------------------- refusals


def refusal(checkpoint, name="hybrid"):
    with pytest.raises(ValueError, match=r".") as refused:
        create_dpt(name, checkpoint)
    return str(refused.value)


def test_a_missing_tensor_is_named(state):
    del state["encoder.vit.cls_token"], state["decoder.fuse.head.conv3.bias"]
    assert refusal(state) == (
        f"the state dict as hybrid does not fit: 2 of {len(state) + 2} tensors missing, "
        "such as decoder.fuse.head.conv3.bias (1 in decoder.fuse, 1 in encoder.vit)"
    )


def test_an_unknown_tensor_is_named(state):
    said = refusal(state | {"encoder.vit.blocks.9.norm1.weight": torch.ones(1)})
    assert said.endswith("does not fit: 1 unknown, such as encoder.vit.blocks.9.norm1.weight (1 in encoder.vit)")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(state):
    state["encoder.vit.pos_embed"] = torch.zeros(1, 10, 16)
    assert refusal(state).endswith(
        "does not fit: 1 tensors of another shape, such as encoder.vit.pos_embed: expected (1, 17, 16), got (1, 10, 16)"
    )


def test_weights_of_another_readout_are_refused(tiny_dpt):
    said = refusal(tiny_dpt("hybrid", readout="add").state_dict())
    assert "missing, such as encoder.reassemble.0.readout.project.bias" in said


def test_the_file_of_another_architecture_is_called_that(tmp_path):
    path = save({"conv1.weight": torch.ones(1), "layer1.0.bn1.bias": torch.ones(1)}, tmp_path / "resnet.pt")
    said = refusal(path)
    assert said.startswith(f"{path} as hybrid does not fit: ")
    assert said.endswith("no name in common: this is a checkpoint of another architecture")


def test_refused_weights_leave_a_model_as_it_was(tiny_dpt, state):
    model = tiny_dpt("hybrid", seed=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    del state["encoder.vit.cls_token"]
    with pytest.raises(ValueError, match="missing"):
        load_weights(model, state, "half a dict")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


class Attack:
    """Unpickling this creates a file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["pickle", "zip", "older"])
def test_a_file_that_carries_code_is_refused_and_not_executed(tmp_path, form):
    marker, path = tmp_path / "executed", tmp_path / "model.pt"
    contents = {"state_dict": {"w": torch.ones(1)}, "extra": Attack(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(contents, protocol=2))
    else:
        torch.save(contents, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(ValueError, match=r"contains code, which is never run; expected a state dict") as refused:
        read_state_dict(path)
    assert str(path) in str(refused.value)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"weights of the hybrid\n",
        b"(a list, unfinished",
        b"X",
        b"}ee\x80",
        b"PK\x03\x04",
        b"\x89PNG\r\n\x1a\n",
        bytes(99),
    ],
)
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_is_no_checkpoint_is_refused_by_its_name(tmp_path, content, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.\w+ is not a (plain|readable) checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short_is_refused(tmp_path, state, suffix, share):
    path = save(state, tmp_path / f"cut{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.\w+ is not a (plain|readable) checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "content", [{}, [torch.ones(1)], torch.ones(2), 3, {"epoch": 3}, {"model": {}}, {0: torch.ones(1)}]
)
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    path = save(content, tmp_path / "empty.pt")
    with pytest.raises(ValueError, match=r"empty\.pt holds no weights, expected a state dict"):
        read_state_dict(path)


@pytest.mark.parametrize("name", ["absent.pt", "."])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path}"):
        create_teacher("hybrid", tmp_path / name)
