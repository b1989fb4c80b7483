import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from distill.data.files.reading import DecodeError, NotDepth
from distill.data.files.rgb_depth import FolderDataset, find_folder, find_photographs, usual_folder_split
from distill.data.focal import focal_px
from distill.data.opening import Source
from distill.data.sample import PairDataset
from distill.data.survey import check_truth, shared_images
from distill.errors import UserError

GREY = np.full((4, 6, 3), 128, np.uint8)
TWO_METRES = np.full((4, 6), 2000, np.uint16)


def fill(root, write_image, names, image="image", depth="depth", raw=TWO_METRES):
    for name in names:
        write_image(root / image / f"{name}.jpg", GREY)
        write_image(root / depth / f"{name}.png", raw)


@pytest.mark.parametrize("folders", ["image depth", "rgb depths", "Images Depth", "color gt"])
def test_pairs_are_recognised_by_name(tmp_path, write_image, folders):
    image, depth = folders.split()
    fill(tmp_path, write_image, ["b/1", "a"], image, depth)
    dataset = FolderDataset(tmp_path, max_depth=8)
    assert dataset.max_depth == 8
    assert [sample.name for sample in dataset] == [f"{image}/a.jpg", f"{image}/b/1.jpg"]
    assert (dataset[1].depth == 2).all()
    assert dataset[1].valid.all()
    assert dataset[1].intrinsics is None


def test_depth_has_the_declared_scale(tmp_path, write_image):
    fill(tmp_path, write_image, ["a"])
    assert (FolderDataset(tmp_path, max_depth=8, depth_scale=5000)[0].depth == np.float32(0.4)).all()


def test_images_without_depth_are_left_out_and_named(tmp_path, write_image):
    fill(tmp_path, write_image, ["a", "b"])
    (tmp_path / "depth/a.png").unlink()
    dataset = FolderDataset(tmp_path, max_depth=8)
    assert [sample.name for sample in dataset] == ["image/b.jpg"]
    assert dataset.without_truth == ("image/a.jpg",)


@pytest.mark.parametrize("folder", ["image", "."])
def test_images_alone_have_no_valid_pixel(tmp_path, write_image, folder):
    write_image(tmp_path / folder / "a.JPG", GREY)
    write_image(tmp_path / folder / "more/b.png", GREY)
    (tmp_path / folder / "._a.jpg").write_text("left by a file manager")
    dataset = FolderDataset(tmp_path, max_depth=8)
    assert len(dataset) == 2
    for sample in dataset:
        assert sample.depth.shape == (4, 6)
        assert sample.depth.dtype == np.float32
        assert not sample.depth.any()
        assert not sample.valid.any()


def test_a_list_takes_the_place_of_names(tmp_path, write_image):
    write_image(tmp_path / "left/1.png", GREY)
    write_image(tmp_path / "truth/x.png", TWO_METRES)
    (tmp_path / "list.txt").write_text("left/1.png truth/x.png\nleft/1.png None\n")
    dataset = FolderDataset(tmp_path, max_depth=8, split_file=tmp_path / "list.txt")
    assert [sample.name for sample in dataset] == ["left/1.png"]
    assert dataset.without_truth == ("left/1.png",)


def test_a_table_names_pairs_and_cameras(tmp_path, write_image):
    write_image(tmp_path / "left/1.png", GREY)
    write_image(tmp_path / "truth/x.png", TWO_METRES)
    (tmp_path / "train.csv").write_text("image,depth,fx,fy,cx,cy\nleft/1.png,truth/x.png,5,6,2.5,1.5\n")
    root, listed, _ = usual_folder_split(tmp_path, "train")
    sample = FolderDataset(root, max_depth=8, split_file=listed)[0]
    assert sample.intrinsics.tolist() == [[5, 0, 2.5], [0, 6, 1.5], [0, 0, 1]]
    assert (sample.depth == 2).all()


def test_one_camera_may_be_declared_for_all(tmp_path, write_image):
    fill(tmp_path, write_image, ["a"])
    sample = FolderDataset(tmp_path, max_depth=8, camera=(5, 6, 2.5, 1.5))[0]
    assert sample.intrinsics.tolist() == [[5, 0, 2.5], [0, 6, 1.5], [0, 0, 1]]


