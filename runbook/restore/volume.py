"""The way back of a Docker volume: its files where the engine keeps them, as of any directory.

The engine's own archive skips what it cannot read and may end short without an error, so the files
are read where they lie: that needs the engine on this machine, and root.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

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
from runbook.restore.writers import held, unknown_writers, wake, without_users
from runbook.tools import docker


@dataclass(frozen=True, slots=True)
class VolumeWay:
    """Satisfies `trees.TreeWay`."""

    volume: Volume

    @property
    def _name(self) -> str:
        return self.volume.volume

    def _tree(self) -> Path | None:
        """Where its files lie; None: there is no such volume.

        Raises:
            Unfit: they lie where we cannot reach them.
        """
        place = docker.volume_place(self._name)
        if place is None:
            return None
        if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
            raise Unfit(
                f"the files of volume `{self._name}` cannot be reached at `{place}`",
                hint="run as root on the engine's own machine",
            )
        return place

    # --- snapshots ------------------------------------------------------------------------

    def take(self, level: Level, staging: Path, ctx: Context) -> VolumeEntry:
        entry = VolumeEntry(
            name=self.volume.name,
            location=f"volume {self._name}",
            taken_at=ctx.now().isoformat(),
            level=level,
        )
        tree = self._tree()
        if tree is None:
            ctx.log(f"there is no volume `{self._name}` yet")
            return entry.model_copy(update={"absent": True})
        self._require_fit(tree, level)
        with held(self.volume.used_by, level, ctx):
            return snapshot_of(tree, entry, staging, ctx)

    def import_archive(self, file: Path, staging: Path, ctx: Context) -> VolumeEntry:
        return import_archive(self.volume.name, f"volume {self._name}", file, staging, ctx)

    def wake(self, ctx: Context) -> None:
        wake(ctx)

    def _require_fit(self, tree: Path, level: Level) -> None:
        if level == "paused" and not self.volume.used_by:
            raise Unfit(
                f"nothing is known to write to volume `{self._name}`, so nothing can be paused",
                hint="name its services by `used_by`, or use `level: stopped` or `level: live`",
            )
        if level == "live" and (tree / "PG_VERSION").exists():
            raise Unfit(
                f"volume `{self._name}` is a PostgreSQL server's own directory:"
                " a copy of it while the server writes is of no use",
                hint="use `backup_db`, or `level: stopped`",
            )

    # --- restoring ------------------------------------------------------------------------

    def restore(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        tree = self._tree()
        if tree is None:
            raise StepError(
                f"there is no volume `{self._name}` any more",
                hint=f"docker volume create {quote(self._name)}, then `runbook resume`",
                changed=False,
            )
        with without_users(self._name, ctx):
            return bring_back(tree, point, entry, ctx)

    # --- what people and preflight are told -----------------------------------------------

    def written_since(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> list[str]:
        if entry.absent:
            return [f"volume `{entry.name}` did not exist then"]
        tree = self._tree()
        if tree is None:
            return [f"volume `{entry.name}` does not exist any more"]
        count = count_differences(tree, point, entry, ctx)
        return [f"volume `{entry.name}`: {count} entries written, touched or deleted since"]

    def missing_for_snapshot(self, level: Level, ctx: Context) -> list[str]:
        missing = [*unknown_writers(self.volume.used_by, ctx), *self.missing_for_restore(ctx)]
        try:
            tree = None if missing else self._tree()
            if tree is not None:
                self._require_fit(tree, level)
        except Unfit as error:
            missing.append(error.message)
        return missing

    def missing_for_restore(self, ctx: Context) -> list[str]:
        if missing := docker.missing_engine():
            return missing
        try:
            self._tree()
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
            tree = self._tree()
        except StepError:
            return []
        if tree is None:
            return []
        size_bytes = size_of_tree(tree, ctx)
        rooms = [Room(place=ctx.state_dir, size_bytes=size_bytes, purpose=here)]
        if there is not None:
            rooms.append(Room(place=tree, size_bytes=size_bytes, purpose=there))
        return rooms

    def snapshot_by_hand(self) -> Sequence[str]:
        return [f"{self._helper()} tar -C /volume -cf - . > {self.volume.name}.tar"]

    def restore_by_hand(self) -> Sequence[str]:
        path = "$(docker volume inspect --format '{{.Mountpoint}}' " + quote(self._name) + ")"
        return [f"rsync -a --delete --checksum RESTORE_POINT/volumes/NAME/files/ {path}/"]

    def _helper(self) -> str:
        return f"docker run --rm --volume {quote(self._name)}:/volume:ro IMAGE"
