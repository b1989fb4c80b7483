"""Judges the students of an ablation on embedded scenes by which nothing was chosen, neither a checkpoint nor a weight.

    python tools/judge_again.py runs/ablations/components
    distill ablate configs/ablations/components.yaml --output runs/ablations/components_fresh --jobs 0

The first makes runs/ablations/components_fresh of the finished runs: the same but for the results of their students.
The second makes the table.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.progress import track

from distill.build.data import kept_scenes
from distill.config import MIN_SIDE, Config, load_config
from distill.data import DepthDataset, readable
from distill.engine.files import write_json
from distill.evaluation import PROTOCOLS, evaluate
from students import load_student

FRESH = 13  # seed of the scenes; runs learn from 11 and are judged by 12 (distill/build/data.py)
SAME = ("config.yaml", "metrics.jsonl", "done.json")


def fresh_scenes(config: Config, count: int) -> DepthDataset:
    """Scenes of the kind and size that a run learnt from, with dense depth.

    Raises:
        SystemExit: If it learnt from anything else.
    """
    if config.data.name != "scenes":
        raise SystemExit(f"runs on data.name=scenes can be judged again, not on {config.data.name}")
    return kept_scenes(config.data.scenes.kind, count, FRESH, config.data.scenes.size, False)


def judged_again(run: Path, count: int) -> dict[str, Any]:
    """The entry of a run's student in results.json, with its results on other scenes and its costs as they were."""
    former = next(one for one in json.loads((run / "results.json").read_text()) if one["role"] == "student")
    config, protocol = load_config(run / "config.yaml"), PROTOCOLS[former["protocol"]]
    scenes = readable(fresh_scenes(config, count))
    found = evaluate(load_student(run / "student"), scenes, protocol, size=config.data.size, min_side=MIN_SIDE)
    return {**former, **found.as_dict()}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ablation", type=Path, help="folder of an ablation that was run")
    parser.add_argument("--images", type=int, default=300, help="scenes to judge by (%(default)s)")
    args = parser.parse_args(words)
    output = args.ablation.with_name(f"{args.ablation.name}_fresh")
    for done in track(sorted(args.ablation.glob("*/*/done.json")), "judging"):
        target = output / done.parent.relative_to(args.ablation)
        target.mkdir(parents=True, exist_ok=True)
        for name in SAME:
            shutil.copy(done.with_name(name), target)
        write_json(target / "results.json", [judged_again(done.parent, args.images)])


if __name__ == "__main__":
    main()
