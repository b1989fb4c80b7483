"""What `distill evaluate --data segmentation` does: a model of classes, annotated images, mIoU and pixel accuracy."""

from __future__ import annotations

import argparse
import math

import numpy as np

from distill.assembly.datasets import has_test_half, open_dataset, protocol_of_classes
from distill.commands.arguments import check_outputs, json_with
from distill.commands.evaluate_reproduced import origin_of
from distill.config import Config
from distill.console import display, inform, progress_bar, warn
from distill.data import DepthDataset, PairDataset
from distill.data.files.annotations import NUMBERINGS, Annotated, find_annotated
from distill.engine.processes import join_group
from distill.errors import UserError
from distill.evaluation.segmentation import ClassProtocol, Segmentation, class_ious, class_protocol
from distill.files import write_json
from distill.inference.models import fingerprint_of, input_size, open_model
from distill.inference.network import Network, eval_mode
from distill.inference.segmenting import segment_shared
from distill.report.tables import terminal_table
from teachers.model import classes_of

SEGMENTATION = "segmentation"  # the name in --data
SHOWN = 5  # classes at either end of the table


def evaluate_classes(args: argparse.Namespace, run: Config | None = None) -> Segmentation:
    """Evaluate as the command's options say, show the figures and write what is asked for.

    Of a `run` that learnt classes its own test half, where the options name no data.

    Raises:
        UserError: If an option is for depth, the model gives depth, or no image can be scored.
    """
    refuse_options(args)
    check_outputs(args, json=json_with("model", "per_image"))
    if run is None and args.root is None:
        raise UserError("--root is needed for --data segmentation: the folder of images/ and annotations/")
    annotated = None if run else find_annotated(args.root)
    state = join_group()
    model = open_model(args.model, classes=True)
    origin = origin_of(args, fingerprint_of(model), state.device)
    model = model.to(state.device)
    if not (names := classes_of(model)):
        raise UserError(f"--data {SEGMENTATION} needs a model of classes, and {args.model} gives depth")
    convention = args.labels or "ade20k"
    numbering = NUMBERINGS[convention]
    if annotated:
        protocol = class_protocol(convention, names, args.tta)
        dataset: DepthDataset = PairDataset(annotated.contents(numbering, len(names)))
    else:
        assert run is not None
        protocol, dataset = own_data(args, run)
    network = Network(model, protocol, state.device, input_size(args.model, model, args.size))
    nothing, total = Segmentation(protocol), len(range(0, len(dataset), state.num_processes))
    with progress_bar(SEGMENTATION, total, active=state.is_main_process) as update, eval_mode(model):
        whole = segment_shared(
            network, dataset, nothing, state, step=numbering.step, progress=lambda: update(advance=1)
        )
    assert whole is not None  # nothing interrupts it
    whole.origin, whole.input_size = origin, network.size
    if not whole.matrix.any():
        reason = whole.skipped[0] if whole.skipped else "no pixel has a class"
        raise UserError(f"no image of {args.root or args.model} can be scored: {reason}")
    if state.is_main_process:
        if args.json:
            write_json(args.json, {"model": args.model, **whole.as_dict()})
        show(args.model, whole)
        remark(whole, annotated, numbering.otherwise)
    return whole


def own_data(args: argparse.Namespace, run: Config) -> tuple[ClassProtocol, DepthDataset]:
    """The protocol of a run, and its test half, in another place where --root names one."""
    if args.labels:
        raise UserError(f"--labels is for --data {SEGMENTATION}, and {args.model} knows its own: leave it out")
    data = run.data.model_copy(update={"root": args.root or run.data.root})
    if not has_test_half(data):
        raise UserError(f"{args.model} has no test half: name images with --data {SEGMENTATION} --root DIR")
    return protocol_of_classes(data, args.tta or run.eval.tta), open_dataset(data, "test")


def refuse_options(args: argparse.Namespace) -> None:
    """Refuse what is for depth alone."""
    depth = ["split", "truth", "protocol", "all_protocols", "alignment", "median_scaling", "scenes", "max_depth"]
    depth += ["depth_scale", "report", "save_predictions", "prediction_scale", "confidence"]
    if options := [f"--{name.replace('_', '-')}" for name in depth if getattr(args, name, None)]:
        raise UserError(f"{', '.join(options)}: for depth alone, --data {SEGMENTATION} scores classes: leave it out")


def show(model: str, whole: Segmentation) -> None:
    """The two figures, and the classes with the lowest and the highest IoU."""
    ious = class_ious(whole.matrix)
    order = [number for number in np.argsort(ious) if not math.isnan(ious[number])]
    chosen = order if len(order) <= 2 * SHOWN else [*order[:SHOWN], *order[-SHOWN:]]
    metrics, absent = whole.metrics, len(whole.names) - len(order)
    lines = [["", "IoU %"], ["mean (mIoU)", f"{metrics['miou']:.2%}"[:-1]]]
    lines += [[whole.names[number], f"{ious[number]:.2%}"[:-1]] for number in chosen]
    display(f"{model} · {SEGMENTATION} · {whole.protocol.convention}")
    display(terminal_table(lines, sections=[1]))
    display(f"pixel accuracy {metrics['pixel_accuracy']:.2%}, {len(whole.images)} images, {whole.matrix.sum()} pixels")
    some = f"; {absent} of {len(whole.names)} classes occur nowhere" if absent else ""
    display(f"{whole.protocol.describe()}{some}")


def remark(whole: Segmentation, annotated: Annotated | None, otherwise: str) -> None:
    """What was left out, and whether files seem to number their classes in another way."""
    if annotated and (annotated.images_alone or annotated.annotations_alone):
        alone = f"{annotated.images_alone} images without an annotation"
        inform(f"left out: {alone}, {annotated.annotations_alone} annotations without image")
    if whole.skipped:
        warn(f"{len(whole.skipped)} images skipped, the first: {whole.skipped[0]}")
    if count := whole.counted_otherwise:
        pixels = sum(one.pixels for one in whole.images)
        shares = (sum(part) / pixels for part in zip(*((one.right, one.shifted) for one in whole.images), strict=True))
        now, then = (f"{share:.1%}" for share in shares)
        warn(
            f"{count} of {len(whole.images)} images agree better if classes count from the other number: {now} of all "
            f"pixels as they are read, {then} with --labels {otherwise}; mixed files need one numbering"
        )
