"""Writes docs/reference/configuration.md from the schema, and docs/reference/commands.md from the parsers.

python tools/make_reference.py            # write both pages
python tools/make_reference.py --check    # write nothing; exit with 1 where a page is stale
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from distill.cli import VERBS, make_parser
from distill.config.schema import Config, Section

REFERENCE = Path(__file__).resolve().parents[1] / "docs" / "reference"
MADE = "<!-- Written by tools/make_reference.py: change {source}, then run `python tools/make_reference.py`. -->"
CONFIGURATION = f"""{MADE.format(source="distill/config/schema.py")}

# Configuration

A configuration is one YAML file. It names only what differs from the defaults below. `data` is the one section that
must be there. `distill train CONFIG.yaml --print-config` prints a configuration with every default filled in.

On the command line any key is replaced by its dotted name: `optim.lr=3e-4`, `data.size=[480,640]`, `teacher=null`.
Quote what the shell would read: `'student={{backbone: resnet18, lg_conv: true}}'`. An unknown key, a wrong type or a
value out of range is refused, and the message lists what is legal. `null` means "none", or the default.
"""
COMMANDS = f"""{MADE.format(source="distill/commands/")}

# Commands

`python -m distill` is the same as `distill`. `distill --print-completion bash` prints a script that completes commands
and options in a shell; `zsh` and `tcsh` are known too.

Exit codes: 0 is success, 1 a failure of ours, 2 a mistake in what was given, 130 the end by Ctrl-C, 143 the end by
SIGTERM, 141 that nobody reads the output any more, as in `distill ... | head`. A mistake is reported in one line: what
was given, what was expected, and the fix.
"""
KINDS = {"integer": "whole number", "number": "number", "boolean": "true or false", "object": "section"}
BOUNDS = {"exclusiveMinimum": "above", "minimum": "from", "exclusiveMaximum": "below", "maximum": "to"}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# -------------------------------------------------------------------------------------------------------- configuration


def type_in_words(schema: Mapping[str, Any]) -> str:
    """A JSON schema as a reader says it: 'whole number above 0, or null'."""
    if "anyOf" in schema:
        return ", or ".join(type_in_words(one) for one in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "prefixItems" in schema:
        return f"[{', '.join(type_in_words(one) for one in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        return f"list of: {type_in_words(schema['items'])}"
    if schema.get("type") in ("string", "null"):
        return "null" if schema["type"] == "null" else schema.get("format", "text")
    bounds = [f"{word} {schema[key]:.10g}" for key, word in BOUNDS.items() if key in schema]
    return " ".join([KINDS[schema.get("type", "object")], *bounds])


def default_in_words(field: FieldInfo) -> str:
    """As YAML has it."""
    return "required" if field.is_required() else f"`{json.dumps(to_jsonable_python(field.default))}`"


def inner_section(field: FieldInfo) -> type[Section] | None:
    """The section that a field holds, also where it may be null; a list of sections has a row of its own."""
    kinds = (field.annotation, *(() if get_origin(field.annotation) is tuple else get_args(field.annotation)))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)), None)


def section_pages(section: type[Section], prefix: str = "") -> Iterator[str]:
    """Heading and table of a section, then those of the sections in it."""
    schema, rows, inner = section.model_json_schema()["properties"], [], []
    for key, field in section.model_fields.items():
        name = f"{prefix}{key}"
        if (kind := inner_section(field)) is not None:
            inner.append((kind, f"{name}."))
            continue
        rows.append([f"`{name}`", type_in_words(schema[key]), default_in_words(field), field.description or ""])
    title = f"`{prefix.removesuffix('.')}`" if prefix else "The run"
    yield f"{'#' * (2 + prefix[:-1].count('.'))} {title}\n\n{inspect.getdoc(section)}"
    yield table(["key", "type, legal values", "default", "meaning"], rows)
    for kind, deeper in inner:
        yield from section_pages(kind, deeper)


# ------------------------------------------------------------------------------------------------------------- commands


def spelling(action: argparse.Action) -> str:
    """An option or argument as it is typed; brackets around an argument that may be left out."""
    value = action.metavar
    if value is None and not action.option_strings:
        value = action.dest
    elif value is None and action.nargs != 0:
        value = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
    words = " ".join(value) if isinstance(value, tuple) else value or ""
    text = f"{', '.join(action.option_strings)} {words}{' ...' if action.nargs in ('*', '+') else ''}".strip()
    return f"[{text}]" if action.nargs == "*" else text


def rivals(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """Which options cannot be given beside this one."""
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    others = [other.option_strings[-1] for group in groups if action in group for other in group if other is not action]
    return f"not with {', '.join(f'`{other}`' for other in others)}" if others else ""


def meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    """The help text, whether the option is required, and what excludes it."""
    text = (action.help or "") % {"default": action.default, "prog": parser.prog}
    required = "required" if action.required and action.option_strings else ""
    return "; ".join(part for part in (text, required, rivals(parser, action)) if part)


def command_pages(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Heading, usage and options of a command, then those of the commands in it."""
    inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    own = [action for action in parser._actions if action not in inner and action.dest != "help"]
    needed = [spelling(one) for one in own if one.required or not one.option_strings]
    usage = " ".join([parser.prog, *needed, *(str(action.metavar) for action in inner)])
    usage += " [options]" if len(needed) < len(own) else ""
    yield f"{'#' * parser.prog.count(' ')}# {parser.prog}\n\n{parser.description or ''}".strip()
    yield f"```\n{usage}\n```"
    if own:
        rows = [[f"`{spelling(action)}`", meaning(parser, action)] for action in own]
        yield table(["argument or option", "meaning"], rows)
    for action in inner:
        for verb in action.choices.values():
            yield from command_pages(verb)


def pages() -> dict[Path, str]:
    """Both pages by their path, as code and schema are now."""
    whole = make_parser(list(VERBS))
    verbs = next(action for action in whole._actions if isinstance(action, argparse._SubParsersAction))
    commands = [part for verb in verbs.choices.values() for part in command_pages(verb)]
    made = {"configuration.md": [CONFIGURATION, *section_pages(Config)]}
    made["commands.md"] = [COMMANDS, *commands]
    return {REFERENCE / name: "\n\n".join(part.strip() for part in parts) + "\n" for name, parts in made.items()}


def main(words: Sequence[str] | None = None) -> int:
    """Write the pages, or with --check name the stale ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 where a page is stale")
    check = parser.parse_args(words).check
    made = pages()
    stale = [path for path in made if not path.is_file() or path.read_text(encoding="utf-8") != made[path]]
    for path in stale:
        if check:
            print(f"{path.name} is stale; run: python tools/make_reference.py", file=sys.stderr)
        else:
            path.write_text(made[path], encoding="utf-8")
            print(path)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
