"""The layouts of published zero-shot sets, written in miniature: what is read of them, and what is refused."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from distill.cli import main
from distill.commands.arguments import DATA_SETS as NAMES
from distill.data import DATA_SETS, DecodeError, PairDataset, Source, recognise
from distill.data.zeroshot.published import PUBLISHED
from distill.errors import UserError
from distill.evaluation import PROTOCOLS

spec = importlib.util.spec_from_file_location(
    "layouts", Path(__file__).parents[1] / "reference" / "zeroshot_layouts.py"
)
layouts = importlib.util.module_from_spec(spec)
sys.modules["layouts"] = layouts
spec.loader.exec_module(layouts)

WRITERS = {"ibims1": "ibims", "diode_indoor": "diode", "diode_outdoor": "diode"}  # where the names differ


@pytest.fixture
def written(tmp_path):
    """Writes a miniature set by the name of its protocol; its folder and what a reader must return."""

    def write(name):
        return tmp_path, layouts.WRITERS[WRITERS.get(name, name)](tmp_path)

    return write


def find(root, name, part="test", **options):
    return Source(name, root).find(part, **options)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_layout_gives_its_metres_where_they_count(name, written):
    root, samples = written(name)
    by_depth, dataset = {str(sample.depth): sample for sample in samples}, PairDataset(find(root, name))
    assert len(dataset) == len(samples) // (2 if name.startswith("diode") else 1)
    for pair, read in zip(dataset.pairs, dataset, strict=True):
        sample = by_depth[pair.depth]
        assert Path(pair.image) == sample.rgb
        assert read.image.shape == (*read.depth.shape, 3)
        np.testing.assert_allclose(read.depth, np.where(sample.valid, sample.metres, 0), rtol=3e-7)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_has_a_protocol_of_its_name_and_a_layout_that_is_told_apart(name, written, tmp_path):
    assert PROTOCOLS[name].dataset == PROTOCOLS[f"{name}_affine"].dataset == name
    assert PROTOCOLS[name].max_depth == PUBLISHED[name].cap
    (tmp_path / "readme.txt").touch()
    with pytest.raises(UserError, match=f"{PUBLISHED[name].title} layout: it holds readme.txt"):
        find(tmp_path, name)
    assert not Source(name, tmp_path).has_half("test")


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_camera_is_known_where_the_set_has_one(name, written):
    root, samples = written(name)
    by_depth, dataset = {str(sample.depth): sample for sample in samples}, PairDataset(find(root, name))
    for pair, read in zip(dataset.pairs, dataset, strict=True):
        known = by_depth[pair.depth].intrinsics
        if known is None:
            assert read.intrinsics is None
        else:
            fx, fy, cx, cy = known
            np.testing.assert_allclose(read.intrinsics, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], rtol=1e-4)


def cameras_of(root, name):
    return [sample.intrinsics for sample in PairDataset(find(root, name))]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


FISHEYE = "{} THIN_PRISM_FISHEYE 6048 4032 {} 3410 3050 2010 0.2 0.1 0 0 0 0 0 0\n"


def test_the_camera_of_eth3d_is_that_of_colmap_by_the_image_s_name(written):
    root, _ = written("eth3d")
    two = FISHEYE.format(0, 3400) + FISHEYE.format(1, 3500)
    write(root / "courtyard/dslr_calibration_jpg/cameras.txt", "# CAMERA_ID, MODEL\n" + FISHEYE.format(0, 3400))
    write(root / "pipes/dslr_calibration_jpg/cameras.txt", two)
    lines = [
        "7 1 0 0 0 0 0 0 1 dslr_images/DSC_0634.JPG",
        "1 2 -1 3 4 -1",
        "8 1 0 0 0 0 0 0 0 dslr_images/DSC_0635.JPG",
    ]
    write(root / "pipes/dslr_calibration_jpg/images.txt", "\n".join(lines))
    one, other = cameras_of(root, "eth3d")
    np.testing.assert_allclose(one, [[3400 / 48, 0, 3050 / 48 - 0.5], [0, 3410 / 48, 2010 / 48 - 0.5], [0, 0, 1]])
    assert other[0, 0] == pytest.approx(3500 / 48)
    (root / "pipes/dslr_calibration_jpg/images.txt").unlink()
    assert cameras_of(root, "eth3d")[1] is None  # nobody knows which
    write(root / "pipes/dslr_calibration_jpg/cameras.txt", "0 RADIAL 6048 4032 3400 3050 2010 0 0\n")
    with pytest.raises(DecodeError, match="RADIAL"):
        cameras_of(root, "eth3d")


def test_the_camera_of_scannet_is_that_of_its_depth_else_of_its_colours(written):
    root, _ = written("scannet")
    write(root / "scene0707_00/intrinsic/intrinsic_depth.txt", "577 0 319 0\n0 578 239 0\n0 0 1 0\n0 0 0 1\n")
    write(root / "scene0709_01/intrinsic_color.txt", "1170 0 648 0\n0 1171 484 0\n0 0 1 0\n0 0 0 1\n")
    depth, colours = cameras_of(root, "scannet")
    np.testing.assert_allclose(depth, [[577 / 8, 0, 319 / 8], [0, 578 / 8, 239 / 8], [0, 0, 1]])
    np.testing.assert_allclose(colours, [[1170 * 80 / 1296, 0, 40], [0, 1171 * 60 / 968, 30], [0, 0, 1]])
    write(root / "scene0707_00/intrinsic/intrinsic_depth.txt", "577 319")
    with pytest.raises(DecodeError, match="expected 16 numbers of a camera"):
        cameras_of(root, "scannet")


def test_the_camera_of_ddad_is_named_by_the_path_where_calibrations_agree(written):
    root, _ = written("ddad")
    one = {"fx": 2181.0, "fy": 2182.0, "cx": 928.0, "cy": 615.0, "skew": 0.0}
    content = {"names": ["LIDAR", "CAMERA_01"], "intrinsics": [one | {"fx": 0.0}, one]}
    write(root / "calibration/a.json", json.dumps(content))
    for camera in cameras_of(root, "ddad"):
        np.testing.assert_allclose(camera, [[2181 / 8, 0, 116], [0, 2182 / 8, 615 / 8], [0, 0, 1]])
    write(root / "calibration/b.json", json.dumps(content | {"intrinsics": [one, one | {"fx": 9.0}]}))
    assert cameras_of(root, "ddad") == [None, None]
    write(root / "calibration/b.json", "{}")
    with pytest.raises(DecodeError, match="expected names and intrinsics"):
        cameras_of(root, "ddad")


def test_both_layouts_of_ibims_hold_the_same_and_pictures_count_where_both_are(written):
    root, samples = written("ibims1")
    pictures = PairDataset(find(root, "ibims1"))
    assert all(pair.depth.endswith(".png") for pair in pictures.pairs)
    shutil.move(root / "ibims1_core_mat", root.parent / "mat")
    arrays = PairDataset(find(root.parent / "mat", "ibims1"))
    assert recognise(root.parent / "mat") == ["ibims1"]
    for one, other in zip(pictures, arrays, strict=True):
        assert np.array_equal(one.image, other.image)
        np.testing.assert_allclose(one.depth, other.depth, rtol=3e-7)
        np.testing.assert_allclose(one.intrinsics, other.intrinsics, atol=1e-4)
        assert [normal.tolist() for _, normal in one.shapes.planes] == [
            normal.tolist() for _, normal in other.shapes.planes
        ]
        assert all(np.array_equal(a[0], b[0]) for a, b in zip(one.shapes.planes, other.shapes.planes, strict=True))
    assert np.array_equal(pictures[0].shapes.edges, samples[0].extra["edges"])
    assert pictures[1].shapes.edges is None
    assert len(pictures[0].shapes.planes) == 3


def test_a_file_of_another_struct_is_named(written):
    root, samples = written("ibims1")
    shutil.rmtree(root / "ibims1_core_raw")
    savemat(samples[0].extra["mat"], {"data": {"rgb": np.zeros((4, 4, 3))}})
    Path(samples[1].extra["mat"]).write_bytes(b"nothing")
    dataset = PairDataset(find(root, "ibims1"))
    with pytest.raises(DecodeError, match=r"no depth and no calib"):
        dataset[0]
    with pytest.raises(DecodeError, match="no struct 'data'"):
        dataset[1]


def test_edges_of_another_size_and_a_broken_camera_are_named(written):
    root, samples = written("ibims1")
    layouts.png16(root / "ibims1_core_raw/edges" / f"{samples[0].name}.png", np.ones((9, 9)))
    (root / "ibims1_core_raw/calib" / f"{samples[1].name}.txt").write_text("560,561")
    dataset = PairDataset(find(root, "ibims1"))
    with pytest.raises(DecodeError, match="are 9x9 and 60x80"):
        dataset[0]
    with pytest.raises(DecodeError, match="expected 4 numbers"):
        dataset[1]


def test_edges_and_planes_of_ibims_are_in_its_results(written, tmp_path, capsys):
    root, samples = written("ibims1")
    for sample in samples:
        np.save(tmp_path / f"{sample.name}.npy", np.nan_to_num(sample.metres, nan=3.0))
    out = tmp_path / "predictions"
    out.mkdir()
    for path in tmp_path.glob("*.npy"):
        path.rename(out / path.name)
    words = ["--data", "ibims1", "--root", str(root), "--json", str(tmp_path / "r.json")]
    assert main(["evaluate", str(out), *words]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["shapes"]["script"] == "v1"
    assert result["shapes"]["dde_0"] == 1
    assert 0 <= result["shapes"]["dbe_acc"] <= 10
    assert len(result["per_image"][0]["shapes"]["planes"]) == 3
    assert "planes" in capsys.readouterr().out
    assert main(["evaluate", "--reproduce", str(tmp_path / "r.json")]) == 0


def test_how_much_of_the_whole_set_is_there_is_said(written):
    root, _ = written("ibims1")
    assert "2 of the 100 images of iBims-1 are here" in find(root, "ibims1").remarks
    whole = layouts.WRITERS["tum"](root / "tum")
    assert any("1 depth maps without an image" in remark for remark in find(root / "tum", "tum").remarks)
    assert len(whole) == 2
    assert not any("different numbers" in remark for remark in find(root / "tum", "tum").remarks)


def test_the_command_line_knows_every_set():
    assert set(NAMES) == set(DATA_SETS)


@pytest.mark.parametrize(("name", "what"), [("ibims1", "mask_transp"), ("diode_indoor", "_depth_mask")])
def test_a_set_whose_masks_are_missing_is_refused(name, what, written):
    root, _ = written(name)
    for path in root.rglob("*"):
        if path.is_file() and what in path.as_posix():
            path.unlink()
    with pytest.raises(UserError, match=rf"do not exist: .*{what}"):
        PairDataset(find(root, name))


def test_undistorted_pictures_of_eth3d_are_refused(written):
    root, samples = written("eth3d")
    layouts.picture(np.random.default_rng(0), samples[0].rgb, np.ones((90, 130)))
    with pytest.raises(DecodeError, match=r"is 90x130 .* distorted pictures"):
        PairDataset(find(root, "eth3d"))[0]


def test_training_halves_are_other_scenes_or_folders(written):
    root, _ = written("vkitti2")
    (root / "Scene01").rename(root / "Scene02")
    assert len(find(root, "vkitti2", "train").usable) == 2
    assert not Source("vkitti2", root).has_half("test")
    root, _ = written("diode_indoor")
    (root / "val").rename(root / "train")
    assert Source("diode_indoor", root).has_half("train")
    with pytest.raises(UserError, match="holds the train half alone"):
        recognise(root)


def test_hypersims_own_list_divides_it(written):
    root, _ = written("hypersim")
    rows = [
        "scene_name,camera_name,frame_id,split_partition_name",
        "ai_001_001,cam_00,0,test",
        "ai_001_002,cam_00,7,val",
    ]
    (root / "metadata_images_split_scene_v1.csv").write_text("\n".join(rows))
    contents = find(root, "hypersim")
    assert [pair.scene for pair in contents.usable] == ["ai_001_001"]
    assert "1 frames of the half val" in contents.left_out


def test_a_list_chooses_images_and_names_what_is_missing(written, tmp_path):
    root, _ = written("scannet")
    listed = tmp_path / "list.txt"
    listed.write_text("scene0709_01/color/000120.jpg\n")
    assert [pair.name for pair in find(root, "scannet", split=listed).usable] == ["scene0709_01/color/000120.jpg"]
    listed.write_text("scene0000_00/color/000000.jpg\n")
    with pytest.raises(UserError, match="scene0000_00"):
        PairDataset(find(root, "scannet", split=listed))


def test_a_set_is_checked_and_scored_by_name(written, tmp_path, capsys):
    root, samples = written("vkitti2")
    out = tmp_path / "predictions"
    for sample in samples:
        path = out / sample.rgb.relative_to(root).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.nan_to_num(sample.metres))
    assert main(["data", "check", "--data", "vkitti2", "--root", str(root)]) == 0
    assert (
        main(["evaluate", str(out), "--data", "vkitti2", "--root", str(root), "--json", str(tmp_path / "r.json")]) == 0
    )
    assert '"abs_rel": 0.0' in (tmp_path / "r.json").read_text()


def test_every_set_of_some_folders_is_recognised_and_stands_in_one_table(tmp_path, refused, capsys):
    predictions = tmp_path / "predictions"
    for name in ("diode", "vkitti2"):
        root = tmp_path / "sets" / name
        for sample in layouts.WRITERS[name](root):
            path = predictions / sample.rgb.relative_to(root).with_suffix(".npy")
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, 2 * np.nan_to_num(sample.metres))
    roots = [str(tmp_path / "sets" / name) for name in ("diode", "vkitti2")]
    assert main(["evaluate", str(predictions), "--zero-shot", *roots, "--json", str(tmp_path / "all.json")]) == 0
    results = json.loads((tmp_path / "all.json").read_text())
    assert [one["data"] for one in results] == ["diode_indoor", "diode_outdoor", "vkitti2"]
    assert all(one["protocol"] == f"{one['data']}_affine" and one["metrics"]["abs_rel"] < 1e-4 for one in results)
    assert "vkitti2_affine" in capsys.readouterr().out.split("rows do not compare")[0].replace("\n", "")
    assert "holds no known data set" in refused("evaluate", predictions, "--zero-shot", predictions)
    assert "leave one of them out" in refused("evaluate", predictions, "--zero-shot", roots[0], "--data", "nyu")

    for path in predictions.glob("**/indoors/**/*.npy"):
        path.unlink()
    assert main(["evaluate", str(predictions), "--zero-shot", *roots, "--json", str(tmp_path / "rest.json")]) == 2
    message = capsys.readouterr().err
    assert "1 of 3 data sets" in message
    assert "diode_indoor" in message
    rest = json.loads((tmp_path / "rest.json").read_text())
    assert [(one["data"], one["metrics"]) for one in rest] == [(one["data"], one["metrics"]) for one in results[1:]]


@pytest.mark.parametrize("name", sorted({WRITERS.get(name, name) for name in PUBLISHED}))
def test_no_layout_is_taken_for_another(name, tmp_path):
    layouts.WRITERS[name](tmp_path)
    assert recognise(tmp_path) == [one for one in PUBLISHED if WRITERS.get(one, one) == name]
