"""The verbs. Parses, calls, prints; torch is imported only by the verb that needs it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from distill import __version__
from distill.arguments import Parser, count, factor, positive, predict_options, size
from distill.engine.signals import ending_cleanly
from distill.errors import Interrupted, UserError
from distill.export.options import add_export

DONE, YOURS = 0, 2  # an exception that is nobody's mistake leaves Python with 1
RANK = os.environ.get("RANK", "0")  # of this process among those of one run, as a launcher tells it
WAYS = ("fp32", "channels_last", "bf16", "compiled", "onnx", "onnx-int8")  # distill.deploy.ways, which needs torch


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="distill", description="Turn a large depth transformer into a small, fast network.")
    parser.add_argument("-V", "--version", action="version", version=f"distill {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_demo(commands)
    add_train(commands)
    add_ablate(commands)
    add_evaluate(commands)
    add_compare(commands)
    add_predict(commands)
    add_benchmark(commands)
    add_export(commands)
    add_data(commands)
    return parser


def add_demo(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("demo", help="distil, evaluate and report on embedded data, in minutes")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/demo"), help="folder of the demo (default: %(default)s)"
    )
    parser.set_defaults(run=run_demo)


def run_demo(args: argparse.Namespace) -> int:
    from distill.demo import demo

    demo(args.output)
    return DONE


def add_train(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("train", help="distil a teacher into a student")
    parser.add_argument("config", type=Path, metavar="CONFIG.yaml", help="one of configs/, or your own")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="replace a value of the configuration"
    )
    parser.add_argument("--output", type=Path, help="folder of the run (default: runs/ and the configuration's name)")
    parser.add_argument("--resume", action="store_true", help="continue the run in that folder")
    parser.add_argument(
        "--force", action="store_true", help="with --resume: accept other values of keys that change nothing learnt"
    )
    parser.set_defaults(run=run_train)


def run_train(args: argparse.Namespace) -> int:
    from distill.config import load_config

    config = load_config(args.config, args.overrides)
    output = args.output or config.output or Path("runs") / args.config.stem
    config = config.model_copy(update={"output": output})
    if args.force and not args.resume:
        raise UserError("--force accepts another configuration of a run that is continued: give --resume as well")
    from distill.run import train_run

    folder = train_run(config, output, args.resume, args.force)
    if RANK == "0":
        print(f"student: {folder / 'student'}\nreport:  {folder / 'report.html'}")
    return DONE


def add_ablate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("ablate", help="many runs that differ in a few keys, and one table of them")
    parser.add_argument("preset", type=Path, metavar="CONFIG.yaml", help="one of configs/ablations/, or your own")
    parser.add_argument(
        "overrides", nargs="*", metavar="section.key=value", help="replace a value in every run, or base= and seeds="
    )
    parser.add_argument("--output", type=Path, help="folder (default: runs/ablations/ and the configuration's name)")
    parser.add_argument(
        "--jobs", type=count, default=1, metavar="N", help="runs at a time (default: 1); 0 only gathers finished ones"
    )
    parser.add_argument(
        "--reuse",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="take over what runs of the same configuration left in another ablation's folder",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--dry-run", action="store_true", help="show what would run")
    which.add_argument("--list", action="store_true", help="print a command for every missing run, for a scheduler")
    parser.set_defaults(run=run_ablate)


def run_ablate(args: argparse.Namespace) -> int:
    from distill import ablation

    given = args.preset, args.overrides, args.output
    if args.reuse and (args.dry_run or args.list):
        raise UserError("--reuse copies runs, --dry-run and --list only show them; give --reuse DIR --jobs 0 before")
    if args.dry_run:
        ablation.show_plan(*given)
    elif args.list:
        ablation.list_commands(*given)
    else:
        return ablation.ablate(*given, args.jobs, args.reuse)
    return DONE


def add_evaluate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("evaluate", help="judge a model by a named protocol")
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run folder, a student/ folder, teacher-name:checkpoint.pt, or a folder of predicted depth maps",
    )
    parser.add_argument("--data", required=True, choices=["kitti", "nyu", "folder", "scenes"])
    parser.add_argument("--root", type=Path, help="where the data set lies (not for scenes)")
    parser.add_argument("--split", type=Path, help="list file (default: test_files_with_gt.txt in the root)")
    parser.add_argument(
        "--truth", choices=["annotated", "velodyne", "raw", "filled"], help="which depth, where there are several"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--protocol", help="default: the data set's own")
    which.add_argument("--all-protocols", action="store_true", help="every protocol of this data set, side by side")
    parser.add_argument(
        "--tta",
        choices=["none", "flip", "flip-edge", "flip-plain"],
        help="average with the mirrored image as AdaBins (flip), NeWCRFs (flip-edge) or MDE-Toolbox (flip-plain) does",
    )
    parser.add_argument("--median-scaling", action="store_true", help="give each prediction the truth's median first")
    parser.add_argument(
        "--size", type=size, metavar="HxW", help="resize images for the model (default: as it was trained)"
    )
    parser.add_argument("--scenes", choices=["road", "room"], default="road", help="kind of embedded scenes")
    parser.add_argument("--max-depth", type=float, help="cap in metres (default: the protocol's)")
    parser.add_argument("--depth-scale", type=float, help="depth units per metre of a folder (default: 1000)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write results, per image too")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page: errors, worst images")
    parser.add_argument(
        "--save-predictions", type=Path, metavar="DIR", help="write every depth map, to be evaluated again"
    )
    parser.add_argument(
        "--save-as", choices=["npy", "png"], default="npy", help="exact, or 16-bit pictures (default: %(default)s)"
    )
    parser.add_argument("--prediction-scale", type=factor, help="units per metre of a folder of predicted PNGs")
    parser.set_defaults(run=run_evaluate)


def run_evaluate(args: argparse.Namespace) -> int:
    from distill.judging import evaluate_command

    evaluate_command(args)
    return DONE


def add_compare(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("compare", help="two results of one protocol, paired, with an interval")
    for name in ("first", "second"):
        metavar = "A.json" if name == "first" else "B.json"
        parser.add_argument(name, type=Path, metavar=metavar, help="written by evaluate --json, or a run folder")
    parser.set_defaults(run=run_compare)


def run_compare(args: argparse.Namespace) -> int:
    from distill.comparison import compare_command

    compare_command(args.first, args.second)
    return DONE


def add_predict(commands: argparse._SubParsersAction) -> None:
    help = "depth of images, folders, videos and cameras: 16-bit PNG, in colour, as points"
    parser = commands.add_parser("predict", help=help)
    predict_options(parser)
    parser.set_defaults(run=run_predict)


def run_predict(args: argparse.Namespace) -> int:
    from distill.predict import predict_command

    return YOURS if predict_command(args) else DONE


def add_benchmark(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("benchmark", help="parameters, FLOPs and latency, beside the paper's figures")
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="a run folder, a student/ folder, teacher-name:checkpoint.pt; or, as weights do not matter here, a "
        "configuration or a teacher's name; without any, the paper's table beside ours",
    )
    parser.add_argument("--paper", action="store_true", help="show the paper's table beside ours, too")
    parser.add_argument(
        "--size", type=size, default=(352, 1120), metavar="HxW", help="of the image (default: 352x1120, the paper's)"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="how to run them (default: all)")
    parser.add_argument("--runs", type=positive, default=20, help="measured runs of each (default: %(default)s)")
    parser.add_argument("--results", type=Path, nargs="+", metavar="FILE", help="accuracy of each: evaluate's --json")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write one line for each model and way")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw accuracy against latency; needs --results")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a page: tables, plots, the machine")
    parser.set_defaults(run=run_benchmark)


def run_benchmark(args: argparse.Namespace) -> int:
    from distill.benchmark import benchmark_command

    benchmark_command(args)
    return DONE


def add_data(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("data", help="what is on disk, what is missing, what to do")
    verbs = parser.add_subparsers(title="commands", metavar="check|prepare", required=True)
    check = verbs.add_parser("check", help="tell the layout, count the files, and find what is wrong with them")
    check.add_argument("--data", required=True, choices=["kitti", "nyu", "folder"])
    check.add_argument("--root", required=True, type=Path, help="where the data set lies")
    check.add_argument("--split", type=Path, help="a list file or a list's name (default: both halves)")
    check.add_argument("--truth", choices=["annotated", "velodyne", "raw", "filled"], help="which depth is meant")
    check.add_argument("--max-depth", type=float, help="cap of a folder's truth in metres")
    check.add_argument("--depth-scale", type=float, help="depth units per metre of a folder (default: 1000)")
    check.add_argument("--json", type=Path, metavar="FILE", help="write the report")
    check.set_defaults(run=run_data_check)
    prepare = verbs.add_parser("prepare", help="write NYU's labelled .mat as the pictures that other toolkits read")
    prepare.add_argument("--root", required=True, type=Path, help="the folder of nyu_depth_v2_labeled.mat")
    prepare.add_argument("--output", required=True, type=Path, help="a new or empty folder")
    prepare.add_argument("--truth", choices=["raw", "filled"], help="depth with holes (default) or filled")
    prepare.set_defaults(run=run_data_prepare)


def run_data_check(args: argparse.Namespace) -> int:
    from distill.data_check import check_command

    check_command(args)
    return DONE


def run_data_prepare(args: argparse.Namespace) -> int:
    from distill.data_prepare import prepare_command

    prepare_command(args)
    return DONE


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, with section.key=value overrides allowed anywhere among the options of a verb that takes them."""
    parser = make_parser()
    args, rest = parser.parse_known_args(arguments)
    stray = [word for word in rest if word.startswith("-") or "=" not in word]
    if stray or (rest and not hasattr(args, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(stray or rest)}")
    if rest:
        args.overrides += rest
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 the user's mistake, 130 or 143 after a signal."""
    try:
        args = parse(arguments)
        with ending_cleanly():
            return args.run(args)
    except UserError as error:
        tell(error)
        return YOURS
    except PermissionError as error:
        tell(f"no permission for {error.filename}; change it, or give another path")
        return YOURS
    except KeyboardInterrupt:
        return 130
    except Interrupted as error:
        tell(error)
        return error.code


def tell(message: object) -> None:
    """One line on the error output; of several processes, those beside the first say who they are."""
    print(f"distill{'' if RANK == '0' else f' (process {RANK})'}: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
