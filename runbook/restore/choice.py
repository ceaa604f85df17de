"""Which restore point a step of a rollback works on: the one that the rollback has loaded."""

from runbook.errors import Unfit
from runbook.kinds import Context
from runbook.restore.point import RestorePoint, open_point


def loaded_point(ctx: Context) -> RestorePoint:
    """The restore point that this run's `load_restore_point` step has found intact.

    Raises:
        Unfit: there is no such step before this one, or the restore point has gone since.
    """
    for step in reversed(ctx.completed):
        identifier = step.outputs.get("id")
        if step.kind == "load_restore_point" and isinstance(identifier, str):
            return open_point(ctx.state_dir, identifier)
    raise Unfit(
        "no restore point has been loaded",
        hint="put a `load_restore_point` step before this one",
    )
