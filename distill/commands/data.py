"""`distill data`: what is on disk, what is missing or wrong, and what to do; NYU's labelled file as pictures."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from distill.assembly.datasets import find_half, has_test_half, holds_out
from distill.assembly.teaching import check_labels
from distill.commands.arguments import add_overrides, check_outputs, json_with
from distill.config import Config, DataConfig, load_config
from distill.console import display, progress_bar
from distill.data import TRUTHS, Contents, Source, find_photographs
from distill.data.checking import Half, Report, make_report
from distill.data.files.list_files import Part
from distill.data.nyu.labelled import LABELLED_FILES, labelled_file, write_pictures
from distill.data.survey import survey
from distill.errors import DONE, UserError
from distill.files import write_json
from distill.report.tables import terminal_table

PARTS: tuple[Part, ...] = ("train", "test")


def options(parser: argparse.ArgumentParser) -> None:
    """Declare what `distill data check` and `distill data prepare` take."""
    actions = parser.add_subparsers(title="commands", metavar="check|prepare", dest="action", required=True)
    checking = actions.add_parser("check", help="tell the layout, count the files, and find what is wrong with them")
    checking.add_argument(
        "config", nargs="?", type=Path, metavar="CONFIG.yaml", help="of a run: each of its sources, and its test half"
    )
    add_overrides(checking, "replace a value of the configuration")
    checking.add_argument("--data", choices=list(TRUTHS), help="which data set, where no configuration says it")
    checking.add_argument("--root", type=Path, help="where the data set lies")
    checking.add_argument("--split", type=Path, help="a list file or a list's name (default: both halves)")
    checking.add_argument("--truth", choices=[*TRUTHS["kitti"], *TRUTHS["nyu"]], help="which depth is meant")
    checking.add_argument("--max-depth", type=float, help="cap of a folder's truth in metres")
    checking.add_argument("--depth-scale", type=float, help="depth units per metre of a folder (default: 1000)")
    checking.add_argument("--labels", type=Path, metavar="DIR", help="a teacher's labels of the training images")
    checking.add_argument("--json", type=Path, metavar="FILE", help="write the report")
    preparing = actions.add_parser("prepare", help="write NYU's labelled .mat as the pictures that other toolkits read")
    preparing.add_argument("--root", required=True, type=Path, help="the folder of nyu_depth_v2_labeled.mat")
    preparing.add_argument("--output", required=True, type=Path, help="a new or empty folder")
    preparing.add_argument("--truth", choices=TRUTHS["nyu"], help="depth with holes (default) or filled")


def run(args: argparse.Namespace) -> int:
    """Carry out `distill data check` or `distill data prepare`."""
    {"check": check, "prepare": prepare}[args.action](args)
    return DONE


def check(args: argparse.Namespace) -> None:
    """Look at both halves of a data set, at one list, or at all that a run uses, and report.

    Raises:
        UserError: If the data cannot be used as they are. The report was printed and written then.
    """
    check_outputs(args, json=json_with("halves", "ok"))
    if args.config:
        halves = halves_of_run(configuration(args))
        report = make_report(" + ".join(dict.fromkeys(half.dataset for half in halves)), str(args.config), halves)
    elif args.data and args.root:
        halves = list(halves_of_set(args))
        report = make_report(args.data, str(args.root), halves)
    else:
        raise UserError("give a configuration of a run, or --data and --root: which data set, and where it lies")
    try:
        if args.json:
            write_json(args.json, report)
    finally:
        show(report, halves)
    if report["problems"]:
        first = report["problems"][0]
        more = f" (and {len(report['problems']) - 1} more, see the report)" if len(report["problems"]) > 1 else ""
        raise UserError(f"{first}{more}")


def configuration(args: argparse.Namespace) -> Config:
    """The configuration that was given, with its overrides.

    Raises:
        UserError: If options beside it name other data, or it holds no files to look at.
    """
    others = ("data", "root", "split", "truth", "max_depth", "depth_scale", "labels")
    if beside := [name for name in others if getattr(args, name) is not None]:
        option = beside[0].replace("_", "-")
        raise UserError(f"{args.config} says which data: leave --{option} out, or override its key (data.root=DIR)")
    config = load_config(args.config, args.overrides)
    if config.data.unlabelled is None and all(one.name == "scenes" for one in (config.data, *config.data.sources)):
        raise UserError(f"{args.config} has scenes alone, which are drawn: there are no files to check")
    return config


def halves_of_run(config: Config) -> list[Half]:
    """What a run learns from, every source by itself, and what it is validated on; drawn scenes are left out.

    Raises:
        UserError: If one of them is not there, or labels do not suit the method.
    """
    data, unlabelled = config.data, config.data.unlabelled
    parts: dict[str, tuple[str, Callable[[], Contents]]] = {}
    for number, one in enumerate(data.training_sources if unlabelled is None or unlabelled.share < 1 else (), start=1):
        if one.name != "scenes":
            name = f"source {number}" if data.sources else "train"
            parts[name] = one.name, partial(find_half, one, "train")
    if unlabelled is not None:
        parts["unlabelled"] = "folder", partial(find_photographs, unlabelled.root)
    if data.name != "scenes" and has_test_half(data):
        parts["test"] = data.name, partial(find_half, data, "test")
    halves = []
    for name, (dataset, find) in parts.items():
        try:
            contents = find()
            if name != "test" or not (contents.images_only and holds_out(data)):  # photographs have no such half
                halves.append(look_at(name, dataset, contents, data.max_faults))
        except UserError as error:
            raise UserError(f"{name}: {error}") from error
    check_labels(config, [half.contents for half in halves if half.trained_on])
    return halves


def halves_of_set(args: argparse.Namespace) -> Iterator[Half]:
    """The list asked for, or the halves of the set that are there."""
    chosen = Source(args.data, args.root, args.truth, args.max_depth, args.depth_scale, labels=args.labels)
    usual = DataConfig.model_fields["max_faults"].default
    if args.split is not None:
        yield look_at("split", args.data, chosen.find("test", args.split), usual)
        return
    there = [part for part in PARTS if chosen.has_half(part)]
    for part in there or PARTS[:1]:
        yield look_at(part, args.data, chosen.find(part), usual)


def look_at(name: str, dataset: str, contents: Contents, max_faults: float) -> Half:
    """Survey a half, with a bar that shows how far it is."""
    with progress_bar(f"looking at {name}") as update:
        seen = survey(contents, progress=lambda done, total: update(completed=done, total=total))
    return Half(name, dataset, contents, seen, max_faults)


def prepare(args: argparse.Namespace) -> None:
    """Write NYU's labelled file as the pictures that other toolkits read.

    Raises:
        UserError: If there is no labelled file, or the output holds something else.
    """
    if labelled_file(args.root) is None:
        raise UserError(f"{args.root} has no {LABELLED_FILES[0]}, expected NYU's labelled file: name its folder")
    if args.output.exists() and (not args.output.is_dir() or any(args.output.iterdir())):
        raise UserError(f"{args.output} already holds something, expected a new or empty folder: name another --output")
    source = Source("nyu", args.root, truth=args.truth or "raw")
    for part in PARTS:
        contents = source.find(part)
        with progress_bar(f"writing {part}", len(contents.usable)) as update:
            written = write_pictures(contents, part, args.output, progress=lambda: update(advance=1))
        display(f"{len(contents.usable)} frames: {written}")


def show(report: Report, halves: Sequence[Half]) -> None:
    """The report as a table, and below it what to do."""
    columns = [rows_of(report["halves"][half.name]) for half in halves]
    lines = [["", *(half.name for half in halves)]]
    lines += [[label, *(column[label] for column in columns)] for label in columns[0]]
    display(terminal_table(lines, f"{report['data']} in {report['root']}", justify="left"))
    for kind, style in (("problems", "red"), ("notes", "yellow")):
        for text in report[kind]:
            display(f"- {text}", style)
    display(*(("ready", "green") if report["ok"] else ("not ready", "red")))


def rows_of(half: Report) -> dict[str, str]:
    """What the table says of a half, by label."""
    counts = f"{half['usable']} of {half['lines']}"
    depth = half["depth"]
    span = (
        f"{depth['nearest']:.2f} / {depth['median']:.2f} / {depth['farthest']:.2f} m in {depth['maps']} maps, "
        f"{depth['measured']:.0%} measured"
        if depth
        else "none"
    )
    return {
        "list": f"{half['source']}: {half['list']}",
        "layout": half["layout"],
        "ground truth": half["truth"],
        "usable": counts,
        "without truth": str(half["without_truth"]),
        "repeated": str(half["repeated"]),
        "missing": counted(half["missing"], half["missing_first"]),
        "unreadable": counted(half["unreadable"], list(half["unreadable_first"])),
        "scenes": str(half["scenes"]) if half["scenes"] else "unknown",
        "image sizes": ", ".join(f"{count} of {size}" for size, count in half["sizes"].items()) or "unknown",
        "depth": ", ".join(f"{count} of {bits} bits" for bits, count in half["depth_bits"].items()) or half["truth"],
        "nearest / median / farthest": span,
    }


def counted(count: int, first: list[str]) -> str:
    """A number, and a few of the names behind it."""
    return f"{count}: {', '.join(first)}{', ...' if count > len(first) else ''}" if count else "none"
