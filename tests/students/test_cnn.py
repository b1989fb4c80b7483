import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models import FeatureInfo
from torch.testing import assert_close

import students.backbone
from students import LGConv, create_student
from students.backbone import Backbone
from students.cnn import CNNStudent
from students.decoders import AdaptiveBins


def test_an_odd_image_is_the_padded_one_cut_back(make_student, images):
    student, image = make_student("test_efficientnet", lg_conv=True), images(33, 63)
    padded = F.pad(image, (0, 1, 0, 31), mode="replicate")
    assert torch.equal(student(image), student(padded)[..., :33, :63])


def test_depth_at_stride_4_is_enlarged_bilinearly(make_student, images):
    student, coarse = make_student("test_resnet"), []
    student.decoder.head.register_forward_hook(lambda _head, _given, out: coarse.append(out))
    depth = student(images(64, 96))
    assert coarse[0].shape == (2, 1, 16, 24)
    assert torch.equal(depth, F.interpolate(coarse[0], scale_factor=4, mode="bilinear", align_corners=False))


def test_depth_stays_within_the_limits_whatever_the_image(make_student, images):
    student = make_student("test_resnet", min_depth=0.5, max_depth=10.0)
    with torch.no_grad():
        student.decoder.head.scores.weight.mul_(100)
        depth = torch.cat([student(images(32, 64).round()), student(torch.zeros(2, 3, 32, 64))])
    assert depth.min() >= 0.5
    assert depth.max() <= 10


def test_an_untrained_student_says_about_the_middle(make_student, images):
    assert make_student("test_resnet", min_depth=0.5, max_depth=9.5)(images(64, 64)).mean().item() == pytest.approx(
        5, abs=2
    )


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet"])
def test_images_are_normalised_as_the_backbone_was_trained(make_student, images, name):
    student, seen = make_student(name), []
    student.encoder.net.register_forward_pre_hook(lambda _net, inputs: seen.append(inputs[0]))
    student(images(32, 32))
    config = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))
    assert_close(seen[0], (images(32, 32) - mean) / std)


def test_normalisation_is_not_among_the_weights(make_student):
    assert not [key for key in make_student("test_resnet").state_dict() if key.endswith((".mean", ".std"))]


def test_maps_in_channels_last_order_are_turned(images, monkeypatch):
    def tiny_swin(name, pretrained):
        options = {"embed_dim": 8, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "strict_img_size": False}
        return timm.create_model("swin_tiny_patch4_window7_224", features_only=True, **options)

    monkeypatch.setattr(students.backbone, "create_timm", tiny_swin)
    torch.manual_seed(0)
    backbone = Backbone("swin", pretrained=False, lg_conv=False).eval()
    image = images(64, 96)
    raw = backbone.net((image - backbone.mean) / backbone.std)
    maps = backbone(image)
    assert [m.shape for m in maps] == [(2, 8, 16, 24), (2, 16, 8, 12), (2, 32, 4, 6), (2, 64, 2, 3)]
    assert torch.equal(maps[1][0, :, 3, 7], raw[1][0, 3, 7])
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


