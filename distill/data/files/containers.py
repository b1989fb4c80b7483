"""Depth in files that hold arrays by name: .npz, .h5, .exr. What cannot be used is an OSError or a ValueError.

A reader gives the array or, without `whole`, zeros of its shape and type, as far as a look at the header will do.
"""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType

import numpy as np

from distill.errors import UserError

Path = str | os.PathLike[str]
LARGEST = 2**28  # bytes of an array, of 8192x8192 numbers
MOST_HEADER = 2**17  # bytes of an OpenEXR file's header that are looked at
EXR_CHANNELS = ("z", "depth", "y", "r")  # of which the first that there is holds the distance
EXR_START = b"\x76\x2f\x31\x01\x02\x00\x00\x00"  # of one part, of rows without tiles


def library(module: str, kind: str) -> ModuleType:
    """A library that only files of a kind need."""
    try:
        return import_module(module)
    except ImportError:
        raise UserError(f"{kind} files need {module}: pip install '.[camera]'") from None


def choose(names: Sequence[str], path: Path) -> str:
    """The name of the array that holds depth: one that says so, else the only one."""
    own = [name for name in names if "depth" in name.lower()]
    chosen = own if len(own) == 1 else [name for name in names if name.lower() == "depth"] or list(names)
    if len(chosen) != 1:
        raise ValueError(f"holds the arrays {', '.join(names) or 'none'}, expected one of them to be called depth")
    return chosen[0]


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array of that shape that takes no memory."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def read_npz(path: Path, whole: bool = True) -> np.ndarray:
    """The depth of NumPy's archive; a pickle in it would be code and is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            if max((one.file_size for one in archive.infolist()), default=0) > LARGEST:
                raise ValueError("holds an array of more than 256 MiB")
            name = choose([one.removesuffix(".npy") for one in archive.namelist()], path)
            if not whole:
                with archive.open(f"{name}.npy") as file:
                    old = np.lib.format.read_magic(file) == (1, 0)
                    header = np.lib.format.read_array_header_1_0 if old else np.lib.format.read_array_header_2_0
                    shape, _, dtype = header(file)
                    return zeros(shape, dtype)
        with np.load(path, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, MemoryError) as error:
        raise ValueError(f"is no NumPy archive, or damaged ({error})") from None


def read_hdf5(path: Path, whole: bool = True) -> np.ndarray:
    """The depth of an HDF5 file, of arrays that lie in it and not elsewhere."""
    h5py = library("h5py", ".h5")
    with h5py.File(path, "r") as file:
        arrays = {name: file[name] for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)}
        arrays = {name: one for name, one in arrays.items() if isinstance(one, h5py.Dataset)}
        array = arrays[choose(list(arrays), path)]
        if array.external or array.is_virtual or array.nbytes > LARGEST:
            raise ValueError("holds an array that lies in another file, or is of more than 256 MiB")
        return np.asarray(array) if whole else zeros(array.shape, array.dtype)


def read_exr(path: Path, whole: bool = True) -> np.ndarray:
    """The channel of an OpenEXR file that holds depth: Z, depth, Y or R."""
    exr = library("OpenEXR", ".exr")
    try:
        with exr.File(os.fspath(path), header_only=True) as file:
            (left, top), (right, bottom) = file.header()["dataWindow"]
            names = {one.name.lower(): one.name for one in file.header()["channels"]}
        name = names[next((name for name in EXR_CHANNELS if name in names), None) or choose(list(names), path)]
        shape = int(bottom) - int(top) + 1, int(right) - int(left) + 1
        if 4 * math.prod(shape) > LARGEST:
            raise ValueError("holds an array of more than 256 MiB")
        if not whole and exr_is_whole(path):
            return zeros(shape, np.dtype(np.float32))
        with exr.File(os.fspath(path), separate_channels=True) as file:
            return np.asarray(file.channels()[name].pixels, dtype=np.float32)
    except RuntimeError as error:
        raise ValueError(f"is no OpenEXR file, or damaged ({error})") from None


def exr_is_whole(path: Path) -> bool:
    """Whether an OpenEXR file of plain rows is known to be whole: its last block of rows ends where the file does."""
    with open(path, "rb") as file:
        if file.read(len(EXR_START)) != EXR_START:
            return False
        head, size = file.read(MOST_HEADER), os.fstat(file.fileno()).st_size
        at = 0
        while (end := head.find(b"\0", at)) > at:  # attributes: name, type, length, value; an empty name ends them
            if (end := head.find(b"\0", end + 1)) < 0:
                return False
            at = end + 5 + int.from_bytes(head[end + 1 : end + 5], "little")
        first = int.from_bytes(head[at + 1 : at + 9], "little")  # of the table of blocks, which ends where they begin
        table = np.frombuffer(head[at + 1 : first - len(EXR_START)], "<u8")
        if not table.size or len(EXR_START) + at + 1 + table.nbytes != first:
            return False
        file.seek(int(table.max()) + 4)
        return bool(table.max() + 8 + int.from_bytes(file.read(4), "little") == size)


READERS: dict[str, Callable[[Path, bool], np.ndarray]] = {
    ".npz": read_npz,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".exr": read_exr,
}
