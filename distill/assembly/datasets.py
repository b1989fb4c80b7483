"""What a run trains and is evaluated on: a data set, its preparation, its protocol."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, cast

from distill.assembly.preflight import preflight
from distill.assembly.teaching import check_labels
from distill.config import Config, DataConfig, SourceConfig
from distill.console import inform, progress_bar
from distill.data import (
    Augmentation,
    Contents,
    DepthDataset,
    InMemory,
    PairDataset,
    PartlyLabelled,
    Sample,
    SceneDataset,
    Source,
    Subset,
    TrainingPart,
    TrainingSet,
    check_truth,
    cover,
    find_photographs,
    kb_crop,
    kind_of_truth,
    mask_nyu_border,
    readable,
    resize,
    within,
)
from distill.data.files.hold_out import hold_out
from distill.data.files.rgb_depth import DEFAULT_MAX_DEPTH
from distill.data.focal import focal_px, to_canonical
from distill.data.kitti.drives import SELECTED
from distill.data.opening import USUAL, Truth
from distill.data.survey import evenly
from distill.data.zeroshot.published import PUBLISHED
from distill.errors import UserError
from distill.evaluation import PROTOCOLS, Protocol
from distill.evaluation.named import ALL
from distill.evaluation.protocols import AFFINE
from distill.evaluation.segmentation import ClassProtocol, class_protocol
from distill.method import METHODS

TRAIN_SCENES, TEST_SCENES = 11, 12  # seeds of the embedded scenes; the shipped teacher saw neither
DEFAULT_PROTOCOL = {"kitti": "kitti_eigen_garg_kb", "nyu": "nyu_eigen"}
USUAL_TRUTHS = {*USUAL.values(), "depth maps"}  # what the protocols' own words mean
HELD_OUT = "held out"  # the name of images that are not trained on
LOOKED_AT = 16  # images of a source, to know its focal lengths
SCENES_PER_WORKER = 25  # below, a process takes longer to start than to render


@dataclass(frozen=True)
class RunData:
    """What a run trains and is evaluated on. `test` is None where there is nothing to validate with.

    `photographs` are images without depth to compare teacher and student on, called `HELD_OUT` where they are.
    """

    train: TrainingSet
    test: DepthDataset | None
    protocol: Protocol
    max_depth: float  # metres, or of the canonical camera
    prints: Mapping[str, str]  # digests of what the two consist of, by what they are of
    photographs: tuple[TrainingPart, ...] = ()


def open_dataset(data: SourceConfig, part: Literal["train", "test"], split: Path | None = None) -> DepthDataset:
    """One half of a data set. `split` wins over its configured list.

    Raises:
        UserError: If it is not there or not what it should be.
    """
    if data.name == "scenes":
        scenes = data.scenes
        count, seed = (scenes.train, TRAIN_SCENES) if part == "train" else (scenes.test, TEST_SCENES)
        embedded = kept_scenes if scenes.keep else SceneDataset
        sparse = scenes.sparse and part == "train" and not data.classes
        return embedded(scenes.kind, count, seed, scenes.size, sparse, bool(data.classes))
    return PairDataset(find_half(data, part, split))


def find_half(data: SourceConfig, part: Literal["train", "test"], split: Path | None = None) -> Contents:
    """What a half of a data set of files holds; of one that is divided by `data.hold_out` what is left or held out."""
    if split is None and data.hold_out and holds_out(data):
        whole = source(data).find("train", data.split.train)
        if not whole.images_only:
            return hold_out(whole, data.hold_out)[part == "test"]
    return source(data).find(part, split or getattr(data.split, part))


def holds_out(data: SourceConfig) -> bool:
    """Whether images to validate on are held out of those to train on: there are no others."""
    named = data.name == "scenes" or data.split.test is not None
    return data.hold_out is not None and not (named or source(data).has_half("test"))


def is_tested_on(data: DataConfig, one: SourceConfig) -> bool:
    """Whether what is held out of a source is what a run is validated on."""
    same = ("name", "root", "hold_out")
    return holds_out(data) and all(getattr(data, key) == getattr(one, key) for key in same)


def source(data: SourceConfig) -> Source:
    """Where a data set of files lies, and how its depth is meant."""
    assert data.root is not None
    truth = cast(Truth | None, data.truth)
    own = data.max_depth, data.depth_scale, data.camera, data.labels
    return Source(data.name, data.root, truth, *own, len(data.class_names), data.numbering)


@lru_cache(maxsize=4)
def kept_scenes(
    kind: str, count: int, seed: int, size: tuple[int, int], sparse: bool, classes: bool = False
) -> InMemory:
    """Embedded scenes, rendered once by every core however many runs of this process use them."""
    workers = min(os.cpu_count() or 1, count // SCENES_PER_WORKER)
    dataset = SceneDataset(kind, count, seed, size, sparse, classes)
    with progress_bar(f"rendering {count} scenes", count) as update:
        return InMemory(dataset, workers, lambda done: update(completed=done))


def has_test_half(data: SourceConfig) -> bool:
    """Whether there is something to validate with: scenes always, otherwise a test list, or what is held out."""
    named = data.name == "scenes" or data.split.test is not None
    return named or source(data).has_half("test") or holds_out(data)


def preparations(data: SourceConfig, size: tuple[int, int] | None) -> list[Callable[[Sample], Sample]]:
    """What is done to every training sample before it is varied: the data set's own crop or cap, and another size."""
    steps: list[Callable[[Sample], Sample]] = []
    if data.name == "kitti":
        steps.append(kb_crop)
    if data.name == "nyu":
        steps.append(mask_nyu_border)
    if (data.name == "folder" and not data.classes) or data.name in PUBLISHED:
        cap = PUBLISHED[data.name].cap if data.name in PUBLISHED else DEFAULT_MAX_DEPTH
        steps.append(partial(within, max_depth=data.max_depth or cap))
    if size is not None:
        steps.append(partial(resize, size=size))
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


