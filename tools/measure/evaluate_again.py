"""Evaluates the students of an ablation on images by which nothing was chosen: no checkpoint and no weight.

    python tools/measure/evaluate_again.py runs/ablations/components
    distill ablate configs/ablations/components.yaml --output runs/ablations/components_fresh --jobs 0

The first makes runs/ablations/components_fresh of the finished runs: the same but for the results of their students.
The second makes the table. The images are embedded scenes, or with `--root DIR` the test half of another folder of the
runs' data set.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from distill.assembly.datasets import TEST_SCENES, TRAIN_SCENES, kept_scenes, open_dataset
from distill.config import Config, load_config
from distill.config.data_schema import SourceConfig
from distill.data import DepthDataset, readable
from distill.errors import UserError
from distill.evaluation import PROTOCOLS
from distill.files import write_json
from distill.inference.evaluating import evaluate
from distill.inference.models import open_model

FRESH = 1 + max(TRAIN_SCENES, TEST_SCENES)  # seed of scenes that no run has seen
SAME = ("config.yaml", "metrics.jsonl", "done.json")


def fresh_images(config: Config, count: int, root: Path | None) -> DepthDataset:
    """The test images under a root, or scenes of the kind and size that a run learnt from, with dense depth.

    Raises:
        UserError: If there is no root, and it learnt from anything but scenes.
    """
    if root is not None:
        return open_dataset(SourceConfig(name=config.data.name, root=root), "test")
    if config.data.name != "scenes":
        raise UserError(f"runs on data.name={config.data.name} need --root, a folder of other test images")
    return kept_scenes(config.data.scenes.kind, count, FRESH, config.data.scenes.size, False)


def evaluated_again(run: Path, count: int, root: Path | None) -> dict[str, Any]:
    """The entry of a run's student in results.json, with its results on other images and its costs as they were."""
    former = next(one for one in json.loads((run / "results.json").read_text()) if one["role"] == "student")
    config, protocol = load_config(run / "config.yaml"), PROTOCOLS[former["protocol"]]
    images = readable(fresh_images(config, count, root))
    fresh = evaluate(open_model(str(run)), images, protocol, size=config.data.size)
    return {**former, **fresh.as_dict()}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", type=Path, help="folder of an ablation that was run")
    parser.add_argument("--images", type=int, default=300, help="scenes to evaluate on (%(default)s)")
    parser.add_argument("--root", type=Path, help="evaluate on the test half of this folder of the runs' data set")
    args = parser.parse_args(words)
    runs = sorted(done.parent for done in args.ablation.glob("*/*/done.json"))
    if not runs:
        raise SystemExit(f"no finished run in {args.ablation}; give the folder of an ablation that was run")
    output = args.ablation.with_name(f"{args.ablation.name}_fresh")
    try:
        for run in track(runs, "evaluating"):
            copy_with(evaluated_again(run, args.images, args.root), run, output / run.relative_to(args.ablation))
    except UserError as error:
        raise SystemExit(str(error)) from error


def copy_with(result: dict[str, Any], run: Path, target: Path) -> None:
    """A run's folder as tables need it, with another result."""
    target.mkdir(parents=True, exist_ok=True)
    for name in SAME:
        shutil.copy(run / name, target)
    write_json(target / "results.json", [result])


if __name__ == "__main__":
    main()
