"""Warm ways back: copies of a restore point's databases that lie restored beside the live ones.

A switch to one takes a rename. The newest two of each database are kept.
"""

from contextlib import suppress

from runbook.errors import StepError
from runbook.kinds import Context
from runbook.restore.databases import way_of
from runbook.restore.point import open_point, point_ids

KEPT = 2


def drop_older(ctx: Context) -> list[str]:
    """Delete all but the newest warm copies of each database of the project; says which.

    Those of databases that the project does not name any more are left where they are.
    """
    kept: dict[str, int] = {}
    dropped = []
    for identifier in reversed(point_ids(ctx.state_dir)):
        with suppress(StepError):
            manifest = open_point(ctx.state_dir, identifier).manifest
            if manifest.project != ctx.project:
                continue
            for entry in manifest.databases:
                database = ctx.resources.get(entry.name)
                if entry.warm is None or database is None:
                    continue
                way = way_of(database)
                kept[entry.name] = kept.get(entry.name, 0) + way.has_staged(entry.warm, ctx)
                if kept[entry.name] > KEPT and way.drop(entry.warm, ctx):
                    dropped.append(entry.warm)
    return dropped
