"""What is written is nobody else's business: 0600 whatever the umask, no link is followed, nothing is half written."""

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from test_messages import sentiment

from realtime.errors import UsageError
from realtime.publish.jsonlines import JsonLines
from realtime.system.private_file import create_private, open_growing, private_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights and links as POSIX knows them")


@pytest.fixture(autouse=True)
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_new_file_is_the_owners_and_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "new"
    with private_file(path) as file:
        file.write(b"half")
        [part] = tmp_path.iterdir()
        assert part != path
        assert mode(part) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["new"]
    assert (mode(path), path.read_bytes()) == (0o600, b"half")


def test_part_names_cannot_be_guessed(tmp_path):
    names = set()
    for number in range(8):
        with private_file(tmp_path / f"{number}"):
            names |= {each.name for each in tmp_path.iterdir() if each.name.endswith(".part")}
    assert len(names) == 8


@pytest.mark.parametrize("lead", ["file", "nowhere"])
def test_a_link_is_never_followed(tmp_path, lead):
    other, link = tmp_path / lead, tmp_path / "link"
    if lead == "file":
        other.write_text("precious")
    link.symlink_to(other)
    with pytest.raises(FileExistsError), private_file(link) as file:
        file.write(b"x")
    with pytest.raises(FileExistsError):
        create_private(link)
    with pytest.raises(OSError, match="link"):
        open_growing(link)
    with private_file(link, overwrite=True) as file:
        file.write(b"ours")
    assert not link.is_symlink()
    assert link.read_bytes() == b"ours"
    assert not other.exists() if lead == "nowhere" else other.read_text() == "precious"


def test_what_fails_leaves_nothing(tmp_path):
    (tmp_path / "there").write_text("before")
    with pytest.raises(TypeError), private_file(tmp_path / "there", overwrite=True) as file:
        file.writelines([b"x", None])
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"there": "before"}


def test_a_file_that_came_meanwhile_is_not_written_over(tmp_path):
    with pytest.raises(FileExistsError), private_file(tmp_path / "x"):
        (tmp_path / "x").write_text("theirs")
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {"x": "theirs"}


def test_lines_go_into_a_file_of_ones_own(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("an old one that all may read")
    path.chmod(0o644)
    sink = JsonLines(str(path))
    sink.send(sentiment())
    sink.close()
    assert mode(path) == 0o600
    assert json.loads(path.read_text())["stream"] == "desk"


def test_lines_do_not_follow_a_link(tmp_path):
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "precious")
    with pytest.raises(UsageError, match="link"):
        JsonLines(str(tmp_path / "out.jsonl"))
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_device_is_written_to_as_it_is():
    sink = JsonLines("/dev/null")
    sink.send(sentiment())
    sink.close()
    with private_file(Path("/dev/null"), overwrite=True) as file:
        file.write(b"x")
    assert Path("/dev/null").is_char_device()
