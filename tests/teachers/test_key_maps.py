"""Names against lists that other programs made: the published file's, timm's own modules, and literal examples."""

import gzip
import json
from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from teachers import DPT_CONFIGS
from teachers.key_maps import ENCODER, NAMINGS, from_ours, to_ours
from teachers.mismatch import shapes, shapes_of
from teachers.vit import Attention

REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="module")
def published():
    """The tensors of the published DPT-Hybrid file, without their values."""
    listed = json.loads(gzip.decompress((REFERENCE / "dpt_hybrid_keys.json.gz").read_bytes()))
    return {key: torch.empty(shape, device="meta") for key, shape in listed.items()}


def encoder_shapes(name):
    return {key: shape for key, shape in shapes_of(DPT_CONFIGS[name]).items() if key.startswith(ENCODER)}


def test_every_tensor_of_the_published_file_has_its_place(published):
    translated = to_ours(published)
    assert translated.naming == "original"
    assert shapes(translated.weights) == shapes_of(DPT_CONFIGS["dpt_hybrid"])
    assert translated.unknown == ()
    assert sorted(translated.unused) == sorted(
        [f"pretrained.model.{part}.{leaf}" for part in ("head", "norm") for leaf in ("weight", "bias")]
        + [f"scratch.refinenet4.resConfUnit1.conv{n}.{leaf}" for n in (1, 2) for leaf in ("weight", "bias")]
    )


def test_our_names_become_those_of_the_published_file(published):
    translated = to_ours(published)
    assert shapes(from_ours(translated.weights, "original")) == shapes(
        {key: value for key, value in published.items() if key not in translated.unused}
    )


@pytest.mark.parametrize(
    ("model", "name", "unused"),
    [
        ("vit_base_patch16_384", "dpt_base", {"norm", "head"}),
        ("vit_base_r50_s16_384", "dpt_hybrid", {"norm", "head"}),
        ("vit_large_patch16_384", "dpt_large", {"norm", "head"}),
        ("deit_base_distilled_patch16_384", "dpt_base", {"norm", "head", "head_dist", "dist_token"}),
    ],
)
def test_every_tensor_of_a_timm_network_has_its_place(model, name, unused):
    with torch.device("meta"):
        state = timm.create_model(model, pretrained=False).state_dict()
    translated = to_ours(state)
    assert (translated.naming, translated.unknown) == ("timm", ())
    assert {key.split(".")[0] for key in translated.unused} == unused
    wanted = encoder_shapes(name)
    assert translated.weights.keys() == wanted.keys()
    different = {key for key, value in translated.weights.items() if value.shape != wanted[key]}
    assert different == ({"encoder.vit.pos_embed"} if "dist_token" in unused else set())
    kept = {key: value for key, value in state.items() if key not in translated.unused}
    assert shapes(from_ours(translated.weights, "timm")) == shapes(kept)


@pytest.mark.parametrize("model", ["vit_base_patch16_clip_224", "deit3_base_patch16_384"])
def test_a_tensor_of_another_kind_of_vit_is_unknown_rather_than_dropped(model):
    with torch.device("meta"):
        translated = to_ours(timm.create_model(model, pretrained=False).state_dict())
    assert any(part in translated.unknown[0] for part in ("norm_pre", "ls1"))


@pytest.mark.parametrize("naming", [name for name in NAMINGS if not NAMINGS[name].encoder_only])
@pytest.mark.parametrize("kind", ["hybrid", "plain"])
@pytest.mark.parametrize("readout", ["project", "add"])
def test_names_of_a_whole_network_come_back(tiny_dpt, assert_same, naming, kind, readout):
    state = tiny_dpt(kind, seed=1, readout=readout).state_dict()
    theirs = from_ours(state, naming)
    assert naming == "ours" or not theirs.keys() & state.keys()
    translated = to_ours(theirs)
    assert (translated.naming, translated.unused, translated.unknown) == (naming, (), ())
    assert_same(translated.weights, state)


@pytest.mark.parametrize(
    ("naming", "kind"), [("timm", "plain"), ("timm", "hybrid"), ("mmseg", "plain"), ("mmseg model", "plain")]
)
def test_names_of_an_encoder_come_back(tiny_dpt, assert_same, naming, kind):
    state = {k: v for k, v in tiny_dpt(kind, seed=1).state_dict().items() if k.startswith(ENCODER)}
    translated = to_ours(from_ours(state, naming))
    assert (translated.naming, translated.unused, translated.unknown) == (naming, (), ())
    assert_same(translated.weights, state)


