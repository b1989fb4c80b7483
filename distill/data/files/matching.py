"""Which label belongs to which image: those of a folder that `distill label` wrote, and those of another data set."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from distill.console import progress_bar
from distill.data.files.disk import check_root
from distill.data.files.intrinsics import Cameras
from distill.data.files.labels import MANIFEST, Label, StoredLabel, read_manifest
from distill.data.files.pairs import Contents, Pair, PictureReader
from distill.data.files.probing import IMAGE_SUFFIXES
from distill.errors import UserError
from distill.files import checksum

CHECKED = 8  # images of a path that a manifest names whose content is compared as well
THREADS = 8


def is_label_folder(root: Path) -> bool:
    """Whether `distill label` has written this folder."""
    return (root / MANIFEST).is_file()


def find_label_folder(root: Path, max_depth: float) -> Contents:
    """Every image of a folder of labels with its label; none of them has ground truth."""
    check_root(root, "a folder that distill label wrote")
    labels = read_manifest(root)
    images = [image_of(root, one) for one in labels]
    cameras = Cameras(Path(os.path.commonpath([os.path.dirname(image) for image in images])))
    known = zip(labels, images, strict=True)
    pairs = [Pair(one.image, path, None, label=stored(root, one)).seen_by(cameras.of(path)) for one, path in known]
    missing = tuple(pair.name for pair in pairs if not os.path.isfile(pair.image))
    if len(missing) == len(pairs):
        raise UserError(
            f"none of the {len(pairs)} images that {root / MANIFEST} names is there, such as {missing[0]}: where they "
            f"have moved, name their folder as data.root and {root} as data.labels, which knows images by their content"
        )
    lost = {*missing}
    return Contents(
        root=root,
        source=str(root),
        layout="labels of distill label",
        truth=f"none, but labels of {labels[0].teacher}",
        max_depth=max_depth,
        pairs=tuple(pair for pair in pairs if pair.name not in lost),
        missing=missing,
        read=PictureReader(register=True),
        images_only=True,
        labels=labels[0],
    )


def with_labels(contents: Contents, folder: Path) -> Contents:
    """A data set whose images have the labels of another folder, by their paths, else by their content.

    What has neither ground truth nor a label is left out.

    Raises:
        UserError: If no image has one, or one of the images is not the one that was labelled.
    """
    labels = read_manifest(folder)
    by_path = {image_of(folder, label): label for label in labels}
    matches = [by_path.get(os.path.abspath(pair.image)) for pair in contents.pairs]
    check_content(folder, [(pair.image, one) for pair, one in zip(contents.pairs, matches, strict=True) if one])
    by_digest = {label.sha256: label for label in labels}
    rest = [index for index, one in enumerate(matches) if one is None and is_picture(contents.pairs[index].image)]
    for index, digest in zip(rest, digests_of([contents.pairs[index].image for index in rest]), strict=True):
        matches[index] = by_digest.get(digest or "")
    if not any(matches):
        raise UserError(
            f"none of the {len(matches)} images of {contents.source} has a label in {folder}, whose first is of "
            f"{labels[0].image}: name the folder of these images' labels, or write them (distill label)"
        )
    known = [None if one is None else stored(folder, one) for one in matches]
    remark = f"{known.count(None)} of {len(known)} images of {contents.source} have no label in {folder}"
    return replace(
        contents,
        pairs=tuple(replace(pair, label=label) for pair, label in zip(contents.pairs, known, strict=True)),
        left_out=(*contents.left_out, *([remark] if None in known else [])),
        labels=labels[0],
    )


def image_of(folder: Path, label: Label) -> str:
    """The absolute path of a label's image."""
    return os.path.abspath(folder / label.image)


def stored(folder: Path, label: Label) -> StoredLabel:
    """Where a label lies, and what its values mean."""
    return StoredLabel(str(folder / label.depth), label.scale, label.offset, (label.height, label.width))


def is_picture(path: str) -> bool:
    """Whether an image is a file of its own, and none of many in a larger one."""
    return os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES


def check_content(folder: Path, pairs: Sequence[tuple[str, Label]]) -> None:
    """Refuse labels of images that have changed since, by a look at a few."""
    some = pairs[:: max(len(pairs) // CHECKED, 1)][:CHECKED]
    for (image, label), digest in zip(some, digests_of([image for image, _ in some]), strict=True):
        if digest and digest != label.sha256:
            raise UserError(
                f"{image} is not the image of which {folder} holds a label: it has changed since; label again into "
                "another folder"
            )


def digests_of(paths: Sequence[str]) -> Iterator[str | None]:
    """SHA-256 of files, None of one that cannot be read: which is said where it is read in full."""

    def digest(path: str) -> str | None:
        with suppress(OSError):
            return checksum(Path(path))
        return None

    with ThreadPoolExecutor(THREADS) as pool, progress_bar("looking for labels by content", len(paths)) as update:
        for one in pool.map(digest, paths):
            update(advance=1)
            yield one
