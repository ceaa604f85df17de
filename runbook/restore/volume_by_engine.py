"""A volume's files where only the engine reaches them: on another machine, or without root."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.restore.directory import stored, told
from runbook.restore.manifest import VolumeEntry
from runbook.restore.point import RestorePoint, read_inventory, replaced_dir
from runbook.restore.trees import BroughtBack
from runbook.tools import docker
from runbook.tools.archive import Previous, Snapshot
from runbook.tools.helper_containers import INSIDE, helper
from runbook.tools.kept import Kept
from runbook.tools.volume_restore import VolumeRestore, compare_told, read_live
from runbook.tools.volume_snapshot import take_snapshot


@dataclass(frozen=True, slots=True)
class ByEngine:
    """Satisfies `volume.Files`."""

    name: str

    def take(self, entry: VolumeEntry, staging: Path, ctx: Context) -> VolumeEntry:
        ctx.log("read through the engine: times to the second, no attributes but capabilities")

        def take(files: Path, previous: Previous | None) -> Snapshot:
            return take_snapshot(
                reading,
                files,
                name=Path(self.name),
                is_live=entry.level == "live",
                previous=previous,
            )

        with _unchanged(), helper(self.name, ctx, runs_script=False) as reading:
            return stored(entry, staging, take, ctx)

    def bring_back(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> BroughtBack:
        kept = Kept(replaced_dir(ctx.state_dir, ctx.operation))
        with helper(self.name, ctx, runs_script=True) as writing:
            done = VolumeRestore(
                helper=writing,
                name=self.name,
                wanted=read_inventory(point.directory, entry),
                files=point.directory / entry.files,
                kept=kept,
                spool=ctx.scratch / "live-file",
                operation=ctx.operation,
                check=ctx.check,
            ).run()
        return told(done, kept, ctx)

    def count_differences(self, point: RestorePoint, entry: VolumeEntry, ctx: Context) -> int:
        wanted = read_inventory(point.directory, entry)
        with helper(self.name, ctx, runs_script=False) as reading:
            delta = compare_told(read_live(reading, self.name), wanted, check=ctx.check)
        return len({*delta.written, *delta.extras})

    def size_bytes(self, ctx: Context) -> int:
        return docker.volume_size_bytes(self.name)

    def has(self, name: str, ctx: Context) -> bool:
        with helper(self.name, ctx, runs_script=False) as reading:
            return reading.has(f"/{INSIDE}/{name}")

    def require_reach(self, ctx: Context, *, writes: bool) -> None:
        with helper(self.name, ctx, runs_script=writes):
            pass


@contextmanager
def _unchanged() -> Iterator[None]:
    """Whatever goes wrong, the volume is as it was."""
    try:
        yield
    except StepError as error:
        error.changed = False
        raise
