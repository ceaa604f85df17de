"""How every store takes a batch, refuses it, or finds that it has it already. Pure."""

from collections.abc import Callable, Sequence

from runbook.core.events import RunStarted
from runbook.core.journal import Batch
from runbook.errors import Bug, JournalConflict

IdsFrom = Callable[[str, int], Sequence[str]]
"""The event ids that a run has from a place on."""


def is_recorded_already(batches: Sequence[Batch], ids_from: IdsFrom) -> bool:
    """Whether these very events are there: the answer to an earlier try was lost.

    Raises:
        JournalConflict: others are there, or not all that should come before.
    """
    found = {_is_there(batch, ids_from) for batch in batches}
    if len(found) > 1:
        raise _conflict(batches[0].run_id)
    return found == {True}


def _is_there(batch: Batch, ids_from: IdsFrom) -> bool:
    if len(batch.ids) != len(batch.events) or not batch.events:
        raise Bug(f"a batch of run `{batch.run_id}` has {len(batch.events)} events")
    if (batch.expected_seq == 0) is not isinstance(batch.events[0], RunStarted):
        raise Bug(f"run `{batch.run_id}` does not begin with its start")
    # The one before is asked for too: it must be there, or others are missing.
    before = min(batch.expected_seq, 1)
    found = tuple(ids_from(batch.run_id, batch.expected_seq - before))
    there = found[before:]
    if there and there[: len(batch.ids)] == batch.ids:
        return True
    if there or len(found) < before:
        raise _conflict(batch.run_id)
    return False


def _conflict(run_id: str) -> JournalConflict:
    return JournalConflict(
        f"another process has written to run `{run_id}` in between",
        hint=f"runbook status {run_id}",
    )
