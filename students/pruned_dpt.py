"""A DPT as a student: fewer blocks, other heads, a smaller internal image (the acceleration thesis' family)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from teachers import DPT, DPT_CONFIGS
from teachers.dpt import init_output

START_SHARE = 0.2  # a DPT without weights starts from a constant depth, this share of its largest


class DPTStudent(DPT):
    """A trainable DPT, named by its parent, that `save_student` can write and `load_student` can rebuild.

    Args:
        name: The parent, one of `teachers.list_teachers()`.
        heads: Attention heads; the width must be divisible by them. None keeps the parent's.
        hooks: Tapped blocks, counted from 0; no block after the last one exists. None keeps the parent's.
        attention: "standard".
        stem: "resnet50", the parent's own.
        resolution_scale: The encoder works on an image of this share of both sides.
        pretrained: Must be False: an encoder's ImageNet weights cannot be had by name.
        min_depth, max_depth: Limits in metres that the output is clamped to. Without weights the raw output is
            the inverse depth above that of `max_depth`.

    Raises:
        ValueError: If the name or an option does not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        heads: int | None = None,
        hooks: tuple[int, ...] | None = None,
        attention: str = "standard",
        stem: str = "resnet50",
        resolution_scale: float = 1.0,
        pretrained: bool = False,
        min_depth: float = 1e-3,
        max_depth: float = 80.0,
    ) -> None:
        if pretrained:
            raise ValueError(f"there are no ImageNet weights for {name} by name; use pretrained=false")
        if (attention, stem) != ("standard", "resnet50"):
            raise ValueError(f"attention={attention!r}, stem={stem!r}: only 'standard' and 'resnet50' are known")
        parent = DPT_CONFIGS[name]
        config = replace(
            parent,
            heads=heads or parent.heads,
            hooks=tuple(hooks or parent.hooks),
            resolution_scale=resolution_scale,
            min_depth=min_depth,
            max_depth=max_depth,
            invert=True,
            scale=8.0 / max_depth,
            shift=1.0 / max_depth,
        )
        super().__init__(config)
        init_output(self, START_SHARE * max_depth)
        options: dict[str, Any] = {"heads": config.heads, "hooks": list(config.hooks)}
        options |= {"resolution_scale": resolution_scale, "min_depth": min_depth, "max_depth": max_depth}
        self.recipe: dict[str, Any] = {"student": name, "options": options}
