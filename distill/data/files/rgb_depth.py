"""The plainest set of images with depth: a folder of images beside one of depth, or a list of pairs."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from distill.data.files.clocks import seconds
from distill.data.files.containers import READERS
from distill.data.files.disk import DEPTH_FOLDERS, HALVES, IMAGE_FOLDERS, Finder, check_root, names_in, wrong_layout
from distill.data.files.intrinsics import NO_CAMERA, Cameras, matrix_of
from distill.data.files.list_files import Camera, Part, SplitLine, is_mask, read_split, usual_list, why_missing
from distill.data.files.matching import find_label_folder, is_label_folder
from distill.data.files.pairs import Contents, Pair, PictureReader, check_metres, name_under, same_shape
from distill.data.files.probing import DEPTH_SUFFIXES, IMAGE_SUFFIXES, Facts, holds_depth, probe, probe_all
from distill.data.files.reading import INTEGER_SCALE, Units
from distill.data.files.recordings import (
    FILMS,
    INSIDE,
    Recordings,
    find_associations,
    find_recordings,
    how_to_unpack,
)
from distill.data.sample import PairDataset
from distill.errors import UserError

MASK_NAMES = ("mask", "valid", "valid_mask")
MASK_FOLDERS = (*MASK_NAMES, "masks", "depth_mask", "depth_masks")
JPEG_SUFFIXES = (".jpg", ".jpeg")  # of files that cannot hold depth
ARRAYS = tuple(READERS)  # suffixes
FLOATS = (*ARRAYS, ".npy", ".pfm")  # of files that mostly hold metres
NUMBERS = (".exr", ".h5", ".hdf5", ".pfm", ".pgm")  # of files that are no photographs beside photographs
TIME = re.compile(r"\d+(?:\.\d+)?")
SIGNS = tuple(f"{folder}/" for folder in IMAGE_FOLDERS)
DEFAULT_MAX_DEPTH = 80.0  # metres
BYTE_SCALE = 128  # units a metre, below which 8-bit maps are depth


class FolderDataset(PairDataset):
    """RGB images with depth maps of the same name: `image/a/7.jpg` belongs to `depth/a/7.png`.

    The image folder may also be called `images`, `rgb` or `color`, the depth folder `depths` or `gt`, in any case;
    depth maps are 16-bit PNG or TIFF, or floating-point TIFF or NumPy files. Images without a depth map are left out
    and named in `without_truth`. Without a depth folder, every image of the image folder, or of the root, is a sample
    whose depth is 0 and valid nowhere: enough to distil from a teacher alone. Depth maps elsewhere are refused then.

    Args:
        root: The folder that holds both.
        max_depth: Cap of the ground truth in metres.
        depth_scale: Units of the depth maps per metre; None is 1000, and 1 for floating-point files. At less than 128
            a metre, 8-bit maps are taken as well.
        split_file: List of `rgb depth` paths relative to the root, or a CSV file, instead of pairing by name.
        camera: Focal lengths and centre (fx, fy, cx, cy) in pixels of every image whose list names no others.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        max_depth: float = DEFAULT_MAX_DEPTH,
        depth_scale: float | None = None,
        split_file: str | os.PathLike[str] | None = None,
        camera: Camera | None = None,
    ):
        split = None if split_file is None else Path(split_file)
        super().__init__(find_folder(Path(root), max_depth, depth_scale, split, camera))


