"""Which restore point is meant: the one that a run has sealed, or that a rollback has loaded."""

from collections.abc import Sequence

from runbook.errors import Unfit
from runbook.kinds import CompletedStep, Context
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


def sealed_by(completed: Sequence[CompletedStep]) -> str | None:
    """Id of the restore point that the last of these steps to seal one has sealed."""
    for step in reversed(completed):
        identifier = step.outputs.get("id")
        if step.kind == "seal_restore_point" and isinstance(identifier, str):
            return identifier
    return None
