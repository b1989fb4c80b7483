"""Where the images and depth maps of each of these data sets lie: one table, and what it says of a folder on disk."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from distill.data.files.clocks import partners
from distill.data.files.disk import check_root, names_in, walk, wrong_layout
from distill.data.files.known_lists import UNKNOWN
from distill.data.files.list_files import Part, read_split
from distill.data.files.pairs import Contents, Pair, Read, Shapes, name_under
from distill.data.files.recordings import read_stamps
from distill.data.zeroshot import cameras, decoding, ibims_files
from distill.data.zeroshot.cameras import Camera, scaled
from distill.data.zeroshot.decoding import Decode, PublishedReader, mask_paths, picture
from distill.errors import UserError

VARIANTS = ("clone", "fog", "morning", "overcast", "rain", "sunset")  # of Virtual KITTI 2, that evaluators take
HYPERSIM_SPLIT = "metadata_images_split_scene_v1.csv"
BASE = r"(?P<base>(?:.*/)?)"


Half = Callable[[re.Match[str], dict[str, str]], str]  # of a depth map's path, with what the root says of its frames


def _always_test(match: re.Match[str], split: dict[str, str]) -> str:
    return "test"


@dataclass(frozen=True)
class PublishedSet:
    """A data set as it is downloaded.

    Attributes:
        title: What it is called.
        sign: What a root holds somewhere, in words.
        depth: Pattern of the paths of depth maps below the root. Its groups make the image's path.
        images: Where the image of a depth map may lie.
        decode: Reads a depth map.
        cap: Metres beyond which its depth does not count.
        masks: As of `PublishedReader`.
        count: Images of the whole test half, where it is a fixed one.
        half: "train", "test", or another word for what belongs to neither.
        fits: Pictures may be larger than their depth maps.
        camera: Finds the camera of a depth map.
        shapes: Finds what is known of an image beside its depth.
        read: Opens a pair, where that is more than an image and a depth map.
    """

    title: str
    sign: str
    depth: str
    images: tuple[str, ...]
    decode: Decode
    cap: float
    masks: tuple[tuple[str, str], ...] = ()
    count: int | None = None
    half: Half = _always_test
    fits: bool = False
    camera: Camera | None = None
    shapes: Callable[[Pair, decoding.Size], Shapes] | None = None
    read: Read | None = None


def _diode(kind: str, count: int) -> PublishedSet:
    return PublishedSet(
        f"DIODE {kind}",
        f"val/{kind}/scene_*/scan_*/*_depth.npy",
        rf"(?P<path>(?:.*/)?{kind}/(?P<scene>scene_\d+)/.+)_depth\.npy",
        (r"\g<path>.png",),
        picture(1),
        350,
        masks=(("_depth.npy", "_depth_mask.npy"),),
        count=count,
        half=lambda match, split: "train" if "train" in match["path"].split("/") else "test",
        camera=scaled(768, 1024, 886.81, 927.06, 512, 384),
    )


PUBLISHED: dict[str, PublishedSet] = {
    "ibims1": PublishedSet(
        "iBims-1",
        "ibims1_core_raw/{rgb,depth,mask_invalid,mask_transp}/*.png",
        BASE + r"depth/(?P<name>[^/]+)\.png",
        (r"\g<base>rgb/\g<name>.png",),
        picture(65535 / 50),
        50,
        masks=(("/depth/", "/mask_invalid/"), ("/depth/", "/mask_transp/")),
        count=100,
        camera=cameras.ibims,
        shapes=ibims_files.raw_shapes,
    ),
    "diode_indoor": _diode("indoors", 325),
    "diode_outdoor": _diode("outdoor", 446),
    "eth3d": PublishedSet(
        "ETH3D",
        "*/ground_truth_depth/dslr_images/*.JPG",
        BASE + r"(?P<scene>[^/]+)/ground_truth_depth/dslr_images/(?P<name>[^/]+\.JPG)",
        (r"\g<base>\g<scene>/images/dslr_images/\g<name>", r"rgb/\g<scene>/images/dslr_images/\g<name>"),
        decoding.eth3d,
        1000,
        count=454,
        camera=cameras.eth3d,
    ),
    "scannet": PublishedSet(
        "ScanNet",
        "scene*/{color,depth}/*",
        BASE + r"(?P<scene>scene\d{4}_\d\d)/depth/(?P<name>\d+)\.png",
        (r"\g<base>\g<scene>/color/\g<name>.jpg",),
        picture(1000),
        10,
        fits=True,
        camera=cameras.scannet,
    ),
    "sunrgbd": PublishedSet(
        "SUN RGB-D",
        "rgb/img-*.jpg and depth/*.png",
        BASE + r"depth/(?P<name>\d+)\.png",
        (r"\g<base>rgb/img-\g<name>.jpg",),
        decoding.sun_rgbd,
        8,
        count=5050,
        camera=cameras.sun_rgbd,
    ),
    "tum": PublishedSet(
        "TUM RGB-D",
        "*/rgb.txt and */depth.txt",
        BASE + r"depth/(?P<name>[\d.]+)\.png",
        (),
        picture(5000),
        10,
        camera=cameras.tum,
    ),
    "vkitti2": PublishedSet(
        "Virtual KITTI 2",
        "Scene*/*/frames/{rgb,depth}/Camera_*/*",
        BASE + r"(?P<scene>Scene\d\d)/(?P<variant>[^/]+)/frames/depth/(?P<camera>Camera_\d)/depth_(?P<name>\d+)\.png",
        tuple(
            base + r"\g<scene>/\g<variant>/frames/rgb/\g<camera>/rgb_\g<name>.jpg"
            for base in (r"\g<base>", "vkitti_2.0.3_rgb/")
        ),
        picture(100),
        80,
        count=len(VARIANTS) * 894,
        camera=cameras.vkitti2,
        half=lambda match, split: (
            "train" if match["scene"] != "Scene01" else "test" if match["variant"] in VARIANTS else "turned cameras"
        ),
    ),
    "hypersim": PublishedSet(
        "Hypersim",
        "ai_*/images/scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5",
        BASE + r"(?P<scene>ai_\d+_\d+)/images/scene_(?P<camera>cam_\d+)_geometry_hdf5/"
        r"frame\.(?P<name>\d+)\.depth_meters\.hdf5",
        (r"\g<base>\g<scene>/images/scene_\g<camera>_final_preview/frame.\g<name>.tonemap.jpg",),
        decoding.hypersim,
        65,
        count=7682,
        camera=cameras.hypersim,
        half=lambda match, split: split.get(f"{match['scene']} {match['camera']} {int(match['name'])}", "test"),
    ),
    "ddad": PublishedSet(
        "DDAD",
        "*_rgb.png beside *_depth.npy",
        r"(?P<path>.+)_depth\.npy",
        (r"\g<path>_rgb.png",),
        picture(1),
        120,
        count=3950,
        camera=cameras.ddad,
    ),
}


# Other layouts in which a set is distributed; the first that is there counts.
OTHERS = {
    "ibims1": replace(
        PUBLISHED["ibims1"],
        sign="ibims1_core_mat/*.mat",
        depth=BASE + r"(?P<name>[a-z]+_\d\d)\.mat",
        images=(r"\g<base>\g<name>.mat",),
        masks=(),
        camera=ibims_files.mat_camera,
        shapes=ibims_files.mat_shapes,
        read=ibims_files.read_mat,
    )
}


def layouts_of(name: str) -> list[PublishedSet]:
    """The layouts of a data set."""
    return [PUBLISHED[name], *([OTHERS[name]] if name in OTHERS else [])]


def has_half(root: Path, name: str, part: Part) -> bool:
    """Whether any depth map of a half of a data set lies here."""
    split = read_partition(root) if name == "hypersim" else {}
    return root.is_dir() and any(
        layout.half(match, split) == part
        for layout in layouts_of(name)
        for match in depth_maps(layout, root, walk(root, {}))
    )


def depth_maps(layout: PublishedSet, root: Path, paths: Iterable[Path]) -> Iterator[re.Match[str]]:
    """The depth maps among some files of a root."""
    pattern, start = re.compile(layout.depth), len(root.as_posix().rstrip("/")) + 1
    for path in paths:
        if match := pattern.fullmatch(path.as_posix()[start:]):
            yield match


def find_published(root: Path, name: str, part: Part, listed: Path | None = None) -> Contents:
    """What a half of a data set holds on this disk, or what a list names of its images.

    Raises:
        UserError: If nothing of the data set is there.
    """
    layouts = layouts_of(name)
    signs = tuple(one.sign for one in layouts)
    check_root(root, f"the {layouts[0].title} folder that holds {' or '.join(signs)}")
    paths = names_in(root)
    layout = next((one for one in layouts if any(depth_maps(one, root, paths))), layouts[0])
    files = {name_under(root, str(path)) for path in paths}
    split = read_partition(root) if name == "hypersim" else {}
    joined = tum_partners(root, files) if name == "tum" else None
    pairs: list[Pair] = []
    missing: list[str] = []
    others: Counter[str] = Counter()
    for match in depth_maps(layout, root, paths):
        depth, half = match.string, layout.half(match, split)
        images = [match.expand(image) for image in layout.images] if joined is None else [joined.get(depth, "")]
        image = next((path for path in images if path in files), None)
        if not any(images):
            others["depth maps without an image within 0.02 s"] += 1
        elif half != part and listed is None:
            others[f"frames of the half {half}"] += half not in ("train", "test")
        elif lost := [path for path in (image or images[0], *mask_paths(depth, layout.masks)) if path not in files]:
            missing.append(lost[0])
        else:
            assert image is not None
            scene = match["scene"] if "scene" in match.groupdict() else ""
            pairs.append(Pair(image, str(root / image), str(root / depth), scene=scene))
    if not pairs and not missing:
        raise wrong_layout(root, layout.title, signs)
    if listed is not None:
        pairs, missing = by_list(pairs, listed)
    whole = layout.count if part == "test" and listed is None else None
    if whole not in (None, len(pairs)):
        others[f"of the {whole} images of {layout.title} are here"] = len(pairs)
    return Contents(
        root=root,
        source=str(listed) if listed else f"every {part} frame of {layout.title}",
        layout=layout.sign,
        truth="depth maps",
        max_depth=layout.cap,
        pairs=tuple(pairs),
        read=layout.read or PublishedReader(layout.decode, layout.masks, layout.fits),
        camera=layout.camera,
        shapes=layout.shapes,
        list_name=f"{layout.title}, {whole}" if whole == len(pairs) else UNKNOWN,
        missing=tuple(missing),
        numbered=joined is None,
        left_out=tuple(f"{count} {what}" for what, count in others.items() if count),
    )


def by_list(pairs: list[Pair], listed: Path) -> tuple[list[Pair], list[str]]:
    """The pairs that a list names, in its order, and what it names that is not there."""
    known = {pair.name: pair for pair in pairs}
    names = [line.image for line in read_split(listed)]
    return [known[name] for name in names if name in known], [name for name in names if name not in known]


def read_partition(root: Path) -> dict[str, str]:
    """The half of each of Hypersim's frames, `scene camera number`, by its own list; nothing without it."""
    path = root / HYPERSIM_SPLIT
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        try:
            rows = [
                (row["scene_name"], row["camera_name"], int(row["frame_id"]), row["split_partition_name"])
                for row in csv.DictReader(file)
                if row["split_partition_name"]
            ]
        except (KeyError, ValueError, TypeError, csv.Error):
            raise UserError(f"{path} is not Hypersim's list of its frames: get it again, or remove it") from None
    return {f"{scene} {camera} {frame}": half for scene, camera, frame, half in rows}


def tum_partners(root: Path, files: set[str]) -> dict[str, str]:
    """The image of each depth map of TUM's sequences: the nearest in time, each but once, at most `LATEST` away."""
    known: dict[str, str] = {}
    for listed in sorted(path for path in files if path.rpartition("/")[2] == "rgb.txt"):
        folder = listed.removesuffix("rgb.txt")
        images, depths = (read_stamps(root / folder / name) for name in ("rgb.txt", "depth.txt"))
        known |= {folder + depth: folder + image for depth, image in partners(images, depths).items()}
    return known
