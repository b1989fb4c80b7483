from functools import partial

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

import teachers
from teachers import DPT, create_dpt, create_teacher, load_checkpoint, load_encoder
from teachers.key_maps import ENCODER, NAMINGS, from_ours


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


@pytest.fixture
def vit():
    """timm's ViT of the plain network's width, on half its grid, with one block more."""
    torch.manual_seed(0)
    make = partial(VisionTransformer, patch_size=16, embed_dim=16, depth=6, num_heads=2, num_classes=3)
    return lambda image=64: make(img_size=image).eval()


def save(state, path):
    """By the suffix: torch's zip, its older format, or safetensors."""
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=path.suffix != ".pth")
    return path


def refusal(checkpoint, name="hybrid", **options):
    with pytest.raises(ValueError, match=r".") as refused:
        create_dpt(name, checkpoint, **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ------------------------------------------------------------------------------------------------------- whole networks


@pytest.mark.parametrize("naming", [name for name in NAMINGS if not NAMINGS[name].encoder_only])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_a_network_in_any_naming_loads_bit_for_bit(tmp_path, tiny_dpt, assert_same, kind, naming, suffix):
    state = tiny_dpt(kind, seed=1).state_dict()
    path = save(from_ours(state, naming), tmp_path / f"a{suffix}")
    assert_same(create_dpt(kind, path).state_dict(), state)


def test_every_tensor_is_loaded_or_reported_as_unused(tiny_config, state):
    unused = {
        "pretrained.model.head.weight",
        "pretrained.model.norm.weight",
        "pretrained.model.fc_norm.bias",
        "scratch.refinenet4.resConfUnit1.conv1.weight",
        "auxlayer.0.weight",
    }
    weights = from_ours(state, "original") | dict.fromkeys(unused, torch.ones(1))
    report = load_checkpoint(DPT(tiny_config("hybrid")), weights)
    assert set(report.loaded) == state.keys()
    assert (set(report.unused), report.new) == (unused, ())
    assert f"loaded: {len(state)} tensors\nunused by design: 5 (" in str(report)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_weights_of_another_precision_load_as_float32(tmp_path, tiny_config, state, images, suffix, dtype):
    path = save({k: v.to(dtype) for k, v in state.items()}, tmp_path / f"other{suffix}")
    teacher = create_teacher("hybrid", path)
    assert {v.dtype for v in teacher.state_dict().values()} == {torch.float32}
    assert load_checkpoint(DPT(tiny_config("hybrid")), path).notes == (
        f"converted: {len(state)} tensors from {dtype} to torch.float32",
    )
    assert teacher(images(32, 32)).dtype == torch.float32
    loaded = create_dpt("hybrid", path).state_dict()
    assert all(torch.equal(loaded[k], v.to(dtype).float()) for k, v in state.items())


def test_a_loaded_network_can_train_without_touching_the_weights_it_was_set(state, images):
    weights = {k: v.clone() for k, v in state.items()}
    model = create_dpt("hybrid", weights)
    assert all(p.requires_grad for p in model.parameters())
    model(images(32, 32)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert not torch.equal(model.encoder.vit.cls_token, state["encoder.vit.cls_token"])
    assert all(torch.equal(weights[k], v) for k, v in state.items())


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_can_be_written_over_while_its_network_lives(tmp_path, state, assert_same, suffix):
    path = save(state, tmp_path / f"a{suffix}")
    model = create_dpt("hybrid", path)
    save({k: v * 2 for k, v in model.state_dict().items()}, path)
    assert_same(model.state_dict(), state)
    assert torch.equal(create_dpt("hybrid", path).encoder.vit.cls_token, 2 * state["encoder.vit.cls_token"])


def test_a_network_that_will_be_loaded_is_not_filled_with_random_numbers_first(state):
    before = torch.get_rng_state()
    model = create_dpt("hybrid", state)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(value.is_meta for value in model.state_dict().values())


# ------------------------------------------------------------------------------------------------------------- refusals


def test_a_missing_tensor_is_named(state):
    del state["encoder.vit.cls_token"], state["decoder.fuse.head.conv3.bias"]
    assert refusal(state) == (
        f"the state dict as hybrid does not fit: 2 of {len(state) + 2} tensors missing, "
        "such as decoder.fuse.head.conv3.bias (1 in decoder.fuse, 1 in encoder.vit)"
    )


@pytest.mark.parametrize(
    ("naming", "key"), [("ours", "encoder.vit.extra"), ("original", "scratch.refinenet1.resConfUnit1.bn3.weight")]
)
def test_an_unknown_tensor_is_named(state, naming, key):
    message = refusal(from_ours(state, naming) | {key: torch.ones(1)})
    assert f"does not fit: 1 unknown, such as {key} (1 in " in message


def test_a_tensor_of_another_shape_is_named_with_both_shapes(state):
    state["decoder.fuse.head.conv3.weight"] = torch.zeros(1, 5, 1, 1)
    assert refusal(state).endswith(
        "does not fit: 1 tensors of another shape, such as decoder.fuse.head.conv3.weight: "
        "expected (1, 4, 1, 1), got (1, 5, 1, 1)"
    )


def test_the_name_of_another_network_is_reported(tiny_dpt, kind):
    other = {"hybrid": "plain", "plain": "hybrid"}[kind]
    for naming in ("ours", "original", "huggingface"):
        theirs = from_ours(tiny_dpt(other).state_dict(), naming)
        assert f"does not fit: this file is a {other}, give that name; " in refusal(theirs, kind)


@pytest.mark.parametrize(("file", "asked"), [("project", "add"), ("add", "project"), ("ignore", "project")])
def test_weights_of_another_readout_are_refused_by_its_name(tiny_dpt, kind, file, asked):
    weights = tiny_dpt(kind, readout=file).state_dict()
    seen = "project" if file == "project" else "add or ignore"
    assert f"does not fit: the file has readout={seen}, asked was {asked}; " in refusal(weights, kind, readout=asked)


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ((0, 7), "the file's last block is 2, hook 7 is out of range; "),
        ((0, 1), "the file's last block is 2, the last hook 1: it was trained with other hooks; "),
    ],
)
def test_hooks_that_the_file_was_not_trained_with_are_refused(state, hooks, message):
    assert message in refusal(state, hooks=hooks)


