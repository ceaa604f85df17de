"""The journal, as everybody sees it: what is appended, and how runs are found again.

The stores stand in `runbook/stores/`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from runbook.core.events import Event, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events of one run that are appended together."""

    run_id: str
    expected_seq: int
    """The first event's place: how many events the run is believed to have."""
    events: tuple[Event, ...]
    ids: tuple[str, ...]
    """One per event, chosen before the first try: what was lost is found again by them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs; what is absent does not matter."""

    lock: str | None = None
    undoes: str | None = None
    """Only rollbacks of that run."""
    is_unfinished: bool | None = None
    """Whether it may still go on: it has not ended, or has failed and may be resumed."""
    limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """One run in a list, from its first and last events."""

    run_id: str
    lock: str
    runbook: str
    started_at: datetime
    undoes: str | None
    """The run that it rolls back."""
    outcome: Outcome | None
    """How it ended; absent: it goes on, or was interrupted."""
    last_at: datetime
    """When its last event was recorded."""


class Journal(Protocol):
    """Append-only events of many runs, durable once `append` returns."""

    def append(self, batches: Sequence[Batch]) -> None:
        """Record all or nothing; what is there already under the same ids counts as recorded.

        Raises:
            JournalConflict: another process has written at that place.
            JournalUnwritable: the disk is full, read-only or failing; nothing was recorded.
        """
        ...

    def read(self, run_id: str) -> list[Event]:
        """The events of a run, in order; empty: there is no such run."""
        ...

    def runs(self, run_filter: RunFilter) -> list[RunSummary]:
        """Those that pass the filter, newest first."""
        ...

    def resolve(self, prefix: str) -> list[str]:
        """The ids of the runs that begin so; an id that is there in full means only itself."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...
