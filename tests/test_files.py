"""Files are whole or absent, under no name that can be guessed, and what is no file is not replaced by one."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from distill.files import whole_or_absent, write_atomically, write_json


def test_a_link_at_a_name_that_could_be_guessed_is_not_written_through(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("precious")
    for name in (".a.json.part", "a.json.part", "a.json.tmp"):
        (tmp_path / name).symlink_to(precious)
    write_json(tmp_path / "a.json", {})
    assert precious.read_text() == "precious"


def test_a_link_given_as_the_output_is_followed_and_stays_one(tmp_path):
    (tmp_path / "shared").mkdir()
    (tmp_path / "link.json").symlink_to("shared/r.json")
    write_json(tmp_path / "link.json", 1)
    assert (tmp_path / "shared" / "r.json").read_text() == "1\n"
    assert (tmp_path / "link.json").is_symlink()


def test_a_fifo_is_written_into(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(fifo, "text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_fifo_that_nobody_reads_is_an_error_and_no_wait(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        write_atomically(tmp_path / "fifo", "text")
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_a_device_is_written_into(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    write_atomically(tmp_path / "null", "text")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), SystemExit(143), ValueError("no picture")])
def test_after_a_failure_only_the_former_file_is_there(tmp_path, failure):
    path = tmp_path / "a.mp4"
    path.write_text("former")
    with suppress(type(failure)), whole_or_absent(path, ".mp4") as part:
        assert part.name.startswith(".")
        assert part.suffix == ".mp4"
        part.write_text("half")
        raise failure
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert path.read_text() == "former"


def test_an_error_names_the_file_and_not_its_substitute(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left") as refused:
        write_atomically(tmp_path / "a", "")
    assert refused.value.filename == str(tmp_path / "a")


def test_the_longest_name_that_the_disk_takes_can_be_written(tmp_path):
    path = tmp_path / ("a" * 255)
    write_atomically(path, "text")
    assert path.read_text() == "text"


def test_a_name_that_is_no_text_is_written_as_its_escape(tmp_path):
    write_atomically(tmp_path / "a", "photo\udcff")
    assert (tmp_path / "a").read_text() == "photo\\udcff"