def protocol_of_classes(data: DataConfig, tta: str | None) -> ClassProtocol:
    """The protocol of a data set whose classes are learnt."""
    return class_protocol("scenes" if data.name == "scenes" else data.numbering, data.class_names, tta)


def build_data(config: Config) -> RunData:
    """What a run is trained and evaluated on, checked, and the protocol it is evaluated by."""
    data = config.data
    (training, photographs), test = build_training(config), open_test(config)
    check_labels(config, [part.dataset.contents for part in training.parts])
    cap = data.max_depth or (training.parts[0].dataset if test is None else test).max_depth
    caps = [part.dataset.max_depth for part in training.parts] if data.sources else []
    if data.classes:
        protocol: Protocol = protocol_of_classes(data, config.eval.tta)
    else:
        protocol = choose_protocol(data, config.eval.protocol, config.eval.tta, cap, test)
    prints = preflight(training, test, data.max_faults, protocol, data.size)
    prints |= {"protocol": protocol.fingerprint}
    most = max([cap, *caps]) * (farthest_factor(training, test) if data.focal else 1)
    return RunData(training, test, protocol, most, prints, photographs)


def farthest_factor(training: TrainingSet, test: DepthDataset | None) -> float:
    """By what the canonical depth of a cap exceeds the cap, by a look at images with the shortest focal lengths.

    Raises:
        UserError: If one is not known.
    """
    for sample in readable(test, evenly(range(len(test)), LOOKED_AT)) if test is not None else ():
        if not sample.faults:
            focal_px(sample)
    shortest: list[int] = []
    for first, part in zip(itertools.accumulate(training.counts, initial=0), training.parts, strict=False):
        pairs = part.dataset.contents.usable if part.dataset.contents else ()
        cameras = [(pair.intrinsics, place) for place, pair in enumerate(pairs)]
        known = {round(float(camera[0, 0])): place for camera, place in cameras if camera is not None}
        places = [known[focal] for focal in sorted(known)[:LOOKED_AT]]
        shortest += [first + place for place in (*places, *evenly(range(len(part.dataset)), LOOKED_AT))]
    return max(training.unvaried(place).canonical or 1.0 for place in shortest)


def build_training(config: Config) -> tuple[TrainingSet, tuple[TrainingPart, ...]]:
    """The images that a run learns from: labelled ones, photographs, or both, of one or several sources.

    The second are the photographs on which the student can be compared with its teacher.

    Photographs keep their proportions: they are scaled until they cover the size of the others, and cropped to it.
    """
    data, parts = config.data, list(open_parts(config))
    size, crop = data.size or data.crop, data.crop
    if any(without_truth(part.dataset) for part in parts):
        measured = [part for part in parts if not without_truth(part.dataset)]
        if measured:
            size = prepared_size(measured[0])
        crop = crop or size
        covering: list[Callable[[Sample], Sample]] = [] if size is None else [partial(cover, size=size)]
        scaled = [*covering, *canonical_steps(data)]
        parts = [replace(part, prepare=scaled) if without_truth(part.dataset) else part for part in parts]
    photographs = [part for part in parts if without_truth(part.dataset)]
    held = [replace(part, dataset=part.held_out, name=HELD_OUT) for part in photographs if part.held_out]
    first, *others = parts
    training = TrainingSet(first.dataset, augmentation(data, crop), config.seed, first.prepare, others)
    return training, tuple(held or photographs)