def test_floating_point_depth_is_in_metres_and_has_holes(tmp_path, write_image):
    metres = np.full((4, 6), 2.5, np.float32)
    metres[0] = [np.nan, np.inf, -1, 0, 3, 4]
    write_image(tmp_path / "image/a.jpg", GREY)
    write_image(tmp_path / "image/b.jpg", GREY)
    (tmp_path / "depth").mkdir()
    np.save(tmp_path / "depth/a.npy", metres)
    write_image(tmp_path / "depth/b.tiff", metres)
    for sample in FolderDataset(tmp_path, max_depth=8):
        assert sample.depth[0].tolist() == [0, 0, 0, 0, 3, 4]
        assert (sample.depth[1:] == 2.5).all()
    assert FolderDataset(tmp_path, max_depth=8, depth_scale=100)[0].depth.max() == np.float32(0.04)


def test_an_array_that_holds_code_is_not_loaded(tmp_path, write_image):
    fill(tmp_path, write_image, ["a"])
    (tmp_path / "depth/a.png").unlink()
    np.save(tmp_path / "depth/a.npy", np.array([print], dtype=object), allow_pickle=True)
    with pytest.raises(DecodeError, match="not a NumPy array, or cut short"):
        FolderDataset(tmp_path, max_depth=8)[0]


@pytest.mark.parametrize("test", ["test", "val", "Valid", "validation"])
@pytest.mark.parametrize("places", ["{half}/image {half}/depth", "images/{half} depth/{half}"])
def test_halves_may_be_folders(tmp_path, write_image, test, places):
    assert usual_folder_split(tmp_path, "test") is None
    for half, names in (("train", "ab"), (test, "c")):
        fill(tmp_path, write_image, names, *places.format(half=half).split())
    source = Source("folder", tmp_path, max_depth=8)
    train, test = source.find("train"), source.find("test")
    assert [Path(pair.name).stem for pair in train.usable] == ["a", "b"]
    assert [Path(pair.name).stem for pair in test.usable] == ["c"]
    assert not train.remarks + test.remarks


def test_images_beside_the_halves_are_said_to_be_left_out(tmp_path, write_image):
    fill(tmp_path, write_image, ["train/a", "val/b", "more/c"])
    assert "1 images of" in Source("folder", tmp_path).find("train").remarks[0]


def test_a_list_of_validation_is_the_test_half_of_a_folder(tmp_path, write_image):
    fill(tmp_path, write_image, "ab")
    for half, name in (("train", "a"), ("val", "b")):
        (tmp_path / f"{half}.txt").write_text(f"image/{name}.jpg depth/{name}.png\n")
    assert [pair.name for pair in Source("folder", tmp_path).find("test").usable] == ["image/b.jpg"]


def test_a_half_without_its_depth_is_refused(tmp_path, write_image):
    fill(tmp_path, write_image, ["train/a", "val/b"])
    shutil.rmtree(tmp_path / "depth/val")
    with pytest.raises(UserError, match=r"depth/val does not exist, expected the half val"):
        Source("folder", tmp_path).find("test")


@pytest.mark.parametrize(("there", "absent", "purpose"), [("test", "train", "train"), ("train", "test", "evaluate")])
def test_one_half_is_not_taken_for_the_other(tmp_path, write_image, there, absent, purpose):
    fill(tmp_path / there, write_image, "a")
    source = Source("folder", tmp_path)
    assert [source.has_half(part) for part in (there, absent)] == [True, False]
    assert len(source.find(there).usable) == 1
    with pytest.raises(
        UserError, match=f"holds the {there} half alone, nothing to {purpose} on: add the {absent} half"
    ):
        source.find(absent)


def test_a_folder_that_nobody_divided_is_trained_and_evaluated_on_as_a_whole(tmp_path, write_image):
    fill(tmp_path, write_image, "ab")
    source = Source("folder", tmp_path)
    assert not source.has_half("test")
    assert [len(source.find(part).usable) for part in ("train", "test")] == [2, 2]


UNKNOWN = {  # where others keep images and depth
    "a folder for each frame": ("0/a.jpg", "0/b.tif"),
    "annotations": ("images/0.png", "annotations/0.png"),
    "8 bits, told by the name": ("color_0.png", "depth_0.bmp"),
    "8 bits, told by the image beside it": ("a/0.jpg", "a/0.png"),
    "arrays": ("rgb/0.png", "metres/0.npy"),
}


