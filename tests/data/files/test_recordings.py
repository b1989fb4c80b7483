import json
import re
from pathlib import Path

import numpy as np
import pytest

from distill.data.files.recordings import read_path
from distill.data.files.rgb_depth import find_folder
from distill.data.sample import PairDataset
from distill.errors import UserError

GREY = np.full((6, 8, 3), 128, np.uint8)
TWO_METRES = np.full((6, 8), 2000, np.uint16)

LAYOUTS = {  # two frames as each writes them, and what belongs to an image
    "Open3D of RealSense and Azure Kinect": ["a/color/000001.jpg a/depth/000001.png", "b/color/1.jpg b/depth/1.png"],
    "capitals": ["Colour/1.jpg DEPTHS/1.png", "Colour/2.jpg DEPTHS/2.png"],
    "left and gt": ["left/1.png gt/1.png", "left/2.png gt/2.png"],
    "one folder": ["color_0001.png depth_0001.png", "color_0002.png depth_0002.png"],
    "suffixes": ["1_rgb.jpg 1_depth.png", "2_rgb.jpg 2_depth.png"],
    "ROS topics": [
        "camera_color_image_raw/7.png camera_aligned_depth_to_color_image_raw/7.png",
        "camera_color_image_raw/8.png camera_aligned_depth_to_color_image_raw/8.png",
    ],
    "7-Scenes and ScanNet's reader": [
        "seq-01/frame-000000.color.jpg seq-01/frame-000000.depth.pgm",
        "seq-01/frame-000001.color.jpg seq-01/frame-000001.depth.pgm",
    ],
    "ScanNet": [
        "scene0000_00/color/0.jpg scene0000_00/depth/0.png",
        "scene0001_00/color/0.jpg scene0001_00/depth/0.png",
    ],
    "3D Scanner App": ["frame_00000.jpg depth_00000.png", "frame_00001.jpg depth_00001.png"],
    "ARKitScenes": ["lowres_wide/4_11.2.png lowres_depth/4_11.2.png", "lowres_wide/4_11.3.png lowres_depth/4_11.3.png"],
    "rooms called left and right": [
        "left_room/color/1.jpg left_room/depth/1.png",
        "right_room/rgb/1.jpg right_room/depth/1.png",
    ],
    "rooms inside": ["color/left_room/1.jpg depth/left_room/1.png", "color/b/1.jpg depth/b/1.png"],
    "Virtual KITTI": ["S1/frames/rgb/Camera_0/rgb_0.jpg S1/frames/depth/Camera_0/depth_0.png"],
    "rs-convert, by time": [
        "x_Color_1515154562341.25.png x_Depth_1515154562330.50.png",
        "x_Color_1515154562374.75.png x_Depth_1515154562364.00.png",
    ],
    "nanoseconds": ["rgb/1305031102175304000.png depth/1305031102160407000.png"],
}


def write_pairs(root, write_image, pairs):
    for image, depth in map(str.split, pairs):
        write_image(root / image, GREY)
        write_image(root / depth, TWO_METRES)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_recordings_are_recognised_as_written_by(tmp_path, write_image, layout):
    write_pairs(tmp_path, write_image, LAYOUTS[layout])
    write_image(tmp_path / "ir/1.png", GREY)
    dataset = PairDataset(find_folder(tmp_path))
    expected = [tuple(str(tmp_path / name) for name in pair.split()) for pair in LAYOUTS[layout]]
    assert re.search("depth maps in|pairs of the same name", dataset.contents.layout)
    assert sorted((pair.image, pair.depth) for pair in dataset.pairs) == sorted(expected)
    assert all((sample.depth == 2).all() for sample in dataset)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("rgb/1.png", "image"),
        ("a/depth_colour_1.png", "depth"),
        ("ir/1.png", "other"),
        ("rgb_masks/1.png", "mask"),
        ("a/1_depth_mask.npy", "mask"),
    ],
)
def test_the_first_word_of_a_name_says_what_a_file_is(name, role):
    assert read_path(name)[0] == role


def test_what_belongs_to_nothing_is_counted(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["a/color_1.png a/depth_1.png"])
    write_image(tmp_path / "a/depth_2.png", TWO_METRES)
    write_image(tmp_path / "a/color_3.png", GREY)
    write_image(tmp_path / "a/confidence_1.png", GREY)
    contents = find_folder(tmp_path)
    assert contents.without_truth == ("a/color_3.png",)
    assert "1 depth maps have no image, such as a/depth_2.png" in contents.left_out[0]
    assert "a/confidence_1.png" in contents.left_out[1]