def test_the_last_map_at_each_stride_is_taken(monkeypatch):
    maps = [{"num_chs": i + 1, "reduction": stride} for i, stride in enumerate([2, 4, 4, 8, 16, 16, 32])]

    class Net(torch.nn.Module):
        feature_info = FeatureInfo([one | {"module": ""} for one in maps], tuple(range(7)))

        def forward(self, x):
            height, width = x.shape[2:]
            steps = [one["reduction"] for one in maps]
            return [x.new_full((1, i + 1, height // step, width // step), i) for i, step in enumerate(steps)]

    monkeypatch.setattr(students.backbone, "create_timm", lambda name, pretrained: Net())
    backbone = Backbone("net", pretrained=False, lg_conv=False)
    assert backbone.channels == (3, 4, 6, 7)
    assert [int(m.max()) for m in backbone(torch.zeros(1, 3, 32, 32))] == [2, 3, 5, 6]


def test_lg_conv_lies_in_the_backbone_alone(make_student):
    student = make_student("test_resnet", lg_conv=True)
    assert any(isinstance(m, LGConv) for m in student.encoder.modules())
    assert not any(isinstance(m, LGConv) for m in student.decoder.modules())


# ------------------------------------------------------------------------------------------------------------- refusals


def test_an_unknown_backbone_is_refused_with_the_nearest_names():
    with pytest.raises(
        ValueError, match=r"timm has no model named 'efficientnet_bo'; the nearest are .*efficientnet_b"
    ):
        create_student("efficientnet_bo", pretrained=False)


def test_the_first_letters_of_a_backbone_are_answered_by_the_shortest_names_that_begin_so():
    with pytest.raises(ValueError, match=r"the nearest are .*mobilenetv4_conv_small"):
        create_student("MobileNetV4", pretrained=False)


def test_a_backbone_without_the_four_strides_is_refused():
    with pytest.raises(ValueError, match=r"'test_vit' has maps at strides \[16, 16, 16\], but \[4, 8, 32\] are needed"):
        create_student("test_vit", pretrained=False)


def test_a_backbone_whose_maps_lie_elsewhere_than_its_strides_say_is_refused():
    with pytest.raises(ValueError, match=r"'inception_v3' makes a map of .* at stride 4 .*; choose another backbone"):
        create_student("inception_v3", pretrained=False)


def test_lg_conv_without_a_3x3_convolution_is_refused():
    with pytest.raises(ValueError, match="'test_convnext' has no convolution in its stages that lg_conv would wrap"):
        create_student("test_convnext", lg_conv=True, pretrained=False)


@pytest.mark.parametrize("limits", [(0.0, 80.0), (-1.0, 80.0), (5.0, 5.0), (80.0, 1e-3)])
def test_limits_that_hold_nothing_are_refused(limits):
    with pytest.raises(ValueError, match=r"depth limits must satisfy 0 < min < max, got .* metres"):
        create_student("test_resnet", pretrained=False, min_depth=limits[0], max_depth=limits[1])


def test_an_unknown_option_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"lgconv.*its options are lg_conv, lg_scope, pretrained, checkpoint, min_depth"
    ):
        create_student("test_resnet", lgconv=True)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("no route"), r"ImageNet weights of 'test_resnet' could not be fetched \(OSError\).*pretrained=false"),
        (RuntimeError("No pretrained weights exist"), "timm has no ImageNet weights for 'test_resnet'"),
    ],
)
def test_imagenet_weights_that_cannot_be_had_are_explained(monkeypatch, error, message):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(ValueError, match=message):
        create_student("test_resnet", pretrained=True)


def test_the_recipe_rebuilds_the_student(make_student):
    student = make_student("test_resnet", lg_conv=True, bins=12)
    recipe = student.recipe
    again = CNNStudent(recipe["student"], pretrained=False, **recipe["options"])
    assert [(k, v.shape) for k, v in again.state_dict().items()] == [
        (k, v.shape) for k, v in student.state_dict().items()
    ]


def test_a_backbone_that_takes_one_size_only_is_refused():
    with pytest.raises(ValueError, match="'maxvit_tiny_tf_224' takes images of 224x224 only, students any size"):
        create_student("maxvit_tiny_tf_224", pretrained=False)


# ----------------------------------------------------------------------------------------------------------------- bins


@pytest.fixture
def head():
    torch.manual_seed(0)
    return AdaptiveBins(context=6, features=5, bins=4, min_depth=1.0, max_depth=9.0).double()