@pytest.mark.parametrize("layout", UNKNOWN)
def test_depth_maps_where_none_are_expected_are_no_photographs(tmp_path, write_image, layout):
    image, depth = UNKNOWN[layout]
    write_image(tmp_path / image, GREY)
    (tmp_path / depth).parent.mkdir(parents=True, exist_ok=True)
    raw = TWO_METRES if "8" not in layout else GREY[..., 0]
    np.save(tmp_path / depth, raw / 99) if "npy" in depth else write_image(tmp_path / depth, raw)
    with pytest.raises(UserError, match=rf"1 of 2 files .* are depth maps .* such as {depth}, .* image/ .* depth/"):
        FolderDataset(tmp_path, max_depth=8)
    found = find_photographs(tmp_path)
    assert [pair.name for pair in found.pairs] == [image]
    assert f"1 of 2 files in {tmp_path} are depth maps and no photographs, such as {depth}" in found.remarks


def test_a_folder_of_depth_maps_holds_no_photographs(tmp_path, write_image):
    write_image(tmp_path / "a/0.png", TWO_METRES)
    with pytest.raises(UserError, match=r"are depth maps .*: expected photographs"):
        find_photographs(tmp_path)


@pytest.mark.parametrize("folder", ["image", "depth"])
def test_links_that_lead_nowhere_are_missing_files(tmp_path, write_image, folder):
    fill(tmp_path, write_image, "abc")
    lost = next((tmp_path / folder).glob("b.*"))
    lost.unlink()
    lost.symlink_to("nothing")
    with pytest.raises(UserError, match=rf"1 of 3 lines of .* do not exist: {folder}/b"):
        FolderDataset(tmp_path, max_depth=8)


def test_a_folder_of_links_that_lead_nowhere_is_missed(tmp_path, write_image):
    fill(tmp_path, write_image, ["seq/a"])
    for folder in ("image", "depth"):
        (tmp_path / folder / "seq/lost").symlink_to("/nothing")
    with pytest.raises(UserError, match=r"1 of 2 lines of .* do not exist: image/seq/lost"):
        FolderDataset(tmp_path, max_depth=8)
    shutil.rmtree(tmp_path / "depth")
    (tmp_path / "depth").symlink_to("/nothing")
    with pytest.raises(UserError, match=r"depth is a link that leads nowhere"):
        FolderDataset(tmp_path, max_depth=8)


def test_depth_maps_without_an_image_are_counted(tmp_path, write_image):
    fill(tmp_path, write_image, "abc")
    (tmp_path / "image/a.jpg").rename(tmp_path / "image/a.ppm")
    (remark,) = find_folder(tmp_path).remarks
    assert "1 depth maps have no image of their name" in remark
    assert "depth/a.png" in remark


@pytest.mark.parametrize(
    ("lines", "odd"),
    [
        (["image/1.jpg depth/1.png", "image/2.jpg depth/10.png", "image/10.jpg depth/2.png"], 2),
        (["image/2.jpg depth/002.png"], 0),
        (["seq1/rgb/2.jpg seq2/depth/2.png"], 1),
        (["2_left.jpg depth/2.png", "a1/rgb_1.jpg a1/depth/1_v2.png", "left.jpg 7.png"], 0),
    ],
)
def test_lines_that_join_different_numbers_are_counted(tmp_path, write_image, lines, odd):
    for image, depth in map(str.split, lines):
        write_image(tmp_path / image, GREY)
        write_image(tmp_path / depth, TWO_METRES)
    (tmp_path / "list.txt").write_text("\n".join(lines))
    remarks = find_folder(tmp_path, split_file=tmp_path / "list.txt").remarks
    assert [remark.partition(" join")[0] for remark in remarks] == [f"{odd} of {len(lines)} lines"] * bool(odd)


def test_an_image_is_one_image_by_whatever_name(tmp_path, write_image):
    fill(tmp_path / "train", write_image, "ab")
    fill(tmp_path / "val", write_image, "c")
    source = Source("folder", tmp_path)
    assert not shared_images(source.find("train"), source.find("test"))
    for folder in ("image", "depth"):
        suffix = {"image": "jpg", "depth": "png"}[folder]
        (tmp_path / f"val/{folder}/d.{suffix}").symlink_to(tmp_path / f"train/{folder}/b.{suffix}")
        os.link(tmp_path / f"val/{folder}/c.{suffix}", tmp_path / f"val/{folder}/e.{suffix}")
    assert shared_images(source.find("train"), source.find("test")) == ["image/d.jpg"]
    assert source.find("test").repeated == ("image/e.jpg",)


