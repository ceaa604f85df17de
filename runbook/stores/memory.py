"""The journal in memory: for tests, and where none is begun. Holds wire forms, as disks do."""

import threading
from collections.abc import Sequence

from runbook.codec import decode_event, encode_event
from runbook.core.events import Event, Outcome, RunFinished, RunResumed, RunStarted
from runbook.core.journal import Batch, RunFilter, RunSummary
from runbook.stores.fence import is_recorded_already


class MemoryJournal:
    """A Journal that is gone with its process."""

    def __init__(self) -> None:
        self._events: dict[str, list[tuple[str, str]]] = {}
        """Of each run, in order of arrival, the ids and wire forms of its events."""
        self._lock = threading.Lock()

    def append(self, batches: Sequence[Batch]) -> None:
        """Record all or nothing; see Journal."""
        encoded = [[encode_event(event) for event in batch.events] for batch in batches]
        with self._lock:
            if is_recorded_already(batches, self._ids_from):
                return
            for batch, bodies in zip(batches, encoded, strict=True):
                there = self._events.setdefault(batch.run_id, [])
                there.extend(zip(batch.ids, bodies, strict=True))

    def read(self, run_id: str) -> list[Event]:
        """The events of a run, in order; empty: there is no such run."""
        return [decode_event(body) for _, body in self._events.get(run_id, [])]

    def runs(self, run_filter: RunFilter) -> list[RunSummary]:
        """Those that pass the filter, newest first."""
        summaries = [_summary(self.read(run_id)) for run_id in reversed(self._events)]
        return [summary for summary in summaries if _passes(summary, run_filter)][
            : run_filter.limit
        ]

    def resolve(self, prefix: str) -> list[str]:
        """The ids of the runs that begin so; an id that is there in full means only itself."""
        if prefix in self._events:
            return [prefix]
        return [run_id for run_id in reversed(self._events) if run_id.startswith(prefix)]

    def close(self) -> None:
        """Nothing is held open."""

    def _ids_from(self, run_id: str, seq: int) -> list[str]:
        return [event_id for event_id, _ in self._events.get(run_id, [])[seq:]]


def _summary(events: Sequence[Event]) -> RunSummary:
    first = events[0]
    assert isinstance(first, RunStarted), first
    return RunSummary(
        run_id=first.run_id,
        lock=first.plan.lock,
        runbook=first.plan.runbook,
        started_at=first.at,
        undoes=first.undone.run_id if first.undone else None,
        outcome=_outcome(events),
        last_at=events[-1].at,
    )


def _outcome(events: Sequence[Event]) -> Outcome | None:
    for event in reversed(events):
        if isinstance(event, RunFinished):
            return event.outcome
        if isinstance(event, RunResumed):
            return None
    return None


def _passes(summary: RunSummary, run_filter: RunFilter) -> bool:
    is_unfinished = summary.outcome in {None, Outcome.FAILED}
    return (
        run_filter.lock in {None, summary.lock}
        and run_filter.undoes in {None, summary.undoes}
        and run_filter.is_unfinished in {None, is_unfinished}
    )
