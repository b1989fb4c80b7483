from itertools import pairwise

import pytest

from distill.data.files.hold_out import GAP, hold_out
from distill.data.files.pairs import Contents, Pair
from distill.errors import UserError


def contents_of(root, names, depth="there.png"):
    pairs = tuple(Pair(name, str(root / name), depth) for name in names)
    return Contents(root, str(root), "a list", "depth maps", 80.0, pairs, read=None)


def names_of(half):
    return [pair.name for pair in half.usable]


def test_whole_recordings_are_held_out_where_there_are_enough(tmp_path):
    names = [f"image/room{room}/{frame}.png" for room in range(20) for frame in range(10)]
    train, test = hold_out(contents_of(tmp_path, names), 0.1)
    assert len(names_of(test)) == 20
    rooms = [{name.split("/")[1] for name in names_of(half)} for half in (train, test)]
    assert len(rooms[1]) == 2
    assert not rooms[0] & rooms[1]
    assert sorted(names_of(train) + names_of(test)) == sorted(names)
    assert "2 of 20 recordings" in train.left_out[-1]


def test_another_recording_moves_few_of_those_held_out(tmp_path):
    names = [f"{room}/{frame}.png" for room in range(41) for frame in range(4)]
    before, after = (set(names_of(hold_out(contents_of(tmp_path, some), 0.1)[1])) for some in (names[:-4], names))
    assert len(before & after) >= len(before) - 4


@pytest.mark.parametrize("pattern", ["image/{}.png", "color_{:04d}.png", "rec/{:.6f}.png"])
def test_of_one_recording_it_is_the_end_and_no_neighbour_of_what_is_learnt(tmp_path, pattern):
    names = [pattern.format(frame) for frame in range(200)]
    train, test = hold_out(contents_of(tmp_path, sorted(names)), 0.1)
    assert set(names_of(test)) == set(names[180:])
    assert set(names_of(train)) == set(names[: 180 - round(GAP * 20)])
    assert "10 before are in neither half" in train.left_out[-1]


@pytest.mark.parametrize(
    "pattern", ["rgb/20240501-1230{:02d}-{:03d}.png", "{:02d}{:03d}/color.png", "{:02d}{:03d}/a/b.png"]
)
def test_a_second_or_a_folder_of_a_frame_is_no_recording(tmp_path, pattern):
    names = [pattern.format(second, frame * 33) for second in range(20) for frame in range(30)]
    train, test = hold_out(contents_of(tmp_path, names), 0.1)
    assert names_of(test) == names[540:]
    assert names_of(train) == names[:510]


def test_names_before_the_numbers_are_recordings_of_a_folder(tmp_path):
    names = [f"{what}_{frame:03d}.png" for what in ("attic", "cellar") for frame in range(50)]
    train, test = hold_out(contents_of(tmp_path, names), 0.1)
    assert names_of(test) == [*names[45:50], *names[95:]]
    assert all(int(two[-7:-4]) - int(one[-7:-4]) == 1 for one, two in pairwise(names_of(train)[:42]))


def test_names_that_are_digests_are_one_recording(tmp_path):
    names = [f"{frame:03d}{letter}{frame % 7}.png" for frame in range(40) for letter in "a"]
    assert set(names_of(hold_out(contents_of(tmp_path, names), 0.1)[1])) == set(names[36:])


@pytest.mark.parametrize(("count", "share"), [(4, 0.1), (3, 0.9)])
def test_a_hold_out_that_leaves_nothing_is_refused_with_what_to_do(tmp_path, count, share):
    with pytest.raises(UserError, match=r"data.hold_out=0\.\d.*leaves nothing to (train|validate) on.*null"):
        hold_out(contents_of(tmp_path, [f"{frame}.png" for frame in range(count)]), share)


def test_recordings_whose_names_are_no_text_are_held_out_as_others(tmp_path):
    names = [f"image/\udcff{room}/{frame}.png" for room in range(20) for frame in range(10)]
    assert len(names_of(hold_out(contents_of(tmp_path, names), 0.1)[1])) == 20
