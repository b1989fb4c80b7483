"""What a run trains and is evaluated on: a data set, its preparation, its protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, cast

from distill.assembly.preflight import preflight
from distill.assembly.teaching import check_labels, reads_labels
from distill.config import Config, DataConfig
from distill.console import progress_bar
from distill.data import (
    Augmentation,
    Contents,
    DepthDataset,
    InMemory,
    PairDataset,
    PartlyLabelled,
    Photographs,
    Sample,
    SceneDataset,
    Source,
    Subset,
    TrainingSet,
    check_truth,
    find_photographs,
    kb_crop,
    kind_of_truth,
    mask_nyu_border,
    resize,
    within,
)
from distill.data.files.rgb_depth import DEFAULT_MAX_DEPTH
from distill.data.kitti.drives import SELECTED
from distill.data.opening import USUAL, Truth
from distill.data.zeroshot.published import PUBLISHED
from distill.errors import UserError
from distill.evaluation import PROTOCOLS, Protocol
from distill.evaluation.named import ALL
from distill.evaluation.protocols import AFFINE
from distill.method import METHODS

TRAIN_SCENES, TEST_SCENES = 11, 12  # seeds of the embedded scenes; the shipped teacher saw neither
DEFAULT_PROTOCOL = {"kitti": "kitti_eigen_garg_kb", "nyu": "nyu_eigen"}
USUAL_TRUTHS = {*USUAL.values(), "depth maps"}  # what the protocols' own words mean
SCENES_PER_WORKER = 25  # below, a process takes longer to start than to render


@dataclass(frozen=True)
class RunData:
    """What a run trains and is evaluated on. `test` is None where there is nothing to validate with."""

    train: TrainingSet
    test: DepthDataset | None
    protocol: Protocol
    max_depth: float
    prints: Mapping[str, str]  # digests of what the two consist of, by what they are of


def open_dataset(data: DataConfig, part: Literal["train", "test"], split: Path | None = None) -> DepthDataset:
    """One half of a data set. `split` wins over its configured list.

    Raises:
        UserError: If it is not there or not what it should be.
    """
    if data.name == "scenes":
        scenes = data.scenes
        count, seed = (scenes.train, TRAIN_SCENES) if part == "train" else (scenes.test, TEST_SCENES)
        embedded = kept_scenes if scenes.keep else SceneDataset
        return embedded(scenes.kind, count, seed, scenes.size, scenes.sparse and part == "train")
    return PairDataset(source(data).find(part, split or getattr(data.split, part)))


def source(data: DataConfig) -> Source:
    """Where a data set of files lies, and how its depth is meant."""
    assert data.root is not None
    truth = cast(Truth | None, data.truth)
    return Source(data.name, data.root, truth, data.max_depth, data.depth_scale, data.camera, data.labels)


@lru_cache(maxsize=4)
def kept_scenes(kind: str, count: int, seed: int, size: tuple[int, int], sparse: bool) -> InMemory:
    """Embedded scenes, rendered once by every core however many runs of this process use them."""
    workers = min(os.cpu_count() or 1, count // SCENES_PER_WORKER)
    dataset = SceneDataset(kind, count, seed, size, sparse)
    with progress_bar(f"rendering {count} scenes", count) as update:
        return InMemory(dataset, workers, lambda done: update(completed=done))


def has_test_half(data: DataConfig) -> bool:
    """Whether there is something to validate with: scenes always, otherwise a test list."""
    return data.name == "scenes" or data.split.test is not None or source(data).has_half("test")


def preparations(data: DataConfig) -> list[Callable[[Sample], Sample]]:
    """What is done to every training sample before it is varied: the data set's own crop or cap, and a smaller size."""
    steps: list[Callable[[Sample], Sample]] = []
    if data.name == "kitti":
        steps.append(kb_crop)
    if data.name == "nyu":
        steps.append(mask_nyu_border)
    if data.name == "folder" or data.name in PUBLISHED:
        cap = PUBLISHED[data.name].cap if data.name in PUBLISHED else DEFAULT_MAX_DEPTH
        steps.append(partial(within, max_depth=data.max_depth or cap))
    if data.size is not None:
        steps.append(partial(resize, size=data.size))
    return steps


def own_protocols(data: DataConfig, dataset: DepthDataset | None = None) -> list[str]:
    """Names of the protocols that belong to a data set."""
    if data.name == "scenes":
        return [f"scenes_{data.scenes.kind}"]
    contents = dataset.contents if dataset else None
    if data.name == "kitti" and contents and contents.pairs and SELECTED.search(contents.pairs[0].image):
        return ["kitti_selection"]
    return [one.name for one in ALL if one.dataset == data.name and one.name != "kitti_selection"]