def test_two_files_of_one_name_are_refused(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["a/color_1.png a/depth_1.png", "a/color_1.jpg a/depth_1.png"])
    with pytest.raises(UserError, match=r"a/color_1.jpg and a/color_1.png have one name, expected one image"):
        find_folder(tmp_path)


def test_clocks_that_do_not_overlap_are_refused(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["rgb/1305031102.1.png depth/12.1.png", "rgb/1305031102.2.png depth/12.2.png"])
    with pytest.raises(UserError, match=r"do not overlap: images such as rgb/.* of 1305031102.100 to .*train.csv"):
        find_folder(tmp_path)


def test_clocks_that_never_meet_are_refused(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["rgb/10.0.png depth/10.1.png", "rgb/10.2.png depth/10.3.png"])
    with pytest.raises(UserError, match=r"no image within 0.02 s of a depth map"):
        find_folder(tmp_path)


@pytest.mark.parametrize("order", ["{0} rgb/a.png {1} depth/b.png", "{1} depth/b.png {0} rgb/a.png"])
@pytest.mark.parametrize("folder", ["", "desk/"])
def test_associations_of_tum_are_5000_units_a_metre(tmp_path, write_image, order, folder):
    write_pairs(tmp_path, write_image, [f"{folder}rgb/a.png {folder}depth/b.png"])
    (tmp_path / folder / "associations.txt").write_text("# made by associate.py\n" + order.format(1.25, 1.24) + "\n")
    contents = find_folder(tmp_path)
    assert (PairDataset(contents)[0].depth == np.float32(0.4)).all()
    assert "5000 units a metre" in contents.layout
    assert (PairDataset(find_folder(tmp_path, depth_scale=1000))[0].depth == 2).all()


def test_a_sequence_of_tum_without_associations_is_joined_by_time(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["rgb/1.25.png depth/1.24.png", "rgb/1.35.png depth/1.30.png"])
    for name in ("rgb", "depth"):
        lines = [f"{path.stem} {name}/{path.name}" for path in (tmp_path / name).iterdir()]
        (tmp_path / f"{name}.txt").write_text("# time file\n" + "\n".join(lines))
    assert [pair.name for pair in find_folder(tmp_path).usable] == ["rgb/1.25.png"]


def test_lines_that_are_no_associations_are_refused(tmp_path):
    (tmp_path / "associations.txt").write_text("1.0 rgb/a.png\n")
    with pytest.raises(UserError, match=r"associations.txt:1: expected 'time rgb/FILE time depth/FILE'"):
        find_folder(tmp_path)


def test_depth_of_another_size_is_brought_to_its_image(tmp_path, write_image):
    write_image(tmp_path / "a/color_1.png", np.zeros((12, 16, 3), np.uint8))
    write_image(tmp_path / "a/depth_1.png", np.arange(1, 13, dtype=np.uint16).reshape(3, 4) * 1000)
    write_image(tmp_path / "a/mask_1.png", np.repeat([[255, 255, 255, 0]], 3, axis=0).astype(np.uint8))
    contents = find_folder(tmp_path)
    depth = PairDataset(contents)[0].depth
    assert (depth[:, :12] == np.kron(np.arange(1, 13).reshape(3, 4), np.ones((4, 4)))[:, :12]).all()
    assert not depth[:, 12:].any()
    assert "depth of 3x4 brought to the images' 12x16" in contents.layout


def test_depth_of_another_shape_is_refused(tmp_path, write_image):
    write_image(tmp_path / "a/color_1.png", np.zeros((12, 16, 3), np.uint8))
    write_image(tmp_path / "a/depth_1.png", np.ones((4, 4), np.uint16))
    with pytest.raises(Exception, match=r"is 4x4 but its image .* is 12x16 .*resize one"):
        PairDataset(find_folder(tmp_path))[0]


def test_open3ds_intrinsics_state_camera_and_units(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["color/1.jpg depth/1.png"])
    intrinsics = {"width": 8, "height": 6, "depth_scale": 4000, "intrinsic_matrix": [7, 0, 0, 0, 6, 0, 3.5, 2.5, 1]}
    (tmp_path / "intrinsic.json").write_text(json.dumps(intrinsics))
    sample = PairDataset(find_folder(tmp_path))[0]
    assert sample.intrinsics.tolist() == [[7, 0, 3.5], [0, 6, 2.5], [0, 0, 1]]
    assert (sample.depth == 0.5).all()


