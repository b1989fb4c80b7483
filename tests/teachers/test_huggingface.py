"""DPTForDepthEstimation of transformers beside ours on the same weights; skipped where transformers is absent."""

import json
import re

import pytest
import torch
from safetensors.torch import save_file

import teachers
from teachers import DPT, create_dpt, load_encoder
from teachers.huggingface import contradiction, describe, read_config
from teachers.key_maps import NAMINGS, from_ours
from teachers.stem import StemConfig

STEM = StemConfig(layers=(1, 2, 1), channels=(32, 64, 96), width=8, groups=4)
SIZES = {
    "hybrid": {"stem": STEM, "channels": (32, 64, 16, 20), "hooks": (1, 2)},
    "project": {"stem": None, "channels": (8, 12, 16, 20), "hooks": (0, 1, 3, 4)},
    "add": {"stem": None, "channels": (8, 12, 16, 20), "hooks": (0, 1, 3, 4), "readout": "add"},
    "ignore": {"stem": None, "channels": (8, 12, 16, 20), "hooks": (0, 1, 3, 4), "readout": "ignore"},
}


@pytest.fixture(params=SIZES)
def kind(request):
    return request.param


@pytest.fixture
def config(tiny_config, kind, monkeypatch):
    """The configuration of a small network, known by the name "small"."""
    config = tiny_config("plain", head_hidden=32, **SIZES[kind])
    monkeypatch.setitem(teachers.DPT_CONFIGS, "small", config)
    return config


@pytest.fixture
def model(config):
    """Weights large enough that every part matters, and an output that is not rectified away."""
    torch.manual_seed(0)
    model = DPT(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.decoder.fuse.head.conv3.bias.fill_(3.0)
    return model


@pytest.fixture
def transformers():
    return pytest.importorskip("transformers", reason="needs transformers: pip install '.[hf]'")


def save(model, folder):
    folder.mkdir()
    save_file(from_ours(model.state_dict(), "huggingface"), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(describe(model.config)))
    return folder


def assert_same_depth(theirs, ours, side):
    image = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs((image - 0.5) / 0.5).predicted_depth
        depth = ours(image)[:, 0]
    spread = wanted.max() - wanted.min()
    assert spread > 0.01 * wanted.max() > 0
    assert (depth - wanted).abs().max() <= 1e-4 * spread


def test_our_weights_run_in_transformers_with_the_same_output(transformers, config, model):
    theirs = transformers.DPTForDepthEstimation(transformers.DPTConfig(**describe(config))).eval()
    missing, unexpected = theirs.load_state_dict(from_ours(model.state_dict(), "huggingface"), strict=False)
    assert unexpected == []
    assert all(re.match(NAMINGS["huggingface"].unused, key) for key in missing)
    assert_same_depth(theirs, model, 16 * config.grid)


def test_a_network_of_transformers_loads_with_the_same_output(transformers, tmp_path, config):
    torch.manual_seed(0)
    theirs = transformers.DPTForDepthEstimation(transformers.DPTConfig(**describe(config))).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        theirs.head.head[4].weight.mul_(10)
        theirs.head.head[4].bias.fill_(3.0)
    theirs.save_pretrained(tmp_path / "theirs")
    assert_same_depth(theirs, create_dpt("small", tmp_path / "theirs").eval(), 16 * config.grid)


# ---------------------------------------------------------------------------------------------------------- config.json


def test_a_folder_of_hugging_face_loads(tmp_path, config, model, assert_same):
    folder = save(model, tmp_path / "theirs")
    assert_same(create_dpt("small", folder).state_dict(), model.state_dict())
    assert_same(create_dpt("small", folder / "model.safetensors").state_dict(), model.state_dict())


@pytest.mark.parametrize("option", ["heads", "hooks", "readout"])
def test_what_weights_cannot_tell_is_compared_with_the_folder(tmp_path, tiny_config, option):
    config = tiny_config("plain", head_hidden=32, readout="add")
    other = {"heads": 4, "hooks": (0, 2, 3, 4), "readout": "ignore"}[option]
    facts = describe(tiny_config("plain", head_hidden=32, **{"readout": "add", option: other}))
    assert contradiction(facts, config) == f"its config.json says {option}={other!r}, not {getattr(config, option)!r}"
    assert contradiction(describe(config), config) is None


def test_a_folder_with_other_heads_is_refused(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setitem(teachers.DPT_CONFIGS, "small", tiny_config("plain", head_hidden=32))
    folder = save(DPT(tiny_config("plain", head_hidden=32, heads=4)), tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"as small does not fit: its config\.json says heads=4, not 2"):
        create_dpt("small", folder)
    create_dpt("small", folder, heads=4)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_act", "relu"),
        ("hidden_act", None),
        ("layer_norm_eps", 1e-5),
        ("layer_norm_eps", "1e-6"),
        ("head_in_index", 0),
        ("backbone_out_indices", 3),
        ("num_attention_heads", [2]),
    ],
)
def test_a_computation_that_weights_do_not_show_is_compared(tiny_config, key, value):
    config = tiny_config("plain", head_hidden=32)
    message = contradiction(describe(config) | {key: value}, config)
    assert str(value) in message


