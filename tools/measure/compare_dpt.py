"""Compares our DPT with its peers: the same weights, the same images, times taken in turn.

    python tools/measure/compare_dpt.py dpt_hybrid --original DPT --timm OLD_TIMM --size 384x384 352x1216
    python tools/measure/compare_dpt.py dpt_large --original DPT --timm OLD_TIMM --readout add --signed --rounds 0
    python tools/measure/compare_dpt.py dpt_hybrid --device cuda --dtype bfloat16 --compile --batch 8

Peers are optional. `--original` is a checkout of github.com/isl-org/DPT, `--timm` a folder with the timm that it was
written for (`pip install --no-deps --target OLD_TIMM timm==0.4.5`). Hugging Face's DPT takes part where `transformers`
can be imported. Each peer gets weights by the recipe of `tests/teachers/reference`, and ours loads them from it.
Differences are relative to the largest value of the peer's output; those of the maps, of the original alone, to the
largest value of each of the four reassembled maps. In every round each network runs once; the table has medians and
their ratios. Operations are those of our network, also where a peer does more for the same output.
"""

from __future__ import annotations

import argparse
import collections.abc
import importlib
import importlib.util
import json
import os
import platform
import runpy
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from distill.deploy.costs import count_gflops
from distill.deploy.latency import Call
from distill.deploy.latency import measure as latencies
from teachers import DPT, DPT_CONFIGS, FrozenTeacher, create_teacher
from teachers.vit import READOUTS

RECIPE = Path(__file__).parents[2] / "tests" / "teachers" / "reference" / "golden_weights.py"
ORIGINAL_BACKBONES = {"dpt_hybrid": "vitb_rn50_384", "dpt_base": "vitb16_384", "dpt_large": "vitl16_384"}
BACKENDS = (SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
HUGGING_FACE = {"readout": "project", "non_negative": True, "scale": 1.0, "shift": 0.0, "invert": False}  # all it has
Network = Callable[[Tensor], Tensor]  # normalised image (B, 3, H, W) -> raw output (B, H, W)


@dataclass
class Peer:
    """Another implementation, how it is called, ours with the same weights, and what it last made of an image."""

    module: nn.Module
    call: Network
    ours: FrozenTeacher
    maps: dict[int, Tensor] = field(default_factory=dict)


# ---------------------------------------------------------------------------------------------------------------- peers


@contextmanager
def imports_from(folders: list[Path]) -> Iterator[None]:
    """Import from `folders` first, another timm included; afterwards the installed timm is back in place."""
    installed = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "timm"}
    gone = types.ModuleType("torch._six")  # timm 0.4.5 takes an alias from this module of PyTorch 1.8
    gone.container_abcs = collections.abc  # type: ignore[attr-defined]
    sys.modules.setdefault("torch._six", gone)
    sys.path[:0] = [str(folder) for folder in folders]
    try:
        yield
    finally:
        del sys.path[: len(folders)]
        for name in [name for name in sys.modules if name.split(".")[0] == "timm"]:
            del sys.modules[name]
        sys.modules.update(installed)


def original(name: str, checkout: Path, timm: Path | None, options: dict[str, Any]) -> Peer:
    """The published network, from its checkout."""
    with imports_from([checkout, *([timm] if timm else [])]):
        models = importlib.import_module("dpt.models")
        network = fill(models.DPTDepthModel(backbone=ORIGINAL_BACKBONES[name], **options))
    peer = Peer(network, network, create_teacher(name, checkpoint=network.state_dict(), **options))
    for i in range(4):
        entry = getattr(network.scratch, f"layer{i + 1}_rn")
        entry.register_forward_pre_hook(lambda _module, inputs, i=i: peer.maps.update({i: inputs[0]}))
    return peer


def hugging_face(name: str) -> Peer:
    """Hugging Face's network of the same sizes."""
    from transformers import DPTConfig, DPTForDepthEstimation

    ours = DPT_CONFIGS[name]
    options: dict[str, Any] = {"hidden_size": ours.width, "num_attention_heads": ours.heads}
    options |= {"intermediate_size": 4 * ours.width, "num_hidden_layers": ours.hooks[-1] + 1}
    options |= {"is_hybrid": ours.stem is not None, "neck_hidden_sizes": list(ours.channels), "layer_norm_eps": 1e-6}
    options["backbone_out_indices"] = [0, 1, *ours.hooks] if ours.stem else list(ours.hooks)
    network = fill(DPTForDepthEstimation(DPTConfig(**options)))
    weights = create_teacher(name, checkpoint=network.state_dict())
    return Peer(network, lambda image: network(pixel_values=image).predicted_depth, weights)


def fill(network: nn.Module) -> nn.Module:
    """The network in eval mode, its weights by the recipe: they depend on names and shapes only."""
    state_dict = runpy.run_path(str(RECIPE))["state_dict"]
    network.load_state_dict(state_dict({key: value.shape for key, value in network.state_dict().items()}))
    return network.eval()


def raw_output(teacher: Network) -> Network:
    """Ours called like its peers."""
    return lambda image: teacher(image * 0.5 + 0.5)[:, 0]


def accepts(peer: Peer, image: Tensor) -> bool:
    """Whether a peer computes images of this size at all (Hugging Face's hybrid: 384x384 only)."""
    try:
        peer.call(image)
    except ValueError:
        return False
    return True


# ------------------------------------------------------------------------------------------------------------- measures


def relative(got: Tensor, wanted: Tensor) -> float:
    """Largest difference, relative to the largest value wanted."""
    return float((got.double() - wanted.double()).abs().max() / wanted.double().abs().max())