def seeded(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def set_last(layer, bias):
    """Let a layer put out `bias` whatever comes in."""
    torch.nn.init.zeros_(layer.weight)
    layer.bias.data = torch.as_tensor(bias, dtype=layer.bias.dtype)


def test_equal_widths_put_the_centres_in_the_middle_of_equal_bins(head):
    set_last(head.widths.fc2, [0.0, 0, 0, 0])
    assert_close(head.centres(seeded(2, 6, 3, 3)), torch.tensor([[2.0, 4, 6, 8]] * 2))


def test_unequal_widths_move_the_centres(head):
    # widths 1/8, 1/8, 1/4, 1/2 of the 8 metres from 1 to 9
    set_last(head.widths.fc2, torch.tensor([1.0, 1, 2, 4]).log())
    assert_close(head.centres(seeded(1, 6, 2, 2)), torch.tensor([[1.5, 2.5, 4, 7]]))


def test_centres_increase_and_lie_within_the_limits(head):
    centres = head.centres(20 * seeded(16, 6, 3, 3))
    assert (centres.diff(dim=1) >= 0).all()
    assert centres.min() >= 1
    assert centres.max() <= 9


def test_centres_depend_on_the_mean_of_the_context_alone(head):
    context = seeded(1, 6, 2, 3)
    shuffled = context.flatten(2)[..., [3, 1, 5, 0, 4, 2]].unflatten(2, (2, 3))
    assert_close(head.centres(shuffled), head.centres(context))
    assert not torch.allclose(head.centres(context + seeded(1, 6, 1, 1)), head.centres(context))


def test_depth_is_the_mean_of_the_centres_under_the_probabilities(head):
    context, features = seeded(2, 6, 3, 3), seeded(2, 5, 4, 6)
    probabilities, centres = head.scores(features).softmax(1), head.centres(context)
    expected = sum(probabilities[:, k] * centres[:, k, None, None] for k in range(4))
    assert_close(head(context, features)[:, 0].double(), expected.double(), rtol=1e-5, atol=0)


def test_autocast_does_not_coarsen_the_depth(head):
    head = head.float()
    context, features = seeded(1, 6, 3, 3).float(), torch.zeros(1, 5, 4, 4)
    set_last(head.scores, [0.1, 0.2, 0.3, 0.4])
    set_last(head.widths.fc2, [0.1, 0.2, 0.3, 0.4])
    with torch.autocast("cpu", torch.bfloat16):
        coarse = head(context, features)
    assert coarse.dtype == torch.float32
    assert_close(coarse, head(context, features), rtol=2e-3, atol=0)
    assert coarse.unique().item() != coarse.unique().bfloat16().item()


# -------------------------------------------------------------------------------------------------------- uncertainty


@pytest.mark.parametrize("decoder", ["paper", "light"])
def test_the_spread_is_that_of_the_bins_probabilities(make_student, decoder):
    head = make_student("test_resnet", decoder=decoder).decoder.head
    context, features = torch.rand(2, head.widths.fc1.in_features, 2, 3), torch.rand(2, 16, 8, 12)
    with torch.no_grad():
        both = head(context, features, spread=True)
        centres = head.centres(context)[:, :, None, None].double()
        shares = head.scores(features).softmax(dim=1).double()
    mean = (shares * centres).sum(dim=1)
    expected = torch.stack([mean, (shares * (centres - mean[:, None]) ** 2).sum(dim=1).sqrt()], dim=1)
    assert_close(both.double(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(both[:, :1], head(context, features))


def test_depth_is_the_same_with_its_uncertainty_and_without(make_student, images):
    student, image = make_student("test_efficientnet"), images(45, 70)
    depth, spread = student.with_uncertainty(image)
    assert torch.equal(depth, student(image))
    assert spread.shape == depth.shape
    assert spread.min() > 0


def test_a_calibrated_students_uncertainty_is_in_its_own_metres(make_student, images):
    student, image = make_student("test_resnet"), images(64, 64)
    plain = student.with_uncertainty(image)
    student.calibrate(2.0, 0.0, cap=80.0)  # halves every depth
    depth, spread = student.with_uncertainty(image)
    assert_close(depth, plain[0] / 2)
    assert_close(spread, plain[1] / 2)