def test_8_bit_depth_needs_a_scale_that_it_reaches_far_with(tmp_path, write_image):
    fill(tmp_path, write_image, ["a"], raw=np.full((4, 6), 51, np.uint8))
    with pytest.raises(NotDepth, match="is a 8-bit picture"):
        FolderDataset(tmp_path, max_depth=8)[0]
    assert (FolderDataset(tmp_path, max_depth=8, depth_scale=25.5)[0].depth == 2).all()


def test_missing_files_of_a_list_are_counted(tmp_path, write_image):
    fill(tmp_path, write_image, ["a"])
    (tmp_path / "list.txt").write_text("image/a.jpg depth/a.png\nimage/b.jpg depth/b.png\n")
    with pytest.raises(UserError, match=r"1 of 2 lines of .*list.txt name files that do not exist: image/b.jpg"):
        FolderDataset(tmp_path, max_depth=8, split_file=tmp_path / "list.txt")


def test_a_folder_that_cannot_be_paired_is_refused(tmp_path, write_image):
    with pytest.raises(UserError, match=r"data root .*none does not exist, expected the RGB-depth folder that holds"):
        FolderDataset(tmp_path / "none", max_depth=8)
    with pytest.raises(UserError, match=r"no images in .*, expected files of the kinds .bmp .jpeg"):
        FolderDataset(tmp_path, max_depth=8)
    write_image(tmp_path / "depth/1.png", TWO_METRES)
    with pytest.raises(UserError, match=r"does not have the RGB-depth layout: it holds depth/, expected image/ or"):
        FolderDataset(tmp_path, max_depth=8)
    write_image(tmp_path / "rgb/a.png", GREY)
    with pytest.raises(UserError, match=r"no image of .*rgb has a depth map of its name: a.png is expected in .*1.png"):
        FolderDataset(tmp_path, max_depth=8)
    write_image(tmp_path / "rgb/a.jpg", GREY)
    with pytest.raises(UserError, match=r"rgb/a.jpg and .*rgb/a.png have one name"):
        FolderDataset(tmp_path, max_depth=8)
    (tmp_path / "image").mkdir()
    with pytest.raises(UserError, match=r"holds image/ and rgb/, expected one"):
        FolderDataset(tmp_path, max_depth=8)


@pytest.mark.parametrize("limits", [{"max_depth": 0}, {"max_depth": 8, "depth_scale": float("nan")}])
def test_limits_must_be_positive(tmp_path, limits):
    with pytest.raises(UserError, match="expected a positive number"):
        FolderDataset(tmp_path, **limits)


def test_usable_truth_passes(tmp_path, write_image):
    fill(tmp_path, write_image, "abc")
    check_truth(FolderDataset(tmp_path, max_depth=8))


def test_one_measured_map_of_many_is_enough(tmp_path, write_image):
    fill(tmp_path, write_image, "abc", raw=0 * TWO_METRES)
    fill(tmp_path, write_image, "d")
    check_truth(FolderDataset(tmp_path, max_depth=8), samples=2)  # the first and the last


def test_empty_truth_is_refused(tmp_path, write_image):
    fill(tmp_path, write_image, "abc", raw=0 * TWO_METRES)
    with pytest.raises(
        UserError, match=r"\(2 of 3 depth maps looked at\): nothing is measured .* between 0.001 and 8 m"
    ):
        check_truth(FolderDataset(tmp_path, max_depth=8), samples=2)


def test_truth_beyond_the_cap_is_refused_with_the_scale_that_fits(tmp_path, write_image):
    fill(tmp_path, write_image, "a", raw=TWO_METRES)
    with pytest.raises(UserError, match=r"at 10 units per metre it spans 200 to 200 m, .*; 256 units .* would fit"):
        check_truth(FolderDataset(tmp_path, max_depth=8, depth_scale=10))


@pytest.mark.parametrize(("declared", "stored"), [(1, 1000), (100, 1000), (100, 5000)])
def test_the_named_scale_brings_values_below_the_cap(tmp_path, write_image, declared, stored):
    raw = (np.linspace(1, 9.9, 24).reshape(4, 6) * stored).astype(np.uint16)
    fill(tmp_path, write_image, "a", raw=np.maximum(raw, 10 * declared))
    with pytest.raises(UserError, match=f"{stored} units per metre would fit"):
        check_truth(FolderDataset(tmp_path, max_depth=10, depth_scale=declared))


def test_truth_that_cannot_be_read_is_refused(tmp_path, write_image):
    fill(tmp_path, write_image, "a")
    (tmp_path / "depth/a.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"1 of 1 depth maps looked at\): cannot read .*a.png: the file is empty"):
        check_truth(FolderDataset(tmp_path, max_depth=8))