def differences(peer: Peer, image: Tensor) -> dict[str, float]:
    """Of the output and, where the peer shows its maps, the worst of the four."""
    wanted = peer.call(image)
    maps = peer.ours.encode(image * 0.5 + 0.5)
    row = {"difference": relative(peer.ours.decode(maps, (image.shape[-2], image.shape[-1]))[:, 0], wanted)}
    if peer.maps:
        row["maps"] = max(relative(maps[i], wanted) for i, wanted in peer.maps.items())
    return row


def attention_kernel(name: str, device: torch.device, dtype: torch.dtype) -> str:
    """The first of PyTorch's attention kernels, fastest first, that takes this network's heads."""
    config = DPT_CONFIGS[name]
    q = torch.zeros(1, config.heads, 64, config.width // config.heads, device=device, dtype=dtype)
    for backend in BACKENDS:
        try:
            with sdpa_kernel(backend):
                F.scaled_dot_product_attention(q, q, q)
        except RuntimeError:
            continue
        return str(backend.name).lower()
    raise RuntimeError(f"no attention kernel takes {config.heads} heads of {q.shape[-1]} in {dtype}")


def measure(size: str, peers: dict[str, Peer], ours: dict[str, Network], args: argparse.Namespace) -> dict[str, Any]:
    """One row: differences from the peers, the time of each network, and the ratio of ours to each peer's."""
    height, width = map(int, size.split("x"))
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(args.batch, 3, height, width, generator=generator) * 2 - 1
    image = image.to(args.device, getattr(torch, args.dtype))
    able = {name: peer for name, peer in peers.items() if accepts(peer, image)}
    with torch.device("meta"):
        gflops = args.batch * count_gflops(DPT(DPT_CONFIGS[args.name]), (height, width))
    row: dict[str, Any] = {"size": size, "gflops": round(gflops, 1)}
    row["peers"] = {name: differences(peer, image) for name, peer in able.items()}
    if args.rounds:
        networks = ours | {name: peer.call for name, peer in able.items()}
        calls = {name: Call(partial(network, image), image.is_cuda) for name, network in networks.items()}
        row["ms"] = {name: round(one.median_ms, 2) for name, one in latencies(calls, runs=args.rounds).items()}
        row["tflops_per_s"] = {name: round(gflops / ms, 3) for name, ms in row["ms"].items()}
        for name, peer_row in row["peers"].items():
            peer_row["ratio"] = round(row["ms"]["ours"] / row["ms"][name], 3)
    return row


@torch.no_grad()
def compare(args: argparse.Namespace) -> dict[str, Any]:
    """All rows of the table, one per size, and what they were made with."""
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    options = {"readout": args.readout, "non_negative": not args.signed}
    options |= {"scale": args.scale, "shift": args.shift, "invert": args.invert}
    peers = {}
    if args.original:
        peers["original"] = original(args.name, args.original, args.timm, options)
    if importlib.util.find_spec("transformers") and options == HUGGING_FACE:
        peers["Hugging Face"] = hugging_face(args.name)
    for peer in peers.values():
        peer.module.to(device, dtype)
        peer.ours.to(device, dtype)
    teacher = next(iter(peers.values())).ours if peers else create_teacher(args.name).to(device, dtype)
    ours = {"ours": raw_output(teacher)}
    if args.compile:
        ours["ours, compiled"] = raw_output(torch.compile(teacher, fullgraph=True))
    rows = [measure(size, peers, ours, args) for size in args.size]
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    made = {"name": args.name, "device": f"{machine}, {platform.machine()}", "dtype": args.dtype, "batch": args.batch}
    made |= {"threads": torch.get_num_threads(), "torch": torch.__version__, "rounds": args.rounds} | options
    return made | {"attention": attention_kernel(args.name, device, dtype), "rows": rows}


def markdown(result: dict[str, Any]) -> str:
    """The table as Markdown, a line on how it was made below it."""
    lines = ["| size | network | GFLOPs | ms | TFLOP/s | ours / it | output differs by | maps by |", "|" + "---|" * 8]
    for row in result["rows"]:
        for name in dict.fromkeys([*row.get("ms", ()), *row["peers"]]):
            speed = f"{row['ms'][name]:.1f} | {row['tflops_per_s'][name]}" if "ms" in row else " | "
            peer = row["peers"].get(name, {})
            ratio = f"{peer['ratio']:.3f}" if "ratio" in peer else ""
            output, maps = (f"{peer[key]:.1e}" if key in peer else "" for key in ("difference", "maps"))
            lines.append(f"| {row['size']} | {name} | {row['gflops']} | {speed} | {ratio} | {output} | {maps} |")
    made = ", ".join(f"{key} {value}" for key, value in result.items() if key != "rows")
    return "\n".join([*lines, "", made])


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(ORIGINAL_BACKBONES))
    parser.add_argument("--original", type=Path, metavar="DIR", help="a checkout of github.com/isl-org/DPT")
    parser.add_argument("--timm", type=Path, metavar="DIR", help="a folder with the timm that the checkout imports")
    parser.add_argument("--size", nargs="+", default=["384x384"], metavar="HxW")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9, help="how often each network is timed; 0: differences only")
    parser.add_argument("--readout", choices=READOUTS, default="project")
    parser.add_argument("--signed", action="store_true", help="leave out the last rectification")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--shift", type=float, default=0.0)
    parser.add_argument(
        "--invert", action="store_true", help="depth instead of the raw output: 1 / (scale * raw + shift)"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--compile", action="store_true", help="also time ours compiled, as one graph")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    args = parse(words)
    result = compare(args)
    print(markdown(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
