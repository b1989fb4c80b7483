"""What a `.pt2` may hold: PyTorch's loader looks up functions by name, unpickles and evaluates what stands in it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from zipfile import ZIP_STORED, ZipFile

import torch

# A network alone: no compiled library, no pickled weights.
MEMBERS = re.compile(
    r"models/model\.json|data/(weights|constants)/(model_\w+_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt|extra/\w+|archive_format|archive_version|byteorder|\.data/\w+"
)
OPERATIONS = re.compile(r"torch\.ops\.aten\._?[a-z]\w*\.[a-zA-Z]\w*|torch\.ops\.higher_order\.wrap_with_autocast")
WORDS = {"", "cpu", "none", "tanh", "constant", "replicate", "reflect", "circular", "floor", "trunc"}
TYPES = {None, "builtins.tuple", "builtins.dict"}
# Keys under which code, or objects that are made by code, would stand.
EMPTY = {"guards_code", "range_constraints", "custom_obj_values", "treespec_namedtuple_fields", "use_pickle"}
ABSENT = {"expr_str", "as_expr", "as_custom_obj", "as_operator", "as_sym_int", "as_strings", "__enum__"}


def check_program(content: bytes) -> None:
    """Make sure that a `.pt2` holds nothing but numbers and a graph of PyTorch's own operations.

    Raises:
        ValueError: If it does not.
    """
    from torch.export.pt2_archive import PT2ArchiveReader

    if any(member.compress_type != ZIP_STORED for member in ZipFile(io.BytesIO(content)).infolist()):
        raise ValueError("it is compressed, which PyTorch's files are not")
    with PT2ArchiveReader(io.BytesIO(content)) as archive:
        names = archive.get_file_names()
        strange = [name for name in names if not MEMBERS.fullmatch(name)]
        for name in names:
            if name.endswith(".json"):
                strange += strangers(json.loads(archive.read_string(name)))
        if strange:
            raise ValueError(f"it holds {strange[0]!r:.80}, which is no part of an exported depth network")
        torch.load(io.BytesIO(archive.read_bytes("data/sample_inputs/model.pt")), weights_only=True)


def strangers(value: object, key: str = "") -> Iterator[str]:
    """What a graph's JSON must not hold: other operations, free text, code, symbolic sizes, Python's own types."""
    if isinstance(value, list):
        for item in value:
            yield from strangers(item, key)
    elif isinstance(value, dict):
        for inner, item in value.items():
            if inner in ABSENT or (inner in EMPTY and item):
                yield inner
            yield from strangers(item, inner)
    elif key in ("in_spec", "out_spec") and value:
        yield from (str(kind) for kind in kinds(json.loads(str(value))) if kind not in TYPES)
    elif (key == "target" and not OPERATIONS.fullmatch(str(value))) or (key == "as_string" and value not in WORDS):
        yield str(value)


def kinds(spec: object) -> Iterator[object]:
    """The types of Python that a description of inputs or outputs names."""
    if isinstance(spec, list):
        for item in spec:
            yield from kinds(item)
    elif isinstance(spec, dict):
        yield spec.get("type")
        yield from (context for context in [spec.get("context")] if context not in (None, "null", "[]"))
        yield from kinds(spec.get("children_spec"))
