"""How many images a second the training loader reads: stage by stage, and beside what BTS and AdaBins do.

    python tools/measure/compare_loader.py --data kitti --root data/kitti
    python tools/measure/compare_loader.py --data nyu --root data/nyu --peer bts/pytorch/bts_dataloader.py

The peer is `UsualSteps`, the steps that both toolkits publish in their order, or the file of one of their loaders, with
`DataLoadPreprocess(args, mode, transform)` and `preprocessing_transforms(mode)`. That file is run as it is: name only
one that you trust. Both loaders read the same files in the same order with the same workers, batches and crop, in turns
of which the better one counts.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import psutil
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from distill.data import (
    Augmentation,
    EpochBatches,
    Loader,
    PairDataset,
    Sample,
    Source,
    TrainingSet,
    collate,
    kb_crop,
    mask_nyu_border,
)
from distill.data.files import reading
from distill.data.files.pairs import Pair
from distill.data.loader import keep_freed_memory
from distill.errors import UserError

MEGABYTE = 2**20
TURNS = 2
QUARTERS = 4
BATCH = 4
STAGES = ("read", "decode", "warp", "colour", "collate", "normalise")
WATCHED = (
    (reading, "read_file", "read"),
    (reading, "decode", "decode"),
    (Augmentation, "move", "warp"),
    (Augmentation, "repaint", "colour"),
)


class Recipe(NamedTuple):
    """What BTS and AdaBins do to a training image of a data set."""

    crop: tuple[int, int]
    degrees: float
    brightness: float
    prepare: Callable[[Sample], Sample]
    focal_px: float
    depth_scale: float


RECIPES = {
    "kitti": Recipe((352, 704), 1.0, 0.1, kb_crop, 721.5377, 256.0),
    "nyu": Recipe((416, 544), 2.5, 0.25, mask_nyu_border, 518.8579, 1000.0),
}
NYU_BORDER = (43, 45, 608, 472)  # left, upper, right, lower: what both cut from NYU's frames before rotating
MEAN, STD = torch.tensor([[[0.485]], [[0.456]], [[0.406]]]), torch.tensor([[[0.229]], [[0.224]], [[0.225]]])


class Rate(NamedTuple):
    """Images a second; what an image costs all processes in ms of a core; megabytes they held after each quarter."""

    images: float
    cpu: float
    memory: tuple[float, ...]


def open_training_set(data: str, root: Path, split: Path | None) -> TrainingSet:
    """The training half with the recipe's augmentation."""
    recipe = RECIPES[data]
    dataset = PairDataset(Source(data, root).find("train", split))
    varied = Augmentation(recipe.crop, recipe.degrees, brightness=recipe.brightness)
    return TrainingSet(dataset, varied, seed=0, prepare=[recipe.prepare])


# -------------------------------------------------------------------------------------------------------------- stages