@pytest.mark.parametrize("heads", [0, 5, 32])
def test_heads_that_do_not_divide_the_width_are_refused(state, heads):
    assert refusal(state, heads=heads) == f"heads={heads} does not divide the width 16; choose a divisor such as 1"


def test_the_grid_of_the_file_is_reported(tiny_dpt):
    message = refusal(tiny_dpt("hybrid", grid=6).state_dict())
    assert "does not fit: the file's position grid is 6x6, give grid=6; 1 tensors of another shape" in message
    create_dpt("hybrid", tiny_dpt("hybrid", grid=6).state_dict(), grid=6)


def test_the_file_of_another_architecture_is_called_that(tmp_path):
    path = save({"conv1.weight": torch.ones(1), "layer1.0.bn1.bias": torch.ones(1)}, tmp_path / "resnet.pt")
    assert refusal(path) == (
        f"{path} as hybrid does not fit: no name in common, such as conv1.weight: this is a checkpoint of another "
        "architecture"
    )


def test_a_cnn_student_is_sent_to_its_folder():
    message = refusal({"encoder.net.conv1.weight": torch.ones(1), "decoder.final.bias": torch.ones(1)})
    assert message.endswith("another architecture, a student's; give its folder as the teacher")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("encoder.base_model.conv0.weight", "BTS"),
        ("glpn.encoder.block.0.0.layer_norm_1.weight", "GLPN"),
        ("pretrained.blocks.0.ls1.gamma", "Depth Anything"),
    ],
)
def test_another_depth_network_is_called_by_its_name(key, name):
    message = refusal({key: torch.ones(1), "decoder.stages.0.convolution.bias": torch.ones(1)})
    assert f"a checkpoint of another architecture, {name}" in message
    assert "student" not in message


def test_what_a_smaller_precision_cannot_hold_is_refused(state):
    state["encoder.vit.cls_token"] = torch.full_like(state["encoder.vit.cls_token"], 1e300, dtype=torch.float64)
    assert "encoder.vit.cls_token holds NaN or infinity" in refusal(state)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(state, value):
    state["encoder.vit.cls_token"][0, 0, 3] = value
    assert "encoder.vit.cls_token holds NaN or infinity" in refusal(state)


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64, torch.float8_e4m3fn])
def test_quantised_weights_are_refused(state, dtype):
    state["encoder.vit.cls_token"] = state["encoder.vit.cls_token"].to(dtype)
    assert f"encoder.vit.cls_token holds {dtype}, expected floating-point weights" in refusal(state)