def find_folder(
    root: Path,
    max_depth: float = DEFAULT_MAX_DEPTH,
    depth_scale: float | None = None,
    split_file: Path | None = None,
    camera: Camera | None = None,
    half: str = "",
) -> Contents:
    """The pairs of a folder, by name or by a list. `half` is the folder in that of images and that of depth."""
    check_root(root, f"the RGB-depth folder that holds {' or '.join(SIGNS)}")
    for label, value in (("max_depth", max_depth), ("depth_scale", depth_scale or 1)):
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{label} of {root} is {value}, expected a positive number")
    if split_file is None and is_label_folder(root):
        return find_label_folder(root, max_depth)
    plan = Recordings(read_split(split_file), "pairs of a list") if split_file else find_pairs(root, half)
    if plan is None:
        folder = _subfolder(root, IMAGE_FOLDERS)
        return _images_alone(root, folder / half if folder else root, max_depth)
    lines = plan.lines
    scales: dict[float | None, str] = {}  # that lie beside depth maps, and one of their images
    images, depths, masks = (Finder(root, [""]) for _ in range(3))
    cameras = Cameras(root)
    pairs: list[Pair] = []
    missing: list[str] = []
    for line in lines:
        image, depth = images.find([line.image]), depths.find([line.depth]) if line.depth else None
        own = line.camera or camera
        known = cameras.of(image) if image and not own else NO_CAMERA
        if line.depth and image:
            scales.setdefault(known.units, line.image)
        mask = masks.find([line.mask] if line.mask else masks_beside(line.depth)) if line.depth else None
        if image is None or (line.depth and depth is None) or (line.mask and mask is None):
            missing.append(line.image if not image else str(line.mask if depth else line.depth))
        else:
            pair = Pair(line.image, image, depth, matrix_of(own) if own else None, mask=mask)
            pairs.append(pair.seen_by(known))
    if split_file and lines and not images.hits:
        first = why_missing(lines[0].image, root)
        raise UserError(f"none of the {len(lines)} images of {split_file} is in data root {root}: {first}")
    check_metres(root, pairs)
    stated = None if depth_scale else one_scale(scales)
    units = depth_scale or stated
    if (
        plan.unknown_units
        and not units
        and any(Path(pair.depth).suffix.lower() not in FLOATS for pair in pairs if pair.depth)
    ):
        raise UserError(
            f"{root}: {plan.unknown_units}, so the units of its depth are not known: give data.depth_scale, 5000 units "
            "a metre of TUM's form (ICL-NUIM, Bonn), 1000 of most cameras' tools"
        )
    in_bytes = units if units and units < BYTE_SCALE else None
    return Contents(
        root=root,
        source=str(split_file or root) + f", its folders {half}/" * bool(half),
        layout=plan.layout + what_fits(pairs),
        truth="masked depth maps" if any(pair.mask for pair in pairs) else "depth maps",
        max_depth=max_depth,
        pairs=tuple(pairs),
        missing=tuple(missing),
        read=PictureReader(Units(depth_scale, stated or plan.units or INTEGER_SCALE, in_bytes), register=True),
        left_out=plan.left_out,
    )


def one_scale(scales: Mapping[float | None, str]) -> float | None:
    """The units a metre that the files beside all images state; None where none does.

    Raises:
        UserError: If they differ, or only some state any.
    """
    if len(scales) > 1:
        stated = ", ".join(
            f"{units:g} beside {name}" if units else f"none beside {name}" for units, name in scales.items()
        )
        raise UserError(f"the recordings state several depth scales ({stated}): give data.depth_scale, or divide them")
    return next(iter(scales), None)


def what_fits(pairs: Sequence[Pair]) -> str:
    """What is known of the cameras and sizes of pairs, by a look at the first, in words."""
    first = next((pair for pair in pairs if pair.depth), None)
    if first is None or first.depth is None:
        return ""
    seen, shown = (probe(path) for path in (first.depth, first.image))
    words = [] if first.intrinsics is None else ["a camera is known"]
    if seen.size and shown.size and same_shape(seen.size, shown.size):
        depth, image = (f"{height}x{width}" for height, width in (seen.size, shown.size))
        words.append(f"depth of {depth} brought to the images' {image} by nearest")
    return "".join(f"; {word}" for word in words)


