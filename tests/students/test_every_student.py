"""What holds for every student. A new kind is tested by being listed here."""

import copy

import pytest
import torch

from students import create_student, load_student, save_student

LIMITS = {"min_depth": 0.5, "max_depth": 10.0, "pretrained": False}
PERFORMER = {"attention": "performer", "random_features": 32}
STUDENTS = {
    "resnet": ("test_resnet", {"bins": 8}),
    "efficientnet_lg": ("test_efficientnet", {"lg_conv": True, "bins": 8}),
    "mobilenet_lg": ("mobilenetv3_small_050", {"lg_conv": True, "bins": 8}),
    "light": ("test_efficientnet", {"decoder": "light", "bins": 8}),
    "light_mobilenet": ("mobilenetv4_conv_small_035", {"decoder": "light", "width": 8, "bins": 8}),
    "convnext": ("test_convnext", {"bins": 8}),
    "dpt": ("dpt_micro", {"heads": 1, "hooks": (0, 1)}),
    "dpt_performer": ("dpt_micro", {**PERFORMER, "hooks": (0, 1), "resolution_scale": 0.5}),
    "dpt_efficientnet": ("dpt_micro", {"hooks": (0, 1), "stem": "efficientnet_b0"}),
    "dpt_reduced": ("dpt_micro", {"heads": 10, "hooks": (0, 1), "resolution_scale": 0.5}),
}
# Nothing here looks at the mode, and the others are the decoders, attention and resizing of these around other layers
COMPILED = ("efficientnet_lg", "dpt_performer")


@pytest.fixture(scope="module", params=STUDENTS)
def student(request):
    name, options = STUDENTS[request.param]
    torch.manual_seed(0)
    return create_student(name, **LIMITS, **options).eval()


@torch.no_grad()
def test_any_size_from_32_up_gives_depth_of_that_size_within_the_limits(student, images):
    for size in [(32, 32), (43, 71), (64, 32)]:
        depth = student(images(*size))
        assert depth.shape == (2, 1, *size)
        assert depth.min() >= 0.5
        assert depth.max() <= 10


@torch.no_grad()
def test_forward_is_decode_of_encode(student, images):
    image = images(43, 71)
    features = student.encode(image)
    assert [f.shape[1] for f in features] == list(student.feature_channels)
    assert torch.equal(student(image), student.decode(features, (43, 71)))


@torch.no_grad()
def test_an_image_does_not_depend_on_its_neighbour_in_the_batch(student, images):
    image = images(32, 64)
    torch.testing.assert_close(student(image)[:1], student(image[:1]), rtol=1e-4, atol=1e-4)


def test_every_weight_is_reached_by_the_gradient_of_the_depth(student, images):
    student.train()
    student(images(32, 64)).log().square().mean().backward()
    unreached = [name for name, p in student.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    student.zero_grad(set_to_none=True)
    student.eval()
    assert unreached == []


@torch.no_grad()
def test_half_precision_autocast_gives_finite_depth_in_float32(student, images):
    image = images(32, 64)[:1]
    expected = student(image)
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cpu", dtype):
            depth = student(image)
        assert depth.dtype == torch.float32
        torch.testing.assert_close(depth, expected, rtol=0.1, atol=0)


@torch.no_grad()
def test_a_student_of_another_precision_takes_any_image_and_says_the_same(student, images):
    image = images(32, 64)[:1]
    expected = student(image)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        other = copy.deepcopy(student).to(dtype)
        for one in (image, image.to(dtype)):
            torch.testing.assert_close(other(one).float(), expected, rtol=0.1, atol=0)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), r"floats in \[0, 1\], got torch.uint8"),
        (torch.full((1, 3, 64, 64), 255.0), r"\[0, 1\], got 255 to 255; divide bytes by 255"),
        (torch.full((1, 3, 64, 64), -2.1), r"\[0, 1\], got -2.1"),
        (torch.full((1, 3, 64, 64), torch.nan), r"\[0, 1\], got nan"),
    ],
)
def test_what_is_no_image_in_0_to_1_is_refused(student, image, message):
    with pytest.raises(ValueError, match=message):
        student(image)


@pytest.mark.parametrize("student", COMPILED, indirect=True)
def test_a_student_compiles_into_one_graph(student, images):
    torch.compiler.reset()
    image, before = images(32, 64), copy.deepcopy(student.state_dict())
    compiled = torch.compile(student.train(), backend="eager", fullgraph=True)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(image), student(image))
    student.eval().load_state_dict(before)


@pytest.mark.parametrize("student", ["light"], indirect=True)
def test_a_light_decoder_compiles_into_one_graph(student, images):
    torch.compiler.reset()
    with torch.no_grad():
        maps = student.encode(images(32, 64))
        compiled = torch.compile(student.decode, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(maps, (32, 64)), student.decode(maps, (32, 64)))


def test_in_channels_last_order_no_map_leaves_it(student, images):
    student.to(memory_format=torch.channels_last)
    maps = student.encode(images(32, 64).contiguous(memory_format=torch.channels_last))
    student.to(memory_format=torch.contiguous_format)
    assert all(m.is_contiguous(memory_format=torch.channels_last) for m in maps)


def test_a_saved_student_gives_the_same_depth_to_the_last_bit(student, images, tmp_path):
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    assert not loaded.training
    assert (loaded.min_depth, loaded.max_depth) == (0.5, 10)
    assert torch.equal(loaded(images(43, 71)), student(images(43, 71)))