def test_refused_weights_leave_a_model_as_it_was(tiny_dpt, state, assert_same):
    model = tiny_dpt("hybrid", seed=2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    for spoil in ("missing", "NaN"):
        weights = {k: v.clone() for k, v in state.items()}
        if spoil == "missing":
            del weights["encoder.vit.cls_token"]
        else:
            list(weights.values())[-1].fill_(float("nan"))
        with pytest.raises(ValueError, match=spoil):
            load_checkpoint(model, weights)
        assert_same(model.state_dict(), before)


# ------------------------------------------------------------------------------------------------------- encoders alone


def test_a_teacher_cannot_be_made_of_an_encoder_alone(vit):
    for state in (vit().state_dict(), from_ours(encoder_of(create_dpt("plain")), "mmseg")):
        with pytest.raises(ValueError, match=r"it holds an encoder alone .* a random decoder teaches nothing"):
            create_teacher("plain", state)
    with pytest.raises(ValueError, match="a teacher takes no encoder_checkpoint: a random decoder teaches nothing"):
        create_teacher("plain", encoder_checkpoint=vit().state_dict())


def encoder_of(model):
    return {k: v for k, v in model.state_dict().items() if k.startswith(ENCODER)}


def test_the_head_of_mmsegmentation_is_refused_and_its_backbone_loads(tiny_dpt, assert_same):
    source = tiny_dpt("plain", seed=1)
    theirs = from_ours(encoder_of(source), "mmseg model")
    theirs["decode_head.project.conv.weight"] = torch.zeros(8, 8, 3, 3)
    assert "backbone is ours, its DPT head is not (decode_head.project is one convolution more)" in refusal(
        theirs, "plain"
    )
    model = DPT(source.config)
    report = load_encoder(model, theirs)
    assert report.unused == ("decode_head.project.conv.weight",)
    assert_same(encoder_of(model), encoder_of(source))


def test_a_timm_vit_becomes_an_encoder_that_computes_the_same(tmp_path, vit, images):
    theirs, image = vit(), images(64, 64)
    path = save(theirs.state_dict(), tmp_path / "vit.safetensors")
    ours = create_dpt("plain", encoder_checkpoint=path).eval()
    hooks = list(ours.config.hooks)
    wanted = theirs.forward_intermediates(image, indices=hooks, output_fmt="NLC", intermediates_only=True, norm=False)
    taps, _ = ours.encoder.vit(image)
    for tap, want in zip(taps, wanted, strict=True):
        torch.testing.assert_close(tap[:, 1:], want)


def test_what_an_encoder_leaves_new_and_unused_is_reported(tiny_config, vit):
    model = DPT(tiny_config("plain"))
    before = {k: v.clone() for k, v in model.state_dict().items() if not k.startswith(ENCODER)}
    report = load_encoder(model, vit(32).state_dict())
    assert set(report.loaded) == encoder_of(model).keys()
    assert set(report.new) == before.keys()
    assert all(torch.equal(model.state_dict()[k], v) for k, v in before.items())
    assert report.notes == (
        "left out: 12 tensors of blocks after the last tap",
        "resized: position embedding from 2x2 to 4x4, bicubic",
    )
    assert {key.split(".")[0] for key in report.unused} == {"norm", "head", "encoder"}
    assert f"new, with random weights: {len(before)} tensors" in str(report)


def test_positions_are_resized_and_the_class_token_keeps_its_own(tiny_config, vit):
    theirs = vit(32).state_dict()
    theirs["pos_embed"] = torch.ones(1, 5, 16) * torch.tensor([7.0, 1, 1, 1, 1]).view(1, 5, 1)
    model = DPT(tiny_config("plain"))
    load_encoder(model, theirs)
    position = model.encoder.vit.pos_embed
    assert torch.equal(position[0, 0], torch.full((16,), 7.0))
    torch.testing.assert_close(position[0, 1:], torch.ones(16, 16))


def test_a_distillation_token_is_left_out_with_its_position(tiny_config, vit):
    theirs = vit().state_dict()
    position = theirs["pos_embed"]
    theirs["pos_embed"] = torch.cat([position[:, :1], torch.full((1, 1, 16), 9.0), position[:, 1:]], dim=1)
    theirs |= {"dist_token": torch.ones(1, 1, 16), "head_dist.weight": torch.ones(3, 16)}
    model = DPT(tiny_config("plain"))
    report = load_encoder(model, theirs)
    assert torch.equal(model.encoder.vit.pos_embed, position)
    assert {"dist_token", "head_dist.weight"} <= set(report.unused)


def test_the_encoder_of_a_whole_network_serves_a_shallower_one(tiny_dpt, tiny_config, state):
    model = DPT(tiny_config("hybrid", hooks=(0, 1), heads=1))
    report = load_encoder(model, from_ours(state, "original"))
    assert all(torch.equal(v, state[k]) for k, v in encoder_of(model).items())
    assert report.loaded == tuple(encoder_of(model))
    assert any(key.startswith("encoder.vit.blocks.2.") for key in report.unused)
    assert "decoder.fuse.head.conv1.bias" in report.unused


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("cls_token"), "1 of 64 tensors missing, such as encoder.vit.cls_token"),
        (lambda s: s.update({"blocks.0.ls1.gamma": torch.ones(16)}), "1 unknown, such as blocks.0.ls1.gamma"),
        (lambda s: s.update(pos_embed=torch.ones(1, 16, 16)), "expected (1, 17, 16), got (1, 16, 16)"),
        (lambda s: s.update({"cls_token": torch.ones(1, 1, 24)}), "expected (1, 1, 16), got (1, 1, 24)"),
    ],
)
def test_another_encoder_is_refused(tiny_config, vit, spoil, message):
    state = vit().state_dict()
    spoil(state)
    with pytest.raises(ValueError, match="the state dict as an encoder does not fit: ") as refused:
        load_encoder(DPT(tiny_config("plain")), state)
    assert message in str(refused.value)


def test_an_encoder_of_another_network_is_named(tiny_dpt, tiny_config):
    with pytest.raises(ValueError, match="does not fit: this is the encoder of a hybrid, give that name; "):
        load_encoder(DPT(tiny_config("plain")), from_ours(encoder_of(tiny_dpt("hybrid")), "timm"))


def test_two_checkpoints_are_one_too_many(state):
    with pytest.raises(ValueError, match="checkpoint and encoder_checkpoint were both given"):
        create_dpt("hybrid", state, encoder_checkpoint=state)