# As the programs themselves name them: isl-org/DPT, Intel/dpt-*, Monocular-Depth-Estimation-Toolbox's dpt_vit-b16.
EXAMPLES = [
    ("original", "plain", "pretrained.act_postprocess1.0.project.0.bias", "encoder.reassemble.0.readout.project.bias"),
    ("original", "plain", "pretrained.act_postprocess2.4.weight", "encoder.reassemble.1.resample.weight"),
    ("original", "plain", "pretrained.model.patch_embed.proj.weight", "encoder.vit.patch.weight"),
    ("huggingface", "hybrid", "dpt.embeddings.projection.weight", "encoder.vit.patch.weight"),
    ("huggingface", "hybrid", "dpt.embeddings.backbone.bit.embedder.convolution.weight", "encoder.stem.conv.weight"),
    (
        "huggingface",
        "hybrid",
        "dpt.embeddings.backbone.bit.encoder.stages.1.layers.0.downsample.norm.bias",
        "encoder.stem.stages.1.0.downsample.norm.bias",
    ),
    ("huggingface", "hybrid", "neck.reassemble_stage.layers.2.projection.bias", "encoder.reassemble.0.conv.bias"),
    (
        "huggingface",
        "hybrid",
        "neck.reassemble_stage.readout_projects.3.0.weight",
        "encoder.reassemble.1.readout.project.weight",
    ),
    ("huggingface", "plain", "dpt.embeddings.patch_embeddings.projection.bias", "encoder.vit.patch.bias"),
    ("huggingface", "plain", "dpt.encoder.layer.2.output.dense.weight", "encoder.vit.blocks.2.mlp.fc2.weight"),
    ("huggingface", "plain", "dpt.encoder.layer.2.layernorm_after.bias", "encoder.vit.blocks.2.norm2.bias"),
    ("huggingface", "plain", "neck.reassemble_stage.layers.0.resize.weight", "encoder.reassemble.0.resample.weight"),
    (
        "huggingface",
        "plain",
        "neck.fusion_stage.layers.1.residual_layer1.convolution2.bias",
        "decoder.fuse.fusion.2.skip_unit.conv2.bias",
    ),
    ("huggingface", "plain", "neck.fusion_stage.layers.0.projection.weight", "decoder.fuse.fusion.3.out.weight"),
    ("huggingface", "plain", "head.head.4.bias", "decoder.fuse.head.conv3.bias"),
    ("mmseg", "plain", "layers.1.attn.attn.in_proj_weight", "encoder.vit.blocks.1.attn.qkv.weight"),
    ("mmseg model", "plain", "backbone.patch_embed.projection.weight", "encoder.vit.patch.weight"),
    ("mmseg model", "plain", "backbone.layers.3.ffn.layers.0.0.bias", "encoder.vit.blocks.3.mlp.fc1.bias"),
    ("mmseg model", "plain", "backbone.layers.0.attn.attn.out_proj.bias", "encoder.vit.blocks.0.attn.proj.bias"),
]


@pytest.mark.parametrize(("naming", "kind", "theirs", "ours"), EXAMPLES)
def test_a_known_name_has_its_counterpart(tiny_dpt, naming, kind, theirs, ours):
    state = tiny_dpt(kind, seed=1).state_dict()
    kept = {k: v for k, v in state.items() if k.startswith(ENCODER)} if NAMINGS[naming].encoder_only else state
    assert torch.equal(from_ours(kept, naming)[theirs], state[ours])


def test_query_key_and_value_of_hugging_face_are_joined_in_this_order(tiny_dpt):
    state = tiny_dpt("plain", seed=1).state_dict()
    theirs = from_ours(state, "huggingface")
    key = "dpt.encoder.layer.0.attention.attention.{}.weight"
    three = [theirs[key.format(part)] for part in ("query", "key", "value")]
    assert torch.equal(torch.cat(three), state["encoder.vit.blocks.0.attn.qkv.weight"])
    assert key.format("qkv") not in theirs


def test_a_part_of_the_attention_that_is_missing_leaves_the_others_unknown(tiny_dpt):
    theirs = from_ours(tiny_dpt("plain").state_dict(), "huggingface")
    del theirs["dpt.encoder.layer.0.attention.attention.key.weight"]
    names = {key.split(".")[-2] for key in to_ours(theirs).unknown}
    assert names == {"query", "value"}


def test_attention_of_mmsegmentation_computes_what_ours_does():
    torch.manual_seed(0)
    theirs, ours = nn.MultiheadAttention(16, 4, batch_first=True).double(), Attention(16, 4).double()
    state = {f"layers.0.attn.attn.{key}": value for key, value in theirs.state_dict().items()}
    renamed = to_ours({"layers.0.ln1.weight": torch.ones(16)} | state).weights
    prefix = "encoder.vit.blocks.0.attn."
    ours.load_state_dict({k.removeprefix(prefix): v for k, v in renamed.items() if k.startswith(prefix)})
    tokens = torch.randn(2, 5, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


def test_a_tensor_without_a_name_elsewhere_is_refused(tiny_dpt):
    with pytest.raises(
        ValueError, match=r"MMSegmentation's names have no place for \d+ tensors, such as decoder\.fuse"
    ):
        from_ours(tiny_dpt("plain").state_dict(), "mmseg")


def test_a_network_of_another_kind_is_not_recognised():
    translated = to_ours({"conv1.weight": torch.ones(1), "layer1.0.bn1.bias": torch.ones(1)})
    assert (translated.naming, translated.weights, len(translated.unknown)) == ("unknown", {}, 2)
