"""Renames the tensors of a DPT checkpoint for another program, without loss.

    python tools/convert_checkpoint.py IN OUT --to ours|original|huggingface
    python tools/convert_checkpoint.py IN OUT --to ours|timm|mmseg --encoder-only

What IN is, is seen by its content. OUT becomes a folder for huggingface, a .safetensors file for ours and timm, a file
of torch for original and mmseg. Weights keep their values and their precision. Prints what became of every tensor; ends
with code 2 and one line where IN cannot be converted without loss. See docs/reference/checkpoints.md.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save as to_bytes
from torch import Tensor

from distill.files import write_atomically, write_json
from students import load_student
from students.inherit import trained_student
from teachers import DPT, DPT_CONFIGS, DPTConfig, huggingface
from teachers.key_maps import BLOCK, ENCODER, NAMINGS, Translation, from_ours, to_ours
from teachers.mismatch import blocks_in, explain, identify, shapes, shapes_of
from teachers.vit import Attention
from teachers.weight_files import StateDict, read_state_dict

MEANING = ("scale", "shift", "invert", "min_depth", "max_depth")  # of the output, which no file of weights tells
PROCESSOR = {
    "image_processor_type": "DPTImageProcessor",
    "do_resize": True,
    "resample": 3,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}


def trained_config(source: Path) -> tuple[str, DPTConfig] | None:
    """Name and configuration of a DPT student, given by its folder or its weights; None where it is something else.

    Raises:
        ValueError: If it is another student, or its attention is not the standard one.
    """
    trained = trained_student(source)
    if trained is None:
        return None
    model = load_student(trained[0])
    if not isinstance(model, DPT) or not all(type(block.attn) is Attention for block in model.encoder.vit.blocks):
        raise ValueError(f"{source} is no DPT with standard attention, which is all that other programs know")
    return trained[1]["student"], model.config


def refuse_loss(name: str, config: DPTConfig, keys: Sequence[str], to: str) -> None:
    """Raise ValueError where one of `keys` is another than the named network's: a file of weights does not tell it."""
    own = DPT_CONFIGS[name]
    if lost := [f"{key}={getattr(config, key)}" for key in keys if getattr(config, key) != getattr(own, key)]:
        raise ValueError(
            f"{NAMINGS[to].title} do not tell {', '.join(lost)}: read as {name}, it would be another network; "
            "keep the student's folder"
        )


def known_config(source: Path, translated: Translation) -> tuple[str, DPTConfig]:
    """Name and configuration by shapes, and by the `config.json` of Hugging Face where there is one.

    Raises:
        ValueError: If no DPT with a name has these shapes, or the `config.json` says otherwise.
    """
    known = identify(shapes(translated.weights))
    if known is None:
        raise ValueError(f"{source} is no DPT that is known by name, and no student's folder")
    name, config = known
    facts = huggingface.read_config(source) if translated.naming == "huggingface" else {}
    if config.readout != "project":  # weights do not tell "add" from "ignore"
        config = replace(config, readout=facts.get("readout_type", "add or ignore"))
    if contradiction := huggingface.contradiction(facts, config):
        raise ValueError(f"{source} is no {name}: {contradiction}")
    return name, config


def whole(source: Path, translated: Translation, to: str) -> tuple[str, DPTConfig]:
    """Name and configuration of the complete DPT in a file.

    Raises:
        ValueError: If it is not complete, none that is known, or more than `to` can tell.
    """
    if translated.encoder_only:
        raise ValueError(f"{source} holds an encoder alone; add --encoder-only")
    name, config = trained_config(source) or known_config(source, translated)
    if config.classes and to != "ours":
        raise ValueError(f"{source} is a {name}: other programs want its auxiliary head, which is read nowhere here")
    shaped = config if config.readout == "project" else replace(config, readout="ignore")
    if difference := explain(shaped, shapes_of(shaped), shapes(translated.weights), translated.unknown):
        raise ValueError(f"{source} is no complete {name}: {difference}")
    # Hugging Face's config.json tells heads and hooks.
    refuse_loss(name, config, ["resolution_scale"] + ["heads", "hooks"] * (to != "huggingface"), to)
    return name, config


def encoder(source: Path, translated: Translation, to: str) -> StateDict:
    """The stem and the transformer, complete, of a DPT or a ViT.

    Raises:
        ValueError: If they are not complete, another kind of network's, or split into other heads than their name says.
    """
    if trained := trained_config(source):
        refuse_loss(*trained, ["heads"], to)
    weights = {key: value for key, value in translated.weights.items() if key.startswith(ENCODER)}
    if translated.unknown or not weights:
        first = (*translated.unknown, *translated.weights)[0]
        raise ValueError(f"{source} holds another encoder: a DPT has no place for {first}")
    if "dist_token" in translated.unused:
        raise ValueError(f"{source} has a distillation token among its positions; load it with encoder_checkpoint")
    parts = [f"blocks.{i}.{part}" for i in range(blocks_in(weights)) for part in BLOCK]
    wanted = {f"encoder.vit.{part}{leaf}" for part in ("patch.", *parts) for leaf in ("weight", "bias")}
    wanted |= {"encoder.vit.cls_token", "encoder.vit.pos_embed"}
    if missing := sorted(wanted - weights.keys()):
        raise ValueError(f"{source} is no complete encoder: {len(missing)} tensors missing, such as {missing[0]}")
    return weights


