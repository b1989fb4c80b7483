"""PNG files in half of OpenCV's time, to the same values; and depth written as files that state their scale.

Most of a training image's time goes into inflating, which ISA-L does twice as fast as zlib. libspng then undoes the
rows' filters: it is given the inflated rows as a PNG that is not compressed. OpenCV is asked for all that is not read
here, and for everything where these two libraries cannot be loaded.

No part of a PNG can be had without what comes before: it is one compressed stream of rows, each perhaps relative to the
one above. The 352x1216 window of KITTI's frames lies at their bottom, so nothing could be left out.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

try:
    import pyspng
    from isal import isal_zlib
except ImportError:
    pyspng = None

START, END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"  # the end is an empty chunk and its checksum
HEADER = 33  # bytes up to the first chunk after the header
GREY16, COLOUR8 = (16, 0), (8, 2)  # bits and colour type of what is read here
BYTES = {GREY16: 2, COLOUR8: 3}  # of a pixel
MOST = 65535  # of 16 bits
LARGEST = 2**30  # bytes of rows; beyond, OpenCV's own limits decide
LONGEST = 65535  # bytes in a block that is not compressed
SCALE, UNIT, SOFTWARE = b"depth_scale", b"depth_unit", b"Software"  # keywords of text chunks


def read(raw: bytes, kind: tuple[int, int]) -> np.ndarray | None:
    """Values of a plain PNG: `COLOUR8` as uint8 RGB (H, W, 3), `GREY16` as uint16 (H, W).

    None for a file of another kind, a damaged one, and where the libraries are missing.
    """
    if pyspng is None or len(raw) < HEADER or not raw.startswith(START):
        return None
    width, height, bits, colours, _, _, interlaced = struct.unpack(">IIBBBBB", raw[16:29])
    length = height * (1 + width * BYTES[kind])  # the first byte of a row names its filter
    if (bits, colours) != kind or interlaced or length > LARGEST:
        return None
    packed, inflater = compressed(raw), isal_zlib.decompressobj()
    try:
        rows = inflater.decompress(packed, length + 1)
        if len(rows) != length or not inflater.eof:
            return None
        plain = stored(raw[len(START) : HEADER], rows, packed[-4:])
        if kind == COLOUR8:
            return pyspng.load(plain)
    except (isal_zlib.error, RuntimeError):  # type: ignore[misc]  # isal's stub takes its class of errors for one
        return None
    table = np.frombuffer(rows, np.uint8).reshape(height, -1)
    if table[:, 0].any():
        return cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.ascontiguousarray(table[:, 1:]).view(">u2").astype(np.uint16)  # KITTI's depth maps have no filters


def compressed(raw: bytes) -> bytes:
    """The compressed rows of a PNG file, with their checksum; empty where the file is cut."""
    view, at, parts = memoryview(raw), len(START), []
    while at + 12 <= len(raw):
        length = int.from_bytes(view[at : at + 4], "big")
        if view[at + 4 : at + 8] == b"IDAT":
            parts.append(view[at + 8 : at + 8 + length])
        at += 12 + length
    return b"".join(parts)


def stored(header: bytes, rows: bytes, checksum: bytes) -> bytes:
    """A PNG of the same rows that is not compressed. `checksum` is that of the rows."""
    parts: list[bytes | memoryview] = [b"IDAT\x78\x01"]
    for at in range(0, len(rows), LONGEST):
        block = memoryview(rows)[at : at + LONGEST]
        last = at + LONGEST >= len(rows)
        parts += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    content = b"".join([*parts, checksum])
    sizes = struct.pack(">I", len(content) - 4), struct.pack(">I", isal_zlib.crc32(content))
    return b"".join([START, header, sizes[0], content, sizes[1], bytes(4), END])


def depth_scale(raw: bytes) -> float | None:
    """Units per metre that a PNG file states itself, None where it does not."""
    at = raw.find(b"tEXt" + SCALE + b"\0", HEADER, HEADER + 1024)
    if at < 0:
        return None
    length = int.from_bytes(raw[at - 4 : at])
    try:
        scale = float(raw[at + 4 + len(SCALE) + 1 : at + 4 + length])
    except ValueError:
        return None
    return scale if 0 < scale < float("inf") else None


def is_written_depth(path: Path) -> bool:
    """Whether there is a file that `encode_depth` or `encode_classes` made."""
    if not os.path.isfile(path):  # which Path.is_file does not answer of a name that is too long
        return False
    with path.open("rb") as file:
        head = file.read(HEADER + 1024)
    return b"tEXt" + SOFTWARE + b"\0distill" in head or depth_scale(head) is not None


def encode_depth(depth: np.ndarray, scale: float) -> bytes:
    """A 16-bit PNG of metres * scale, rounded, that states its scale and unit in text chunks.

    Args:
        depth: Metres, float (H, W). What is not positive, NaN included, is stored as 0: no depth. Positive depth is
            stored as 1 at least, and as the largest number where that or infinity is beyond it.
        scale: Units per metre.
    """
    known = np.nan_to_num(depth, nan=0.0, posinf=np.inf, neginf=0.0)
    stored = np.where(known > 0, np.rint(known * scale).clip(1, MOST), 0).astype(np.uint16)
    raw = cv2.imencode(".png", stored)[1].tobytes()
    meaning = f"depth in metres = value / {scale:g}; 0: none"
    return with_texts(raw, {SCALE: f"{scale:g}", UNIT: "metre", b"Description": meaning})


def encode_classes(classes: np.ndarray) -> bytes:
    """An 8-bit PNG of class numbers from 0, uint8 (H, W), that says so."""
    raw = cv2.imencode(".png", classes)[1].tobytes()
    return with_texts(raw, {b"Description": "number of a class, from 0; their names are in predictions.json"})


def with_texts(raw: bytes, texts: Mapping[bytes, str]) -> bytes:
    """A PNG file with text chunks by their keywords, and one that names this program."""
    pairs = [(key, text.encode("latin-1", "replace")) for key, text in texts.items()]
    chunks = (chunk(b"tEXt", key + b"\0" + text) for key, text in [*pairs, (SOFTWARE, b"distill")])
    return raw[:HEADER] + b"".join(chunks) + raw[HEADER:]


def encode_npy(depth: np.ndarray) -> bytes:
    """An .npy of float32 metres, exactly as they are."""
    file = io.BytesIO()
    np.save(file, depth.astype(np.float32), allow_pickle=False)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file: its length, kind, content and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
