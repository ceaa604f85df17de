"""The claim on a stack: an empty volume that tells which journal acts on it.

It outlives the runs, so that a second journal (another user's, another machine's on the same
engine) does not act on what the first has in hand.
"""

import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from shlex import quote
from uuid import uuid4

from runbook.core.plan import Effect
from runbook.core.state import RunState
from runbook.engine.lock import holder
from runbook.engine.scene import Scene
from runbook.errors import ClaimHeld, LockHeld
from runbook.resources import Compose
from runbook.tools import docker
from runbook.tools.files import fsync_directory, write_durably

_JOURNAL = "runbook.journal"
_LABELS = {"host": "runbook.host", "user": "runbook.user", "state_dir": "runbook.state-dir"}


def stake(scene: Scene, state: RunState, *, state_dir: Path, user: str) -> None:
    """Claim every stack that the plan acts on, for this state directory's journal.

    Raises:
        ClaimHeld: another journal acts on one of them.
        StepError: the engine does not answer.
    """
    if all(step.effect is Effect.READS for step in scene.plan.steps):
        return
    stacks = [each for each in scene.resources(state).values() if isinstance(each, Compose)]
    for project in dict.fromkeys(stack.project for stack in stacks):
        labels = {
            _JOURNAL: journal_id(state_dir),
            _LABELS["host"]: platform.node(),
            _LABELS["user"]: user,
            _LABELS["state_dir"]: str(state_dir.resolve()),
        }
        # Made where there is none; where there is one, the engine gives that, with its labels.
        found = docker.make_volume(f"{project}_runbook", labels)
        if found.get(_JOURNAL) != labels[_JOURNAL]:
            raise _held(project, found)


def _held(project: str, found: Mapping[str, str]) -> ClaimHeld:
    journal = found.get(_JOURNAL)
    if journal is None:
        return ClaimHeld(
            f"volume `{project}_runbook` is not a claim, and takes the name of one",
            hint=f"give the volume another name than `runbook` in the compose file of `{project}`",
        )
    user, host = found.get(_LABELS["user"], "?"), found.get(_LABELS["host"], "?")
    place = found.get(_LABELS["state_dir"], "?")
    return ClaimHeld(
        f"stack `{project}` is in the hands of another journal: that of {user}@{host}, in {place}",
        hint=f"go on there, as {user} on {host}:\n"
        f"runbook --state-dir {quote(place)} status\n"
        "or, if that journal is lost:\n"
        f"runbook abort --journal {journal} --reason TEXT",
    )


def journal_id(state_dir: Path) -> str:
    """What tells this state directory's journal from all others; made at its first use."""
    path = state_dir / "journal.id"
    with suppress(FileNotFoundError):
        return path.read_text().strip()
    own = uuid4().hex
    part = path.with_name(f".{path.name}.{own}")
    write_durably(part, f"{own}\n".encode())
    with suppress(FileExistsError):  # of those who come at once, the first has named it
        os.link(part, path)
    part.unlink()
    fsync_directory(path.parent)
    return path.read_text().strip()


def release(journal: str) -> list[str]:
    """Give up all claims of a journal that is lost; the names of the volumes.

    Raises:
        LockHeld: it is not lost: a process on this machine is driving a run of it.
    """
    label = f"{_JOURNAL}={journal}"
    for claim in docker.labels_of_volumes(label):
        is_here = claim.get(_LABELS["host"]) == platform.node()
        owner = holder(Path(claim.get(_LABELS["state_dir"], ""))) if is_here else None
        if owner is not None:
            raise LockHeld(
                f"journal {journal} is not lost, it is at work: {owner}",
                hint=f"wait for its end, or there: runbook abort {owner.run_id} --reason TEXT",
            )
    return docker.remove_volumes(label)
