"""Measures what pruned DPTs cost beside the whole network, and writes the tables and plots of docs/why/pruned-dpt.md.

    python tools/measure/pruned_dpt_tables.py

Times are medians for one image on this machine's CPU, of networks that take turns: run it where nothing else runs.
What was measured is kept in pruned-dpt.json beside the page; `--draw` makes tables and plots again from it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pruned_dpt_page
import torch
import torch.nn.functional as F
from docs_page import PAGES
from einops import rearrange
from torch import Tensor, nn

from distill.data import SceneDataset, to_tensor
from distill.deploy.costs import count_gflops
from distill.deploy.latency import Call
from distill.deploy.latency import measure as latencies
from students import count_parameters, create_student
from students.performer import PerformerAttention, favor_attention, orthogonal_features
from students.pruned_dpt import ATTENTIONS, STEMS
from teachers import DPT_CONFIGS, FrozenTeacher, create_teacher
from teachers.vit import Attention

FAMILY: dict[str, dict[str, tuple[Any, ...]]] = {  # heads and hooks; the thesis', and as much for the shipped DPT
    "dpt_hybrid": {"heads": (1, 12, 24), "hooks": ((0, 1), (2, 5), (8, 11))},
    "dpt_micro": {"heads": (1, 5, 10), "hooks": ((0, 1), (1, 3), (3, 5))},
}
REDUCED = 0.5
FACTORS = (0.25, 0.375, 0.5, 0.75, 1.0)
FEATURES = (16, 32, 64, 128, 256, 512, 1024, 2048)
DRAWS = 3  # of random features, whose errors are averaged
TOGETHER = 6  # variants that are in memory at once

PRECISIONS = ("fp32", "bf16")

Rows = list[dict[str, Any]]


# ------------------------------------------------------------------------------------------------------------ measuring


def prepared(parent: str, **options: Any) -> nn.Module:
    """A network ready for use as `FrozenTeacher` makes it: constant work folded, channels last."""
    return FrozenTeacher(create_student(parent, **options))


def costs(parent: str, size: tuple[int, int], **options: Any) -> dict[str, float]:
    """Parameters, and billions of operations for one image."""
    with torch.device("meta"):
        model = prepared(parent, **options)
    return {"parameters": count_parameters(model), "gflops": count_gflops(model, size)}


@torch.inference_mode()
def medians(models: Mapping[str, Callable[[Tensor], Tensor]], x: Tensor, rounds: int) -> dict[str, float]:
    """Milliseconds of each model for the same input, all measured in turn."""
    calls = {name: Call(partial(model, x)) for name, model in models.items()}
    return {name: latency.median_ms for name, latency in latencies(calls, runs=rounds).items()}


def variants(parent: str) -> Rows:
    """Every combination of attention, heads, hooks and stem at reduced resolution."""
    family = FAMILY[parent]
    chosen = product(ATTENTIONS, family["heads"], family["hooks"], STEMS)
    keys = ("attention", "heads", "hooks", "stem")
    return [dict(zip(keys, one, strict=True)) | {"resolution_scale": REDUCED} for one in chosen]


def measure_family(parent: str, size: tuple[int, int], rounds: int) -> Rows:
    """The whole network, then every variant: options, costs, milliseconds, how many times faster it is.

    Variants are measured some at a time, each time beside the whole network. A variant's milliseconds are the whole
    network's median over all groups, divided by the ratio in its own: so they compare, however the machine drifts.
    """
    image, whole = torch.rand(1, 3, *size), prepared(parent)
    rows, every, reference = Rows(), variants(parent), []
    for start in range(0, len(every), TOGETHER):
        group = every[start : start + TOGETHER]
        ms = medians({"whole": whole} | {str(i): prepared(parent, **one) for i, one in enumerate(group)}, image, rounds)
        reference.append(ms["whole"])
        for i, one in enumerate(group):
            rows.append({**one, **costs(parent, size, **one), "speedup": ms["whole"] / ms[str(i)]})
    usual = statistics.median(reference)
    rows = [row | {"ms": usual / row["speedup"]} for row in rows]
    return [{**costs(parent, size), "ms": usual, "speedup": 1.0}, *rows]


def measure_a(parent: str, size: tuple[int, int], rounds: int) -> Rows:
    """The whole network and variant A in float32 and in bfloat16, all four in turn."""
    first = {"heads": FAMILY[parent]["heads"][0], "hooks": FAMILY[parent]["hooks"][0], "resolution_scale": REDUCED}
    options: dict[str, dict[str, Any]] = {"whole": {}, "A": first}
    named = [(name, precision) for precision in PRECISIONS for name in options]
    models = {name: prepared(parent, **one) for name, one in options.items()}
    calls = {f"{name} {precision}": partial(run_as, precision, models[name]) for name, precision in named}
    ms = medians(calls, torch.rand(1, 3, *size), rounds)
    rows = Rows()
    for name, precision in named:
        mine, reference = ms[f"{name} {precision}"], ms[f"whole {precision}"]
        row = {"name": name, "precision": precision, "ms": mine, "speedup": reference / mine}
        rows.append({**row, **costs(parent, size, **options[name])})
    return rows


def run_as(precision: str, model: nn.Module, image: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return model(image)


def measure_resolution(parent: str, size: tuple[int, int], rounds: int) -> Rows:
    """Both attentions in the otherwise whole network by internal resolution."""
    image, rows = torch.rand(1, 3, *size), Rows()
    for factor in FACTORS:
        models = {kind: prepared(parent, attention=kind, resolution_scale=factor) for kind in ATTENTIONS}
        measured = medians(models, image, rounds)
        rows += [{"attention": kind, "factor": factor, "ms": ms} for kind, ms in measured.items()]
    return rows


def measure_attention(parent: str, tokens: Iterable[int], rounds: int) -> Rows:
    """One attention layer of either kind by the number of tokens, as split as the parent's and into one head."""
    width, rows = DPT_CONFIGS[parent].width, Rows()
    for heads, count in product((DPT_CONFIGS[parent].heads, 1), tokens):
        layers = {"standard": Attention(width, heads), "performer": PerformerAttention(width, heads)}
        measured = medians(layers, torch.rand(1, count, width), rounds)
        rows += [{"attention": kind, "heads": heads, "tokens": count, "ms": ms} for kind, ms in measured.items()]
    return rows


