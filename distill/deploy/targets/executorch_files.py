"""`.pte`, ExecuTorch's programs, which XNNPACK computes on the processors of phones and boards."""

from __future__ import annotations

import json
from pathlib import Path

from distill.deploy.graph import exported_program
from distill.deploy.targets.target import Cargo, Target
from distill.inference.exported import need, quiet
from distill.inference.file_kinds import ExecuTorchModel

EXTRA = "executorch"


def write(cargo: Cargo, path: Path) -> None:
    """Write it, in float32; its method `facts` gives the metadata as JSON."""
    xnnpack = need("executorch.backends.xnnpack.partition.xnnpack_partitioner", EXTRA).XnnpackPartitioner()
    lower = need("executorch.exir", EXTRA).to_edge_transform_and_lower
    facts = {"facts": json.dumps(dict(cargo.facts))}
    with quiet():
        edge = lower(exported_program(cargo.model, cargo.one_size), partitioner=[xnnpack], constant_methods=facts)
        path.write_bytes(edge.to_executorch().buffer)


EXECUTORCH = Target(".pte", EXTRA, ("executorch.exir", "executorch.runtime"), "ExecuTorch", write, ExecuTorchModel)
