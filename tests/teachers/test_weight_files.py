import argparse
import json
import pickle
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from teachers.weight_files import read_state_dict


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {f"encoder.vit.blocks.{i}.norm1.weight": torch.randn(64, 16, generator=generator) for i in range(4)}


def save(state, path, form):
    """As "zip" or "older" of torch, or as "safetensors", whatever the file is called."""
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    return path


FORMS = ("zip", "older", "safetensors")


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".bin", ""])
@pytest.mark.parametrize("form", FORMS)
def test_a_format_is_seen_by_the_content_whatever_the_name(tmp_path, state, assert_same, form, suffix):
    assert_same(read_state_dict(save(state, tmp_path / f"teacher{suffix}", form)), state)


WRAPPINGS = {
    "state_dict": lambda s: {"state_dict": s, "epoch": 3},
    "model": lambda s: {"model": s, "optimizer": {"state": {0: torch.ones(1)}}},
    "both": lambda s: {"model": {"state_dict": s}},
    "module": lambda s: {f"module.{k}": v for k, v in s.items()},
    "an attribute of Lightning": lambda s: {"state_dict": {f"net.{k}": v for k, v in s.items()}},
    "compiled": lambda s: {"model": {f"_orig_mod.module.{k}": v for k, v in s.items()}},
    "frozen": lambda s: {f"model.{k}": v for k, v in s.items()},
    "numbered": lambda s: s | {0: torch.ones(1)},
    "running mean": lambda s: {"state_dict_ema": s, "epoch": 3},
    "beside its running mean": lambda s: {"ema": {k: v + 1 for k, v in s.items()}, "net": s},
    "averaged": lambda s: {"n_averaged": torch.tensor(3)} | {f"module.{k}": v for k, v in s.items()},
    "unheard of": lambda s: {"generator": {"weights_of_it": s}, "step": 3, "optimizer": {"state": {0: torch.ones(1)}}},
    "half of it compiled": lambda s: {k.replace("encoder.", "encoder._orig_mod."): v for k, v in s.items()},
    "half of it parallel": lambda s: {k.replace("encoder.", "encoder.module."): v for k, v in s.items()},
    "checkpointed and sharded": lambda s: {
        k.replace("blocks.", "_fsdp_wrapped_module.blocks._checkpoint_wrapped_module."): v for k, v in s.items()
    },
    "arguments": lambda s: {"model": s, "args": argparse.Namespace(lr=0.1, output=Path("runs"))},
    "scalars of NumPy": lambda s: {"model": s, "best": np.float64(0.1), "curve": np.arange(3), "at": np.int32(2)},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_trainers_wrap_around_a_state_dict_is_taken_off(tmp_path, state, assert_same, wrapping):
    assert_same(read_state_dict(save(WRAPPINGS[wrapping](state), tmp_path / "a.pt", "zip")), state)


def test_two_networks_in_one_file_are_named(tmp_path, state):
    path = save({"generator": state, "discriminator": state}, tmp_path / "a.pt", "zip")
    with pytest.raises(ValueError, match=r"got 'generator', 'discriminator'; save the one that is meant"):
        read_state_dict(path)


def test_names_that_would_fall_together_stay_apart(tmp_path, state, assert_same):
    twice = {"w": torch.ones(1), "_orig_mod.w": torch.zeros(1)}
    assert_same(read_state_dict(save(twice, tmp_path / "a.pt", "zip")), twice)


# -------------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    ("name", "form"),
    [("model.safetensors", "safetensors"), ("pytorch_model.bin", "zip"), ("student/model.safetensors", "safetensors")],
)
def test_a_folder_is_read_by_the_file_that_holds_its_weights(tmp_path, state, assert_same, name, form):
    (tmp_path / "student").mkdir()
    save(state, tmp_path / name, form)
    assert_same(read_state_dict(tmp_path), state)


@pytest.fixture(params=["model.safetensors", "pytorch_model.bin"])
def shards(request, tmp_path, state):
    """A folder with two shards; returns the folder, the index and the second shard."""
    stem, suffix = request.param.rsplit(".", 1)
    names = [f"{stem}-0000{i}-of-00002.{suffix}" for i in (1, 2)]
    keys = list(state)
    for name, part in zip(names, (keys[:1], keys[1:]), strict=True):
        save({k: state[k] for k in part}, tmp_path / name, "safetensors" if suffix == "safetensors" else "zip")
    index = tmp_path / f"{request.param}.index.json"
    index.write_text(json.dumps({"weight_map": {k: names[k != keys[0]] for k in keys}}))
    return tmp_path, index, tmp_path / names[1]