def find_pairs(root: Path, half: str = "") -> Recordings | None:
    """The pairs of a folder or of a half of it, however its files are called; None where no folder of depth is seen.

    Raises:
        UserError: If there are depth maps, and no way is known in which they belong to images.
    """
    listed = None if half else find_associations(root)
    if listed is None or listed.units:
        return listed or pairs_in(root, half)
    named = pairs_in(root, half) or listed  # names that are equal in the list pair without it, those left out as well
    return replace(named, unknown_units=listed.layout)


def pairs_in(root: Path, half: str) -> Recordings | None:
    """The same without the lists of a recording."""
    image_folder, depth_folder = _subfolder(root, IMAGE_FOLDERS), _subfolder(root, DEPTH_FOLDERS)
    if depth_folder is None:
        return None if half else find_recordings(root)
    try:
        named = _pair_by_name(root, image_folder, depth_folder, half)
    except UserError:
        if half or (recorded := find_recordings(root)) is None:
            raise
        return recorded
    if half or not _leaves_times(named):
        return named
    recorded = find_recordings(root)  # equal names may be an accident of two clocks
    return recorded if recorded and len(_pairs(recorded)) > len(_pairs(named)) else named


def _leaves_times(named: Recordings) -> bool:
    """Whether images are called by their time and have no depth map of their name."""
    alone = (PurePosixPath(line.image).stem for line in named.lines if line.depth is None)
    return any(TIME.fullmatch(stem) and seconds(stem) is not None for stem in alone)


def _pairs(plan: Recordings) -> list[SplitLine]:
    return [line for line in plan.lines if line.depth]


def masks_beside(depth: str) -> Iterator[str]:
    """What the mask of a depth map may be called: `a_mask` beside it, or by its own name in a folder of masks."""
    path = PurePosixPath(depth)
    places = [path.with_name(f"{path.stem}_{name}") for name in MASK_NAMES]
    folders = [index for index, part in enumerate(path.parts[:-1]) if part.lower() in DEPTH_FOLDERS]
    for at, name in product(folders, MASK_FOLDERS):
        places.append(PurePosixPath(*path.parts[:at], name, *path.parts[at + 1 :]).with_suffix(""))
    for place, suffix in product(places, sorted(DEPTH_SUFFIXES)):
        yield f"{place}{suffix}"


def find_photographs(folder: Path, max_depth: float = DEFAULT_MAX_DEPTH) -> Contents:
    """Every photograph in and below a folder, without depth; the depth maps among the pictures are left out.

    Of a folder that `distill label` wrote, the images that its labels are of.
    """
    if is_label_folder(folder):
        return find_label_folder(folder, max_depth)
    check_root(folder, "a folder of photographs")
    names = {name_under(folder, path): path for path in _files(folder, IMAGE_SUFFIXES | DEPTH_SUFFIXES)}
    pictures = (IMAGE_SUFFIXES | {".npy", ".npz"}) - {*JPEG_SUFFIXES}
    facts = probe_all(path for path in names.values() if os.path.splitext(path)[1].lower() in pictures)
    stems = Counter(os.path.splitext(name)[0] for name in names)  # 1.png is no photograph beside 1.jpg if it is grey
    maps = [
        name
        for name, path in names.items()
        if holds_depth(name, known := facts.get(path, Facts()))
        or (known.channels == 1 and stems[os.path.splitext(name)[0]] > 1)
        or name.lower().endswith(NUMBERS)
    ]
    arrays = (name for name in names if os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES)
    no_images, left_out = {*maps, *arrays}, []
    if maps:
        such = f"{len(maps)} of {len(names)} files in {folder} are depth maps"
        left_out.append(f"{such} and no photographs, such as {maps[0]}")
    if len(no_images) == len(names):
        raise UserError(
            f"{' and '.join(left_out) or f'no images in {folder}'}: expected photographs, name their folder"
        )
    cameras = Cameras(folder)
    photographs = {name: path for name, path in names.items() if name not in no_images}
    pairs = tuple(Pair(name, path, None).seen_by(cameras.of(path)) for name, path in photographs.items())
    return Contents(
        root=folder,
        source=str(folder),
        layout="images alone",
        truth="none",
        max_depth=max_depth,
        pairs=pairs,
        read=PictureReader(register=True),
        images_only=True,
        left_out=tuple(left_out),
    )


