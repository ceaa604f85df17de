"""What a run leaves behind for its own resume: deleted once nobody goes on with it."""

import shutil
from collections.abc import Callable
from pathlib import Path

from runbook.restore.point import unsealed
from runbook.tools.supervised import Supervised


def attempts_dir(state_dir: Path, run_id: str) -> Path:
    """Where the attempts of a run have a directory each, named `step.attempt`."""
    return state_dir / "attempts" / run_id


def sweep(state_dir: Path, *, is_finished: Callable[[str], bool]) -> None:
    """Delete the attempts' directories, and restore points never sealed, of finished runs."""
    for staging, run_id in unsealed(state_dir):
        if is_finished(run_id):
            shutil.rmtree(staging, ignore_errors=True)
    for attempts in attempts_dir(state_dir, ".").glob("*"):
        calls = [Supervised(call) for call in attempts.glob("*/call-*")]
        if is_finished(attempts.name) and not any(call.is_alive() for call in calls):
            for call in calls:
                call.discard_output()
            shutil.rmtree(attempts, ignore_errors=True)
