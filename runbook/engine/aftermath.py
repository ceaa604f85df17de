"""What an aborted run leaves stopped, and the commands that bring it back: for people."""

from collections.abc import Sequence

from runbook.engine.ledger import Recorded
from runbook.registry import Registry


def left_stopped(runs: Sequence[Recorded], registry: Registry) -> list[str]:
    """The shell commands that bring back what steps of these runs have left stopped."""
    commands = [
        command
        for run in runs
        for step in run.plan.steps
        if (look := registry.find(step.kind).after_abort) is not None
        and (progress := run.state.steps[step.id].progress) is not None
        for command in look(progress)
    ]
    return [*dict.fromkeys(commands)]
