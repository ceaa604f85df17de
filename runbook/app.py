"""The composition root: settings, language, journal, registry and engine meet here only.

What a command does to runs stands here; what it prints stands in `cli/`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import SimpleQueue

from runbook.core.events import (
    ApprovalGiven,
    ApprovalRefused,
    Event,
    Outcome,
    PlanAmended,
    RunFinished,
    RunResumed,
    RunStarted,
    Trigger,
    Undone,
)
from runbook.core.journal import Batch, Journal
from runbook.core.machine import begin, settling_actions
from runbook.core.plan import JsonObject, Plan
from runbook.core.state import Phase, RunState, failed_step, is_in_doubt
from runbook.engine.admission import admit
from runbook.engine.approvals import refuse_invalid
from runbook.engine.claim import stake
from runbook.engine.ledger import Ledger, Recorded, first_batch, new_run_id, rollback_plan
from runbook.engine.leftovers import sweep
from runbook.engine.local import LocalRuntime
from runbook.engine.lock import Lock, Owner, acquire
from runbook.engine.messages import Message, Signalled
from runbook.engine.policy import check_policy
from runbook.engine.preview import written_since_sealed
from runbook.engine.scene import Scene, fetch_secrets
from runbook.engine.signals import hear_signals
from runbook.engine.standing import Standing, is_stale
from runbook.engine.watcher import Ending, Watcher
from runbook.errors import (
    AmendmentRefused,
    ApprovalInvalid,
    JournalUnwritable,
    RollbackRefused,
    RunUnknown,
)
from runbook.language.compile import changed_sources, compile_runbook
from runbook.language.expressions import Evaluator
from runbook.language.inputs import check_inputs, check_sensitive, recorded_inputs
from runbook.registry import Registry, discover
from runbook.secret import Secret
from runbook.settings import Settings
from runbook.stores.late import LateJournal
from runbook.stores.memory import MemoryJournal
from runbook.stores.sqlite import SqliteJournal
from runbook.tools.host import machine_for
from runbook.tools.redactor import Redactor

AskInputs = Callable[[JsonObject, Callable[[], Sequence[str]]], JsonObject]
"""Given the inputs' declarations, and what tells what was written since, gives their values."""


