"""A configuration becomes the objects of a run. The only file that knows every part by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from rich.progress import Progress
from torch import nn

from distill.config import Config, DataConfig
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
    TrainingSet,
    check_truth,
    kb_crop,
    mask_nyu_border,
    resize,
)
from distill.data.kitti import SELECTED
from distill.engine.optimisation import warmup_steps
from distill.engine.tracking import console
from distill.errors import UserError
from distill.evaluation import PROTOCOLS, Protocol
from distill.method import LOSSES, METHODS, FixedGhost, Method
from distill.preflight import preflight
from students import create_student, load_student
from teachers import FrozenTeacher, create_teacher, list_teachers

TRAIN_SCENES, TEST_SCENES = 11, 12  # seeds of the embedded scenes; the shipped teacher saw neither
DEFAULT_PROTOCOL = {"kitti": "kitti_eigen_garg_kb", "nyu": "nyu_eigen"}
USUAL_TRUTHS = {"official annotated depth", "filled depth", "depth maps"}  # what the protocols' own words mean
MAX_VALIDATIONS = 10
SCENES_PER_WORKER = 25  # below, a process takes longer to start than to render
SHIPPED = "dpt_micro"  # the one DPT that has weights of its own


@dataclass(frozen=True)
class Data:
    """What a run trains and is judged on. `test` is None where there is nothing to validate with."""

    train: TrainingSet
    test: DepthDataset | None
    protocol: Protocol
    max_depth: float


def user_error(error: Exception) -> UserError:
    """The mistake behind an exception of `teachers` or `students`, in one line."""
    return UserError(" ".join(str(error).split()))


# ---------------------------------------------------------------------------------------------------------------- data


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
    return Source(data.name, data.root, data.truth, data.max_depth, data.depth_scale, data.camera)


@lru_cache(maxsize=4)
def kept_scenes(kind: str, count: int, seed: int, size: tuple[int, int], sparse: bool) -> InMemory:
    """Embedded scenes, rendered once by every core however many runs of this process use them."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"rendering {count} scenes", total=count)
        workers = min(os.cpu_count() or 1, count // SCENES_PER_WORKER)
        dataset = SceneDataset(kind, count, seed, size, sparse)
        return InMemory(dataset, workers, lambda done: progress.update(task, completed=done))


def has_test_half(data: DataConfig) -> bool:
    """Whether there is something to validate with: scenes always, otherwise a test list."""
    return data.name == "scenes" or data.split.test is not None or source(data).has_test_half()


def preparations(data: DataConfig) -> list[Callable[[Sample], Sample]]:
    """What is done to every training sample before it is varied: the data set's own crop, and a smaller size."""
    steps: list[Callable[[Sample], Sample]] = []
    if data.name == "kitti":
        steps.append(kb_crop)
    if data.name == "nyu":
        steps.append(mask_nyu_border)
    if data.size is not None:
        steps.append(partial(resize, size=data.size))
    return steps


def contents_of(dataset: DepthDataset | None) -> Contents | None:
    """What the list of a data set of files stands for, also behind a `Subset`; None of rendered ones."""
    return getattr(getattr(dataset, "dataset", dataset), "contents", None)


def own_protocols(data: DataConfig, dataset: DepthDataset | None = None) -> list[str]:
    """Names of the protocols that belong to a data set."""
    if data.name == "scenes":
        return [f"scenes_{data.scenes.kind}"]
    contents = contents_of(dataset)
    if data.name == "kitti" and contents and contents.pairs and SELECTED.search(contents.pairs[0].image):
        return ["kitti_selection"]
    return [name for name, one in PROTOCOLS.items() if one.dataset == data.name and name != "kitti_selection"]


def choose_protocol(
    data: DataConfig, name: str | None, tta: str | None, max_depth: float, dataset: DepthDataset | None = None
) -> Protocol:
    """The protocol of that name, by default the data set's own, with its options and the kind of ground truth applied.

    Raises:
        UserError: If there is none, or it belongs to another data set; a folder may hold any.
    """
    own, contents = own_protocols(data, dataset), contents_of(dataset)
    usual = DEFAULT_PROTOCOL.get(data.name, own[0])
    protocol = PROTOCOLS[name or (usual if usual in own else own[0])]
    if data.name != "folder" and protocol.name not in own:
        what = "KITTI's depth_selection" if own == ["kitti_selection"] else data.name
        raise UserError(f"protocol {protocol.name} does not judge {what}, expected one of {', '.join(own)}")
    if contents and contents.truth not in USUAL_TRUTHS:  # so that its numbers are not taken for the usual ones
        protocol = protocol.with_(ground_truth=contents.truth)
    if tta is not None:
        protocol = protocol.with_(tta=tta)
    return protocol.with_(max_depth=max_depth) if protocol.dataset == "folder" else protocol


def build_data(config: Config) -> Data:
    """Both halves of the data set, checked, and the protocol they are judged by."""
    data = config.data
    train = open_dataset(data, "train")
    images_only = isinstance(train, PairDataset) and train.contents.images_only
    if data.limit is not None:
        train = Subset(train, data.limit)
    if data.labelled is not None:
        view = PartlyLabelled if METHODS[config.method.name].needs_teacher else Subset
        train = view(train, data.labelled)
    if config.method.name == "supervised" or not images_only:
        check_truth(train)
    test = open_dataset(data, "test") if has_test_half(data) else None
    if test is not None and config.eval.limit is not None:
        test = Subset(test, config.eval.limit)
    max_depth = data.max_depth or train.max_depth
    varied = Augmentation(data.crop, data.rotate_deg, data.flip, data.colour, data.brightness)
    training_set = TrainingSet(train, varied, config.seed, preparations(data))
    preflight(training_set, test, data.max_faults)
    protocol = choose_protocol(data, config.eval.protocol, config.eval.tta, max_depth, test)
    return Data(training_set, test, protocol, max_depth)


# -------------------------------------------------------------------------------------------------------------- models


def is_folder(teacher: str) -> bool:
    """Whether a teacher is a trained model's folder; a folder that is called like a DPT is not meant."""
    return teacher not in list_teachers() and Path(teacher).is_dir()


def check_models(config: Config) -> None:
    """Look at names and files of both networks before anything is built."""
    check_teacher(config)
    parent = config.student.checkpoint
    if parent is not None and str(parent) != SHIPPED and not parent.exists():
        raise UserError(f"student.checkpoint: nothing at {parent}; give the path of the parent's weights, or {SHIPPED}")


def check_teacher(config: Config) -> None:
    """Look at the teacher's name and file before anything is built."""
    given = config.teacher
    if not METHODS[config.method.name].needs_teacher or is_folder(given.name):
        return
    if given.name not in list_teachers():
        raise UserError(
            f"unknown teacher {given.name!r}, known are {', '.join(list_teachers())}, or the folder of a trained model"
        )
    if given.checkpoint is not None and not given.checkpoint.is_file():
        raise UserError(f"teacher.checkpoint: no file at {given.checkpoint}; give the path of the teacher's weights")
    if given.checkpoint is None and given.name != SHIPPED:
        raise UserError(f"teacher.checkpoint is needed for {given.name}: a teacher without weights teaches nothing")


def build_teacher(config: Config) -> FrozenTeacher | None:
    """The frozen teacher, None where the method has no use for one.

    Raises:
        UserError: If its weights cannot be read or are another network's.
    """
    given = config.teacher
    if not METHODS[config.method.name].needs_teacher:
        return None
    try:
        if is_folder(given.name):
            return FrozenTeacher(load_student(given.name))
        options = given.model_dump(include={"scale", "shift", "invert", "readout"}, exclude_none=True)
        return create_teacher(given.name, given.checkpoint, **options)
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error


def build_student(config: Config, max_depth: float) -> nn.Module:
    """The student of a run, with random, ImageNet or inherited weights."""
    given = config.student
    options = given.model_dump(exclude={"backbone", "align"}, exclude_none=True)
    meaning = {"invert": False} if given.align else {}  # of the raw output, until the training images have said it
    try:
        return create_student(given.backbone, **{"max_depth": max_depth, **options, **meaning})
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error


def build_method(
    config: Config, student: nn.Module, teacher: FrozenTeacher | None, steps: int, per_epoch: int
) -> Method:
    """The method by name. `disdepth` without FAM is classical feature distillation."""
    given = config.method
    name = "feature" if given.name == "disdepth" and not given.fam else given.name
    loss = LOSSES[given.loss]
    options: dict[str, Any] = {}
    if name in ("feature", "disdepth"):
        assert teacher is not None
        options = {
            "teacher_channels": teacher.feature_channels,
            "kd_weight": given.kd_weight,
            "kd_normalise": given.kd_normalise,
            "warmup_steps": warmup_steps(config, steps, per_epoch),
        }
    if name == "disdepth":
        options |= {"lam": given.lam, "window": given.window, "ghost": build_ghost(config, student)}
    if name == "output":
        options = {"weight": given.output_weight}
    return METHODS[name](student, loss, **options)


def build_ghost(config: Config, student: Any) -> FixedGhost | None:
    """The decoder of another, trained student, where the configuration names one.

    Raises:
        UserError: If it cannot be read, or takes other maps than the student gives.
    """
    if config.method.ghost is None:
        return None
    try:
        trained: Any = load_student(config.method.ghost)
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"method.ghost: {user_error(error)}") from error
    theirs, ours = tuple(trained.feature_channels), tuple(student.feature_channels)
    if theirs != ours:
        raise UserError(
            f"method.ghost: the decoder of {config.method.ghost} takes maps of {theirs} channels, the student gives "
            f"{ours}; name a student of the same backbone"
        )
    return FixedGhost(trained)


# ------------------------------------------------------------------------------------------- models named on a command


def open_model(name: str, **conversion: Any) -> nn.Module:
    """MODEL of the command line: a run folder, a `student/` folder, or `teacher-name:checkpoint`.

    `conversion` (scale, shift, invert) tells what a checkpoint's raw output means.

    Raises:
        UserError: If there is no such model.
    """
    try:
        if name in list_teachers():
            if name != SHIPPED:
                raise UserError(f"{name} needs weights: give {name}:CHECKPOINT")
            return create_teacher(name)
        if Path(name).exists() or ":" not in name:
            return load_student(name)
        teacher, _, checkpoint = name.partition(":")
        return create_teacher(teacher, checkpoint, **conversion)
    except (ValueError, FileNotFoundError) as error:
        raise user_error(error) from error
