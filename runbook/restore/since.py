"""What was written since a restore point was sealed, told to people before it is replaced."""

from collections.abc import Iterator
from contextlib import contextmanager

from runbook.errors import StepError, StepStopped, TimedOut
from runbook.kinds import Context
from runbook.restore import buckets, databases, trees
from runbook.restore.point import RestorePoint


def written_since(point: RestorePoint, ctx: Context) -> list[str]:
    """A line each; what cannot be told is said so, and stops nothing."""
    lines: list[str] = []
    for database in point.manifest.databases:
        with _telling(database.name, lines):
            way = databases.way_of(ctx.resources[database.name])
            lines += way.written_since(database, ctx)
    for volume in point.manifest.volumes:
        with _telling(volume.name, lines):
            tree = trees.way_of(ctx.resources[volume.name])
            lines += tree.written_since(point, volume, ctx)
    for bucket in point.manifest.buckets:
        with _telling(bucket.name, lines):
            resource = ctx.resources[bucket.name]
            lines += buckets.written_since(resource, point, bucket, ctx)
    return lines


@contextmanager
def _telling(name: str, lines: list[str]) -> Iterator[None]:
    try:
        yield
    except KeyError:
        lines.append(f"what was written to `{name}` since cannot be told: it is no resource now")
    except (StepStopped, TimedOut):
        raise
    except StepError as error:
        lines.append(f"what was written to `{name}` since cannot be told: {error}")
