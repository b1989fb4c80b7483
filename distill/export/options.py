"""What `distill export` takes. Imports nothing heavy."""

from __future__ import annotations

import argparse
from pathlib import Path

from distill.arguments import positive, size


def add_export(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("export", help="write a model as ONNX (float or int8) or as a PyTorch program")
    parser.add_argument("model", metavar="MODEL", help="a run folder, a student/ folder, or teacher-name:checkpoint.pt")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="FILE.onnx, or FILE.pt2 for torch.export"
    )
    parser.add_argument("--size", type=size, metavar="HxW", help="of the image (default: as it was trained)")
    parser.add_argument("--dynamic", action="store_true", help="leave batch, height and width free; ONNX only")
    parser.add_argument("--opset", type=positive, default=18, help="version of ONNX' operators (default: %(default)s)")
    parser.add_argument("--int8", action="store_true", help="8-bit weights and activations, calibrated; ONNX only")
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="images or folders to check, and to calibrate, by (default: the run's own training images, else scenes)",
    )
    parser.add_argument("--licence", help="of the weights, for the file's metadata (default: as the training data's)")
    parser.set_defaults(run=run_export)


def run_export(args: argparse.Namespace) -> int:
    from distill.export.command import export_command

    return export_command(args)