def _images_alone(root: Path, folder: Path, max_depth: float) -> Contents:
    """The photographs of a folder in a root that has no folder of depth, and no depth maps anywhere else."""
    contents = find_photographs(root, max_depth)
    if not contents.labels and (unpack := how_to_unpack(names_in(root), INSIDE)):
        raise UserError(f"{root} holds images and a packed recording: {unpack}; to use photographs alone, move it away")
    if contents.left_out:
        raise UserError(
            f"{contents.left_out[0]}, but not where a folder of pairs has them: expected {' or '.join(SIGNS)} beside "
            f"{' or '.join(f'{name}/' for name in DEPTH_FOLDERS)} with files of the same names, or a list (train.csv "
            "with the columns image,depth); to use photographs alone, name their folder"
        )
    check_root(folder, "the half of a folder of photographs")
    inside = folder.relative_to(root)
    pairs = tuple(pair for pair in contents.pairs if Path(pair.name).is_relative_to(inside))
    return replace(contents, source=str(folder), pairs=pairs)


def usual_folder_split(root: Path, part: Part) -> tuple[Path, Path | None, str] | None:
    """Where a half of a folder lies: its root, the list to take, and the half's folder in that of images.

    That is a list of the root, else train/ or test/ (or another of `HALVES`), in the root or in the folder of images,
    else for training images that lie in no such folder. None where there is none of these. Labels are to train on.
    """
    if is_label_folder(root):
        return (root, None, "") if part == "train" else None
    if listed := usual_list(root, *HALVES[part]):
        return root, listed, ""
    if halves := _subfolders(root, HALVES[part]):
        return halves[0], None, ""
    images = _subfolder(root, IMAGE_FOLDERS)
    if images and (halves := _subfolders(images, HALVES[part])):
        return root, None, halves[0].name
    other = usual_list(root, *HALVES["test"]) or _subfolders(images or root, HALVES["test"])
    return None if part == "test" or other else (root, None, "")


def remarks_on_halves(root: Path, part: Part, contents: Contents) -> list[str]:
    """What of a root may be meant for a half and is none, or is one and is not read, in words."""
    known = {*HALVES["train"], *HALVES["test"]}
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and os.access(path, os.R_OK | os.X_OK)]
    strange = [path.name for path in folders if path.name.lower() not in known and not path.name.startswith(".")]
    first, *others = [path.name for path in _subfolders(root, HALVES[part])] or [""]
    if first:
        others += [name for name in strange if _subfolders(root / name, IMAGE_FOLDERS)]
        others += [path.name for path in _subfolders(root, IMAGE_FOLDERS)]
        return [f"{other}/ is not read: {first}/ is the {part} half" for other in others]
    read = {PurePosixPath(pair.name).parts[0] for pair in contents.pairs}
    alike = [name for name in strange if name in read and known & {*re.split("[^a-z]+", name.lower())}]
    return [f"{name}/ is read with the others: a half is called {', '.join(HALVES['test'])} or train" for name in alike]