def placeholders(to: str, config: DPTConfig, weights: StateDict) -> StateDict:
    """Tensors that the other program wants in its file and a depth network never uses: norms and zeros."""
    unit = {
        "original": "scratch.refinenet4.resConfUnit1.conv{}.",
        "huggingface": "neck.fusion_stage.layers.0.residual_layer1.convolution{}.",
    }
    norm = {"original": "pretrained.model.norm.", "huggingface": "dpt.layernorm."}
    if to not in unit:
        return {}
    like: Callable[..., Tensor] = next(iter(weights.values())).new_zeros
    out = {f"{norm[to]}weight": like(config.width) + 1, f"{norm[to]}bias": like(config.width)}
    for n in (1, 2):
        out[unit[to].format(n) + "weight"] = like(config.features, config.features, 3, 3)
        out[unit[to].format(n) + "bias"] = like(config.features)
    if to == "original":
        classes = 1000
        out["pretrained.model.head.weight"] = like(classes, config.width)
        out["pretrained.model.head.bias"] = like(classes)
    return out


def write(target: Path, to: str, state: StateDict, config: DPTConfig | None) -> None:
    """Write a state dict in the form its program reads, whole or not at all.

    Raises:
        ValueError: If Hugging Face's DPT has no such network.
    """
    state = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    if to == "huggingface":
        assert config is not None
        described, side = huggingface.describe(config), 16 * config.grid
        processor = PROCESSOR | {"size": {"height": side, "width": side}}
        with tempfile.TemporaryDirectory(prefix=".part-", dir=target.parent) as folder:
            part = Path(folder) / "model"
            write_atomically(part / "model.safetensors", to_bytes(state, metadata={"format": "pt"}))
            write_json(part / "config.json", described)
            write_json(part / "preprocessor_config.json", processor)
            os.replace(part, target)
    elif to in ("original", "mmseg"):
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomically(target, buffer.getvalue())
    else:
        write_atomically(target, to_bytes(state, metadata={"format": "pt"}))


def check_request(target: Path, to: str, encoder_only: bool) -> None:
    """Raise ValueError for what no checkpoint can become."""
    if target.exists() or not target.parent.is_dir():
        raise ValueError(f"{target} exists, or its folder does not; name a new file in a folder that is there")
    if NAMINGS[to].encoder_only and not encoder_only:
        raise ValueError(f"{NAMINGS[to].title} have none for DPT's decoder; add --encoder-only to leave it out")
    if encoder_only and to in ("original", "huggingface"):
        raise ValueError(f"{NAMINGS[to].title} are for whole DPTs; use --to ours, timm or mmseg for an encoder")


def convert(source: Path, target: Path, to: str, encoder_only: bool) -> list[str]:
    """Convert one checkpoint; returns what became of it, in lines.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If it cannot be converted without loss, or the target exists.
    """
    check_request(target, to, encoder_only)
    translated = to_ours(read_state_dict(source))
    if encoder_only:
        name, config, weights = "an encoder", None, encoder(source, translated, to)
    else:
        (name, config), weights = whole(source, translated, to), translated.weights
    extra = placeholders(to, config, weights) if config else {}
    state = from_ours(weights, to)
    write(target, to, state | extra, config)
    lines = [
        f"{source}: {name}, {NAMINGS[translated.naming].title}",
        f"{target}: {len(state)} tensors, {NAMINGS[to].title}",
    ]
    if dropped := [*translated.unused, *(key for key in translated.weights if key not in weights)]:
        lines.append(f"left out: {len(dropped)} ({', '.join(dropped)})")
    if extra:
        lines.append(f"placeholders that no depth depends on: {len(extra)} ({', '.join(extra)})")
    if config and (meaning := [f"{k}={v}" for k in MEANING if (v := getattr(config, k)) != getattr(DPTConfig, k)]):
        lines.append(f"not in the file; note it beside it: {', '.join(meaning)}")
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="IN", help="a file, or the folder of a model")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new file, a new folder for huggingface")
    namings = ["ours", "original", "huggingface", "timm", "mmseg"]
    parser.add_argument("--to", required=True, choices=namings, help="whose names the tensors get")
    parser.add_argument("--encoder-only", action="store_true", help="the stem and the transformer, without the decoder")
    args = parser.parse_args(arguments)
    try:
        print("\n".join(convert(args.source, args.target, args.to, args.encoder_only)))
    except (ValueError, OSError) as error:
        print(f"convert_checkpoint: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
