"""The ledger: runs as the journal has them, and which of them a command means. Writes nothing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import uuid4

from runbook.core.amendment import obstacles, plan_of
from runbook.core.events import Event, Outcome, PlanAmended, RunFinished, RunStarted, Undone
from runbook.core.journal import Batch, Journal, RunFilter, RunSummary
from runbook.core.machine import IllegalEvent, apply, fold
from runbook.core.plan import JsonObject, OnFailure, Plan
from runbook.core.state import (
    Phase,
    RunState,
    Status,
    facts,
    failed_step,
    has_changed_after,
    has_changed_anything,
)
from runbook.engine.standing import Standing, standing
from runbook.errors import (
    AmendmentRefused,
    ClaimHeld,
    JournalUnreadable,
    RollbackRefused,
    RunUnknown,
)


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

    def next_batch(self, *events: Event) -> Batch:
        """The events as its next ones."""
        ids = tuple(uuid4().hex for _ in events)
        return Batch(run_id=self.run_id, expected_seq=len(self.events), events=events, ids=ids)

    def after(self, *events: Event) -> RunState:
        """Where it would stand after these events; raises AmendmentRefused."""
        state = self.state
        for event in events:
            if isinstance(event, PlanAmended) and (
                reasons := obstacles(self.plan, event.plan, state)
            ):
                raise AmendmentRefused(
                    f"run `{self.run_id}` cannot follow its runbook as it is now:"
                    f" {'; '.join(reasons)}",
                    hint=f"runbook resume {self.run_id}",
                )
            state = apply(self.plan, state, event)
        return state


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Questions to a journal."""

    journal: Journal

    def runs(self, run_filter: RunFilter) -> Sequence[RunSummary]:
        """Runs, newest first."""
        return self.journal.runs(run_filter)

    def recorded(self, run_id: str) -> Recorded:
        """A run with its plan and state; raises JournalUnreadable where an event is missing."""
        events = self.journal.read(run_id)
        first = events[0] if events else None
        try:
            if not isinstance(first, RunStarted):
                raise IllegalEvent("it does not begin with its start")
            state = fold(first.plan, events)
        except IllegalEvent as error:
            raise JournalUnreadable(
                f"run `{run_id}` is damaged in the journal: {error}",
                hint="the other runs are not touched by it; put the journal's backup in its place",
            ) from error
        return Recorded(run_id=run_id, plan=plan_of(events), events=events, state=state)

    def find(self, prefix: str) -> Recorded:
        """The run whose id begins so; raises RunUnknown."""
        found = self.journal.resolve(prefix)
        if len(found) == 1:
            return self.recorded(found[0])
        if found:
            raise RunUnknown(
                f"`{prefix}` could be: {', '.join(found)}",
                hint="runbook history shows which: give more of the id",
            )
        raise RunUnknown(f"there is no run `{prefix}`", hint="runbook history")

    def unfinished(self, lock: str | None = None) -> list[Recorded]:
        """Every run that is not finished, newest first."""
        summaries = self.journal.runs(RunFilter(lock=lock, is_unfinished=True))
        found = [self.recorded(summary.run_id) for summary in summaries]
        return [run for run in found if run.standing is not Standing.FINISHED]

    def needed_points(self) -> frozenset[str]:
        """Ids of restore points that runs which are not finished may go back to.

        What they, and the runs that they undo, have sealed or loaded, or were given as an input.
        """
        unfinished = self.unfinished()
        undone = [self.recorded(run.state.undone.run_id) for run in unfinished if run.state.undone]
        named = [
            value
            for run in [*unfinished, *undone]
            for value in (
                *(now.outputs.get("id") for now in run.state.steps.values()),
                *run.plan.inputs.values(),
            )
        ]
        return frozenset(value for value in named if isinstance(value, str))

    def supersede(
        self,
        lock: str,
        successor: str,
        *,
        by: str,
        notice: Callable[[str], None],
        undone: str | None = None,
    ) -> list[Batch]:
        """Last events of the runs that a new one takes the place of; raises ClaimHeld.

        The run that it undoes is not one of them.
        """
        batches = []
        for run in self.unfinished(lock):
            if run.run_id == undone:
                continue
            if run.standing is Standing.CLAIMS:
                raise claim_held(run)
            notice(f"supersedes {run.run_id}, which {_why_not_in_the_way(run)}")
            finished = RunFinished(
                at=datetime.now(UTC), outcome=Outcome.SUPERSEDED, by=by, successor=successor
            )
            batches.append(run.next_batch(finished))
        return batches

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
            hint = f"name one of them, such as: runbook resume {found[0].run_id}"
            raise RunUnknown(f"several runs are unfinished: {names}", hint=hint)
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
        else:
            run = self._newest_candidate()
        self.refuse_older(run)
        return run

    def refuse_older(self, run: Recorded) -> None:
        """Raise if a newer run of that lock claims it, or has changed something and stands."""
        for summary in self.journal.runs(RunFilter(lock=run.plan.lock)):
            if summary.run_id == run.run_id:
                return
            if summary.undoes is not None:
                continue
            newer = self.recorded(summary.run_id)
            if newer.standing is Standing.CLAIMS:
                raise claim_held(newer)
            if has_changed_anything(newer.plan, newer.state) and not self.is_undone(newer):
                raise RollbackRefused(
                    f"run `{newer.run_id}` is newer than `{run.run_id}`, and stands",
                    hint=_past(newer, run),
                )

    def _newest_candidate(self) -> Recorded:
        runs = (self.recorded(summary.run_id) for summary in self.journal.runs(RunFilter()))
        found = [run for run in runs if has_changed_after(run.plan, run.state)]
        locks = {run.plan.lock for run in found}
        if not found:
            raise RollbackRefused("no run has changed anything that its rollback could undo")
        if len(locks) > 1:
            hint = f"name the run, such as: runbook rollback {found[0].run_id}"
            raise RunUnknown(f"several could be meant, of: {', '.join(sorted(locks))}", hint=hint)
        return found[0]

    def is_finished(self, run_id: str) -> bool:
        """Whether nobody goes on with that run; one that is not known may be another journal's."""
        return run_id in self.journal.resolve(run_id) and (
            self.recorded(run_id).standing is Standing.FINISHED
        )

    def is_undone(self, run: Recorded) -> bool:
        """Whether a rollback of this run has succeeded."""
        rollback = self.rollback_of(run.run_id)
        return rollback is not None and rollback.state.outcome is Outcome.SUCCEEDED


