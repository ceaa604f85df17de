import os
from pathlib import Path

import pytest

from runbook.errors import Unfit
from runbook.tools.inventory import decode, deepest_first, encode, scan, tree_sha256

ROOT_LINE = b'{"path": "", "type": "directory", "mode": "0755"}\n'


def test_an_inventory_is_read_as_it_was_written(tmp_path: Path) -> None:
    for name in (b"plain", b"new\nline", b"bytes-\xff", b'quo"te'):
        (tmp_path / os.fsdecode(name)).write_bytes(name)
    (tmp_path / "link").symlink_to(os.fsdecode(b"\xfe"))
    found = scan(tmp_path, ignored=lambda _: False, check=lambda: None)

    again = decode(encode(found), where=tmp_path)

    assert again == found
    assert tree_sha256(again) == tree_sha256(found)


def test_the_hash_of_a_tree_tells_modes_apart(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = tree_sha256(scan(tmp_path, ignored=lambda _: False, check=lambda: None))

    (tmp_path / "file").chmod(0o600)

    assert tree_sha256(scan(tmp_path, ignored=lambda _: False, check=lambda: None)) != before


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b'{"path": ""}\n',
        ROOT_LINE + b'{"path": "../outside", "type": "file", "mode": "0644"}\n',
        ROOT_LINE + b'{"path": "/etc/passwd", "type": "file", "mode": "0644"}\n',
    ],
)
def test_what_is_no_inventory_or_leads_outside_is_unfit(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Unfit, match="is damaged"):
        decode(data, where=tmp_path)


def test_what_is_in_a_directory_comes_before_it() -> None:
    assert list(deepest_first(["", "a", "a/b", "a/b/c", "z"])) == ["a/b/c", "a/b", "z", "a", ""]
