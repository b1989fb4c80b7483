"""Which files there are: looked up a folder at a time, so that a hundred thousand of them take a second."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from distill.errors import UserError

# Names of folders in lower case; they may have them in any.
IMAGE_FOLDERS, DEPTH_FOLDERS = ("image", "images", "rgb", "color", "colour"), ("depth", "depths", "gt")
HALVES = {"train": ("train", "training"), "test": ("test", "testing", "val", "valid", "validation")}
PART_FOLDERS = {*IMAGE_FOLDERS, *HALVES["train"], *HALVES["test"]}  # of a set, whose camera may be stated above them


class Finder:
    """Finds files under the first of several folders that has them, trying the latest success first.

    Args:
        root: What the folders are relative to.
        folders: Such as "", "raw" or "raw/{date}"; the braces are filled by `find`.
    """

    def __init__(self, root: Path, folders: Sequence[str]):
        self.root, self.folders = root, list(folders)
        self.hits: Counter[str] = Counter()  # files that were asked for, by the folder they lie in
        self._files: dict[tuple[str, str], frozenset[str]] = {}  # names in the folders looked at so far

    def find(self, names: Iterable[str], **fields: str) -> str | None:
        """The path of the first of some relative names that exists, None where none does."""
        wanted = [os.path.split(name) for name in names]
        for place, folder in enumerate(self.folders):
            base = folder.format(**fields)
            for inner, name in wanted:
                if name in self._names(base, inner):
                    self.folders.insert(0, self.folders.pop(place))
                    self.hits[folder] += 1
                    return os.path.join(self.root, base, inner, name)
        return None

    def __str__(self) -> str:
        """The folders in which the files lie."""
        folders = [re.sub(r"\{(\w+)\}", r"<\1>", folder) for folder in sorted(self.hits)]
        return " and ".join(f"{folder}/" if folder else "the root" for folder in folders) or "no known folder"

    def _names(self, base: str, inner: str) -> frozenset[str]:
        """Names of the files in a folder, and of links that lead to one; none where there is no such folder."""
        if (base, inner) not in self._files:
            folder = str(Path(self.root, base, inner))
            try:
                with os.scandir(folder) as entries:
                    self._files[base, inner] = frozenset(entry.name for entry in entries if _is_file(entry))
            except (FileNotFoundError, NotADirectoryError):
                self._files[base, inner] = frozenset()
            except OSError as error:
                raise UserError(
                    f"cannot look into {folder}: {error.strerror}; check its permissions and links"
                ) from None
        return self._files[base, inner]


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link that leads back to itself
        return False


def walk(folder: Path, odd: dict[Path, str] | None = None, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Every visible file in and below a folder, in the order of its path. Links are followed.

    Args:
        odd: Takes what is neither file nor folder or cannot be entered, with the reason; without it links that lead
            nowhere, pipes and devices are passed over.
        above: The folders that this one lies in.

    Raises:
        UserError: Without `odd`, if a link leads back to a folder that it lies in.
    """
    real = os.path.realpath(folder)
    if real in above:
        if odd is None:
            raise UserError(f"{folder} is a link that leads back to {real}, in which it lies: remove it")
        odd[folder] = f"it is a link that leads back to {real}, in which it lies"
        return
    try:
        with os.scandir(folder) as listed:
            entries = sorted((entry for entry in listed if not entry.name.startswith(".")), key=lambda e: e.name)
    except OSError as error:
        if odd is None:
            raise
        odd[folder] = error.strerror or str(error)
        return
    for entry in entries:
        if _is_file(entry):
            yield Path(entry.path)
        elif os.path.isdir(entry.path):
            yield from walk(Path(entry.path), odd, (*above, real))
        elif odd is not None:
            odd[Path(entry.path)] = what_is(entry.path)


def names_in(folder: Path) -> list[Path]:
    """Every visible file in and below a folder, in the order of its path, and what stands in the place of one.

    A link that leads nowhere is among them: its file is missing, and not merely never heard of.

    Raises:
        UserError: If a folder cannot be looked into, or is a link that leads back.
    """
    odd: dict[Path, str] = {}
    files = list(walk(folder, odd))
    for path, why in odd.items():
        if os.path.isdir(path):
            raise UserError(f"cannot look into {path}: {why}; mend or remove it")
    return sorted([*files, *odd]) if odd else files


def what_is(path: str | os.PathLike[str]) -> str:
    """What a path is that is neither a file nor a folder, in words."""
    if not os.path.exists(path):
        leads = f"it is a link that leads nowhere ({os.readlink(path)})" if os.path.islink(path) else "it is not there"
        return leads
    mode = os.stat(path).st_mode
    kinds = {stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket", stat.S_ISCHR: "device", stat.S_ISBLK: "device"}
    return f"it is a {next((kind for test, kind in kinds.items() if test(mode)), 'thing of no known kind')}, not a file"


def check_root(root: Path, expected: str) -> None:
    """Refuse a root that is no folder, or in which a folder is missing. `expected` says what it should be."""
    if root.is_dir():
        # Without suffix, so that it was a folder, perhaps a half or all depth, and not one picture of many.
        lost = [path for path in root.iterdir() if not path.suffix and path.is_symlink() and not path.exists()]
        if not lost:
            return
        raise UserError(f"{min(lost)} is a link that leads nowhere ({os.readlink(min(lost))}): mend or remove it")
    if root.is_symlink() and not root.exists():
        state = f"is a link that leads nowhere ({os.readlink(root)})"
    else:
        state = "is a file" if root.exists() else "does not exist"
    raise UserError(f"data root {root} {state}, expected {expected}")


def wrong_layout(root: Path, name: str, signs: Sequence[str], also: str = "") -> UserError:
    """The refusal of a root in which nothing is where it should be; `signs` is what may be expected in it."""
    names = sorted(entry.name + "/" * entry.is_dir() for entry in root.iterdir())
    holds = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "nothing"
    return UserError(
        f"data root {root} does not have the {name} layout: it holds {holds}, expected {' or '.join(signs)}{also}; "
        "name the folder that holds them"
    )
