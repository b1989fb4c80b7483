"""A pruned DPT starts from its parent's weights, and says which it took."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from students import create_student, load_student, save_student
from teachers import create_dpt, create_teacher
from teachers.key_maps import from_ours


@pytest.fixture(scope="module")
def state():
    """Weights of a whole dpt_micro that has learnt nothing."""
    torch.manual_seed(1)
    return create_dpt("dpt_micro").state_dict()


@pytest.fixture
def pruned(state):
    """pruned(**options): a dpt_micro that inherits from those weights."""
    return lambda **options: create_student("dpt_micro", **{"checkpoint": state, **options})


def refusal(**options):
    with pytest.raises(ValueError, match=r".") as refused:
        create_student("dpt_micro", **options)
    assert "\n" not in str(refused.value)
    return str(refused.value)


# -------------------------------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("attention", ["standard", "performer"])
@pytest.mark.parametrize("stem", ["resnet50", "efficientnet_b0"])
def test_every_weight_with_a_place_is_the_parents_and_the_report_names_all_of_them(pruned, state, attention, stem):
    student = pruned(heads=1, hooks=(0, 1), attention=attention, stem=stem)
    report, own = student.inheritance, student.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in report.inherited)
    assert {*report.inherited, *report.dropped} == set(state)
    assert {*report.inherited, *report.new} == {key for key in own if not key.endswith(".projection")}
    assert len(report.inherited) + len(report.dropped) == len(state)


def test_blocks_after_the_last_hook_are_dropped_and_nothing_is_new(pruned):
    report = pruned(hooks=(1, 3)).inheritance
    assert {key.rsplit("blocks.", 1)[1][0] for key in report.dropped} == {"4", "5"}
    assert all(key.startswith("encoder.vit.blocks.") for key in report.dropped)
    assert report.new == ()
    assert report.resplit == ()


def test_another_stem_is_new_and_the_old_one_dropped(pruned):
    report = pruned(stem="efficientnet_b0").inheritance
    assert report.new
    assert report.dropped
    assert all(key.startswith("encoder.stem.") for key in (*report.new, *report.dropped))


def test_other_heads_split_the_same_attention_weights(pruned):
    report = pruned(heads=10, hooks=(0, 1)).inheritance
    leaves = ("qkv.weight", "qkv.bias", "proj.weight", "proj.bias")
    assert set(report.resplit) == {f"encoder.vit.blocks.{i}.attn.{leaf}" for i in (0, 1) for leaf in leaves}
    assert set(report.resplit) <= set(report.inherited)


def test_the_report_says_in_one_line_what_moved(pruned):
    message = str(pruned(heads=1, hooks=(0, 1)).inheritance)
    assert "tensors inherited from the state dict, 8 resplit (encoder.vit.blocks 8), 48 dropped" in message
    assert "attention is split into 1 instead of 5 heads" in message
    assert "reassemble.0 reads block 0 instead of 3; reassemble.1 reads block 1 instead of 5" in message
    assert "\n" not in message


def test_a_student_without_a_checkpoint_has_nothing_to_report():
    with torch.device("meta"):
        assert create_student("dpt_micro").inheritance is None


def test_a_student_that_changes_nothing_gives_its_parents_depth(images):
    image = images(64, 96)
    expected = create_teacher("dpt_micro")(image)
    torch.testing.assert_close(create_student("dpt_micro", checkpoint="dpt_micro").eval()(image), expected)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_file_is_read_like_a_teachers(state, tmp_path, suffix):
    path = tmp_path / f"weights.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save({"state_dict": state}, path)
    report = create_student("dpt_micro", checkpoint=path).inheritance
    assert report.source == str(path)
    assert set(report.inherited) == set(state)


@pytest.mark.parametrize("naming", ["original", "huggingface"])
def test_published_names_are_understood(pruned, state, naming):
    theirs = from_ours(state, naming)
    assert theirs.keys() != state.keys()
    report = pruned(checkpoint=theirs).inheritance
    assert set(report.inherited) == set(state)


# ----------------------------------------------------------------------------------------------------- trained students


@pytest.mark.parametrize("weights", ["", "model.safetensors"])
def test_a_trained_dpt_is_a_parent_with_its_own_heads_hooks_and_output(tmp_path, weights):
    torch.manual_seed(2)
    trained = create_student("dpt_micro", heads=10, hooks=(1, 3), max_depth=20.0, scale=0.25, shift=0.06, invert=True)
    save_student(trained, tmp_path)
    student = create_student("dpt_micro", heads=10, hooks=(0, 2), checkpoint=tmp_path / weights, max_depth=15.0)
    assert student.inheritance.notes == (
        "reassemble.0 reads block 0 instead of 1",
        "reassemble.1 reads block 2 instead of 3",
    )
    assert student.inheritance.resplit == ()
    assert (student.config.scale, student.config.shift, student.config.invert) == (0.25, 0.06, True)
    assert (student.min_depth, student.max_depth) == (1e-3, 15.0)


@pytest.mark.parametrize(("heads", "same"), [(5, True), (1, False)])
def test_random_features_come_along_where_they_fit(tmp_path, heads, same):
    parent = create_student("dpt_micro", attention="performer", random_features=8)
    save_student(parent, tmp_path)
    student = create_student("dpt_micro", attention="performer", random_features=8, heads=heads, checkpoint=tmp_path)
    ours, theirs = (model.encoder.vit.blocks[0].attn.projection for model in (student, parent))
    assert torch.equal(ours, theirs) if same else ours.shape == (8, 160)


def test_a_saved_student_is_rebuilt_without_its_parent(pruned, images, tmp_path):
    student = pruned(
        attention="performer", random_features=8, heads=1, hooks=(0, 1), scale=0.2, shift=0.02, invert=True
    )
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    assert loaded.config == student.config
    assert loaded.inheritance is None
    assert torch.equal(loaded(images(64, 64)), student.eval()(images(64, 64)))


# ----------------------------------------------------------------------------------------------------- output, of whom


def test_a_parents_output_keeps_its_meaning_whatever_the_students_limits():
    student = create_student("dpt_micro", hooks=(0, 1), checkpoint="dpt_micro", max_depth=10.0)
    assert (student.config.scale, student.config.shift, student.config.invert) == (0.1, 0.0125, True)
    assert student.max_depth == 10


def test_the_meaning_of_the_output_can_be_set(pruned):
    config = pruned(scale=6.016e-5, shift=0.00579, invert=True).config
    assert (config.scale, config.shift, config.invert) == (6.016e-5, 0.00579, True)
    assert not pruned(invert=False).config.invert


@pytest.mark.parametrize("options", [{}, {"scale": 6.016e-5, "shift": 0.00579}, {"invert": True}])
def test_published_weights_without_the_meaning_of_their_output_are_refused(options):
    with pytest.raises(
        ValueError, match=r"does not say what its raw output means: give scale, shift and invert \(DPT's"
    ):
        create_student("dpt_hybrid", checkpoint={"weight": torch.zeros(1)}, **options)


# ------------------------------------------------------------------------------------------------------------- refusals


def test_weights_of_another_architecture_are_refused(state):
    changed = {key: value[..., :-1] if "qkv" in key else value for key, value in state.items()}
    assert refusal(checkpoint=changed) == (
        "the state dict is no dpt_micro: 12 tensors have another shape, such as encoder.vit.blocks.0.attn.qkv.weight: "
        "expected (480, 160), got (480, 159)"
    )
    assert "holds no transformer block by a known name" in refusal(checkpoint={"conv1.weight": torch.zeros(3)})
    assert "holds no weights" in refusal(checkpoint={})


@pytest.mark.parametrize("value", [torch.tensor(float("nan")), torch.ones(1, 1, 160, dtype=torch.int8)])
def test_weights_that_are_none_are_refused(state, value):
    spoilt = state | {"encoder.vit.cls_token": value.expand(1, 1, 160)}
    message = "NaN or infinity" if value.is_floating_point() else "torch.int8, expected floating-point weights"
    assert f"the state dict: encoder.vit.cls_token holds {message}" in refusal(checkpoint=spoilt)


def test_a_folder_of_another_student_and_a_missing_file_are_refused(make_student, tmp_path):
    save_student(make_student("test_resnet"), tmp_path)
    assert "is a test_resnet, but the student is to be pruned from a dpt_micro" in refusal(checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        create_student("dpt_micro", checkpoint=tmp_path / "absent.pt")


# ------------------------------------------------------------------------------------------------------------- ImageNet


@pytest.mark.parametrize(
    ("name", "stem", "source"),
    [
        ("dpt_hybrid", "resnet50", "vit_base_r50_s16_384"),
        ("dpt_hybrid", "efficientnet_b0", "efficientnet_b0"),
        ("dpt_micro", "efficientnet_b0", "efficientnet_b0"),
    ],
)
def test_imagenet_weights_of_a_stem_are_timms_and_fit_by_name_and_shape(monkeypatch, name, stem, source):
    create, asked = timm.create_model, []

    def offline(architecture, pretrained, **options):
        asked.append((architecture, pretrained))
        return create(architecture, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with torch.device("meta"):  # names and shapes are checked there too, and nothing is allocated
        create_student(name, stem=stem, hooks=(0, 1), pretrained=True)
    assert asked == [(source, True)]


def test_a_segmentation_network_is_no_parent_of_depth(state):
    weights = {**from_ours(state, "original"), "scratch.output_conv.1.weight": torch.ones(64)}
    assert "it is a segmentation network's" in refusal(checkpoint=weights)
