"""The public lists, told apart by their content: a list in any order, from any toolkit, is recognised for what it is.

The hash is taken of the sorted lines, `date/drive frame` for KITTI and `scene frame` for NYU, so neither the form of a
list file nor the folders it names matter.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from distill.errors import UserError

KNOWN_LISTS = {
    "c174acd4662a12bf15feb5a3f9e798e8a1cca0f12ddfe87442ca44b990639922": "KITTI Eigen test, 697",
    "f71de3701e12684dce90851f5a1a27e8ab65558e0bda9854f5155b3d562b0a37": "KITTI Eigen test with ground truth, 652",
    "b5a7d8c13dc5ec4ea69a681de6bfdfda7d5431d68957843ed61e89bde9d5f241": "KITTI Eigen full training, 22600",
    "731dec573a3a2fd4b3d393b9bb5a3c6a7597c8a8eb05f9e5aadba0e997149c1f": "KITTI Eigen full validation, 888",
    "a0d5ca231d0413de261a5294f357a735e69434c5352b3d6aa487c5600c774501": "KITTI Eigen training and validation, 23488",
    "cd386083c7a7b616129eb3dfc83732a141c555443894124e4a265d54f4f5d96b": "KITTI Eigen training with ground truth, 23158",
    "1b8f6d4fcda018901c062fb7a57f11bd76a44ae03d2276a5aa7ef82ca926d70f": "KITTI Eigen-Zhou training, 21880",
    "130843a42f26f90e6f68a8ad5ae195122886b43d183dbf080c7112d05a21538a": "KITTI Eigen-Zhou validation, 4187",
    "d633c5c679561e12069dcd695ca6d98b423e1b44f6845f9577ca6898bac7b405": "KITTI TIE-KD training, 21007",
    "f3a07dae36246f09a9e2c8c6afa0853abf3b06b4ae624a5659f483299adc886c": "NYU Eigen test, 654",
    "461d611b44c6cec244fefe9744fadbf70e44afce82993d6b20c9d06eca3395c6": "NYU BTS training, 24231",
    "511f4b5796080a5a40450d281b688fec950ecbb32d492d8937b63564eb4383b5": "NYU dense training, 36253",
    "091c927275e5ffc2662ef5b1da956ba4f160d38c8be988c854e278416a560c2b": "NYU labelled test, 654",
    "c5fece9ec40a763a74de1e7ad168cc7ac3d912bd0d7665df704b024c3651db17": "NYU labelled training, 795",
}
UNKNOWN = "unknown"
KITTI_DRIVE = r"\d{4}_\d\d_\d\d/\d{4}_\d\d_\d\d_drive_\d{4}_sync"
KITTI_FRAME = re.compile(rf"(?P<scene>{KITTI_DRIVE})/image_(?P<camera>0\d)/data/(?P<number>\d{{10}})(?=\.)")
NYU_FRAME = re.compile(r"(?:^|/)(?P<scene>[^/]+)/rgb_(?P<number>\d+)\.")
FRAMES = {"kitti": KITTI_FRAME, "nyu": NYU_FRAME}


def frame_key(image: str) -> str | None:
    """`date/drive frame` or `scene frame` of an image's path, None where it is neither KITTI's nor NYU's."""
    if kitti := KITTI_FRAME.search(image):
        return f"{kitti['scene']} {int(kitti['number']):010d}"
    if nyu := NYU_FRAME.search(image):
        return f"{nyu['scene']} {int(nyu['number']):05d}"
    return None


def name_list(lines: Iterable[str]) -> str:
    """What a list of `date/drive frame`, `scene frame` or number lines is, or "unknown"."""
    return KNOWN_LISTS.get(list_digest(lines), UNKNOWN)


def name_images(images: Iterable[str]) -> str:
    """What the list of these image paths is, or "unknown"."""
    keys = [frame_key(image) for image in images]
    return UNKNOWN if None in keys else name_list(key for key in keys if key)


def check_belongs(dataset: str, images: Sequence[str], source: str) -> None:
    """Refuse a list of which every image is a frame of the other data set: of "nyu" for "kitti", or the reverse."""
    other = {"kitti": "nyu", "nyu": "kitti"}[dataset]
    own, foreign = FRAMES[dataset], FRAMES[other]
    if images and all(foreign.search(image) and not own.search(image) for image in images):
        known = name_images(images)
        named = f" ({known})" if known != UNKNOWN else ""
        raise UserError(
            f"{source} lists frames of {other.upper()}{named}, such as {images[0]}, but the data set is "
            f"{dataset.upper()}: name a list of {dataset.upper()}, or the data set {other}"
        )


def nearest_list(dataset: str, count: int, part: str = "") -> str | None:
    """The public list of "kitti" or "nyu", or of this part of it, whose number of lines is nearest."""
    names = [name for name in KNOWN_LISTS.values() if name.lower().startswith(dataset) and part in name]
    return min(names, key=lambda name: abs(int(name.rpartition(" ")[2]) - count), default=None)


def list_digest(lines: Iterable[str]) -> str:
    """SHA-256 of the unique lines in bytewise order (numbers in theirs), each ended by a newline."""
    unique = set(lines)
    order = sorted(unique, key=int) if all(line.isdigit() for line in unique) else sorted(unique)
    return hashlib.sha256("".join(f"{line}\n" for line in order).encode()).hexdigest()
