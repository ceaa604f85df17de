"""What must be known before a run is even recorded."""

from pathlib import Path

from runbook.core.events import Trigger
from runbook.core.machine import begin
from runbook.engine.scene import Scene
from runbook.errors import ConfirmationMissing, StateDirUnfit
from runbook.resources import Directory, Git


def admit(scene: Scene, *, state_dir: Path, can_ask: bool) -> None:
    """Refuse a run that would destroy its own journal, or ask where nobody can answer.

    Raises:
        StateDirUnfit: the state directory lies inside of what the run changes.
        ConfirmationMissing: a step asks, and neither a terminal nor `--yes` is there.
    """
    state = begin(scene.plan)
    for resource in scene.resources(state).values():
        if isinstance(resource, Git | Directory) and state_dir.resolve().is_relative_to(
            resource.path.resolve()
        ):
            raise StateDirUnfit(
                f"the state directory `{state_dir}` lies inside"
                f" `{resource.path}` (resource `{resource.name}`), which a run changes",
                hint="choose another by --state-dir or RUNBOOK_STATE_DIR",
            )
    for step in [] if can_ask else scene.plan_steps(state):
        asks = step.kind.needs_answer
        if not step.is_rollback and step.spec and asks and asks(step.spec, Trigger.OPERATOR):
            raise ConfirmationMissing(
                f"step `{step.id}` asks for a confirmation, and there is no terminal to ask on",
                hint="add --yes",
            )
