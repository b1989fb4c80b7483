"""`distill label`: a teacher's depth of many images as a data set, written once and trained from often."""

from __future__ import annotations

import argparse
import fcntl
import os
import shlex
import time
from contextlib import ExitStack, closing
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import gather_object

from distill.commands.arguments import (
    FILE,
    MODEL,
    check_folder,
    check_outputs,
    image_size,
    json_with,
    model_folders,
    positive,
)
from distill.console import StepProgress, display, inform, warn
from distill.engine.processes import cores, join_group, on_main
from distill.engine.signals import SignalWatch
from distill.errors import DONE, MISTAKE, Interrupted, UserError
from distill.files import write_atomically, write_json
from distill.inference.models import fingerprint_of, input_size, metadata_of, open_model, refuse_canonical
from distill.inference.network import Network
from distill.pages.run_page import warn_of_licence
from distill.predict.contact_sheet import SHEET, contact_sheet
from distill.predict.frames import expected_frames
from distill.predict.inputs import find_inputs
from distill.predict.label_plan import LabelPlan, make_plan, read_labels
from distill.predict.labelling import Account, LabelWriter, Provenance, by_size, read_ahead, reading_jobs
from distill.report.pictures import encode_png
from teachers import DepthModel
from teachers.model import RELATIVE, is_relative

MOST_THREADS = 8  # that read, and as many that write


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill label` takes."""
    parser.add_argument("model", metavar="TEACHER", help=f"hf:NAME-OR-FOLDER, module:factory, {MODEL}, or {FILE}")
    parser.add_argument("inputs", nargs="+", metavar="IMAGES", help="image, folder, glob, video, or a camera's number")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of labels, new or to go on with"
    )
    parser.add_argument("--size", type=image_size, metavar="HxW", help="resize images for the teacher, and depth back")
    parser.add_argument(
        "--batch", type=positive, default=1, metavar="N", help="images of one size at a time (default: 1)"
    )
    parser.add_argument("--frames", type=positive, metavar="N", help="of a video or camera, no more than these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was done, how fast, and what was skipped")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill label`."""
    return MISTAKE if label_inputs(args).broken else DONE


def label_inputs(args: argparse.Namespace) -> Account:
    """Label every input that has no label yet, and return what became of all, by every process.

    Raises:
        UserError: If there is no such teacher or input, or the output cannot be written or holds other labels.
        Interrupted: After SIGINT or SIGTERM; the same command goes on.
    """
    check_outputs(args, json=json_with("teacher", "images_per_second"))
    state = join_group()
    with ExitStack() as held:
        plan = on_main(state, lambda: prepare(args, held))
        model = open_model(args.model).to(state.device).eval()
        refuse_canonical(args.model, model)
        network = Network(model, None, state.device, input_size(args.model, model, args.size))
        by = provenance(args.model, network)
        if plan.former:
            by.check(plan.former, args.output)
        announce(by, plan)
        started = time.perf_counter()
        account = label_all(args, plan, network, by, state)
        seconds = time.perf_counter() - started
        if state.is_main_process:
            report(args, plan, by, network, account, seconds)
    return account


def prepare(args: argparse.Namespace, held: ExitStack) -> LabelPlan:
    """Check inputs and output, lock the output, and find out what is left to be done."""
    inputs = find_inputs(args.inputs, args.output)
    folders = {source.place.parent for source in inputs if isinstance(source.place, Path)}
    read = [*map(Path, args.inputs), *folders, *model_folders(args.model)]
    check_folder(args.output, "--output", read, ())
    lock = os.open(args.output, os.O_RDONLY)
    held.callback(os.close, lock)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another distill label writes into {args.output}; wait for it, or let several processes share the images "
            "(accelerate launch)"
        ) from None
    except OSError as error:
        warn(f"{args.output} cannot be locked ({error.strerror}); let no other distill label write into it")
    plan = make_plan(inputs, args.output)
    total = expected_frames(plan.pending, args.frames)
    plan.total = None if total is None else total - sum(map(len, plan.frames.values()))
    return plan


def provenance(name: str, network: Network) -> Provenance:
    """What every line of the manifest says of a teacher."""
    model = network.model
    assert isinstance(model, DepthModel)
    return Provenance(
        teacher=name,
        fingerprint=fingerprint_of(model),
        revision=model.revision or None,
        licence=model.licence or metadata_of(name).get("teacher_licence") or None,  # which its own teacher passed on
        output="relative" if is_relative(model) else "metric",
        input_size=network.size,
        cap=model.max_depth,
    )


def announce(by: Provenance, plan: LabelPlan) -> None:
    """What the labels will mean, under which licence, and what is there already."""
    if by.output == "relative":
        inform(f"{by.teacher}: {RELATIVE}; the labels hold that, and no metres")
    warn_of_licence(by.licence or "")
    if plan.done:
        inform(f"{plan.done} images have labels already")


def label_all(
    args: argparse.Namespace, plan: LabelPlan, network: Network, by: Provenance, state: PartialState
) -> Account:
    """Label the images of all processes, each its share, and return what became of all of them, on every process.

    Raises:
        UserError: If the disk takes no more, for one of them.
        Interrupted: If one was stopped by a signal.
    """
    threads = max(4, min(MOST_THREADS, cores() // state.num_processes))
    account, refusal = Account(), None
    with SignalWatch() as watch:
        try:
            with LabelWriter(args.output, by, threads, account) as writer:
                label_share(args, plan, network, writer, state, watch)
        except UserError as error:  # raised on every process, or the others would wait for this one
            refusal = error
    account.seconds = network.seconds
    parts = gather_object([(account, refusal, watch.received)])
    for part, refusal, signal in parts:
        if refusal is not None:
            raise refusal
        if signal is not None:
            done = plan.done + sum(part.images for part, _, _ in parts)
            raise Interrupted(signal, "the same command goes on", f"{done} images are labelled")
    whole = Account()
    for part, _, _ in parts:
        whole += part
    for fault in whole.broken[len(account.broken) if state.is_main_process else 0 :]:
        inform(f"skipped: {fault}")
    return whole


def label_share(
    args: argparse.Namespace,
    plan: LabelPlan,
    network: Network,
    writer: LabelWriter,
    state: PartialState,
    watch: SignalWatch,
) -> None:
    """Label this process's images, until a signal comes."""
    rank, count = state.process_index, state.num_processes
    jobs = reading_jobs(plan.pending, args.frames, (rank, count))
    frames = read_ahead(jobs, writer.threads, writer.account.skip)
    wanted = (one for one in frames if one.number is None or plan.wants(one, rank, count))
    started, done = time.perf_counter(), 0
    with StepProgress(plan.total, 0, "labelling", state.is_main_process) as progress, closing(frames):
        for batch in by_size(wanted, args.batch):
            before = network.seconds
            maps = network.images([one.image for one in batch])
            seconds = (network.seconds - before) / len(batch)
            for one, quantity in zip(batch, maps, strict=True):
                writer.add(one, quantity, seconds)
            done += len(batch) * count
            shown = done if plan.total is None else min(done, plan.total)
            progress.update(shown, f"{done / (time.perf_counter() - started):.3g} images/s")
            if watch.received is not None:
                return


