"""How far files of a target are from PyTorch in float64, for three networks with random weights at 64x96.

    python tools/measure/target_differences.py openvino
    python tools/measure/target_differences.py litert light

Weights follow from the target and the networks that are named (default: all), so the same call gives the same.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from distill.deploy.runtime import deviation
from distill.deploy.targets import TARGETS, Cargo, Target
from students import Student, create_student

NETWORKS: dict[str, Callable[[], Student]] = {
    "lg": lambda: create_student("test_efficientnet", lg_conv=True, pretrained=False, bins=8, width=8),
    "light": lambda: create_student("test_efficientnet", decoder="light", pretrained=False, bins=8, width=8),
    "pruned": lambda: create_student("dpt_micro", heads=1, hooks=(0, 1), resolution_scale=0.5),
}
SIZE = (64, 96)


def main() -> None:
    """Print one line for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    args = parser.parse_args()
    kind = TARGETS[args.target]
    kind.require()
    torch.manual_seed(0)
    for name in [name for name in NETWORKS if name in (args.networks or NETWORKS)]:
        model, image = NETWORKS[name]().eval(), torch.rand(1, 3, *SIZE)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"x{kind.suffix}"
            kind.write(Cargo(model, SIZE, {"software": "distill"}, next(iter(kind.opsets), 0)), path)
            print(f"{args.target}, {name}: {difference(kind, path, model, image)}", flush=True)


def difference(kind: Target, path: Path, model: Student, image: Tensor) -> object:
    """Of the file's depth from that of the model."""
    exact = copy.deepcopy(model).double()
    if kind.open is None:
        return "written, its operators compared"
    return deviation(kind.open(path), lambda one: exact(one.double()), [image])


if __name__ == "__main__":
    main()