@pytest.mark.parametrize("scales", [(1000, 4000), (1000, None)])
def test_recordings_of_several_depth_scales_are_refused(tmp_path, write_image, scales):
    write_pairs(tmp_path, write_image, ["a/color/1.jpg a/depth/1.png", "b/color/1.jpg b/depth/1.png"])
    for folder, scale in zip("ab", scales, strict=True):
        stated = {"depth_scale": scale} if scale else {}
        (tmp_path / folder / "intrinsics.json").write_text(json.dumps({"K": [7, 6, 3.5, 2.5], **stated}))
    with pytest.raises(UserError, match=r"1000 beside a/color/1.jpg, .* beside b/color/1.jpg.*data.depth_scale"):
        find_folder(tmp_path)
    assert (PairDataset(find_folder(tmp_path, depth_scale=500))[0].depth == 4).all()


def test_a_stated_scale_below_1_is_metres_a_unit_and_not_of_floats(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["color/1.jpg depth/1.png", "color/2.jpg depth/2.png"])
    (tmp_path / "depth/2.png").unlink()
    np.save(tmp_path / "depth/2.npy", np.full((6, 8), 2, np.float32))
    (tmp_path / "intrinsics.json").write_text(json.dumps({"K": [7, 6, 3.5, 2.5], "depth_scale": 0.00025}))
    assert [float(sample.depth.max()) for sample in PairDataset(find_folder(tmp_path))] == [0.5, 2]


def test_lists_of_equal_names_pair_by_name_and_have_their_units_asked_for(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["rgb/1.png depth/1.png", "rgb/2.png depth/2.png"])
    (tmp_path / "associations.txt").write_text("1 rgb/1.png 1 depth/1.png\n")
    with pytest.raises(UserError, match=r"lists of pairs .*give data.depth_scale, 5000 .*ICL-NUIM.* 1000"):
        find_folder(tmp_path)
    contents = find_folder(tmp_path, depth_scale=1000)
    assert [float(sample.depth.max()) for sample in PairDataset(contents)] == [2, 2]


def test_an_accidental_equal_name_does_not_end_the_pairing_by_time(tmp_path, write_image):
    times = [("1.25", "1.24"), ("1.35", "1.35"), ("1.45", "1.46")]
    write_pairs(tmp_path, write_image, [f"rgb/{image}.png depth/{depth}.png" for image, depth in times])
    contents = find_folder(tmp_path)
    assert [Path(pair.depth).stem for pair in contents.usable] == ["1.24", "1.35", "1.46"]


def test_pictures_in_no_list_are_counted(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["a/rgb/1.png a/depth/2.png", "b/rgb/1.png b/depth/1.png"])
    (tmp_path / "a/associations.txt").write_text("1 rgb/1.png 1 depth/2.png\n")
    assert "2 pictures are in no list and left out, such as b/depth/1.png" in find_folder(tmp_path).left_out[0]


def test_lists_of_comments_alone_are_no_lists(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["rgb/1.png depth/1.png"])
    for name in ("rgb.txt", "depth.txt"):
        (tmp_path / name).write_text("# nothing\n")
    assert (PairDataset(find_folder(tmp_path))[0].depth == 2).all()


def test_names_in_other_letters_tell_recordings_apart(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["кухня/rgb_1.png кухня/depth_1.png", "зал/rgb_1.png зал/depth_1.png"])
    assert len(find_folder(tmp_path).usable) == 2


def test_what_names_leave_alone_is_joined_by_time(tmp_path, write_image):
    write_pairs(tmp_path, write_image, ["color_1.25.png depth_1.25.png", "color_1.35.png depth_1.34.png"])
    contents = find_folder(tmp_path)
    assert len(contents.usable) == 2
    assert "joined by name and by time" in contents.layout


@pytest.mark.parametrize(
    ("files", "way"),
    [
        ("scan.r3d", "export it as EXR"),
        ("rgbd/0.jpg rgbd/0.depth", "0.depth holds frames inside: export it as EXR"),
        ("room.bag", "rs-convert"),
        ("rgb.mp4 depth/0.png", "ffmpeg -i FILE rgb/"),
    ],
)
def test_recordings_whose_frames_lie_inside_a_file_are_refused_with_the_way_out(tmp_path, write_image, files, way):
    for name in files.split():
        if name.endswith((".jpg", ".png")):
            write_image(tmp_path / name, GREY if "rgb" in name else TWO_METRES)
        else:
            (tmp_path / name).write_bytes(b"frames")
    with pytest.raises(UserError, match=way):
        find_folder(tmp_path)
