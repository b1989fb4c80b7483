"""Tiny random networks of every depth class of `transformers`, saved as real folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers

VIT = {"hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2}
TAPS = {"out_features": ["stage1", "stage2", "stage3", "stage4"], "reshape_hidden_states": False}
NECK = {"neck_hidden_sizes": [4, 6, 8, 10], "fusion_hidden_size": 8}


def dinov2(**changes: Any) -> Any:
    """A backbone with patches of 14."""
    return transformers.Dinov2Config(**VIT, **TAPS, patch_size=14, image_size=56, **changes)


def beit() -> Any:
    """A backbone with patches of 16 and relative positions."""
    return transformers.BeitConfig(
        **VIT, **TAPS, intermediate_size=16, patch_size=16, image_size=64, use_relative_position_bias=True
    )


def depth_anything(kind: str) -> Any:
    """Depth Anything, relative or metric."""
    sizes = {"reassemble_hidden_size": 8, "head_hidden_size": 6}
    return transformers.DepthAnythingConfig(
        backbone_config=dinov2(apply_layernorm=True), **NECK, **sizes, depth_estimation_type=kind, max_depth=20
    )


def plain_dpt() -> Any:
    """DPT with a ViT of its own."""
    return transformers.DPTConfig(
        **VIT, **NECK, intermediate_size=16, image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3]
    )


def hybrid_dpt() -> Any:
    """DPT with a convolutional stem, which takes one size only."""
    stem = transformers.BitConfig(
        layer_type="bottleneck",
        global_padding="same",
        embedding_dynamic_padding=True,
        depths=[1, 1, 1],
        hidden_sizes=[32, 32, 32],
        embedding_size=32,
        num_groups=4,
        out_features=["stage1", "stage2", "stage3"],
    )
    neck = NECK | {"neck_hidden_sizes": [32, 32, 8, 10], "reassemble_factors": [1, 1, 1, 0.5]}
    return transformers.DPTConfig(
        **VIT,
        **neck,
        is_hybrid=True,
        backbone_config=stem,
        intermediate_size=16,
        image_size=64,
        patch_size=16,
        backbone_featmap_shape=[1, 32, 4, 4],
        backbone_out_indices=[0, 1, 2, 3],
        neck_ignore_stages=[0, 1],
    )


def swin_dpt() -> Any:
    """DPT with a backbone that gives maps by itself."""
    swin = transformers.Swinv2Config(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4, image_size=64, patch_size=4, **TAPS
    )
    return transformers.DPTConfig(
        backbone_config=swin, neck_hidden_sizes=[8, 16, 32, 64], fusion_hidden_size=8, reassemble_factors=[1, 1, 1, 1]
    )


def zoedepth(heads: int) -> Any:
    """ZoeDepth with one metric head, or with two of which an image picks one."""
    bins = [{"n_bins": 8, "min_depth": 1e-3, "max_depth": 10.0, "name": f"head{i}"} for i in range(heads)]
    return transformers.ZoeDepthConfig(
        backbone_config=beit(), **NECK, bin_configurations=bins, bin_embedding_dim=8, bottleneck_features=8,
        num_relative_features=4, num_attractors=[4, 2, 2, 1], patch_transformer_hidden_size=128,
        num_patch_transformer_layers=4,
        patch_transformer_intermediate_size=128, patch_transformer_num_attention_heads=2
    )  # fmt: skip


def glpn() -> Any:
    """GLPN."""
    return transformers.GLPNConfig(
        hidden_sizes=[4, 8, 12, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 1, 1], decoder_hidden_size=8
    )


def tips() -> Any:
    """TIPSv2's DPT."""
    vision = transformers.Tipsv2VisionConfig(
        **VIT, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, image_size=56, patch_size=14
    )
    return transformers.Tipsv2DptConfig(backbone_config=vision, **NECK, num_depth_bins=16)


CONFIGS: dict[str, Callable[[], Any]] = {
    "depth_anything": lambda: depth_anything("relative"),
    "depth_anything_metric": lambda: depth_anything("metric"),
    "dpt": plain_dpt,
    "dpt_beit": lambda: transformers.DPTConfig(backbone_config=beit(), **NECK),
    "dpt_dinov2": lambda: transformers.DPTConfig(backbone_config=dinov2(), **NECK),
    "dpt_hybrid": hybrid_dpt,
    "dpt_swin": swin_dpt,
    "glpn": glpn,
    "tipsv2_dpt": tips,
    "zoedepth": lambda: zoedepth(1),
    "zoedepth_two_heads": lambda: zoedepth(2),
}
if not hasattr(transformers, "Tipsv2DptConfig"):  # of older versions
    del CONFIGS["tipsv2_dpt"]
PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "depth_anything": (
        "DPT",
        {"size": {"height": 70, "width": 70}, "keep_aspect_ratio": True, "ensure_multiple_of": 14},
    ),
    "dpt": ("DPT", {"size": {"height": 64, "width": 64}}),
    "zoedepth": ("ZoeDepth", {"size": {"height": 64, "width": 96}, "ensure_multiple_of": 32}),
    "glpn": ("GLPN", {"size_divisor": 32}),
    "tipsv2_dpt": ("Tipsv2Dpt", {"size": {"height": 70, "width": 70}}),
}


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Weights under which an image matters: random ones of the classes are so small that all depth is alike."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.named_parameters():
            if value.ndim > 1:
                value.normal_(std=0.15, generator=generator)
            elif name.endswith("bias"):
                value.normal_(mean=0.1, std=0.1, generator=generator)
    return network.eval()


def save(folder: Path, name: str) -> torch.nn.Module:
    """A network of `CONFIGS` in a folder, with the processor of its class."""
    config = CONFIGS[name]()
    network = lively(transformers.AutoModelForDepthEstimation.from_config(config))
    network.save_pretrained(folder)
    name, options = PROCESSORS[config.model_type]
    getattr(transformers, f"{name}ImageProcessor")(**options).save_pretrained(folder)
    return network


def save_depth_pro(folder: Path) -> torch.nn.Module:
    """A Depth Pro of random weights, with its processor."""
    vit = {"model_type": "dinov2", **VIT, "num_hidden_layers": 2, "patch_size": 4, "image_size": 32, "mlp_ratio": 2}
    config = transformers.DepthProConfig(
        fusion_hidden_size=8, patch_size=32, intermediate_hook_ids=[1, 0], intermediate_feature_dims=[8, 8],
        scaled_images_feature_dims=[8, 8, 8], merge_padding_value=1, use_fov_model=True,
        image_model_config=vit, patch_model_config=vit, fov_model_config=vit
    )  # fmt: skip
    network = transformers.DepthProForDepthEstimation(config).eval()
    network.save_pretrained(folder)
    transformers.DepthProImageProcessor(size={"height": 128, "width": 128}).save_pretrained(folder)
    return network  # type: ignore[no-any-return]
