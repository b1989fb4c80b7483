from dataclasses import replace

import pytest
import timm
import torch
from torch.testing import assert_close

from students import create_student, load_student, save_student, vit_encoder
from teachers import DPT_CONFIGS

TINY = "vit_tiny_patch16_224"
DEIT = "deit_tiny_distilled_patch16_224"


@pytest.fixture(autouse=True)
def narrow_decoder(monkeypatch):
    """A dpt_base whose decoder is narrow."""
    small = replace(DPT_CONFIGS["dpt_base"], channels=(8, 12, 16, 20), features=16, head_hidden=8)
    monkeypatch.setitem(DPT_CONFIGS, "dpt_base", small)


def timm_vit(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0).eval()


@pytest.fixture
def online(monkeypatch):
    """Stands in for the download: "pretrained" weights are those of a fixed seed."""
    fetch = vit_encoder.fetch
    monkeypatch.setattr(
        vit_encoder,
        "fetch",
        lambda name, pretrained, **options: timm_vit(name) if pretrained else fetch(name, pretrained, **options),
    )


@pytest.fixture
def vit_file(tmp_path):
    torch.save({"model": timm_vit(DEIT).state_dict()}, tmp_path / "deit.pth")
    return tmp_path / "deit.pth"


def tapped(student, image):
    """Raw tokens of the four tapped blocks, class token first."""
    vit = student.encoder.vit
    return vit((image - 0.5) / 0.5)[0]


@torch.no_grad()
def assert_computes_what_timm_computes(student, name):
    image = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    vit = timm_vit(name)
    mean, std = (torch.tensor(vit.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    wanted = []
    for block in vit.blocks:
        block.register_forward_hook(lambda block, inputs, out: wanted.append(out))
    tokens = torch.cat([vit.cls_token, vit.patch_embed((image - mean) / std)], dim=1)
    position = vit.pos_embed
    if position.shape[1] > tokens.shape[1]:  # one position more, of DeiT's second token
        position = torch.cat([position[:, :1], position[:, 2:]], dim=1)
    vit.blocks(tokens + position)
    for got, hook in zip(tapped(student, image), (2, 5, 8, 11), strict=True):
        assert_close(got, wanted[hook], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [TINY, DEIT])
def test_the_encoder_computes_what_timm_computes(online, name):
    student = create_student("dpt_base", encoder=name, pretrained=True).eval()
    assert student.config.width == 192
    assert student.config.heads == 3
    assert_computes_what_timm_computes(student, name)


def test_a_file_gives_the_encoder_its_weights(vit_file):
    student = create_student("dpt_base", encoder=DEIT, checkpoint=vit_file).eval()
    assert_computes_what_timm_computes(student, DEIT)
    assert {key.split(".")[0] for key in student.inheritance.new} == {"encoder", "decoder"}
    assert not any(".vit." in key for key in student.inheritance.new)


def test_positions_are_stretched_to_the_grid(tmp_path, monkeypatch):
    monkeypatch.setitem(DPT_CONFIGS, "dpt_base", replace(DPT_CONFIGS["dpt_base"], width=192, heads=3))
    torch.save(timm_vit(TINY).state_dict(), tmp_path / "vit.pth")
    student = create_student("dpt_base", checkpoint=tmp_path / "vit.pth")  # made for 384 pixels
    assert student.config.grid == 24
    assert "resized: position embedding from 14x14 to 24x24" in str(student.inheritance)


def test_it_starts_like_any_dpt_without_weights(vit_file):
    student = create_student("dpt_base", encoder=DEIT, checkpoint=vit_file, max_depth=10.0).eval()
    depth = student(torch.rand(1, 3, 40, 70))
    assert depth.shape == (1, 1, 40, 70)
    assert 0.5 < depth.median() < 5


def test_it_is_saved_and_loaded_without_its_file(vit_file, tmp_path):
    student = create_student("dpt_base", encoder=DEIT, checkpoint=vit_file, hooks=(0, 1, 2, 3)).eval()
    save_student(student, tmp_path / "saved")
    vit_file.unlink()
    image = torch.rand(1, 3, 32, 64)
    assert torch.equal(load_student(tmp_path / "saved")(image), student(image))


@pytest.mark.parametrize(
    ("parent", "encoder", "message"),
    [
        ("dpt_hybrid", TINY, "needs a DPT that works on the image itself, such as dpt_base"),
        ("dpt_base", "swin_tiny_patch4_window7_224", "it is a SwinTransformer; choose a plain ViT"),
        ("dpt_base", "vit_tiny_patch32_224", "timm has no model named"),
        ("dpt_base", "vit_small_patch32_224", "its patches are 32 x 32 pixels; choose"),
        ("dpt_base", "deit3_small_patch16_224", r"a DPT has no blocks\.0\.ls1\.gamma; choose"),
        ("dpt_base", "vit_base_patch16_gap_224", "it lacks the class token"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused(parent, encoder, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        create_student(parent, encoder=encoder)


def test_hooks_must_lie_within_the_encoder():
    with pytest.raises(ValueError, match=f"{TINY} has blocks 0 to 11 only"):
        create_student("dpt_base", encoder=TINY, hooks=(2, 5, 8, 12))


def test_an_encoder_alone_has_no_random_features(vit_file):
    with pytest.raises(ValueError, match="an encoder alone needs attention='standard'"):
        create_student("dpt_base", encoder=DEIT, checkpoint=vit_file, attention="performer")