@pytest.mark.parametrize("key", ["hidden_act", "global_padding", "layer_type"])
def test_the_stem_of_a_folder_is_compared_too(tiny_config, key):
    config = tiny_config("hybrid", head_hidden=32, stem=STEM, channels=(32, 64, 16, 20), hooks=(1, 2))
    facts = describe(config)
    facts["backbone_config"][key] = "other"
    assert f"backbone_config.{key}='other'" in contradiction(facts, config)


def test_the_published_epsilon_is_ours_to_the_precision_of_floats(tiny_config):
    config = tiny_config("plain", head_hidden=32)
    assert contradiction(describe(config) | {"layer_norm_eps": 1e-12, "hidden_act": "gelu"}, config) is None


def test_an_encoder_of_other_heads_is_refused(tmp_path, tiny_config, monkeypatch):
    folder = save(DPT(tiny_config("plain", head_hidden=32, heads=4)), tmp_path / "theirs")
    with pytest.raises(ValueError, match=r"as an encoder does not fit: its config\.json says heads=4, not 2"):
        load_encoder(DPT(tiny_config("plain")), folder)


def test_a_folder_of_another_model_is_called_by_its_type(tmp_path, tiny_config, monkeypatch):
    monkeypatch.setitem(teachers.DPT_CONFIGS, "small", tiny_config("plain", head_hidden=32))
    folder = save(DPT(tiny_config("plain", head_hidden=32)), tmp_path / "theirs")
    (folder / "config.json").write_text('{"model_type": "depth_anything"}')
    with pytest.raises(ValueError, match=r"config\.json describes a model of type 'depth_anything', expected 'dpt'"):
        create_dpt("small", folder)


@pytest.mark.parametrize("text", [None, "{", "[]", '{"student": "resnet18"}'])
def test_a_config_of_somebody_else_says_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    assert read_config(tmp_path) == {}


def test_the_published_networks_can_be_described():
    assert describe(teachers.DPT_CONFIGS["dpt_large"])["num_attention_heads"] == 16
    assert describe(teachers.DPT_CONFIGS["dpt_hybrid"])["backbone_config"]["depths"] == [3, 4, 9]
    assert describe(teachers.DPT_CONFIGS["dpt_base"])["backbone_out_indices"] == [2, 5, 8, 11]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head_hidden": 16}, "its head has 32 hidden channels, this one 16"),
        ({"non_negative": False}, "its output is rectified, this one's is not"),
        ({"readout": "add"}, "with a stem it knows readout 'project' only, this one has 'add'"),
        ({"stem": StemConfig((2, 2, 2), (64, 128, 256), 32, 16)}, "its stem has 16 groups in every norm"),
    ],
)
def test_a_network_that_transformers_does_not_have_is_refused(options, message):
    config = teachers.dpt_config("dpt_hybrid", **options)
    with pytest.raises(ValueError, match="Hugging Face's DPT cannot hold this network: ") as refused:
        describe(config)
    assert message in str(refused.value)
