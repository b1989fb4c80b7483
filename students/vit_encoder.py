"""A plain timm ViT as the encoder of a DPT: its sizes, its weights, and the image normalisation it was trained with."""

from __future__ import annotations

from dataclasses import replace

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from students.backbone import check_name, fetch
from teachers import DPT, load_encoder
from teachers.dpt import DPTConfig
from teachers.key_maps import to_ours

PATCH = 16
MEAN = STD = 0.5  # a DPT's own normalisation
ADVICE = "choose a plain ViT of timm with patches of 16, such as vit_base_patch16_384 or deit_small_patch16_224"


def as_encoder(config: DPTConfig, name: str) -> DPTConfig:
    """A DPT's configuration with the sizes of a timm ViT; its blocks are tapped at the end of each quarter.

    Raises:
        ValueError: If timm has no such network, or a DPT no place for it.
    """
    if config.stem is not None:
        raise ValueError(f"encoder={name!r} needs a DPT that works on the image itself, such as dpt_base")
    check_name(name)
    with torch.device("meta"):
        vit = fetch(name, pretrained=False, num_classes=0)
    reason = unlike_ours(vit)
    if reason is not None or not isinstance(vit, VisionTransformer):
        raise ValueError(f"{name} cannot be a DPT's encoder: {reason}; {ADVICE}")
    depth = len(vit.blocks)
    hooks = tuple(depth * quarter // 4 - 1 for quarter in (1, 2, 3, 4))
    heads, grid = vars(vit.get_submodule("blocks.0.attn"))["num_heads"], vit.patch_embed.grid_size[0]
    return replace(config, width=vit.embed_dim, heads=heads, grid=grid, hooks=hooks)


def unlike_ours(vit: nn.Module) -> str | None:
    """Why a DPT could not compute what a timm network computes; None where it can."""
    if not isinstance(vit, VisionTransformer):
        return f"it is a {type(vit).__name__}"
    if vit.patch_embed.patch_size != (PATCH, PATCH):
        return "its patches are {} x {} pixels".format(*vit.patch_embed.patch_size)
    state = vit.state_dict()
    if unknown := to_ours(state).unknown:
        return f"a DPT has no {unknown[0]}"
    usual = {"cls_token", "blocks.0.attn.qkv.bias"} <= state.keys()
    if not usual or len(state["blocks.0.mlp.fc1.weight"]) != 4 * vit.embed_dim:
        return "it lacks the class token, the biases or the width of the usual MLP"
    block = vars(vit.blocks[0])["_modules"]
    if type(block["mlp"].act) is not nn.GELU or block["mlp"].act.approximate != "none" or block["norm1"].eps > 1e-6:
        return f"its activation or epsilon is another ({block['mlp'].act}, {block['norm1'].eps})"
    return None


def load_imagenet_encoder(model: DPT, name: str) -> None:
    """Give a DPT the encoder of a timm ViT with its ImageNet weights."""
    load_encoder(model, fetch(name, pretrained=True, num_classes=0).state_dict())
    adopt_normalisation(model, name)


@torch.no_grad()
def adopt_normalisation(model: DPT, name: str) -> None:
    """Let patches see the image as a timm ViT normalises it, though the DPT normalises it in its own way.

    Both are affine in each colour, so that the patch projection takes the difference up:
    (p - m) / s = a x + b with x = (p - MEAN) / STD, a = STD / s, b = (MEAN - m) / s.
    """
    config = vars(fetch(name, pretrained=False, num_classes=0))["pretrained_cfg"]
    mean, std = (torch.tensor(config[key]) for key in ("mean", "std"))
    patch = model.encoder.vit.patch
    assert patch.bias is not None
    patch.bias += (patch.weight.sum(dim=(2, 3)) * ((MEAN - mean) / std)).sum(dim=1)
    patch.weight *= (STD / std)[:, None, None]