@torch.no_grad()
def measure_error() -> Rows:
    """Relative error of Performer's attention on what the shipped DPT attends to in a street, by heads and features."""
    teacher, seen, rows = create_teacher("dpt_micro"), list[Tensor](), Rows()
    for name, layer in teacher.named_modules():
        if name.endswith(".attn.qkv"):
            layer.register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    teacher(to_tensor(SceneDataset("road", 1, 12, (96, 320))[0].image)[None])
    for heads, features in product(FAMILY["dpt_micro"]["heads"], FEATURES):
        errors = []
        for qkv, draw in product(seen, range(DRAWS)):
            q, k, v = rearrange(qkv, "b n (three h d) -> three b h n d", three=3, h=heads)
            directions = orthogonal_features(features, q.shape[-1], torch.Generator().manual_seed(draw))
            exact = F.scaled_dot_product_attention(q, k, v)
            errors.append(float((favor_attention(q, k, v, directions) - exact).norm() / exact.norm()))
        rows.append({"heads": heads, "features": features, "error": statistics.fmean(errors)})
    return rows


def measure(parent: str, size: tuple[int, int], rounds: int, tokens: Sequence[int]) -> dict[str, Any]:
    """All that the page shows."""
    machine = f"{platform.machine()} CPU, {os.cpu_count()} cores, PyTorch {torch.__version__}"
    return {
        **{"parent": parent, "size": size, "rounds": rounds, "machine": machine},
        "error": measure_error(),
        "attention": measure_attention(parent, tokens, rounds),
        "a": measure_a(parent, size, rounds),
        "resolution": measure_resolution(parent, size, rounds),
        "family": measure_family(parent, size, rounds),
    }


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=PAGES, metavar="DIR")
    parser.add_argument("--parent", choices=FAMILY, default="dpt_hybrid")
    parser.add_argument("--size", default="352x1216", metavar="HxW")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, nargs="+", default=[64 << i for i in range(9)], help="of one layer")
    parser.add_argument("--draw", action="store_true", help="measure nothing; draw what was measured before")
    args = parser.parse_args(words)
    kept = args.output / "pruned-dpt.json"
    if not args.draw:
        height, width = map(int, args.size.split("x"))
        figures = measure(args.parent, (height, width), args.rounds, args.tokens)
        kept.write_text(json.dumps(figures, indent=1) + "\n")
    pruned_dpt_page.write_page(json.loads(kept.read_text()), args.output)


if __name__ == "__main__":
    main()
