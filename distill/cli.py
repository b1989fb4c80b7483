"""The verbs: a table of names. The module of a verb is imported when the verb is chosen."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from distill import __version__
from distill.console import going_on_unheard, is_output_unread, leave_output, printable
from distill.engine.signals import ending_cleanly
from distill.errors import MISTAKE, UNHEARD, Interrupted, UserError, did_you_mean, explain, out_of_memory

RANK = os.environ.get("RANK", "0")  # of this process among those of one run, as a launcher sets it

# `distill VERB` is carried out by distill/commands/VERB.py: `options(parser)` declares what it takes, `run(args)` does
# it and returns the exit code.
VERBS = {
    "demo": "distil, evaluate and report on embedded data, in minutes",
    "train": "distil a teacher into a student",
    "ablate": "many runs that differ in a few keys, and one table of them",
    "evaluate": "score a model by a named protocol",
    "compare": "two results of one protocol, paired, with an interval",
    "predict": "depth of images, folders, videos and cameras: 16-bit PNG, in colour, as points",
    "label": "a teacher's depth of many images as a data set, to train from often",
    "calibrate": "scale (and shift) fitted to few measured images, kept only where that helps",
    "students": "backbones and decoders beside each other, to choose from: size, arithmetic, latency, accuracy",
    "benchmark": "parameters, FLOPs and latency, beside the paper's figures",
    "export": "write a model for another runtime, in 32, 16 or 8 bits",
    "data": "what is on disk, what is missing, what to do",
}
LESS_MEMORY = {  # what to lower where memory runs out, by verb
    "train": "lower data.size, data.crop or student.width, train.micro_batch, or data.workers",
    "students": "give a smaller --size, or fewer backbones",
    "benchmark": "give a smaller --size, or a smaller model",
    "label": "lower --batch, or give a smaller --size, smaller images, or a smaller model",
    "": "give a smaller --size, smaller images, or a smaller model",
}
CONFIGURATION = (".yaml", ".yml")
SHELLS = ("bash", "zsh", "tcsh")


class Parser(argparse.ArgumentParser):
    """Raises a mistake as a `UserError`, so that it is printed in one line as every other mistake is."""

    def error(self, message: str) -> NoReturn:
        choice = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        near = did_you_mean(choice[1], re.findall(r"[\w-]+", choice[2])) if choice else ""
        raise UserError(f"{message}{near}; see {self.prog} --help")


def make_parser(chosen: Sequence[str] = ()) -> Parser:
    """The whole command line, with the options of the chosen verbs."""
    parser = Parser(prog="distill", description="Turn a large depth transformer into a small, fast network.")
    parser.add_argument("-V", "--version", action="version", version=f"distill {__version__}")
    parser.add_argument(
        "--print-completion", choices=SHELLS, action=PrintCompletion, help="print a script that completes commands"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="verb", required=True)
    for verb, summary in VERBS.items():
        inner = commands.add_parser(verb, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if verb in chosen:
            module = import_module(f"distill.commands.{verb}")
            module.options(inner)
            inner.set_defaults(run=module.run, known=re.findall(r"(?<![\w-])--[\w-]+", inner.format_help()))
    return parser


class PrintCompletion(argparse.Action):
    """`--print-completion bash`: a script for the shell, made from the options of every verb."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: object, option: str | None = None
    ) -> None:
        import shtab

        print(shtab.complete(make_parser(list(VERBS)), str(values)))
        parser.exit(0)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse, with section.key=value overrides allowed anywhere among the options of a verb that takes them.

    Raises:
        UserError: If the verb, an option or a value is wrong.
    """
    verb = next((word for word in arguments if not word.startswith("-")), "")
    if verb and verb not in VERBS and not arguments[0].startswith("--print"):
        near = f", did you mean train {verb}?" if verb.endswith(CONFIGURATION) else did_you_mean(verb, VERBS)
        raise UserError(f"no command {verb!r}{near} (known: {', '.join(VERBS)}); see distill --help")
    parser = make_parser([verb])
    args, rest = parser.parse_known_args(arguments)
    stray = [word for word in rest if word.startswith("-") or "=" not in word]
    if stray or (rest and not hasattr(args, "overrides")):
        words = stray or rest
        parser.error(f"unrecognized arguments: {' '.join(words)}{hint(words, args)}")
    if rest:
        args.overrides += rest
    return args


def hint(words: Sequence[str], args: argparse.Namespace) -> str:
    """What an unknown option may have meant: a key of the configuration, where the verb takes those, or an option."""
    option, _, value = words[0].partition("=")
    same = f"--{option.rpartition('.')[2].replace('_', '-')}"
    if not hasattr(args, "overrides") and value and same in args.known:  # a key of the configuration
        return f", did you mean {same} {value}?"
    near = did_you_mean(option, args.known)
    if not hasattr(args, "overrides") or not option.startswith("-"):
        return near
    from distill.config.loading import nearest_keys

    keys = nearest_keys(option.lstrip("-"))
    if not keys or (near and not keys[0].endswith(option.lstrip("-").replace("-", "_"))):
        return near
    value = value or (words[1] if len(words) > 1 else "VALUE")
    return f", did you mean {' or '.join(f'{key}={value}' for key in keys)}?"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 2 the user's mistake, 128 + its number after a signal."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of a name in any encoding, the error output does the same
    with going_on_unheard():
        try:
            try:
                args = parse(sys.argv[1:] if arguments is None else arguments)
            finally:
                print(end="", flush=True)  # help leaves by an exit of its own
            with ending_cleanly():
                code: int = args.run(args)
                print(end="", flush=True)  # a full disk is noticed here rather than behind the exit code
                return code
        except UserError as error:
            complain(error)
            return MISTAKE
        except KeyboardInterrupt:
            return 130
        except Interrupted as error:
            complain(error)
            return error.code
        except Exception as error:
            if lack := out_of_memory(error):
                complain(f"{lack} in distill {args.verb}: {LESS_MEMORY.get(args.verb, LESS_MEMORY[''])}")
            elif isinstance(error, OSError):
                unheard = isinstance(error, BrokenPipeError) and is_output_unread()
                leave_output()
                if unheard:
                    return UNHEARD
                complain(explain(error))
            else:
                raise
            return MISTAKE


def complain(message: object) -> None:
    """One line on the error output; of several processes, those beside the first say who they are."""
    line = " ".join(part.strip() for part in printable(message).splitlines())
    print(f"distill{'' if RANK == '0' else f' (process {RANK})'}: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
