"""What a way back needs of a tree of files, wherever it lies: one module per kind implements it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, assert_never

from runbook.kinds import Context, Room
from runbook.resources import Directory, FileTree, Volume
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import RestorePoint

Level = Literal["stopped", "paused", "live"]
"""What its writers do while a tree is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtBack:
    """What a restore did, this attempt's part and those before it."""

    written: int = 0
    """Entries whose content was written."""
    removed: int = 0
    """Entries that were not in the snapshot."""
    adjusted: int = 0
    """Entries of which only mode, owner or times were set."""
    replaced: str | None = None
    """Where what was overwritten or deleted lies now; none where nothing was."""
    changed: bool = False


class TreeWay(Protocol):
    """Snapshots of one tree of files, and bringing it back. Converges after a crash anywhere."""

    def take(self, level: Level, staging: Path, ctx: Context) -> VolumeEntry:
        """Copy it, checked and durable, into `staging`; absent where there is none."""

    def import_archive(self, file: Path, staging: Path, ctx: Context) -> VolumeEntry:
        """Make an archive of other tools' a snapshot in `staging`; raises Unfit."""

    def wake(self, ctx: Context) -> None:
        """Let go on what a killed `take` of this step has left paused."""

    def restore(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        """Make it what it was; what is overwritten or deleted is kept first."""

    def written_since(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> list[str]:
        """What differs from then, for people; raises StepError where it can't tell."""

    def missing_for_snapshot(self, level: Level, ctx: Context) -> list[str]:
        """What is missing for a snapshot; changes nothing."""

    def missing_for_restore(self, ctx: Context) -> list[str]:
        """What is missing for a restore; changes nothing."""

    def room_for_snapshot(self, ctx: Context) -> list[Room]:
        """The disk that a snapshot takes at most."""

    def room_for_restore(self, ctx: Context) -> list[Room]:
        """The disk that a restore takes at most."""

    def snapshot_by_hand(self) -> Sequence[str]:
        """Shell commands."""

    def restore_by_hand(self) -> Sequence[str]:
        """Shell commands."""


def way_of(tree: FileTree) -> TreeWay:
    """The way back of a tree of files."""
    match tree:
        case Directory():
            from runbook.restore.directory import DirectoryWay

            return DirectoryWay(tree)
        case Volume():
            from runbook.restore.volume import VolumeWay

            return VolumeWay(tree)
        case _:
            assert_never(tree)
