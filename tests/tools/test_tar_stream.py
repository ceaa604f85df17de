import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StepError
from runbook.tools.inventory import CAPABILITY, Entry, EntryType
from runbook.tools.tar_stream import Member, TornArchive, hash_only, pack, read_tree

CONTENT = b"x" * 2_000_000
ODD = os.fsdecode(b"new\nline \xff\x81'")


def entry(path: str, kind: EntryType = EntryType.FILE, **fields: Any) -> Entry:
    known: dict[str, Any] = {
        "mode": 0o4751,
        "uid": 3_000_000,
        "gid": 7,
        "mtime_ns": 1_700_000_000_123_456_789,
    }
    if kind is EntryType.FILE:
        known |= {"size_bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
    return Entry(path=path, type=kind, **known | fields)


WANTED = {
    each.path: each
    for each in (
        entry("", EntryType.DIRECTORY),
        entry(ODD, EntryType.DIRECTORY, mtime_ns=-1_500_000_000),
        entry(f"{ODD}/file", link_group=1, xattrs={CAPABILITY: b"\x00=\n\xff"}),
        entry(f"{ODD}/twin", link_group=1, xattrs={CAPABILITY: b"\x00=\n\xff"}),
        entry("link", EntryType.SYMLINK, target=ODD),
        entry("y" * 255),
    )
}


def archive() -> list[bytes]:
    first = f"top/{ODD}/file"
    members = (
        Member(
            name=f"top/{path}",
            entry=each,
            content=CONTENT,
            link_to=first if path.endswith("twin") else "",
        )
        for path, each in WANTED.items()
    )
    return list(pack(members))


def read(chunks: list[bytes]) -> object:
    return read_tree(chunks, ignored=lambda _: False, take=hash_only)


def test_all_that_an_entry_says_goes_through() -> None:
    assert read(archive()) == WANTED


@pytest.mark.parametrize("cut", ["in a file", "between two", "before the end"])
def test_what_ends_too_early_is_torn_wherever_it_ends(cut: str) -> None:
    chunks = archive()
    shortened = {
        "in a file": [*chunks[:-3], chunks[-3][:700]],
        "between two": chunks[:2],
        "before the end": chunks[:-1],
    }[cut]

    with pytest.raises(TornArchive):
        read(shortened)


def test_a_content_that_is_not_what_was_recorded_is_never_sent_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT[:-1] + b"y")

    with pytest.raises(StepError, match="damaged"):
        list(pack([Member(name="file", entry=entry("file"), content=tmp_path / "file")]))
