"""What a person should know before a rollback begins: outside of any run, changing nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from runbook.core.state import RunState
from runbook.engine.context import StepContext, StepLog
from runbook.engine.scene import Scene
from runbook.errors import StepError
from runbook.restore.choice import sealed_by
from runbook.restore.point import open_point
from runbook.restore.since import written_since
from runbook.tools.redactor import Redactor

_PATIENCE_S = 60.0


def written_since_sealed(
    scene: Scene, state: RunState, *, state_dir: Path, environ: Mapping[str, str]
) -> Sequence[str]:
    """What was written since that run sealed its restore point; nothing where it sealed none."""
    sealed = sealed_by(scene.completed(state))
    if sealed is None:
        return []
    redactor = Redactor(scene.secrets.values())
    with TemporaryDirectory(prefix="runbook-") as scratch:
        context = StepContext(
            run_id=state.run_id,
            step_id="preview",
            attempt=1,
            project=scene.plan.project,
            trigger=state.trigger,
            operation="preview",
            state_dir=state_dir,
            scratch=Path(scratch),
            pinned={},
            resources=scene.resources(state),
            completed=scene.completed(state),
            undone=None,
            baseline={},
            progress=None,
            redactor=redactor,
            environ=environ,
            step_log=StepLog(Path(scratch, "log"), redactor, lambda _line: None),
            list_plan_steps=lambda: (),
            save_progress=lambda _progress: None,
            show_line=lambda _line: None,
            timeout_s=_PATIENCE_S,
        )
        try:
            lines = written_since(open_point(state_dir, sealed), context)
        except StepError as error:
            lines = [f"what was written since cannot be told: {error}"]
    return [f"written since restore point {sealed}:", *map(redactor.text, lines or ["nothing"])]
