import os

import pytest

from distill.data.files.list_files import LIST_NAMES, SplitLine, default_split, read_split, refuse_masks, why_missing
from distill.errors import UserError

DRIVE = "2011_09_26/2011_09_26_drive_0002_sync"


@pytest.fixture
def read(tmp_path):
    """read(text, name): what a list file of that text stands for."""

    def run(text, name="list.txt"):
        path = tmp_path / name
        path.write_text(text)
        return read_split(path)

    return run


def test_a_list_is_read_line_by_line(read):
    assert read("# image depth focal\n/a/1.jpg /a/1.png 518.8579\n\n  b.png None 721.5377\r\nc.png d.png\n") == [
        SplitLine("a/1.jpg", "a/1.png"),
        SplitLine("b.png", None),
        SplitLine("c.png", "d.png"),
    ]


def test_of_two_depth_maps_the_first_counts(read):
    (line,) = read("bedroom_0130/rgb_0.jpg bedroom_0130/sync_depth_0.png bedroom_0130/dense/sync_depth_dense_0.png\n")
    assert line == SplitLine("bedroom_0130/rgb_0.jpg", "bedroom_0130/sync_depth_0.png")


def test_a_third_file_that_is_called_so_is_a_mask(read):
    masked = SplitLine("a.png", "a_depth.npy", mask="a_depth_mask.npy")
    assert read("a.png a_depth.npy /a_depth_mask.npy\n") == [masked]
    for column in ("mask", "valid", "depth_mask"):
        assert read(f"image,depth,{column}\na.png,a_depth.npy,a_depth_mask.npy\n", "list.csv") == [masked]


@pytest.mark.parametrize(
    "third", ["a.npy", "confidence/a.png", "a_invalid.png", "a_depth_invalid.png", "sky_mask/a.png"]
)
def test_a_third_file_of_no_known_meaning_is_refused(read, third):
    with pytest.raises(
        UserError, match=rf"list.txt:1: {third} is called neither a mask of what counts nor a depth map"
    ):
        read(f"a.png b.png {third}\n")


@pytest.mark.parametrize("column", ["confidence", "depth_scale", "invalid", "ignore_mask", "depth"])
def test_a_column_of_no_known_meaning_is_refused(read, column):
    with pytest.raises(UserError, match=rf"list.csv: the column '{column}' has no meaning here or comes twice"):
        read(f"image,depth,{column}\na.png,b.png,1\n", "list.csv")


def test_a_header_of_other_names_is_no_row(read):
    with pytest.raises(UserError, match=r"the column 'rgb_path' has no meaning here .* expected image,depth"):
        read("rgb_path,depth_path\na.png,b.png\n", "list.csv")


def test_a_row_with_more_fields_than_columns_is_refused(read):
    with pytest.raises(UserError, match=r"list.csv:2: 'a,1.png,b.png' is not a row"):
        read("image,depth\na,1.png,b.png\n", "list.csv")
    assert read(",image,depth\n0,a.png,b.png\n", "list.csv") == [SplitLine("a.png", "b.png")]  # as pandas writes it


def test_masks_are_refused_for_a_data_set_that_knows_none(read):
    with pytest.raises(UserError, match=r"list.txt names masks, such as m_mask.png, .* name the data set folder"):
        refuse_masks(read("a.png b.png m_mask.png\n"), "list.txt")


def test_images_alone_leave_open_whether_there_is_depth(read):
    assert read("image/1.png\n") == [SplitLine("image/1.png", None, silent=True)]


@pytest.mark.parametrize(
    ("line", "camera"), [("69 l", "02"), ("0000000069 r", "03"), ("0000000069", "02"), ("69  l", "02")]
)
def test_a_drive_and_frame_is_the_image_of_that_camera(read, line, camera):
    image = f"{DRIVE}/image_{camera}/data/0000000069.png"
    assert read(f"{DRIVE} {line}\n") == [SplitLine(image, None, silent=True)]


@pytest.mark.parametrize(
    "text",
    ["a b.jpg,a b.png\n", "image,depth\na b.jpg,a b.png\n", "depth, RGB\na b.png,a b.jpg\n", "\ufeffa b.jpg,a b.png"],
)
def test_a_table_has_columns_with_or_without_their_names(read, text):
    assert read(text, "list.csv") == [SplitLine("a b.jpg", "a b.png")]


def test_a_table_may_tell_the_camera_and_leave_depth_out(read):
    first, second = read("image,depth,fx,fy,cx,cy\n1.jpg,1.png,500,501,320.5,240\n2.jpg,None,,,,\n", "list.csv")
    assert first == SplitLine("1.jpg", "1.png", camera=(500.0, 501.0, 320.5, 240.0))
    assert second == SplitLine("2.jpg", None)
    assert read("1.jpg\n", "list.csv") == [SplitLine("1.jpg", None, silent=True)]


