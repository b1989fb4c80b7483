"""Adds to docs/why/pruned-dpt.md what configs/ablations/pruned_dpt.yaml gives: silog of all runs, pictures of some.

python tools/measure/pruned_dpt_accuracy.py runs/ablations/pruned_dpt
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from docs_page import PAGES, fill, table

from distill.assembly.datasets import TEST_SCENES
from distill.config import load_config
from distill.data import SceneDataset, to_tensor
from distill.report.pictures import Panel, colour_limits, colourise, depth_scale, encode_png, panel_strip
from students import load_student

SCENE = 3  # of the test half
VARIANT = "attention=standard,heads=1,hooks={},stem=resnet50"
SHOWN = {  # label -> row
    "whole": "whole",
    "A, full resolution": "A-full",
    "A, half": VARIANT.format("0-1"),
    "A, quarter": "A-quarter",
    "A, hooks 1 and 3": VARIANT.format("1-3"),
    "A, hooks 3 and 5": VARIANT.format("3-5"),
}


def read_means(results: Path, metric: str) -> dict[str, float]:
    """Mean over seeds of a metric by row, from an ablation's results.csv."""
    with results.open(newline="") as file:
        return {line["row"]: float(line["mean"]) for line in csv.DictReader(file) if line["metric"] == metric}


def options(row: str) -> dict[str, str]:
    """The options in the name of a grid's row; none of another row."""
    return dict(part.split("=", 1) for part in row.split(",")) if "=" in row else {}


def variant_table(means: Mapping[str, float]) -> str:
    """The variants' metric: a line for attention, heads and stem, a column for the hooks."""
    named = {row: options(row) for row in means if options(row)}
    hooks = list(dict.fromkeys(one["hooks"] for one in named.values()))
    lines: dict[tuple[str, ...], dict[str, float]] = {}
    for row, one in named.items():
        lines.setdefault((one["attention"], one["heads"], one["stem"]), {})[one["hooks"]] = means[row]
    head = ["attention", "heads", "stem", *(f"hooks {name.replace('-', ', ')}" for name in hooks)]
    return table(head, [[*names, *(f"{line[h]:.2f}" for h in hooks)] for names, line in lines.items()])


@torch.no_grad()
def strip(runs: Path, seed: int) -> np.ndarray:
    """One held-out street as some of the students see it."""
    scenes = load_config(runs / SHOWN["whole"] / f"seed_{seed}" / "config.yaml").data.scenes
    sample = SceneDataset(scenes.kind, scenes.test, TEST_SCENES, scenes.size)[SCENE]
    near, far = colour_limits(sample.depth)
    pictures = {"image": sample.image, "ground truth": colourise(sample.depth, near, far)}
    for label, row in SHOWN.items():
        depth = load_student(runs / row / f"seed_{seed}")(to_tensor(sample.image)[None])
        pictures[label] = colourise(depth[0, 0].numpy(), near, far)
    return panel_strip(Panel(sample.name, pictures, scales=(depth_scale(near, far),)))


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the finished ablation")
    parser.add_argument("--output", type=Path, default=PAGES, metavar="DIR")
    args = parser.parse_args(words)
    means = read_means(args.runs / "results.csv", "silog")
    others = ", ".join(f"{row} {means[row]:.2f}" for row in means if not options(row))
    text = f"Silog, lower is better: {others}.\n\n{variant_table(means)}\n\n![Depth of a street](pruned-dpt-depth.png)"
    (args.output / "pruned-dpt-depth.png").write_bytes(encode_png(strip(args.runs, seed=0)))
    fill(args.output / "pruned-dpt.md", "pruned_dpt_accuracy.py", text)


if __name__ == "__main__":
    main()
