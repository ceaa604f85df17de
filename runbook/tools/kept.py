"""Where a restore keeps what it overwrites or deletes; what is kept there is never overwritten."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path

from runbook.tools.archive import set_metadata
from runbook.tools.files import (
    copy_to_new_file,
    make_directories,
    part_of,
    sha256_of,
    sync_file_system,
)
from runbook.tools.inventory import Entry, EntryType


@dataclass(frozen=True, slots=True)
class Kept:
    """What one step keeps, over all of its attempts."""

    directory: Path

    def keep(self, entry: Entry, source: Path) -> None:
        """Copy an entry aside; where an earlier attempt has kept another, into `files-2` then."""
        for root in self._roots():
            kept = root / entry.path
            if _holds(kept, source, entry):
                return
            if not os.path.lexists(kept) and _make_parents(kept.parent):
                _place(source, kept, entry)
                return

    def find(self, path: str, sha256: str) -> Path | None:
        """Where a file of that path and content is kept."""
        for root in takewhile(Path.exists, self._roots()):
            kept = root / path
            if kept.is_file() and not kept.is_symlink() and sha256_of(kept) == sha256:
                return kept
        return None

    def _roots(self) -> Iterator[Path]:
        for number in count(1):
            yield self.directory / ("files" if number == 1 else f"files-{number}")

    def sync(self) -> None:
        """Make all that was kept durable."""
        make_directories(self.directory)
        sync_file_system(self.directory)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was replaced so far."""
        return not self.directory.exists() or not any(self.directory.iterdir())


def _holds(kept: Path, source: Path, entry: Entry) -> bool:
    match entry.type:
        case EntryType.DIRECTORY:
            return kept.is_dir() and not kept.is_symlink()
        case EntryType.SYMLINK:
            return kept.is_symlink() and str(kept.readlink()) == entry.target
        case EntryType.FILE:
            is_file = kept.is_file() and not kept.is_symlink()
            is_candidate = is_file and kept.stat().st_size == source.stat().st_size
            return is_candidate and sha256_of(kept) == sha256_of(source)
        case EntryType.SPECIAL:
            return True


def _make_parents(directory: Path) -> bool:
    """False where something that was kept earlier is in the way."""
    try:
        make_directories(directory)
    except (NotADirectoryError, FileExistsError):
        return False
    return True


def _place(source: Path, kept: Path, entry: Entry) -> None:
    match entry.type:
        case EntryType.DIRECTORY:
            kept.mkdir(mode=0o700)
        case EntryType.SYMLINK:
            kept.symlink_to(entry.target)
        case EntryType.FILE:
            part = part_of(kept)
            part.unlink(missing_ok=True)
            copy_to_new_file(source, part, is_synced=False)
            set_metadata(part, entry)
            part.rename(kept)
        case EntryType.SPECIAL:
            pass
