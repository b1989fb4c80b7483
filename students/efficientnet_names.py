"""How EfficientNet-PyTorch names the tensors of an EfficientNet, the lite ones included, and what timm calls them.

Files of these names hold TensorFlow's weights: for its padding and its epsilon of BatchNorm, as timm's `tf_` networks
have them.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

MARK = "_blocks.0._depthwise_conv.weight"
EPSILON = 1e-3
HEAD = {"_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}  # behind the last map
STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
SQUEEZE = {"_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand"}
WIDENING = {  # a block that widens its input first
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
    **SQUEEZE,
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2", **SQUEEZE}


def to_timm(state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights of these names by timm's, for a network whose blocks stand in one order with theirs.

    A file of another naming is given back as it is, and so is a tensor that no such network has.

    Args:
        net: timm's network, whole or as an extractor of maps, whose blocks are counted.

    Raises:
        ValueError: If the network is no EfficientNet of TensorFlow's.
    """
    if MARK not in state:
        return dict(state)
    epsilons = {part.eps for part in net.modules() if isinstance(part, nn.BatchNorm2d)}
    if epsilons - {EPSILON}:
        raise ValueError("its weights are TensorFlow's; give the backbone of timm whose name begins with tf_")
    places = [name for name, part in net.named_modules() if name.startswith("blocks.") and hasattr(part, "conv_dw")]
    names = {**STEM, **HEAD}
    for i, place in enumerate(places):
        parts = WIDENING if f"_blocks.{i}._expand_conv.weight" in state else PLAIN
        names |= {f"_blocks.{i}.{theirs}": f"{place}.{ours}" for theirs, ours in parts.items()}
    return {rename(key, names): value for key, value in state.items()}


def rename(key: str, names: Mapping[str, str]) -> str:
    """The name of a tensor whose layer has another."""
    layer, _, tensor = key.rpartition(".")
    return f"{names.get(layer, layer)}.{tensor}"
