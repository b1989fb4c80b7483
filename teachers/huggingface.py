"""What Hugging Face keeps in `config.json` beside the weights of a DPT, and what of it ours must agree with."""

from __future__ import annotations

from pathlib import Path
from reprlib import repr

from teachers.dpt import DPTConfig
from teachers.vit import READOUTS
from teachers.weight_files import Json, read_json

HEAD_HIDDEN = 32  # fixed in DPTForDepthEstimation
LAYER_NORM_EPS = 1e-6  # ours and the published networks'; DPTConfig's default is 1e-12
BIT = {  # the stem, as transformers calls it
    "model_type": "bit",
    "layer_type": "bottleneck",
    "global_padding": "same",
    "embedding_dynamic_padding": True,
    "hidden_act": "relu",
}


def read_config(checkpoint: str | Path) -> Json:
    """The `config.json` that lies with a DPT's weights; empty where there is none of Hugging Face's."""
    checkpoint = Path(checkpoint)
    path = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / "config.json"
    try:
        facts = read_json(path)
    except (OSError, ValueError):
        return {}
    kind = facts.get("model_type")
    if kind not in (None, "dpt"):
        raise ValueError(f"{path} describes a model of type {kind!r}, expected 'dpt'; give the files of a DPT")
    return facts if kind else {}


def contradiction(facts: Json, config: DPTConfig, *, whole: bool = True) -> str | None:
    """What a `config.json` says otherwise of what weights cannot tell: of the encoder, where `whole` of all of it."""
    if not facts:
        return None
    eps, hooks = facts.get("layer_norm_eps", LAYER_NORM_EPS), facts.get("backbone_out_indices") or [2, 5, 8, 11]
    alike = isinstance(eps, int | float) and 0 <= eps <= LAYER_NORM_EPS  # 1e-12 gives the same to float32's precision
    pairs = {
        "heads": (facts.get("num_attention_heads") or 12, config.heads),
        "hidden_act": (facts.get("hidden_act", "gelu"), "gelu"),
        "layer_norm_eps": (eps, eps if alike else LAYER_NORM_EPS),
    }
    if config.stem is not None and isinstance(stem := facts.get("backbone_config") or {}, dict):
        theirs = {key: str(stem.get(key, value)).lower() for key, value in BIT.items()}  # transformers writes "SAME"
        pairs |= {f"backbone_config.{key}": (theirs[key], str(value).lower()) for key, value in BIT.items()}
    if whole:
        pairs |= {
            "hooks": (tuple(hooks[-len(config.hooks) :]) if isinstance(hooks, list) else hooks, tuple(config.hooks)),
            "readout": (facts.get("readout_type") or "project", config.readout),
            "head_in_index": (facts.get("head_in_index", -1), -1),
        }
    differences = [f"its config.json says {key}={repr(a)}, not {b!r}" for key, (a, b) in pairs.items() if a != b]
    return differences[0] if differences else None


def describe(config: DPTConfig) -> Json:
    """The `config.json` of DPTForDepthEstimation for a DPT of ours.

    Raises:
        ValueError: If transformers has no such network.
    """
    if reason := impossible(config):
        raise ValueError(f"Hugging Face's DPT cannot hold this network: {reason}")
    described: Json = {
        "architectures": ["DPTForDepthEstimation"],
        "model_type": "dpt",
        "hidden_size": config.width,
        "intermediate_size": 4 * config.width,
        "num_hidden_layers": config.hooks[-1] + 1,
        "num_attention_heads": config.heads,
        "layer_norm_eps": LAYER_NORM_EPS,
        "image_size": 16 * config.grid,
        "patch_size": 16,
        "qkv_bias": True,
        "is_hybrid": config.stem is not None,
        "backbone_out_indices": list(config.hooks),
        "readout_type": config.readout,
        "reassemble_factors": [4, 2, 1, 0.5],
        "neck_hidden_sizes": list(config.channels),
        "fusion_hidden_size": config.features,
        "use_batch_norm_in_fusion_residual": False,
    }
    if config.stem is None:
        return described
    stem = config.stem
    return described | {
        "backbone_out_indices": [0, 1, *config.hooks],  # the first two count places, not blocks
        "reassemble_factors": [1, 1, 1, 0.5],
        "neck_ignore_stages": [0, 1],
        "backbone_featmap_shape": [1, stem.channels[-1], config.grid, config.grid],
        "backbone_config": {
            **BIT,
            "depths": list(stem.layers),
            "hidden_sizes": list(stem.channels),
            "embedding_size": stem.width,
            "num_groups": stem.groups,
            "out_features": ["stage1", "stage2", "stage3"],
        },
    }


def impossible(config: DPTConfig) -> str | None:
    """Why transformers has no network of this shape; None where it has."""
    if config.readout not in READOUTS:
        return f"its read-out is {config.readout}, and weights do not tell which"
    if config.classes:
        return "it gives logits of classes, and only networks of depth are written"
    if config.head_hidden != HEAD_HIDDEN:
        return f"its head has {HEAD_HIDDEN} hidden channels, this one {config.head_hidden}"
    if not config.non_negative:
        return "its output is rectified, this one's is not"
    if config.stem is None:
        return None
    if config.readout != "project":
        return f"with a stem it knows readout 'project' only, this one has {config.readout!r}"
    if any(width % 32 or width // 8 < config.stem.groups for width in config.stem.channels):
        return f"its stem has {config.stem.groups} groups in every norm, this one fewer in its narrow ones"
    return None