BAD = ["a.png b.png 1 2", "a.png b.png -1", "a.png b.png c", "None a.png 5", "721.5 a.png b.png", "a.png 721.5", "7"]


@pytest.mark.parametrize("line", BAD)
def test_a_malformed_line_is_refused_with_its_place(read, line):
    with pytest.raises(
        UserError, match=rf"list.txt:2: '{line}' is not a line of a list file, expected 'rgb_path depth_"
    ):
        read(f"a.png b.png 700\n{line}\n")


@pytest.mark.parametrize("row", ["1.jpg,1.png,500,501,320", "1.jpg,1.png,a,b,c,d", ",1.png", "1.jpg,1.png,-5,5,3,2"])
def test_a_malformed_row_is_refused_with_its_place(read, row):
    with pytest.raises(UserError, match=r"list.csv:2: .* is not a row of a list, expected the columns image,depth,fx,"):
        read(f"image,depth,fx,fy,cx,cy\n{row}\n", "list.csv")


@pytest.mark.parametrize(
    "line",
    [
        f"{DRIVE}/proj_depth/groundtruth/image_02/0000000069.png {DRIVE}/image_02/data/0000000069.png",
        "kitchen/sync_depth_00045.png kitchen/rgb_00045.jpg 518.8579",
        "nyu_depth/sync_depth_00045.png nyu_depth/rgb_00045.jpg",
        "depth/45.png image/45.png",
    ],
)
def test_columns_in_another_order_are_refused(read, line):
    with pytest.raises(UserError, match=r"list.txt:1: .* looks like the depth map and .*: put rgb first"):
        read(line)


@pytest.mark.parametrize("line", ["a.png,b.png,700", "a.png, b.png, 700", "a.jpg,None"])
def test_a_table_under_another_name_is_refused(read, line):
    with pytest.raises(UserError, match=r"list.txt:1: .* has commas between its columns: name the list .csv"):
        read(line)


@pytest.mark.parametrize("line", ["nyu_depth_v2/rgb_1.jpg nyu_depth_v2/sync_depth_1.png", "depths/1.png truth/1.png"])
def test_a_folder_that_is_called_after_depth_is_no_other_order(read, line):
    assert read(line)[0].image == line.split()[0]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("list.txt", "../a.png b.png"),
        ("list.txt", "a.png b/../../../c.png 700"),
        ("list.txt", "/../a.png"),
        ("list.csv", "a.png,../b.png"),
    ],
)
def test_a_path_that_leaves_the_root_is_refused(read, name, line):
    with pytest.raises(UserError, match=rf"{name}:1: \S+ leaves the data root"):
        read(line, name)


def test_a_list_that_is_missing_or_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"list file .*none.txt does not exist, expected lines of 'rgb_path depth_path"):
        read_split(tmp_path / "none.txt")
    (tmp_path / "bytes").write_bytes(os.urandom(64) + b"\xff")
    (tmp_path / "wide").write_bytes("a/b.png c/d.png\n".encode("utf-16-le"))
    for name in ("bytes", "wide"):
        with pytest.raises(UserError, match="is not readable text"):
            read_split(tmp_path / name)


@pytest.mark.parametrize("row", ['"a.png,b.png\n' + "c.png,d.png\n" * 20000, '"5" disk.png,b.png\n', '"a.png,b.png\n'])
def test_a_table_whose_quotes_do_not_close_is_refused(read, row):
    with pytest.raises(UserError, match=r"list.csv is no table .*quotes"):
        read(f"image,depth\n{row}", "list.csv")


@pytest.mark.parametrize("name", LIST_NAMES)
def test_the_lists_of_other_toolkits_are_recognised_by_their_names(tmp_path, name):
    for part in ("train", "test"):
        assert default_split(tmp_path, part) == tmp_path / f"{part}_files_with_gt.txt"
        listed = tmp_path / name.format(part=part)
        listed.parent.mkdir(exist_ok=True)
        listed.touch()
        assert default_split(tmp_path, part) == listed


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("a\\i.png", "forward slashes"),
        ('"a/i.png"', "quotes"),
        ("image;depth", "semicolons"),
        ("a/i.png", "a/i.png was looked for"),
    ],
)
def test_an_image_that_is_missing_is_named_with_what_is_odd_in_its_name(tmp_path, name, cause):
    assert cause in why_missing(name, tmp_path)


def test_absolute_paths_are_named_as_such(tmp_path):
    assert "absolute paths" in why_missing(str(tmp_path / "gone.png").lstrip("/"), tmp_path)


def test_a_list_of_names_with_spaces_is_refused_with_the_form_that_takes_them(tmp_path):
    (tmp_path / "list.txt").write_text("my room/i 0.png my room/d 0.png\n")
    with pytest.raises(UserError, match=r"spaces in its names: write a .csv list"):
        read_split(tmp_path / "list.txt")


def test_a_device_is_no_list():
    with pytest.raises(UserError, match="it is a device"):
        read_split("/dev/zero")