def test_shards_are_put_together(shards, state, assert_same):
    folder, index, _ = shards
    assert_same(read_state_dict(folder), state)
    assert_same(read_state_dict(index), state)


def test_a_missing_shard_is_named(shards):
    folder, _, second = shards
    second.unlink()
    with pytest.raises(FileNotFoundError, match=f"names the shard {second.name}, which does not lie beside it"):
        read_state_dict(folder)


def test_an_index_cannot_name_a_file_elsewhere(shards, tmp_path):
    folder, index, second = shards
    index.write_text(json.dumps({"weight_map": {"w": f"../{folder.name}/{second.name}"}}))
    with pytest.raises(FileNotFoundError, match=r"names the shard \.\./"):
        read_state_dict(folder)


def test_a_tensor_that_the_shards_lack_is_named(shards):
    folder, index, second = shards
    index.write_text(json.dumps({"weight_map": {"absent.weight": second.name}}))
    with pytest.raises(ValueError, match=r"names 1 tensors that its shards lack, such as absent\.weight"):
        read_state_dict(folder)


@pytest.mark.parametrize("text", ["{}", "{", '{"weight_map": 3}', '{"weight_map": {"a": []}}'])
def test_an_index_without_a_map_is_refused(tmp_path, text):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        read_state_dict(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path}/absent.pt"):
        read_state_dict(tmp_path / "absent.pt")


def test_a_folder_without_weights_is_reported_what_it_should_hold(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"no checkpoint at {tmp_path}: a folder must hold one of model.safete"):
        read_state_dict(tmp_path)


# -------------------------------------------------------------------------------------------------------- damaged files


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
        save(contents, path, form)
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
        b"\x02\0\0\0\0\0\0\0{}{}",
        b"\xff\xff\xff\xff\xff\xff\xff\xff{",
        bytes(99),
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused_by_its_name(tmp_path, content):
    path = tmp_path / "notes.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"notes\.pt is not a (plain|readable) checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_short_is_refused(tmp_path, state, form, share):
    path = save(state, tmp_path / "cut.pt", form)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"cut\.pt is not a (plain|readable) checkpoint"):
        read_state_dict(path)


def test_a_git_lfs_pointer_is_reported_from_the_weights(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1368490184\n")
    with pytest.raises(ValueError, match="is a git-lfs pointer, not the weights; fetch them with git lfs pull"):
        read_state_dict(tmp_path)


class Settings:
    """A class of somebody's program."""


def test_a_class_that_cannot_be_read_is_named(tmp_path, state):
    path = save({"state_dict": state, "settings": Settings()}, tmp_path / "model.pt", "zip")
    with pytest.raises(ValueError, match=rf"its {__name__}\.Settings contains code.*model\.state_dict\(\)"):
        read_state_dict(path)


def packed(path, state):
    """A checkpoint whose zip somebody packed again, compressed."""
    with ZipFile(save(state, path.with_suffix(".plain"), "zip")) as old, ZipFile(path, "w", ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return path


def test_a_zip_that_was_packed_again_is_read_as_numbers_only_after_unpacking(tmp_path, state, assert_same):
    state = {"zeros": torch.cat([torch.zeros(400), torch.rand(400)])} | state
    assert_same(read_state_dict(packed(tmp_path / "a.pt", state)), state)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    with pytest.raises(ValueError, match=r"would unpack to \d+ bytes"):
        read_state_dict(packed(tmp_path / "a.pt", {"zeros": torch.zeros(10**6)}))


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path):
    path = save({"w": torch.ones(1).expand(10**6, 10**6)}, tmp_path / "a.pt", "zip")
    with pytest.raises(ValueError, match="w has no value of its own for every element"):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html>", b"\x89HDF\r\n", b"\x1f\x8b\x08"])
def test_what_is_no_checkpoint_at_all_is_called_what_it_is(tmp_path, content):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.pth is (a web page|an HDF5|compressed)"):
        read_state_dict(path)


def test_json_of_any_depth_is_refused_in_words(tmp_path):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text('{"weight_map": ' + "[" * 10**5)
    with pytest.raises(ValueError, match="is not a readable checkpoint"):
        read_state_dict(path)


@pytest.mark.parametrize(
    "content", [{}, [torch.ones(1)], torch.ones(2), 3, {"epoch": 3}, {"model": {}}, {0: torch.ones(1)}]
)
def test_a_file_without_named_tensors_is_refused(tmp_path, content):
    path = save(content, tmp_path / "empty.pt", "zip")
    with pytest.raises(ValueError, match=r"empty\.pt holds no weights, expected a state dict"):
        read_state_dict(path)
