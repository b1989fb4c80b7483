"""Where each class of `transformers` is cut: pixels -> four maps, and four maps -> its own depth.

Every part is a module of the class itself, so that both halves together compute what the class computes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from teachers.weight_files import Json

Grid = tuple[int, int]  # patches of an image, down and across


class Halves(NamedTuple):
    """A network cut in two: normalised pixels -> four maps, and four maps -> depth (B, h, w) at a size of its own."""

    encoder: nn.Module
    head: nn.Module
    channels: tuple[int, ...]


class TokenEncoder(nn.Module):
    """A transformer backbone and the stage that makes maps of its tokens (none where the backbone gives maps)."""

    def __init__(self, backbone: nn.Module, reassemble: nn.Module | None, patch: int) -> None:
        super().__init__()
        self.backbone, self.reassemble, self.patch = backbone, reassemble, patch

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B, 3, H, W) -> four maps."""
        taps = self.backbone(pixels).feature_maps
        return list(taps if self.reassemble is None else self.reassemble(taps, *grid_of(pixels, self.patch)))


class OwnViTEncoder(nn.Module):
    """DPT's own ViT, with or without a convolutional stem, and the stage that makes maps of its tokens.

    Args:
        blocks: Places of the tapped blocks; with a stem, its two maps come before them.
    """

    def __init__(self, vit: nn.Module, reassemble: nn.Module, patch: int, blocks: tuple[int, ...], stem: bool) -> None:
        super().__init__()
        self.vit, self.reassemble = vit, reassemble
        self.patch, self.blocks, self.stem = patch, blocks, stem

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B, 3, H, W) -> four maps."""
        out = self.vit(pixels, output_hidden_states=True, return_dict=True)
        taps = [out.hidden_states[1:][block] for block in self.blocks]
        first = list(out.intermediate_activations) if self.stem else []
        return list(self.reassemble(first + taps, *grid_of(pixels, self.patch)))


class PyramidEncoder(nn.Module):
    """GLPN's SegFormer, whose four stages are maps already."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Pixels (B, 3, H, W) -> four maps."""
        return list(self.backbone(pixels, output_hidden_states=True, return_dict=True).hidden_states)


class NeckHead(nn.Module):
    """A neck's convolutions and fusion, and the head behind them: a function of what is fused and what was convolved.

    Args:
        parts: The modules of which `head` is made.
    """

    def __init__(self, neck: nn.Module, parts: nn.Module, head: Callable[[list[Tensor], list[Tensor]], Tensor]) -> None:
        super().__init__()
        self.convs, self.fusion = neck.get_submodule("convs"), neck.get_submodule("fusion_stage")
        self.parts, self.head = parts, head

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps -> depth (B, h, w)."""
        assert isinstance(self.convs, nn.ModuleList)
        convolved = [conv(x) for conv, x in zip(self.convs, maps, strict=True)]
        return self.head(list(self.fusion(convolved)), convolved)


class PyramidHead(nn.Module):
    """GLPN's decoder and head."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.fuse, self.last = network.get_submodule("decoder"), network.get_submodule("head")

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps -> depth (B, h, w)."""
        depth: Tensor = self.last(self.fuse(maps))
        return depth


def grid_of(pixels: Tensor, patch: int) -> Grid:
    """Patches of a batch, down and across."""
    return pixels.shape[-2] // patch, pixels.shape[-1] // patch


def split_depth_anything(network: nn.Module, facts: Json) -> Halves:
    """Depth Anything, whose head also asks for the grid of patches: the fine maps tell it."""
    patch, factor = patch_of(facts), float(facts["reassemble_factors"][0])
    neck, last = network.get_submodule("neck"), network.get_submodule("head")

    def head(fused: list[Tensor], convolved: list[Tensor]) -> Tensor:
        height, width = convolved[0].shape[-2:]
        return last(fused, round(height / factor), round(width / factor))

    encoder = TokenEncoder(network.get_submodule("backbone"), neck.get_submodule("reassemble_stage"), patch)
    return Halves(encoder, NeckHead(neck, last, head), tuple(facts["neck_hidden_sizes"]))


def split_dpt(network: nn.Module, facts: Json) -> Halves:
    """DPT with a ViT of its own, with a stem before that, or with another library class as backbone."""
    neck, last = network.get_submodule("neck"), network.get_submodule("head")
    channels = tuple(facts["neck_hidden_sizes"])
    if facts.get("is_hybrid") or not facts.get("backbone_config"):
        stem = bool(facts.get("is_hybrid"))
        blocks = tuple(facts["backbone_out_indices"][2 if stem else 0 :])
        reassemble = neck.get_submodule("reassemble_stage")
        encoder: nn.Module = OwnViTEncoder(network.get_submodule("dpt"), reassemble, facts["patch_size"], blocks, stem)
    else:
        stage = None if facts["backbone_config"]["model_type"] == "swinv2" else neck.get_submodule("reassemble_stage")
        encoder = TokenEncoder(network.get_submodule("backbone"), stage, patch_of(facts))
    return Halves(encoder, NeckHead(neck, last, lambda fused, _: last(fused)), channels)


def split_zoedepth(network: nn.Module, facts: Json) -> Halves:
    """ZoeDepth: a relative head, and bins of metres on what it saw."""
    neck, relative = network.get_submodule("neck"), network.get_submodule("relative_head")
    metric, several = network.get_submodule("metric_head"), len(facts["bin_configurations"]) > 1

    def head(fused: list[Tensor], convolved: list[Tensor]) -> Tensor:
        depth, seen = relative(fused)
        batch = (seen, convolved[-1], *fused, depth)
        # Of several heads the class picks one for a whole batch; an image's depth must not hang on its neighbours.
        parts = zip(*(x.split(1) for x in batch), strict=True) if several else [batch]
        return torch.cat([metric(part[0], part[1], list(part[2:-1]), part[-1])[0] for part in parts]).squeeze(1)

    stage = None if facts["backbone_config"]["model_type"] == "swinv2" else neck.get_submodule("reassemble_stage")
    encoder = TokenEncoder(network.get_submodule("backbone"), stage, patch_of(facts))
    return Halves(encoder, NeckHead(neck, nn.ModuleList([relative, metric]), head), tuple(facts["neck_hidden_sizes"]))


def split_glpn(network: nn.Module, facts: Json) -> Halves:
    """GLPN: a SegFormer, and a decoder of its four stages."""
    return Halves(PyramidEncoder(network.get_submodule("glpn")), PyramidHead(network), tuple(facts["hidden_sizes"]))


def split_tips(network: nn.Module, facts: Json) -> Halves:
    """TIPSv2's DPT: linear bins between its limits."""
    neck, last = network.get_submodule("neck"), network.get_submodule("decoder")
    bins = network.get_submodule("bin_regressor")
    encoder = TokenEncoder(network.get_submodule("backbone"), neck.get_submodule("reassemble_stage"), patch_of(facts))
    head = NeckHead(neck, nn.ModuleList([last, bins]), lambda fused, _: bins(last(fused[-1])))
    return Halves(encoder, head, tuple(facts["neck_hidden_sizes"]))


def patch_of(facts: Json) -> int:
    """Side of a patch in pixels; of a backbone that gives maps it is not asked for."""
    side = (facts.get("backbone_config") or facts).get("patch_size") or facts["patch_size"]
    return int(side if isinstance(side, int) else side[0])


SPLITS: dict[str, Callable[[nn.Module, Json], Halves]] = {
    "depth_anything": split_depth_anything,
    "dpt": split_dpt,
    "glpn": split_glpn,
    "tipsv2_dpt": split_tips,
    "zoedepth": split_zoedepth,
}
