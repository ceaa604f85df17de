"""The way back of a Docker volume.

Root on the engine's own machine reads and writes the files where they lie, as any directory's; all
others do it through the engine: volume_by_engine.py. A restore point of either suits both.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Protocol

from runbook.errors import StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import Volume
from runbook.restore.directory import (
    bring_back,
    count_differences,
    import_archive,
    size_of_tree,
    snapshot_of,
)
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import RestorePoint
from runbook.restore.trees import BroughtBack, Level
from runbook.restore.volume_by_engine import ByEngine
from runbook.restore.writers import held, unknown_writers, wake, without_users
from runbook.tools import docker
from runbook.tools.helper_containers import remove_leftovers


class Files(Protocol):
    """A volume's files, wherever they can be reached."""

    def take(self, entry: VolumeEntry, staging: Path, ctx: Context) -> VolumeEntry:
        """Copy them into the restore point and complete its entry."""

    def bring_back(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        """Make them what they were; what is overwritten or deleted is kept first."""

    def count_differences(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> int:
        """How many entries were written, touched or deleted since."""

    def size_bytes(self, ctx: Context) -> int:
        """Bytes of all files' content."""

    def has(self, name: str, ctx: Context) -> bool:
        """Whether something of that name is in the volume."""

    def require_reach(self, ctx: Context, *, writes: bool) -> None:
        """Raises StepError where they cannot be read, or written."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """Satisfies `Files`: they are at a path that root reaches."""

    tree: Path

    def take(self, entry: VolumeEntry, staging: Path, ctx: Context) -> VolumeEntry:
        return snapshot_of(self.tree, entry, staging, ctx)

    def bring_back(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        return bring_back(self.tree, point, entry, ctx)

    def count_differences(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> int:
        return count_differences(self.tree, point, entry, ctx)

    def size_bytes(self, ctx: Context) -> int:
        return size_of_tree(self.tree, ctx)

    def has(self, name: str, _ctx: Context) -> bool:
        return (self.tree / name).exists()

    def require_reach(self, ctx: Context, *, writes: bool) -> None:
        pass


@dataclass(frozen=True, slots=True)
class VolumeWay:
    """Satisfies `trees.TreeWay`."""

    volume: Volume

    @property
    def _name(self) -> str:
        return self.volume.volume

    def _files(self) -> "Files | None":
        """Where its files can be reached; None: there is no such volume."""
        found = docker.find_volume(self._name)
        if found is None:
            return None
        return ByEngine(self._name) if found.place is None else InPlace(found.place)

    # --- snapshots ------------------------------------------------------------------------

    def take(self, level: Level, staging: Path, ctx: Context) -> VolumeEntry:
        entry = VolumeEntry(
            name=self.volume.name,
            location=f"volume {self._name}",
            taken_at=ctx.now().isoformat(),
            level=level,
        )
        files = self._files()
        if files is None:
            ctx.log(f"there is no volume `{self._name}` yet")
            return entry.model_copy(update={"absent": True})
        remove_leftovers(self._name, ctx)
        self._require_fit(files, level, ctx)
        with held(self.volume.used_by, level, ctx):
            return files.take(entry, staging, ctx)

    def import_archive(self, file: Path, staging: Path, ctx: Context) -> VolumeEntry:
        return import_archive(self.volume.name, f"volume {self._name}", file, staging, ctx)

    def wake(self, ctx: Context) -> None:
        with suppress(StepError):  # the next attempt removes them, too
            remove_leftovers(self._name, ctx)
        wake(ctx)

    def _require_fit(self, files: Files, level: Level, ctx: Context) -> None:
        if level == "paused" and not self.volume.used_by:
            raise Unfit(
                f"nothing is known to write to volume `{self._name}`, so nothing can be paused",
                hint="name its services by `used_by`, or use `level: stopped` or `level: live`",
            )
        if level == "live" and files.has("PG_VERSION", ctx):
            raise Unfit(
                f"volume `{self._name}` is a PostgreSQL server's own directory:"
                " a copy of it while the server writes is of no use",
                hint="use `backup_db`, or `level: stopped`",
            )

    # --- restoring ------------------------------------------------------------------------

    def restore(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        remove_leftovers(self._name, ctx)
        files = self._files()
        if files is None:
            raise StepError(
                f"there is no volume `{self._name}` any more",
                hint=f"docker volume create {quote(self._name)}, then `runbook resume`",
                changed=False,
            )
        with without_users(self._name, ctx):
            return files.bring_back(point, entry, ctx)

    # --- what people and preflight are told -----------------------------------------------

    def written_since(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> list[str]:
        if entry.absent:
            return [f"volume `{entry.name}` did not exist then"]
        files = self._files()
        if files is None:
            return [f"volume `{entry.name}` does not exist any more"]
        count = files.count_differences(point, entry, ctx)
        return [f"volume `{entry.name}`: {count} entries written, touched or deleted since"]

    def missing_for_snapshot(self, level: Level, ctx: Context) -> list[str]:
        missing = [*unknown_writers(self.volume.used_by, ctx), *self._missing(ctx, writes=False)]
        try:
            files = None if missing else self._files()
            if files is not None:
                self._require_fit(files, level, ctx)
        except StepError as error:
            missing.append(error.message)
        return missing

    def missing_for_restore(self, ctx: Context) -> list[str]:
        return self._missing(ctx, writes=True)

    def _missing(self, ctx: Context, *, writes: bool) -> list[str]:
        if missing := docker.missing_engine():
            return missing
        try:
            files = self._files()
            if files is not None:
                files.require_reach(ctx, writes=writes)
        except StepError as error:
            return [error.message]
        return []

    def room_for_snapshot(self, ctx: Context) -> list[Room]:
        return self._rooms(ctx, here=f"the snapshot of volume `{self._name}`")

    def room_for_restore(self, ctx: Context) -> list[Room]:
        name = self._name
        kept = f"keeping what a restore of volume `{name}` replaces"
        return self._rooms(ctx, here=kept, there=f"restoring volume `{name}`")

    def _rooms(self, ctx: Context, *, here: str, there: str | None = None) -> list[Room]:
        try:
            files = self._files()
            size_bytes = 0 if files is None else files.size_bytes(ctx)
        except StepError:
            return []
        rooms = [Room(place=ctx.state_dir, size_bytes=size_bytes, purpose=here)]
        if there is not None and isinstance(files, InPlace):
            rooms.append(Room(place=files.tree, size_bytes=size_bytes, purpose=there))
        return rooms

    def snapshot_by_hand(self) -> Sequence[str]:
        return [f"{self._helper()} tar -C /volume -cf - . > {self.volume.name}.tar"]

    def restore_by_hand(self) -> Sequence[str]:
        path = "$(docker volume inspect --format '{{.Mountpoint}}' " + quote(self._name) + ")"
        kept = f"RESTORE_POINT/volumes/{quote(self.volume.name)}/files/"
        return [f"rsync -a --delete --checksum {kept} {path}/"]

    def _helper(self) -> str:
        return f"docker run --rm --volume {quote(self._name)}:/volume:ro IMAGE"