def _past(newer: Recorded, run: Recorded) -> str:
    """What to type where a newer run stands in the way of rolling back another."""
    if newer.plan.on_failure:
        return f"runbook rollback {newer.run_id}"
    way_back = run.plan.on_failure
    source = way_back.plan.source if way_back else "ROLLBACK.yaml"
    return f"to go back past it: runbook run {source}, with a restore point of `{run.run_id}`"


def _why_not_in_the_way(run: Recorded) -> str:
    """Why another run may take the place of an unfinished one, in words for whoever started it."""
    if has_changed_anything(run.plan, run.state):
        return "failed, and of which nothing is to be finished or rolled back"
    if any(now.status is Status.ASKING for now in run.state.steps.values()):
        return "had changed nothing: what it waited for is asked of nobody any more"
    return "was not finished and had changed nothing"


def new_run_id(runbook: str) -> str:
    """Sortable by time within a runbook, and speakable: `deploy-20261123-044003-7f3a`."""
    return f"{runbook}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid4().hex[:4]}"


def first_batch(started: RunStarted) -> Batch:
    """The start of a run."""
    return Batch(run_id=started.run_id, expected_seq=0, events=(started,), ids=(uuid4().hex,))


def rollback_plan(run: Recorded, way_back: OnFailure, inputs: JsonObject) -> tuple[Plan, Undone]:
    """The rollback as it will run, and what it must know of the run that it undoes."""
    had_its_finally = run.state.phase is Phase.FAILED or run.state.outcome is Outcome.SUCCEEDED
    steps = tuple(s for s in way_back.plan.steps if not (s.from_undone and had_its_finally))
    failed = failed_step(run.plan, run.state)
    undone = Undone(
        run_id=run.run_id,
        steps=facts(run.plan, run.state),
        failed_step=failed.id if failed else None,
        failure=run.state.steps[failed.id].failure if failed else None,
        had_succeeded=run.state.outcome is Outcome.SUCCEEDED,
    )
    return replace(way_back.plan, steps=steps, inputs=inputs, lock=run.plan.lock), undone


def claim_held(run: Recorded) -> ClaimHeld:
    """Names who is in the way, and the commands that proceed all the same."""
    started = run.events[0]
    by = f" by {started.by}" if isinstance(started, RunStarted) else ""
    undoable = run.run_id if run.plan.on_failure else None
    if run.state.undone:
        undoable = run.state.undone.run_id
    ways = [f"runbook resume {run.run_id}"]
    ways += [f"runbook rollback {undoable}"] if undoable else []
    ways.append(f"runbook abort {run.run_id} --reason TEXT")
    return ClaimHeld(
        f"run `{run.run_id}`{by}, started {run.state.started_at:%Y-%m-%d %H:%M}Z,"
        " has changed something and is not finished",
        hint="\n".join(ways),
    )
