"""`distill evaluate`: a model, a data set, one or several protocols, a table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import PartialState

from distill.assembly.datasets import choose_protocol, open_dataset, own_protocols
from distill.assembly.preflight import check_test
from distill.commands.arguments import (
    FILE,
    MODEL,
    add_data,
    check_folder,
    check_outputs,
    factor,
    image_size,
    json_with,
    model_folders,
    page_of,
)
from distill.commands.evaluate_classes import SEGMENTATION, evaluate_classes
from distill.commands.evaluate_reproduced import origin_of, reproduce
from distill.config import Config, Content, DataConfig, parse_config, run_of
from distill.console import display, inform, progress_bar, warn
from distill.data import DepthDataset, check_truth, readable, recognise
from distill.data.files.annotations import NUMBERINGS
from distill.data.files.known_lists import UNKNOWN
from distill.data.files.png import MOST, depth_scale
from distill.data.files.reading import INTEGER_SCALE
from distill.data.zeroshot.published import PUBLISHED
from distill.engine.processes import join_group
from distill.errors import DONE, UserError
from distill.evaluation import ALIGNMENTS, Evaluation, Outcome, Predict, Protocol, SizeError, gather
from distill.files import write_json
from distill.inference.evaluating import evaluate_shared
from distill.inference.models import check_uncertainty, fingerprint_of, for_inference, input_size, open_model
from distill.inference.network import Network, eval_mode
from distill.inference.stored import Recorder, StoredPredictions, find_maps, holds_predictions, read_about
from distill.pages.evaluation_page import show_evaluation, side_by_side, write_evaluation_page
from teachers import DepthModel
from teachers.model import RELATIVE, is_relative

PNG_SCALES = {"kitti": 256.0, "nyu": 1000.0, "scenes": 256.0}  # units per metre in a toolkit's 16-bit predictions


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill evaluate` takes."""
    parser.add_argument("model", metavar="MODEL", help=f"{MODEL}, {FILE}, or a folder of predicted depth maps")
    add_data(parser, "test", SEGMENTATION)
    parser.add_argument(
        "--zero-shot", type=Path, nargs="+", metavar="ROOT", help="every data set of these folders, by affine protocols"
    )
    parser.set_defaults(affine=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--protocol", help="default: the data set's own")
    which.add_argument("--all-protocols", action="store_true", help="every protocol of this data set, side by side")
    parser.add_argument(
        "--tta",
        choices=["none", "flip", "flip-edge", "flip-plain"],
        help="average with the mirrored image as AdaBins (flip), NeWCRFs (flip-edge) or MDE-Toolbox (flip-plain) does",
    )
    aligning = parser.add_mutually_exclusive_group()
    aligning.add_argument(
        "--alignment", choices=list(ALIGNMENTS), help="bring each prediction closest to its truth first (default: none)"
    )
    aligning.add_argument("--median-scaling", action="store_true", help="the same as --alignment median")
    parser.add_argument(
        "--size", type=image_size, metavar="HxW", help="resize images for the model (default: as it was trained)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results, per image too")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page: errors, worst images")
    parser.add_argument(
        "--confidence", action="store_true", help="whether a CNN student knows where it is wrong: AUSE, curves"
    )
    parser.add_argument(
        "--save-predictions", type=Path, metavar="DIR", help="write every depth map, to be evaluated again"
    )
    parser.add_argument(
        "--save-as", choices=["npy", "png"], default="npy", help="exact, or 16-bit pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--labels",
        choices=NUMBERINGS,
        help="how files number classes: ade20k from 1, 0 is nothing (default); from-zero from 0, 255 is nothing",
    )
    parser.add_argument(
        "--reproduce",
        action="store_true",
        help="MODEL is a RESULT.json of --json: evaluate the same once more and say whether it holds",
    )
    parser.add_argument("--moved-to", metavar="MODEL", help="with --reproduce: where the model lies now (data: --root)")
    parser.add_argument("--prediction-scale", type=factor, help="units per metre of a folder of predicted PNGs")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill evaluate`."""
    if args.reproduce:
        return reproduce(args, evaluate_any)
    if args.moved_to:
        raise UserError(f"--moved-to {args.moved_to} is for --reproduce: leave it out")
    evaluate_any(args)
    return DONE


def evaluate_any(args: argparse.Namespace) -> list[dict[str, object]]:
    """Evaluate depth or classes as the command's options say, and return the results as JSON has them."""
    if args.data == SEGMENTATION:
        return [evaluate_classes(args).as_dict()]
    run = None if args.data or args.zero_shot else run_of(args.model)
    if run is not None and run.data.classes:
        return [evaluate_classes(args, run).as_dict()]
    if args.labels:
        raise UserError(f"--labels is for --data {SEGMENTATION}: leave it out")
    return [one.as_dict() for one in evaluate_by_arguments(args)]


@dataclass(frozen=True)
class Predictor:
    """What is evaluated: how a sample's depth is predicted, by which model where there is one, and its input size.

    `weights` is a digest of the model's, or of the predictions.
    """

    predict: Predict
    weights: str
    model: DepthModel | None = None
    size: tuple[int, int] | None = None

    @property
    def relative(self) -> bool:
        """Whether what it predicts has no unit."""
        return self.predict.relative if isinstance(self.predict, StoredPredictions) else is_relative(self.model)


def evaluate_by_arguments(args: argparse.Namespace) -> list[Evaluation]:
    """Evaluate as the command's options say, and return the results that were shown."""
    if args.zero_shot:
        return evaluate_zero_shot(args)
    run = None if args.data else run_of(args.model)
    if run is not None:
        args.tta = args.tta or run.eval.tta
        args.protocol = args.protocol or (None if args.all_protocols else run.eval.protocol)
    data = data_config(args, run)
    check_outputs(args, json=json_with("model", "per_image"), report=page_of("evaluate"))
    state = join_group()
    dataset = open_dataset(data, "test", split=args.split)
    check_test(dataset, data.max_faults)
    protocols = choose_protocols(args, data, dataset)
    if args.affine:
        protocols = [protocol.affine() for protocol in protocols]
    if args.confidence and (aligned := [protocol for protocol in protocols if protocol.alignment != "none"]):
        raise UserError(
            f"--confidence measures depth as it is, in metres, and {aligned[0].name} first brings each prediction "
            f"closest to its truth ({aligned[0].alignment}): give --alignment none, or leave --confidence out"
        )
    predictor = open_predictor(args, data, protocols[0], state)
    if predictor.relative:
        warn(
            f"{args.model}: {RELATIVE}; each prediction gets the scale and shift that fit the truth best, so its "
            "figures do not compare with those of models that give metres"
        )
        protocols = [protocol.affine() for protocol in protocols]
    predict = predictor.predict
    if args.save_predictions:
        predict = recorded(args, data, dataset, predictor, protocols[0], state)
    outcomes = evaluate_all(predictor, predict, dataset, protocols, state)
    origin = origin_of(args, predictor.weights, state.device)
    try:
        seconds = predictor.predict.seconds if isinstance(predictor.predict, Network) else 0.0
        results = gather(outcomes, protocols, seconds, predictor.size, dataset.without_truth, origin)
    except UserError:
        check_truth(dataset)  # may raise a better reason, such as a wrong scale or why maps cannot be read
        raise
    if state.is_main_process:
        write_results(args, results, dataset, [outcome.name for outcome in outcomes], predictor)
    return results


def evaluate_zero_shot(args: argparse.Namespace) -> list[Evaluation]:
    """Evaluate on every data set that is recognised in some folders, and return the results of all.

    Without an alignment named, affine protocols score models that give metres and relative ones alike. A set that
    cannot be evaluated takes nothing from the others: theirs are shown and written before its error ends the command.
    """
    alone = [name for name in ("data", "root", "split", "protocol", "report", "save_predictions") if vars(args)[name]]
    if alone:
        raise UserError(f"--zero-shot goes without --{alone[0].replace('_', '-')}: leave one of them out")
    check_outputs(args, json=json_with("model", "per_image"))
    sets = [(name, root) for root in args.zero_shot for name in recognise(root)]
    results, content, failures = [], [], []
    affine = not (args.alignment or args.median_scaling)
    for name, root in sets:
        options = {"data": name, "root": root, "zero_shot": None, "json": None, "affine": affine}
        try:
            for one in evaluate_by_arguments(argparse.Namespace(**vars(args) | options)):
                results.append(one)
                content.append({"model": args.model, "data": name, "root": str(root), **one.as_dict()})
        except UserError as error:
            if PartialState().num_processes > 1:
                raise  # the other processes may be waiting for this one
            failures.append(f"{name} of {root}: {error}")
    if results and PartialState().is_main_process:
        if args.json:
            write_json(args.json, content)
        display(side_by_side(results, args.model))
    if failures:
        raise UserError(f"{len(failures)} of {len(sets)} data sets could not be evaluated. " + "; ".join(failures))
    return results


def data_config(args: argparse.Namespace, run: Config | None) -> DataConfig:
    """The data section that the options of the command stand for, beside or in place of the model's own run's."""
    if args.data is None and run is None:
        raise UserError(f"--data is needed: {args.model} is no run's folder, which would say on which data")
    if args.data not in (None, "scenes") and args.root is None:
        raise UserError(f"--root is needed for --data {args.data}: the folder of the data set")
    own: Content = run.data.model_dump(mode="json", exclude_none=True) if run else {"name": args.data}
    if args.scenes and (args.data or own["name"]) != "scenes":
        raise UserError(f"--scenes {args.scenes} is for --data scenes: leave it out")
    named = {
        "name": args.data,
        "root": str(args.root) if args.root else None,
        "scenes": own.get("scenes", {}) | {"kind": args.scenes} if args.scenes else None,
        "truth": args.truth,
        "depth_scale": args.depth_scale,
        "max_depth": args.max_depth,
    }
    return parse_config(
        {"data": own | {key: value for key, value in named.items() if value is not None}}, "options"
    ).data


def choose_protocols(args: argparse.Namespace, data: DataConfig, dataset: DepthDataset) -> list[Protocol]:
    """The one protocol asked for, or all of the data set's that take its frames."""
    names = own_protocols(data, dataset) if args.all_protocols else [args.protocol]
    cap = data.max_depth or dataset.max_depth
    chosen = [choose_protocol(data, name, args.tta, cap, dataset) for name in names]
    if args.max_depth is not None:
        chosen = [protocol.with_(max_depth=args.max_depth) for protocol in chosen]
    if alignment := "median" if args.median_scaling else args.alignment:
        chosen = [protocol.with_(alignment=alignment) for protocol in chosen]
    suitable = [protocol for protocol in chosen if takes(protocol, dataset)] if args.all_protocols else chosen
    return suitable or chosen


def takes(protocol: Protocol, dataset: DepthDataset) -> bool:
    """Whether a protocol takes frames of the size of the first that can be read."""
    first = next((sample for sample in readable(dataset) if not sample.faults), None)
    try:
        return first is None or protocol.window(*first.depth.shape) is not None
    except SizeError:
        return False


def png_scale(data: DataConfig) -> float:
    """Units per metre of 16-bit predictions of a data set; as many as its farthest depth allows, up to 1000."""
    if data.name in PUBLISHED:
        return min(INTEGER_SCALE, MOST // PUBLISHED[data.name].cap)
    return PNG_SCALES.get(data.name, data.depth_scale or INTEGER_SCALE)


def check_scale(folder: Path, scale: float) -> None:
    """Refuse a scale of predictions that state another themselves, or that are arrays of metres."""
    pictures = [path for path in find_maps(folder).values() if path.suffix.lower() == ".png"]
    if not pictures:
        raise UserError(f"{folder} holds arrays, whose depth is in metres: leave --prediction-scale out")
    stated = read_about(folder).scale or depth_scale(pictures[0].read_bytes())
    if stated and stated != scale:
        raise UserError(f"{folder} states {stated:g} units per metre itself: leave --prediction-scale {scale:g} out")


def open_predictor(args: argparse.Namespace, data: DataConfig, protocol: Protocol, state: PartialState) -> Predictor:
    """The model, or the folder of predictions, that the command names."""
    if holds_predictions(args.model):
        if args.confidence:
            raise UserError(f"--confidence asks a model, and {args.model} holds predictions: leave it out")
        if args.size:
            raise UserError(f"--size is for models, and {args.model} holds predictions: leave it out")
        if args.prediction_scale:
            check_scale(Path(args.model), args.prediction_scale)
        stored = StoredPredictions(Path(args.model), args.prediction_scale or png_scale(data), protocol)
        return Predictor(stored, stored.fingerprint, None, stored.size)
    if args.prediction_scale:
        raise UserError(f"--prediction-scale is for folders of predictions, and {args.model} is a model: leave it out")
    model = open_model(args.model)
    if args.confidence:
        check_uncertainty(args.model, model)
    weights = fingerprint_of(model)
    model = for_inference(model).to(state.device)
    size = input_size(args.model, model, args.size)
    if size:
        inform(f"images are resized to {size[0]}x{size[1]} for the model, predictions back")
    network = Network(model, protocol, state.device, size, confidence=args.confidence)
    return Predictor(network, weights, model, size)


def recorded(
    args: argparse.Namespace,
    data: DataConfig,
    dataset: DepthDataset,
    predictor: Predictor,
    protocol: Protocol,
    state: PartialState,
) -> Predict:
    """The same predictions, written as they are made.

    Raises:
        UserError: If one would be written into what is read, or over a file that is no saved prediction.
    """
    if predictor.relative and args.save_as == "png":
        raise UserError(f"--save-as png writes metres, and {args.model} gives {RELATIVE}: leave it out")
    scale = png_scale(data) if args.save_as == "png" else None
    recorder = Recorder(predictor.predict, args.save_predictions, protocol, scale)
    if state.is_main_process:
        pairs = dataset.contents.pairs if dataset.contents else ()
        files = {Path(file) for pair in pairs for file in (pair.image, pair.depth) if file}
        read = {folder for file in files for folder in file.parents if data.root in (folder, *folder.parents)}
        written = () if recorder.described else (recorder.place(pair.name) for pair in pairs)
        check_folder(args.save_predictions, "--save-predictions", [*read, *model_folders(args.model)], written)
        output = "relative" if predictor.relative else "metric"
        recorder.describe(output=output, model=args.model, data=data.name, input_size=predictor.size)
    return recorder


def evaluate_all(
    predictor: Predictor, predict: Predict, dataset: DepthDataset, protocols: Sequence[Protocol], state: PartialState
) -> list[Outcome]:
    """The outcome of every sample, in their order; each process predicts its share of them."""
    if isinstance(predictor.predict, StoredPredictions) and dataset.contents:
        predictor.predict.check([pair.name for pair in dataset.contents.usable])
    total = len(range(0, len(dataset), state.num_processes))
    with progress_bar(protocols[0].name, total, active=state.is_main_process) as update, eval_mode(predictor.model):
        outcomes = evaluate_shared(predict, dataset, protocols, state, progress=lambda: update(advance=1), digests=True)
    assert outcomes is not None  # nothing interrupts it
    return outcomes


def write_results(
    args: argparse.Namespace,
    results: Sequence[Evaluation],
    dataset: DepthDataset,
    names: Sequence[str],
    predictor: Predictor,
) -> None:
    """The files that the options ask for, then the table: neither a full disk nor a screen that is gone loses both."""
    contents = dataset.contents
    listed = contents.list_name if contents and contents.list_name != UNKNOWN else None
    try:
        if args.json:
            content = [{"model": args.model, "list": listed, **one.as_dict()} for one in results]
            write_json(args.json, content if args.all_protocols else content[0])
        if args.report:
            write_evaluation_page(args.report, args.model, results, dataset, names, predictor.predict)
    finally:
        show_evaluation(args.model, results, listed)