@contextmanager
def open_app(
    settings: Settings, *, is_read_only: bool = False, is_first_use: bool = False
) -> Iterator["App"]:
    """The program over its state directory, which a run that begins makes at its first use.

    Raises:
        StateDirUnfit: it cannot be looked into.
    """
    if not is_first_use:
        settings.require_state_dir()
    journal: Journal
    if is_first_use:
        journal = LateJournal(lambda: SqliteJournal.open(settings.journal))
    elif settings.journal.exists():
        journal = SqliteJournal.open(settings.journal, is_read_only=is_read_only)
    else:
        journal = MemoryJournal()
    try:
        yield App(
            settings=settings,
            journal=journal,
            ledger=Ledger(journal=journal),
            registry=discover(),
            evaluator=Evaluator(),
        )
    except (ApprovalInvalid, RollbackRefused, RunUnknown) as error:
        if not settings.journal.exists():
            error.hint = f"no journal in {settings.state_dir}; choose another by --state-dir"
        raise
    finally:
        journal.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What can be done with runs."""

    settings: Settings
    journal: Journal
    ledger: Ledger
    registry: Registry
    evaluator: Evaluator

    # --- run ------------------------------------------------------------------------------

    def run(self, plan: Plan, *, is_confirmed: bool, watcher: Watcher) -> Ending:
        """Start a run of a plan and drive it to its end."""
        scene = self._scene(plan)
        check_policy(scene, _now(), self.settings.user)
        self._admit(scene, is_confirmed=is_confirmed)
        self.settings.make_state_dir()
        run_id = new_run_id(plan.runbook)
        with self._lock(plan.lock, run_id) as lock:
            self._stake(scene, begin(plan))
            superseded = self.ledger.supersede(
                plan.lock, run_id, by=self.settings.user, notice=watcher.notice
            )
            self.journal.append([*superseded, first_batch(self._started(run_id, plan))])
            self._sweep()
            return self._drive(run_id, scene, watcher, lock)

    def _admit(self, scene: Scene, *, is_confirmed: bool) -> None:
        can_ask = is_confirmed or self.settings.is_interactive
        admit(scene, state_dir=self.settings.state_dir, can_ask=can_ask)

    def _stake(self, scene: Scene, state: RunState) -> None:
        stake(scene, state, state_dir=self.settings.state_dir, user=self.settings.user)

    def _started(
        self,
        run_id: str,
        plan: Plan,
        undone: Undone | None = None,
        trigger: Trigger = Trigger.OPERATOR,
    ) -> RunStarted:
        return RunStarted(
            at=_now(),
            run_id=run_id,
            plan=plan,
            by=self.settings.user,
            machine=machine_for(plan),
            trigger=trigger,
            undone=undone,
        )

    # --- resume ---------------------------------------------------------------------------

    def resume(
        self, run: Recorded, *, is_confirmed: bool, watcher: Watcher, amended: Plan | None = None
    ) -> Ending:
        """Go on with a run after its last completed step; by another plan, where one is given."""
        plan = amended or run.plan
        _report_changes(plan, watcher)
        with self._lock(run.plan.lock, run.run_id) as lock:
            run = self.ledger.recorded(run.run_id)
            if run.standing is Standing.FINISHED:
                return Ending(run_id=run.run_id, plan=run.plan, state=run.state)
            events: list[Event] = [
                RunResumed(at=_now(), by=self.settings.user, machine=machine_for(plan))
            ]
            if amended:
                events.append(PlanAmended(at=_now(), by=self.settings.user, plan=amended))
            state = run.after(*events)
            scene = self._scene(plan, state)
            self._stake(scene, state)
            if not is_stale(run.plan, run.state, _now()):
                try:
                    self.journal.append([run.next_batch(*events)])
                except JournalUnwritable as error:
                    return Ending(run_id=run.run_id, plan=run.plan, state=run.state, error=error)
                return self._drive(run.run_id, scene, watcher, lock)
        watcher.notice(f"{run.run_id} is too old to go on, and had changed nothing: begun anew")
        return self.run(plan, is_confirmed=is_confirmed, watcher=watcher)

    def say(self, run: Recorded, said: ApprovalGiven | ApprovalRefused) -> None:
        """Record somebody's answer to a run's request; raises ApprovalInvalid."""
        with self._lock(run.plan.lock, run.run_id):
            run = self.ledger.recorded(run.run_id)
            refuse_invalid(run, said)
            self.journal.append([run.next_batch(said)])

    def amended(self, run: Recorded) -> Plan:
        """The plan that a run would follow by its files as they are now.

        Raises:
            InvalidRunbook, InputError: they no longer compile, with the inputs that it began with.
            AmendmentRefused: they do not fit what it has done.
        """
        way_of = self.ledger.recorded(run.state.undone.run_id) if run.state.undone else None
        first = way_of or run
        plan = compile_runbook(
            Path(first.plan.source),
            registry=self.registry,
            read=lambda declared: recorded_inputs(declared, first.plan.inputs),
            environment=first.plan.environment or None,
            vars_files=[Path(file) for file in first.plan.vars_files],
        )
        if way_of is not None:
            if plan.on_failure is None:
                raise AmendmentRefused(f"`{plan.source}` has no `on_failure` any more")
            inputs = check_inputs(plan.on_failure.plan.input_types, run.plan.inputs)
            plan, _undone = rollback_plan(way_of, plan.on_failure, inputs)
        resumed = RunResumed(at=_now(), by=self.settings.user, machine=machine_for(plan))
        run.after(resumed, PlanAmended(at=_now(), by=self.settings.user, plan=plan))
        return plan

    # --- rollback -------------------------------------------------------------------------

    def rollback(
        self, run: Recorded, *, ask_inputs: AskInputs, is_confirmed: bool, watcher: Watcher
    ) -> Ending | None:
        """Run the rollback that a run pins, by hand; None: it is undone already."""
        if self.ledger.is_undone(run):
            return None
        way_back = run.plan.on_failure
        if way_back is None:
            raise RollbackRefused(f"run `{run.run_id}` pins no rollback")
        begun = self.ledger.rollback_of(run.run_id)
        if begun is not None and begun.standing is Standing.CLAIMS:
            watcher.notice(f"goes on with {begun.run_id}, which undoes {run.run_id}")
            return self.resume(begun, is_confirmed=is_confirmed, watcher=watcher)
        _report_changes(run.plan, watcher)
        inputs = ask_inputs(way_back.plan.input_types, lambda: self._written_since(run))
        with self._lock(run.plan.lock, run.run_id) as lock:
            # Somebody may have acted since: only under the lock is it certain.
            self.ledger.refuse_older(run)
            if self.ledger.is_undone(run):
                return None
            settled = self._settle(self.ledger.recorded(run.run_id), watcher, lock)
            if settled.signal or settled.error:
                return settled
            run = self.ledger.recorded(run.run_id)
            run_id = new_run_id(way_back.plan.runbook)
            plan, undone = rollback_plan(run, way_back, inputs)
            scene = self._scene(plan, replace(begin(plan), undone=undone))
            self._admit(scene, is_confirmed=is_confirmed)
            self._stake(scene, begin(plan))
            started = self._started(run_id, plan, undone)
            superseded = self.ledger.supersede(
                plan.lock, run_id, by=self.settings.user, notice=watcher.notice, undone=run.run_id
            )
            handed_over = RunFinished(
                at=_now(), outcome=Outcome.HANDED_OVER, by=self.settings.user, successor=run_id
            )
            is_open = run.state.phase is not Phase.ENDED
            last = [run.next_batch(handed_over)] if is_open else []
            self.journal.append([*superseded, *last, first_batch(started)])
            return self._drive(run_id, scene, watcher, lock)

    def _written_since(self, run: Recorded) -> Sequence[str]:
        """What was written since the restore point of a run, a line each, for people."""
        return written_since_sealed(
            self._scene(run.plan, run.state),
            run.state,
            state_dir=self.settings.state_dir,
            environ=self.settings.environ,
        )

    def _hand_over(
        self, scene: Scene, state: RunState, event: RunFinished
    ) -> tuple[RunFinished, Batch]:
        """Compose, for a failed run, its last event and the start of its rollback."""
        way_back = scene.plan.on_failure
        assert way_back is not None
        failed = failed_step(scene.plan, state)
        failure = state.steps[failed.id].failure if failed else None
        scope = scene.scope(state) | {
            "failure": {
                "step": failed.id if failed else "",
                "reason": failure.code if failure else "",
                "message": failure.message if failure else "",
            }
        }
        values = self.evaluator.value(dict(way_back.inputs), scope)
        inputs = check_inputs(way_back.plan.input_types, values)
        run = Recorded(run_id=state.run_id, plan=scene.plan, events=(), state=state)
        plan, undone = rollback_plan(run, way_back, inputs)
        run_id = new_run_id(plan.runbook)
        started = first_batch(self._started(run_id, plan, undone, Trigger.FAILURE))
        return replace(event, by=self.settings.user, successor=run_id), started

    # --- abort ----------------------------------------------------------------------------

    def abort(self, run: Recorded, *, reason: str, watcher: Watcher) -> Ending:
        """Give up a run for good, for a person who has mended it by hand."""
        run = self.ledger.newest_of(run)
        with self._lock(run.plan.lock, run.run_id) as lock:
            run = self.ledger.recorded(run.run_id)
            settled = self._settle(run, watcher, lock)
            if run.state.phase is Phase.ENDED or settled.signal or settled.error:
                return settled
            run = self.ledger.recorded(run.run_id)
            aborted = RunFinished(
                at=_now(), outcome=Outcome.ABORTED, by=self.settings.user, reason=reason
            )
            self.journal.append([run.next_batch(aborted)])
            self._sweep()
        run = self.ledger.recorded(run.run_id)
        return Ending(run_id=run.run_id, plan=run.plan, state=run.state)

    # --- driving --------------------------------------------------------------------------

    def _settle(self, run: Recorded, watcher: Watcher, lock: Lock) -> Ending:
        """Wait for what is in flight of a run; settle what is in doubt, as far as a probe can."""
        is_open = run.state.phase in (Phase.DRIVING, Phase.STOPPING)
        # Nothing in doubt: nothing to look at, and no secret needed for it.
        if not is_open or not any(map(is_in_doubt, run.state.steps.values())):
            return Ending(run_id=run.run_id, plan=run.plan, state=run.state)
        scene = self._scene(run.plan, run.state)
        return self._runtime(run.run_id, scene, watcher, lock, SimpleQueue()).run(settling_actions)

    def _drive(self, run_id: str, scene: Scene, watcher: Watcher, lock: Lock) -> Ending:
        """Drive a run, and the rollback that it is handed over to, to the end."""
        inbox: SimpleQueue[Message] = SimpleQueue()
        # Heard between the two as well: no signal may fall into the gap.
        with hear_signals(lambda name: inbox.put(Signalled(name))):
            while True:
                runtime = self._runtime(run_id, scene, watcher, lock, inbox)
                watcher.saw(run_id, scene.plan, 0, runtime.history)
                ending = runtime.run()
                if ending.state.outcome is not Outcome.HANDED_OVER or not ending.state.successor:
                    self._sweep()
                    return ending
                run_id = ending.state.successor
                successor = self.ledger.recorded(run_id)
                scene = self._scene(successor.plan, successor.state, known=scene.secrets)

    def _sweep(self) -> None:
        """Delete what only going on with a run would need, of runs that nobody goes on with."""
        sweep(self.settings.state_dir, is_finished=self.ledger.is_finished)

    def _runtime(
        self,
        run_id: str,
        scene: Scene,
        watcher: Watcher,
        lock: Lock,
        inbox: SimpleQueue[Message],
    ) -> LocalRuntime:
        run = self.ledger.recorded(run_id)
        return LocalRuntime(
            scene=scene,
            run_id=run_id,
            journal=self.journal,
            history=run.events,
            state=run.state,
            state_dir=self.settings.state_dir,
            environ=self.settings.environ,
            redactor=Redactor(scene.known_secrets),
            watcher=watcher,
            hand_over=self._hand_over,
            lock=lock,
            is_interactive=self.settings.is_interactive,
            inbox=inbox,
        )

    def _scene(
        self, plan: Plan, state: RunState | None = None, known: Mapping[str, Secret] | None = None
    ) -> Scene:
        """The plan with its secrets, and with the run that it undoes; `known` were had before."""
        undone = None
        if state and state.undone:
            run = self.ledger.recorded(state.undone.run_id)
            undone = (self._scene(run.plan, known=known), run.state)
        secrets = fetch_secrets(plan, self.settings.environ, known)
        check_sensitive(plan, secrets)
        return Scene(
            plan=plan,
            registry=self.registry,
            evaluator=self.evaluator,
            secrets=secrets,
            undone=undone,
        )

    @contextmanager
    def _lock(self, name: str, run_id: str) -> Iterator[Lock]:
        owner = Owner.this_process(user=self.settings.user, run_id=run_id)
        lock = acquire(self.settings.state_dir, name, owner)
        try:
            yield lock
        finally:
            lock.release()


def _report_changes(plan: Plan, watcher: Watcher) -> None:
    """Say which files the plan was made from are others now; it is followed all the same."""
    for path in changed_sources(plan):
        watcher.notice(f"`{path}` has changed since this run began; it goes on as it was planned")


def _now() -> datetime:
    return datetime.now(UTC)
