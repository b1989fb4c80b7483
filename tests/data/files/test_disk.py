import os

import pytest

from distill.data.files.disk import Finder, check_root, names_in, walk
from distill.errors import UserError


@pytest.fixture
def root(tmp_path):
    for name in ("a/1.png", "a/b/2.png", "c/2.png", "c/.hidden.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_file_is_recognised_under_the_first_folder_that_has_it(root):
    finder = Finder(root, ["a/b", "c", ""])
    assert finder.find(["2.png"]) == str(root / "a/b/2.png")
    assert finder.find(["a/1.png"]) == str(root / "a/1.png")
    assert finder.find(["3.png"]) is None
    assert finder.hits == {"a/b": 1, "": 1}
    assert str(finder) == "the root and a/b/"


def test_several_names_and_places_are_tried(root):
    finder = Finder(root, ["x", "a/{level}"])
    assert finder.find(["1.png", "2.png"], level="b") == str(root / "a/b/2.png")
    assert str(finder) == "a/<level>/"


def test_each_folder_is_looked_at_once(root, monkeypatch):
    looked_at = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: looked_at.append(folder) or scandir(folder))
    finder = Finder(root, ["a", "c"])
    for _ in range(3):
        finder.find(["1.png"])
        finder.find(["none.png"])
    assert sorted(looked_at) == [str(root / "a"), str(root / "c")]


def test_links_that_lead_nowhere_are_no_files(root):
    (root / "a/loop.png").symlink_to("loop.png")
    (root / "a/lost.png").symlink_to("nothing")
    (root / "a/good.png").symlink_to("1.png")
    finder = Finder(root, ["a"])
    assert [finder.find([name]) is not None for name in ("loop.png", "lost.png", "good.png")] == [False, False, True]


def test_walking_is_sorted_and_follows_links(root):
    (root / "a/z").symlink_to(root / "c")
    assert [path.relative_to(root).as_posix() for path in walk(root / "a")] == ["a/1.png", "a/b/2.png", "a/z/2.png"]


def test_a_link_back_is_refused(root):
    (root / "a/b/back").symlink_to(root / "a")
    with pytest.raises(UserError, match=r"b/back is a link that leads back to .*/a, in which it lies: remove it"):
        list(walk(root / "a"))


def test_a_root_that_is_no_folder_is_refused(root):
    (root / "loop").symlink_to("loop")
    states = {"none": "does not exist", "a/1.png": "is a file", "loop": r"is a link that leads nowhere \(loop\)"}
    for name, state in states.items():
        with pytest.raises(UserError, match=f"data root .*{name} {state}, expected the folder of X"):
            check_root(root / name, "the folder of X")
    with pytest.raises(UserError, match=r"loop is a link that leads nowhere \(loop\): mend or remove it"):
        check_root(root, "the folder of X")  # it may have been its depth
    (root / "loop").unlink()
    check_root(root, "the folder of X")


def test_a_link_that_leads_nowhere_stands_for_its_file(root):
    (root / "a/lost.png").symlink_to("nothing")
    assert [path.relative_to(root).as_posix() for path in names_in(root)] == [
        *("a/1.png", "a/b/2.png", "a/lost.png", "c/2.png"),
    ]
    (root / "a/b/back").symlink_to(root / "a")
    with pytest.raises(UserError, match=r"cannot look into .*b/back: .* leads back to .*/a, in which it lies"):
        names_in(root)