def report(
    args: argparse.Namespace, plan: LabelPlan, by: Provenance, network: Network, account: Account, seconds: float
) -> None:
    """Say what was done and how fast, draw some labels, and name the next commands."""
    speed = account.images / seconds
    faults = f", {len(account.broken)} inputs skipped" if account.broken else ""
    inform(
        f"{account.images} images labelled in {seconds:.1f} s, {speed:.3g} images/s, {account.seconds / seconds:.0%} "
        f"of the time in the teacher; {plan.done} before{faults}"
    )
    if account.nothing:
        inform(
            f"{account.nothing / account.pixels:.2%} of the pixels have no label: the teacher's value is no depth, or "
            "farther than 16 bits hold"
        )
    if args.json:
        content = {**by.facts(), "images": account.images, "before": plan.done, "skipped": account.broken}
        content |= {"seconds": seconds, "images_per_second": speed, "teacher_seconds": account.seconds}
        write_json(args.json, content)
    labels = read_labels(args.output)
    if not labels:
        return
    if (sheet := contact_sheet(args.output, labels, network.model)) is not None:
        write_atomically(args.output / SHEET, encode_png(sheet))
        display(f"look at some:    {args.output / SHEET}")
    folder = shlex.quote(str(args.output))
    display(f"look at all:     distill data check --data folder --root {folder}")
    display(f"train from them: distill train configs/folder.yaml data.root={folder} method.name=output")
