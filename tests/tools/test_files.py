import errno
from pathlib import Path

import pytest

from runbook.errors import StepError
from runbook.tools.files import (
    copy_durably,
    disk_errors,
    make_directories,
    missing_room,
    part_of,
    sha256_of,
    write_durably,
)


def test_a_durable_write_replaces_the_whole_file_and_leaves_nothing_beside_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    write_durably(path, b"new", mode=0o640)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_leftover_of_a_killed_write_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "file"
    part_of(path).write_text("half")

    write_durably(path, b"new")

    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    write_durably(tmp_path / ("x" * 255), b"new")

    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"


def test_a_copy_has_the_content_and_says_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"content" * 300_000)

    sha256 = copy_durably(tmp_path / "one", tmp_path / "two", mode=0o600)

    assert sha256 == sha256_of(tmp_path / "one") == sha256_of(tmp_path / "two")
    assert (tmp_path / "two").stat().st_mode & 0o777 == 0o600


def test_missing_directories_are_made_private(tmp_path: Path) -> None:
    make_directories(tmp_path / "a" / "b")

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_as_such_with_the_path(code: int) -> None:
    with (
        pytest.raises(StepError, match="no room left on the disk while copying `/a/b`") as raised,
        disk_errors("copying", changed=False),
    ):
        raise OSError(code, "", "/a/b")

    assert raised.value.changed is False
    assert raised.value.hint is not None


def test_room_is_missing_only_where_it_is(tmp_path: Path) -> None:
    assert missing_room(tmp_path / "not" / "there", 1, "it") == []
    (line,) = missing_room(tmp_path, 10**18, "the copy")
    assert line.startswith("the copy needs ")
