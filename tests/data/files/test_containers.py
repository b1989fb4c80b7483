import h5py
import numpy as np
import pytest

from distill.data.files.containers import exr_is_whole, read_exr
from distill.data.files.probing import probe
from distill.data.files.reading import DecodeError, read_depth

METRES = np.linspace(0.5, 9, 24, dtype=np.float32).reshape(4, 6)


def write(path, arrays):
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
    elif path.suffix == ".exr":
        exr = pytest.importorskip("OpenEXR")
        exr.File({"type": exr.scanlineimage}, arrays).write(str(path))
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.h5", "a.exr"])
def test_the_array_called_depth_or_the_only_one_is_read(tmp_path, name):
    for key in ("depth", "R") if name.endswith("exr") else ("depth", "x"):
        path = write(tmp_path / name, {key: METRES})
        assert (read_depth(path) == METRES).all()
        assert (probe(path).size, probe(path).like_depth) == ((4, 6), True)


def test_a_portable_float_map_is_read(tmp_path, write_image):
    path = write_image(tmp_path / "a.pfm", METRES)
    assert (read_depth(path) == METRES).all()
    assert probe(path).size == (4, 6)


def test_integers_in_an_array_are_millimetres(tmp_path):
    assert (read_depth(write(tmp_path / "a.npz", {"depth": np.full((4, 6), 2000, np.uint16)})) == 2).all()


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
def test_arrays_none_of_which_is_called_depth_are_refused(tmp_path, name):
    with pytest.raises(DecodeError, match="holds the arrays x, y, expected one of them to be called depth"):
        read_depth(write(tmp_path / name, {"x": METRES, "y": METRES}))


@pytest.mark.parametrize("name", ["a.npz", "a.h5"])
@pytest.mark.parametrize("cut", [0, 100])
def test_damaged_files_are_unreadable(tmp_path, name, cut):
    path = write(tmp_path / name, {"depth": METRES})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DecodeError):
        read_depth(path)
    assert probe(path).fault


def test_a_look_at_the_headers_of_openexr_tells_whole_files_from_cut_ones(tmp_path):
    path = write(tmp_path / "a.exr", {"Z": np.tile(METRES, (30, 30))})
    assert exr_is_whole(path)
    assert read_exr(path, whole=False).strides == (0, 0)  # nothing was decoded
    for length in (len(path.read_bytes()) - 1, 400, 100):
        path.write_bytes(path.read_bytes()[:length])
        assert not exr_is_whole(path)
        assert probe(path).fault


def test_a_pickle_in_an_archive_is_refused(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, depth=np.array([{}], dtype=object))
    with pytest.raises(DecodeError):
        read_depth(path)


def test_an_array_that_lies_in_another_file_is_refused(tmp_path):
    write(tmp_path / "other.h5", {"depth": METRES})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["depth"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "depth")
    with pytest.raises(DecodeError, match="expected one of them"):
        read_depth(tmp_path / "a.h5")


def test_an_archive_damaged_inside_is_unreadable(tmp_path):
    path = write(tmp_path / "a.npz", {"depth": METRES})
    raw = bytearray(path.read_bytes())
    raw[70:90] = b"\xff" * 20
    path.write_bytes(raw)
    with pytest.raises(DecodeError, match=r"a.npz"):
        read_depth(path)