def test_truth_counts_only_where_it_is_valid(make_sample):
    class Masked:
        max_depth, contents = 10.0, None

        def __len__(self):
            return 3

        def __getitem__(self, index):
            sample = make_sample(4, 6)
            return replace(sample, valid=np.zeros_like(sample.valid))

    with pytest.raises(UserError, match="nothing is measured"):
        check_truth(Masked())


MASK = np.repeat(np.uint8([[0, 1, 255, 0, 1, 1]]), 4, axis=0)
LISTED = {
    "list.txt": "image/a.jpg depth/a.png mask/a.png\n",
    "list.csv": "rgb,depth,mask\nimage/a.jpg,depth/a.png,mask/a.png\n",
}


@pytest.mark.parametrize("name", LISTED)
@pytest.mark.parametrize("mask", [MASK, np.repeat(MASK[..., None], 3, axis=2)])
def test_depth_counts_where_the_mask_of_a_list_is_not_0(tmp_path, write_image, name, mask):
    fill(tmp_path, write_image, ["a"])
    write_image(tmp_path / "mask/a.png", mask)
    (tmp_path / name).write_text(LISTED[name])
    (sample,) = FolderDataset(tmp_path, max_depth=8, split_file=tmp_path / name)
    assert np.array_equal(sample.depth, np.where(MASK, np.float32(2), 0))
    assert np.array_equal(sample.valid, MASK > 0)
    write_image(tmp_path / "mask/a.png", mask[:3])
    with pytest.raises(NotDepth, match=r"mask/a.png is 3x6 but its image .*a.jpg is 4x6"):
        FolderDataset(tmp_path, max_depth=8, split_file=tmp_path / name)[0]
    (tmp_path / "mask/a.png").unlink()
    with pytest.raises(UserError, match=r"name files that do not exist: mask/a.png"):
        FolderDataset(tmp_path, max_depth=8, split_file=tmp_path / name)


@pytest.mark.parametrize(
    "beside", ["depth/b/a_mask.npy", "depth/b/a_valid.npy", "mask/b/a.npy", "masks/b/a.npy", "valid/b/a.npy"]
)
@pytest.mark.parametrize("listed", [True, False])
def test_a_mask_beside_its_depth_map_counts(tmp_path, write_image, beside, listed):
    fill(tmp_path, write_image, ["b/a", "c"])
    (tmp_path / beside).parent.mkdir(parents=True, exist_ok=True)
    np.save(tmp_path / beside, np.where(MASK, 1.0, np.nan))
    (tmp_path / "list.txt").write_text("image/b/a.jpg depth/b/a.png\nimage/c.jpg depth/c.png 500\n")
    dataset = FolderDataset(tmp_path, max_depth=8, split_file=tmp_path / "list.txt" if listed else None)
    masked, whole = dataset
    assert np.array_equal(masked.valid, MASK > 0)
    assert whole.valid.all()
    assert dataset.contents.truth == "masked depth maps"


def test_a_few_values_in_range_do_not_hide_a_wrong_unit(tmp_path, write_image):
    """Millimetres in floating-point numbers, with noise of some metres among them."""
    fill(tmp_path, write_image, "ab")
    metres = np.linspace(1, 9, 480 * 640).reshape(480, 640)
    noise = np.random.default_rng(0).random(metres.shape) < 1e-3
    for name in "ab":
        write_image(tmp_path / f"image/{name}.jpg", np.zeros((480, 640, 3), np.uint8))
        (tmp_path / f"depth/{name}.png").unlink()
        np.save(tmp_path / f"depth/{name}.npy", np.where(noise, 3.0, 1000 * metres))
    with pytest.raises(
        UserError, match=r"at 1 unit per metre it spans 3 to 9000 m, .*; 1000 units per metre would fit"
    ):
        check_truth(FolderDataset(tmp_path))
    check_truth(FolderDataset(tmp_path, depth_scale=1000))


def test_a_picture_of_depth_comes_before_an_array_of_its_name(tmp_path, write_image):
    fill(tmp_path, write_image, ["a"])
    np.savez(tmp_path / "depth/a.npz", depth=np.ones((4, 6), np.float32))
    assert (FolderDataset(tmp_path)[0].depth == 2).all()


