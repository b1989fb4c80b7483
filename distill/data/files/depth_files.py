"""Depth as the content of a file: 16-bit PNGs that state their scale, and NumPy arrays that are exact."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np

from distill.data.files.png import HEADER, SCALE, UNIT

LARGEST = 65535  # of 16 bits


def encode_depth(depth: np.ndarray, scale: float) -> bytes:
    """A 16-bit PNG of metres * scale, rounded, that states its scale and unit in text chunks.

    Args:
        depth: Metres, float (H, W). What is not positive, NaN included, is stored as 0: no depth. Positive depth is
            stored as 1 at least, and as the largest number where that or infinity is beyond it.
        scale: Units per metre.
    """
    known = np.nan_to_num(depth, nan=0.0, posinf=np.inf, neginf=0.0)
    stored = np.where(known > 0, np.rint(known * scale).clip(1, LARGEST), 0).astype(np.uint16)
    raw = cv2.imencode(".png", stored)[1].tobytes()
    meaning = f"depth in metres = value / {scale:g}; 0: none".encode()
    texts = {SCALE: f"{scale:g}".encode(), UNIT: b"metre", b"Description": meaning}
    return raw[:HEADER] + b"".join(chunk(b"tEXt", key + b"\0" + text) for key, text in texts.items()) + raw[HEADER:]


def encode_npy(depth: np.ndarray) -> bytes:
    """An .npy of float32 metres, exactly as they are."""
    file = io.BytesIO()
    np.save(file, depth.astype(np.float32), allow_pickle=False)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    """A part of a PNG file: its length, kind, content and checksum."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