def _pair_by_name(root: Path, image_folder: Path | None, depth_folder: Path, half: str) -> Recordings:
    """The pairs of a folder or of a half of it by the names of their files."""
    if image_folder is None:
        unpack = how_to_unpack(names_in(root), INSIDE | FILMS)
        raise wrong_layout(root, "RGB-depth", SIGNS, f"; {unpack}" if unpack else "")
    for folder in (image_folder, depth_folder):
        check_root(folder / half, f"the half {half}/ of {folder}")
    images, depths = _by_stem(image_folder / half, IMAGE_SUFFIXES), _by_stem(depth_folder / half, DEPTH_SUFFIXES)
    if not images.keys() & depths.keys():
        some, forms = next(iter(depths.values())), {normalize("NFC", stem) for stem in depths}
        way = "give both the same names"
        if any(normalize("NFC", stem) in forms for stem in images):
            way = "the names differ in their Unicode form alone (é as one character or two): rename those of one folder"
        raise UserError(
            f"no image of {image_folder} has a depth map of its name: {next(iter(images))}.png is expected in "
            f"{depth_folder}, which holds {some}; {way}"
        )
    stems = {stem: depths.get(stem) for stem in images}
    lines = [SplitLine(name_under(root, images[s]), name_under(root, d) if d else None) for s, d in stems.items()]
    alone = [path for stem, path in depths.items() if stem not in images and not is_mask(Path(stem).name)]
    left_out = [f"{len(alone)} depth maps have no image of their name, such as {alone[0]}"] if alone else []
    masks = [path.name for path in _subfolders_like(root, "mask|valid") if path.name.lower() not in MASK_FOLDERS]
    left_out += [f"{name}/ is not read: masks lie in mask/ or valid/, 0 where depth does not count" for name in masks]
    known = {name for names in HALVES.values() for name in names}
    others = [path for path in _files(image_folder, IMAGE_SUFFIXES) if _top(image_folder, path) not in known]
    if half and others:
        left_out.append(f"{len(others)} images of {image_folder} are in no half and left out, such as {others[0]}")
    return Recordings(lines, "pairs of the same name", left_out=tuple(left_out))


def _top(folder: Path, path: str) -> str:
    return Path(path).relative_to(folder).parts[0].lower()


def _subfolders(root: Path, names: Sequence[str]) -> list[Path]:
    """The folders of these names, whatever their case, in the order of the names."""
    there = [path for path in root.iterdir() if path.name.lower() in names and path.is_dir()]
    return sorted(there, key=lambda path: names.index(path.name.lower()))


def _subfolders_like(root: Path, words: str) -> list[Path]:
    """Folders in whose names words are, but for halves."""
    there = (path for path in sorted(root.iterdir()) if re.search(words, path.name.lower()) and path.is_dir())
    return [path for path in there if path.name.lower() not in HALVES["test"]]


def _subfolder(root: Path, names: Sequence[str]) -> Path | None:
    there = _subfolders(root, names)
    if len(there) > 1:
        raise UserError(f"{root} holds {' and '.join(f'{path.name}/' for path in there)}, expected one: remove one")
    return there[0] if there else None


def _files(folder: Path, suffixes: set[str]) -> list[str]:
    """Every file of these kinds in and below a folder, and every link without a suffix that leads nowhere."""
    paths = names_in(folder)
    files = [str(path) for path in paths if path.suffix.lower() in suffixes or not (path.suffix or path.exists())]
    if not files:
        what, kinds = ("images", IMAGE_SUFFIXES) if suffixes >= IMAGE_SUFFIXES else ("depth maps", suffixes)
        some = f"it holds {paths[0].name}, convert such files" if paths else ""
        some = how_to_unpack(paths, INSIDE | FILMS) or some
        raise UserError(
            f"no {what} in {folder}, expected files of the kinds {' '.join(sorted(kinds))}{f'; {some}' if some else ''}"
        )
    return files


def _by_stem(folder: Path, suffixes: set[str]) -> dict[str, str]:
    """The files of a folder by their relative paths without the suffix."""
    files: dict[str, str] = {}
    for path in sorted(_files(folder, suffixes), key=lambda path: path.lower().endswith(ARRAYS)):
        stem = Path(path).relative_to(folder).with_suffix("").as_posix()
        if stem in files and path.lower().endswith(ARRAYS) and not files[stem].lower().endswith(ARRAYS):
            continue  # the same depth once more, as some tools write it beside a picture
        if stem in files:
            raise UserError(f"{files[stem]} and {path} have one name, expected one file per name: rename one")
        files[stem] = path
    return files