def divided(part: TrainingPart, share: float | None) -> TrainingPart:
    """A part of photographs without that share of them; of few photographs, and any other part, all of it."""
    if share is None or not without_truth(part.dataset):
        return part
    assert part.dataset.contents is not None
    try:
        kept, held = map(PairDataset, hold_out(part.dataset.contents, share))
    except UserError:
        inform(
            f"data.hold_out={share:g} of {len(part.dataset)} photographs leaves none on one side: nothing is held out"
        )
        return part
    return replace(part, dataset=kept, held_out=held)


def open_parts(config: Config) -> Iterator[TrainingPart]:
    """Every source of training images, the photographs without depth last."""
    data, unlabelled = config.data, config.data.unlabelled
    alone = unlabelled is not None and unlabelled.share == 1
    for number, one in enumerate(() if alone else data.training_sources, start=1):
        name = f"source {number}" if number > 1 else "training"
        steps = [*preparations(one, data.size), *canonical_steps(data)]
        part = TrainingPart(open_labelled(config, one), steps, name)
        if one.hold_out and holds_out(one) and not (without_truth(part.dataset) or is_tested_on(data, one)):
            raise UserError(
                f"data.sources: hold_out={one.hold_out:g} takes images out of {one.root} that nothing is tested on, as "
                f"data.name={data.name} of {data.root or 'scenes'} is: leave it out there, or name that source in data "
                "(name, root, hold_out)"
            )
        yield divided(part, one.hold_out)
    if unlabelled is not None:
        photographs: DepthDataset = PairDataset(find_photographs(unlabelled.root))
        photographs = Subset(photographs, data.limit) if alone and data.limit else photographs
        yield divided(TrainingPart(photographs, name="training" if alone else "unlabelled"), data.hold_out)


def canonical_steps(data: DataConfig) -> list[Callable[[Sample], Sample]]:
    """What is done last: nothing after it changes a focal length."""
    return [to_canonical] if data.focal else []


def without_truth(dataset: DepthDataset) -> bool:
    """Whether its images are photographs, whose depth nobody has measured."""
    return dataset.contents is not None and dataset.contents.images_only


def prepared_size(part: TrainingPart) -> tuple[int, int]:
    """Height and width of a part's images before they are varied."""
    height, width = TrainingSet(part.dataset, Augmentation(), 0, part.prepare).unvaried(0).depth.shape
    return height, width


def augmentation(data: DataConfig, crop: tuple[int, int] | None) -> Augmentation:
    return Augmentation(crop, data.rotate_deg, data.flip, data.colour, data.brightness)


def open_test(config: Config) -> DepthDataset | None:
    """What a run is validated on, None where there is nothing."""
    data = config.data
    wanted = data.unlabelled is not None and data.unlabelled.share == 1  # the data set is given for that alone
    if not (wanted or has_test_half(data)):
        return None
    test = open_dataset(data, "test")
    contents = test.contents
    if contents is not None and contents.images_only and holds_out(data) and not wanted:
        return None  # photographs, of which `divided` holds some out
    if contents is not None and contents.images_only:
        raise UserError(
            f"{contents.source} has no depth to validate with; to train on photographs alone, without validation, name "
            "their folder as data.root, with data.name=folder, and nothing else"
        )
    return test if config.eval.limit is None else Subset(test, config.eval.limit)


def open_labelled(config: Config, data: SourceConfig) -> DepthDataset:
    """The training half of a source, as far as the run uses it; what depth it has is known to be usable."""
    train, taught = open_dataset(data, "train"), METHODS[config.method.name].needs_teacher
    if data.limit is not None:
        train = Subset(train, data.limit)
    if data.labelled is not None:
        view = PartlyLabelled if taught else Subset
        train = view(train, data.labelled)
    explained = taught or (train.contents is not None and train.contents.labels is not None)
    if not (data.name == "folder" and without_truth(train) and explained):
        check_truth(train)
    return train
