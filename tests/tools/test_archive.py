"""Snapshots of a tree in which entries become something else while it is read."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook.errors import StepError
from runbook.tools.archive import Snapshot, take_snapshot

Change = Callable[[Path], None]


def directory_to_file(tree: Path) -> None:
    shutil.rmtree(tree / "directory")
    (tree / "directory").write_text("a file now")


def file_to_directory(tree: Path) -> None:
    (tree / "plain").unlink()
    (tree / "plain").mkdir()


def file_to_link(tree: Path) -> None:
    (tree / "link").symlink_to("elsewhere")
    (tree / "link").rename(tree / "plain")


def taken(root: Path, change: Change, at_check: int, *, is_live: bool) -> Snapshot:
    """A snapshot of a directory with a file in it and a file, changed in the middle."""
    tree, target = root / "tree", root / "target"
    (tree / "directory").mkdir(parents=True)
    (tree / "directory" / "file").write_text("deep")
    (tree / "plain").write_text("plain")
    target.mkdir()
    checks = 0

    def check() -> None:
        nonlocal checks
        checks += 1
        if checks == at_check:
            change(tree)

    return take_snapshot(tree, target, is_live=is_live, previous=None, check=check)


# The scan asks before each of two directories, the copying before each of four entries.
CHANGES = [
    (directory_to_file, 2, {"directory", "plain"}),
    (directory_to_file, 6, {"directory", "plain"}),
    (file_to_directory, 3, {"directory", "directory/file"}),
    (file_to_link, 3, {"directory", "directory/file", "plain"}),
]


@pytest.mark.parametrize(("change", "at_check", "expected"), CHANGES)
def test_what_becomes_something_else_is_taken_as_one_of_them_where_it_is_live(
    tmp_path: Path, change: Change, at_check: int, expected: set[str]
) -> None:
    snapshot = taken(tmp_path, change, at_check, is_live=True)

    assert snapshot.inventory.keys() == {"", *expected}
    target = tmp_path / "target"
    assert {str(path.relative_to(target)) for path in target.rglob("*")} == expected


@pytest.mark.parametrize(("change", "at_check"), [(c, n) for c, n, _ in CHANGES])
def test_it_is_an_error_where_nobody_should_write(
    tmp_path: Path, change: Change, at_check: int
) -> None:
    with pytest.raises(StepError, match="changes while it is read"):
        taken(tmp_path, change, at_check, is_live=False)