def choose_protocol(
    data: DataConfig, name: str | None, tta: str | None, max_depth: float, dataset: DepthDataset | None = None
) -> Protocol:
    """The protocol of that name, by default the data set's own, with its options and the kind of ground truth applied.

    Raises:
        UserError: If there is none, or it belongs to another data set; a folder may hold any.
    """
    own, contents = own_protocols(data, dataset), dataset.contents if dataset else None
    usual = DEFAULT_PROTOCOL.get(data.name, own[0])
    protocol = PROTOCOLS[name or (usual if usual in own else own[0])]
    if data.name != "folder" and protocol.name.removesuffix(AFFINE) not in own:
        what = "KITTI's depth_selection" if own == ["kitti_selection"] else data.name
        raise UserError(f"protocol {protocol.name} does not score {what}, expected one of {', '.join(own)}")
    truth = kind_of_truth(protocol.dataset, contents) if contents else "depth maps"
    if truth not in USUAL_TRUTHS:  # so that its numbers are not taken for the usual ones
        protocol = protocol.with_(ground_truth=truth)
    if tta is not None:
        protocol = protocol.with_(tta=tta)
    return protocol.with_(max_depth=max_depth) if protocol.dataset == "folder" else protocol


def build_data(config: Config) -> RunData:
    """What a run is trained and evaluated on, checked, and the protocol it is evaluated by."""
    data = config.data
    training, test = build_training(config), open_test(config)
    check_labels(config, [training.dataset, *([training.photographs] if training.photographs else [])])
    max_depth = data.max_depth or (training.dataset if test is None else test).max_depth
    protocol = choose_protocol(data, config.eval.protocol, config.eval.tta, max_depth, test)
    prints = preflight(training, test, data.max_faults, protocol, data.size)
    return RunData(training, test, protocol, max_depth, prints | {"protocol": protocol.fingerprint})


def build_training(config: Config) -> TrainingSet:
    """The images that a run learns from: labelled ones, photographs, or both.

    Photographs keep their proportions: they are scaled until they cover the size of the others, and cropped to it.
    """
    data, own = config.data, photographs_alone(config)
    if own is not None:
        size = data.size or data.crop
        pictures: DepthDataset = Photographs(own, size)
        pictures = pictures if data.limit is None else Subset(pictures, data.limit)
        return TrainingSet(pictures, augmentation(data, data.crop or size), config.seed)
    labelled = TrainingSet(open_labelled(config), augmentation(data, data.crop), config.seed, preparations(data))
    if data.unlabelled is None:
        return labelled
    height, width = labelled.unvaried(0).depth.shape
    photographs = Photographs(find_photographs(data.unlabelled.root), (height, width))
    varied = augmentation(data, data.crop or (height, width))
    return TrainingSet(labelled.dataset, varied, config.seed, labelled.prepare, photographs)


def augmentation(data: DataConfig, crop: tuple[int, int] | None) -> Augmentation:
    return Augmentation(crop, data.rotate_deg, data.flip, data.colour, data.brightness)


def photographs_alone(config: Config) -> Contents | None:
    """The images of a run that has no ground truth at all to learn from; None where there is some."""
    data = config.data
    if data.unlabelled is not None and data.unlabelled.share == 1:
        return find_photographs(data.unlabelled.root)
    if data.name != "folder" or (config.method.name == "supervised" and not reads_labels(config)):
        return None
    contents = source(data).find("train", data.split.train)
    return contents if contents.images_only else None


def open_test(config: Config) -> DepthDataset | None:
    """What a run is validated on, None where there is nothing."""
    data = config.data
    wanted = data.unlabelled is not None and data.unlabelled.share == 1  # the data set is given for that alone
    if not (wanted or has_test_half(data)):
        return None
    test = open_dataset(data, "test")
    contents = test.contents
    if contents is not None and contents.images_only:
        raise UserError(
            f"{contents.source} has no depth to validate with; to train on photographs alone, without validation, name "
            "their folder as data.root, with data.name=folder, and nothing else"
        )
    return test if config.eval.limit is None else Subset(test, config.eval.limit)


def open_labelled(config: Config) -> DepthDataset:
    """The training half, as far as the run uses it; its ground truth is known to be usable."""
    data = config.data
    train = open_dataset(data, "train")
    if data.limit is not None:
        train = Subset(train, data.limit)
    if data.labelled is not None:
        view = PartlyLabelled if METHODS[config.method.name].needs_teacher else Subset
        train = view(train, data.labelled)
    check_truth(train)
    return train