def stages(training: TrainingSet, images: int) -> dict[str, float]:
    """Milliseconds of a core that each stage takes for one image, the mean over some; "other" lies between them."""
    keep_freed_memory()  # as the processes that load do
    seconds: dict[str, float] = defaultdict(float)

    def timed(function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return function(*args, **options)
            finally:
                seconds[stage] += time.process_time() - started

        return run

    prepare = [timed(step, "warp") for step in training.parts[0].prepare]
    watched = TrainingSet(training.parts[0].dataset, training.augmentation, training.seed, prepare)
    read = timed(watched.__getitem__, "other")
    with ExitStack() as stack:
        for owner, name, stage in WATCHED:
            stack.enter_context(mock.patch.object(owner, name, timed(getattr(owner, name), stage)))
        for samples in range(0, images, BATCH):
            read_ones = [read((0, index % len(training))) for index in range(samples, samples + BATCH)]
            timed(timed(collate, "collate")(read_ones).to, "normalise")("cpu")
    seconds["other"] -= sum(seconds[stage] for stage in STAGES[:4])
    return {stage: 1e3 * seconds[stage] / images for stage in (*STAGES, "other")}


# --------------------------------------------------------------------------------------------------------------- rates


def rate(loader: Iterable[Any], batches: int, batch_size: int, warm_up: int) -> Rate:
    """How fast a loader gives so many batches, after some that fill its queues."""
    rest = iter(loader)
    for _ in islice(rest, warm_up):
        pass
    memory = []
    started, worked = time.perf_counter(), work()
    for _ in range(QUARTERS):
        for _ in islice(rest, batches // QUARTERS):
            pass
        memory.append(held())
    images = batches // QUARTERS * QUARTERS * batch_size
    return Rate(images / (time.perf_counter() - started), 1e3 * (work() - worked) / images, tuple(memory))


def family() -> list[psutil.Process]:
    """This process and its workers."""
    return [psutil.Process(), *psutil.Process().children(recursive=True)]


def held() -> float:
    """Megabytes that all processes hold for themselves."""
    usage = [one.memory_info() for one in family()]
    return sum(one.rss - getattr(one, "shared", 0) for one in usage) / MEGABYTE


def work() -> float:
    """Seconds that all processes have kept a core busy."""
    return sum(one.cpu_times().user + one.cpu_times().system for one in family())


# ---------------------------------------------------------------------------------------------------------------- peers


class UsualSteps(Dataset[dict[str, Tensor]]):
    """A training image as BTS and AdaBins make it: with Pillow and NumPy, the whole frame at every step."""

    def __init__(self, pairs: Sequence[Pair], data: str):
        self.pairs, self.data, self.recipe = pairs, data, RECIPES[data]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        pair, recipe = self.pairs[index], self.recipe
        draw = np.random.default_rng().uniform
        maps = [Image.open(pair.image), Image.open(str(pair.depth))]
        border = kb_border(*maps[0].size) if self.data == "kitti" else NYU_BORDER
        angle = draw(-recipe.degrees, recipe.degrees)
        image, depth = (
            one.crop(border).rotate(angle, resample=resample)
            for one, resample in zip(maps, (Image.Resampling.BILINEAR, Image.Resampling.NEAREST), strict=True)
        )
        colours = np.asarray(image, dtype=np.float32) / 255.0
        metres = np.asarray(depth, dtype=np.float32)[..., None] / recipe.depth_scale
        height, width = recipe.crop
        left = int(draw(0, colours.shape[1] - width + 1))
        top = int(draw(0, colours.shape[0] - height + 1))
        colours, metres = (one[top : top + height, left : left + width] for one in (colours, metres))
        if draw() > 0.5:
            colours, metres = colours[:, ::-1].copy(), metres[:, ::-1].copy()
        if draw() > 0.5:
            brightness = draw(1 - recipe.brightness, 1 + recipe.brightness)
            colours = colours ** draw(0.9, 1.1) * brightness
            colours = np.clip(colours * (np.ones_like(colours) * draw(0.9, 1.1, size=3)), 0, 1)
        tensors = [torch.from_numpy(np.ascontiguousarray(one.transpose(2, 0, 1))) for one in (colours, metres)]
        return {"image": (tensors[0].float() - MEAN) / STD, "depth": tensors[1]}


def kb_border(width: int, height: int) -> tuple[int, int, int, int]:
    """Left, upper, right, lower of KITTI's 352x1216 cut."""
    left, top = (width - 1216) // 2, height - 352
    return left, top, left + 1216, height


def load_peer(path: Path, pairs: Sequence[Pair], data: str, listed: Path) -> Any:
    """The training set that a toolkit's own file makes of the same pairs; `listed` is where their list is written."""
    if not path.is_file():
        raise UserError(f"no peer at {path}, expected the file of a loader such as BTS' bts_dataloader.py")
    sys.path.insert(0, str(path.parent))  # for what it imports beside itself
    module: Any = importlib.import_module(path.stem)
    recipe = RECIPES[data]
    named = [(str(Path(one).resolve())[1:] for one in (pair.image, str(pair.depth))) for pair in pairs]
    listed.write_text("".join(f"{image} {depth} {recipe.focal_px}\n" for image, depth in named))
    args = SimpleNamespace(
        dataset=data,
        data_path="/",
        gt_path="/",
        filenames_file=str(listed),
        input_height=recipe.crop[0],
        input_width=recipe.crop[1],
        do_kb_crop=data == "kitti",
        do_random_rotate=True,
        degree=recipe.degrees,
        use_right=False,
    )
    return module.DataLoadPreprocess(args, "train", transform=module.preprocessing_transforms("train"))


def compare(training: TrainingSet, args: argparse.Namespace) -> dict[str, Rate]:
    """The better rate of each loader over some turns."""
    warm_up = 2 * args.workers + 1
    keys = EpochBatches(training.counts, args.batch, args.batch, seed=0, total_steps=args.batches + warm_up)
    order = [[index % len(training) for _, index in batch] for batch in keys]
    assert isinstance(training.parts[0].dataset, PairDataset)
    pairs = training.parts[0].dataset.pairs
    best: dict[str, Rate] = {}
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "files.txt")
        peer = load_peer(args.peer, pairs, args.data, listed) if args.peer else UsualSteps(pairs, args.data)
        loaders: dict[str, Callable[[], Iterable[Any]]] = {
            "distill": lambda: (batch.to("cpu") for batch in Loader(training, keys, args.workers)),
            args.peer.stem if args.peer else "usual steps": lambda: DataLoader(
                peer, batch_sampler=order, num_workers=args.workers
            ),
        }
        for _ in range(TURNS):
            for name, make in loaders.items():
                measured = rate(make(), args.batches, args.batch, warm_up)
                best[name] = max(best.get(name, measured), measured)
    return best


def show(spent: dict[str, float], rates: dict[str, Rate]) -> None:
    """Two tables: the stages of one image in one process, and the rates."""
    out = Console()
    table = Table("stage", "ms of a core", title="one image in one process")
    for stage in (*STAGES, "other"):
        table.add_row(stage, f"{spent[stage]:.2f}")
    table.add_row("all", f"{sum(spent.values()):.2f}")
    out.print(table)
    table = Table("loader", "images/s", "times the peer", "ms of a core", "MB after each quarter")
    *_, peer = rates.values()
    for name, one in rates.items():
        held = " ".join(f"{megabytes:.0f}" for megabytes in one.memory)
        table.add_row(name, f"{one.images:.1f}", f"{one.images / peer.images:.2f}", f"{one.cpu:.1f}", held)
    out.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, choices=list(RECIPES))
    parser.add_argument("--root", required=True, type=Path, help="where the data set lies")
    parser.add_argument("--split", type=Path, help="list file (default: the data set's usual training list)")
    parser.add_argument("--peer", type=Path, metavar="FILE", help="a toolkit's loader instead; it is executed")
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("--batch", type=int, default=BATCH, help="images of a batch (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=50, help="batches of one turn (default: %(default)s)")
    args = parser.parse_args()
    try:
        training = open_training_set(args.data, args.root, args.split)
        rates = compare(training, args)
        show(stages(training, args.batches * BATCH), rates)
    except UserError as error:
        print(f"compare_loader: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