@pytest.mark.parametrize("name", ["disp/a.png", "a_inv_depth.npy", "depth/Disparity_a.png", "x/inverse-depth/a.npy"])
def test_what_is_called_the_inverse_of_depth_is_refused(tmp_path, write_image, name):
    fill(tmp_path, write_image, ["a"])
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    np.save(tmp_path / "a.npy", np.ones((4, 6), np.float32))
    (tmp_path / "a.npy").rename(tmp_path / name)
    (tmp_path / "list.txt").write_text(f"image/a.jpg {name}\n")
    with pytest.raises(UserError, match=rf"{name} of .* no depth: .*metres.*convert it"):
        find_folder(tmp_path, split_file=tmp_path / "list.txt")


@pytest.mark.parametrize("name", ["display/a.png", "inventory_depth/a.png"])
def test_a_word_that_begins_so_is_no_inverse(tmp_path, write_image, name):
    write_image(tmp_path / "image/a.jpg", GREY)
    write_image(tmp_path / name, TWO_METRES)
    (tmp_path / "list.txt").write_text(f"image/a.jpg {name}\n")
    assert len(find_folder(tmp_path, split_file=tmp_path / "list.txt").usable) == 1


def test_photographs_have_the_camera_beside_them(tmp_path, write_image):
    write_image(tmp_path / "rgb/a.png", np.zeros((6, 8, 3), np.uint8))
    (tmp_path / "intrinsics.txt").write_text("7 6 3.5 2.5")
    assert PairDataset(find_photographs(tmp_path / "rgb"))[0].intrinsics[0, 0] == 7


@pytest.mark.parametrize("content", ["see the manual", "70 60 35 25"])
def test_a_camera_of_no_use_is_a_remark_and_refuses_only_what_needs_one(tmp_path, write_image, content):
    fill(tmp_path, write_image, ["a"], raw=np.full((4, 6), 2000, np.uint16))
    (tmp_path / "intrinsics.txt").write_text(content)
    contents = find_folder(tmp_path)
    sample = PairDataset(contents)[0]
    assert sample.intrinsics is None
    assert any("data.focal alone needs" in remark for remark in contents.remarks)
    with pytest.raises(UserError, match=r"focal length of image/a.jpg is not known: .*intrinsics"):
        focal_px(sample)


@pytest.mark.parametrize("name", ["disp0.pfm", "frame.depth_meters.hdf5", "z.exr"])
def test_arrays_beside_photographs_are_not_left_out_in_silence(tmp_path, write_image, name):
    write_image(tmp_path / "scene/im0.png", GREY)
    (tmp_path / "scene" / name).write_bytes(b"numbers")
    assert f"such as scene/{name}" in find_photographs(tmp_path).left_out[0]
    with pytest.raises(UserError, match=f"1 of 2 files .* are depth maps .* such as scene/{name}"):
        find_folder(tmp_path)


def test_a_second_test_half_is_not_left_out_in_silence(tmp_path, write_image):
    for half in ("train", "val", "test"):
        fill(tmp_path / half, write_image, [half])
    contents = Source("folder", tmp_path).find("test")
    assert [Path(pair.name).stem for pair in contents.usable] == ["test"]
    assert "val/ is not read: test/ is the test half" in contents.remarks
    assert not Source("folder", tmp_path).find("train").remarks


def test_a_flat_set_beside_a_half_is_not_left_out_in_silence(tmp_path, write_image):
    fill(tmp_path / "train", write_image, ["a"])
    fill(tmp_path, write_image, ["b"])
    assert Source("folder", tmp_path).find("train").remarks == ("image/ is not read: train/ is the train half",)


def test_halves_by_other_names_are_said(tmp_path, write_image):
    for half in ("train", "dev"):
        fill(tmp_path / "a" / half, write_image, [half])
        fill(tmp_path / "b" / f"{half}_set", write_image, [half])
    assert Source("folder", tmp_path / "a").find("train").remarks == ("dev/ is not read: train/ is the train half",)
    (remark,) = Source("folder", tmp_path / "b").find("train").remarks
    assert "train_set/ is read with the others: a half is called test" in remark


@pytest.mark.parametrize("place", [".", "a"])
def test_masks_that_are_not_read_are_said(tmp_path, write_image, place):
    fill(tmp_path / place, write_image, ["1"], image="rgb")
    write_image(tmp_path / place / "sky_mask/1.png", np.full((4, 6), 255, np.uint8))
    (remark,) = find_folder(tmp_path).remarks
    assert re.search(r"sky_mask/.* not read|masks .* not read, such as a/sky_mask/1.png", remark)
