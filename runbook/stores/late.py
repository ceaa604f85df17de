"""The journal of a run that may yet be refused: made when it is used, and not before."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runbook.core.events import Event
from runbook.core.journal import Batch, Journal, RunFilter, RunSummary


@dataclass(slots=True)
class LateJournal:
    """A Journal that is opened at its first use."""

    open: Callable[[], Journal]
    _opened: Journal | None = field(default=None, init=False)

    def append(self, batches: Sequence[Batch]) -> None:
        """Record all or nothing; see Journal."""
        self._journal().append(batches)

    def read(self, run_id: str) -> list[Event]:
        """The events of a run, in order; empty: there is no such run."""
        return self._journal().read(run_id)

    def runs(self, run_filter: RunFilter) -> list[RunSummary]:
        """Those that pass the filter, newest first."""
        return self._journal().runs(run_filter)

    def resolve(self, prefix: str) -> list[str]:
        """The ids of the runs that begin so; an id that is there in full means only itself."""
        return self._journal().resolve(prefix)

    def close(self) -> None:
        """Let go of it."""
        if self._opened is not None:
            self._opened.close()

    def _journal(self) -> Journal:
        if self._opened is None:
            self._opened = self.open()
        return self._opened
