"""The ledger: runs as the journal has them, and which of them a command means. Reads only."""

from collections.abc import Sequence
from dataclasses import dataclass

from runbook.core.events import Event, Outcome, RunStarted
from runbook.core.journal import Journal, RunFilter, RunSummary
from runbook.core.machine import fold
from runbook.core.plan import Plan
from runbook.core.state import RunState
from runbook.engine.standing import Standing, has_changed_after, standing
from runbook.errors import RollbackRefused, RunUnknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A run as its journal has it."""

    run_id: str
    plan: Plan
    events: Sequence[Event]
    state: RunState

    @property
    def standing(self) -> Standing:
        """How it stands towards the next run."""
        return standing(self.plan, self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Questions to a journal."""

    journal: Journal

    def runs(self, run_filter: RunFilter) -> Sequence[RunSummary]:
        """Runs, newest first."""
        return self.journal.runs(run_filter)

    def recorded(self, run_id: str) -> Recorded:
        """A run with its plan and state."""
        events = self.journal.read(run_id)
        first = events[0]
        assert isinstance(first, RunStarted), first
        state = fold(first.plan, events)
        return Recorded(run_id=run_id, plan=first.plan, events=events, state=state)

    def find(self, prefix: str) -> Recorded:
        """The run whose id begins so; raises RunUnknown."""
        found = self.journal.resolve(prefix)
        if len(found) == 1:
            return self.recorded(found[0])
        if found:
            raise RunUnknown(f"`{prefix}` could be: {', '.join(found)}", hint="give more of the id")
        raise RunUnknown(f"there is no run `{prefix}`", hint="runbook history")

    def unfinished(self, lock: str | None = None) -> list[Recorded]:
        """Every run that is not finished, newest first."""
        summaries = self.journal.runs(RunFilter(lock=lock, is_unfinished=True))
        found = [self.recorded(summary.run_id) for summary in summaries]
        return [run for run in found if run.standing is not Standing.FINISHED]

    def rollback_of(self, run_id: str) -> Recorded | None:
        """The newest rollback of a run, if there is one."""
        for summary in self.journal.runs(RunFilter(undoes=run_id)):
            return self.recorded(summary.run_id)
        return None

    def resumable(self, prefix: str | None) -> Recorded | None:
        """The run that `resume` means: the named one, or the only unfinished one, or none."""
        if prefix is not None:
            return self.newest_of(self.find(prefix))
        found = self.unfinished()
        if len(found) > 1:
            names = ", ".join(run.run_id for run in found)
            raise RunUnknown(f"several runs are unfinished: {names}", hint="name one of them")
        return found[0] if found else None

    def newest_of(self, run: Recorded) -> Recorded:
        """A run that is handed over goes on through its rollback."""
        while run.state.outcome is Outcome.HANDED_OVER and run.state.successor:
            run = self.recorded(run.state.successor)
        return run

    def undoable(self, prefix: str | None) -> Recorded:
        """The run that `rollback` means; raises RollbackRefused or RunUnknown."""
        if prefix is not None:
            run = self.find(prefix)
            if run.plan.on_failure is None:
                raise RollbackRefused(f"run `{run.run_id}` pins no rollback")
            newer = self._candidates(run.plan.lock)
            if newer and newer[0].run_id > run.run_id and not self.is_undone(newer[0]):
                raise RollbackRefused(
                    f"run `{newer[0].run_id}` is newer and stands",
                    hint=f"runbook rollback {newer[0].run_id}",
                )
            return run
        found = self._candidates(None)
        locks = {run.plan.lock for run in found}
        if not found:
            raise RollbackRefused("no run has changed anything that its rollback could undo")
        if len(locks) > 1:
            raise RunUnknown(f"several could be meant, of: {', '.join(locks)}", hint="name the run")
        return found[0]

    def _candidates(self, lock: str | None) -> list[Recorded]:
        runs = (self.recorded(s.run_id) for s in self.journal.runs(RunFilter(lock=lock)))
        return [run for run in runs if has_changed_after(run.plan, run.state)]

    def is_undone(self, run: Recorded) -> bool:
        """Whether a rollback of this run has succeeded."""
        rollback = self.rollback_of(run.run_id)
        return rollback is not None and rollback.state.outcome is Outcome.SUCCEEDED
