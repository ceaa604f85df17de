"""The local runtime: performs the machine's actions with threads, and writes every event first.

One thread per step in flight. Only the main thread writes the journal, asks people, hears signals.
"""

import heapq
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty, SimpleQueue
from uuid import uuid4

from runbook.core.actions import Ask, Execute, Record, Stop
from runbook.core.events import (
    CancelRequested,
    Event,
    Outcome,
    RunFinished,
    StepFailed,
    StepProgressed,
    StepSkipped,
    StepStarted,
)
from runbook.core.journal import Batch, Journal
from runbook.core.machine import apply, next_actions
from runbook.core.plan import Effect, JsonObject, PlannedStep
from runbook.core.state import RunState, is_in_doubt
from runbook.engine import signals
from runbook.engine.approvals import NOBODY, said
from runbook.engine.context import StepContext, StepLog, operation_name
from runbook.engine.drive import Decide, Report, Turn, drive
from runbook.engine.ledger import Ledger
from runbook.engine.leftovers import attempts_dir
from runbook.engine.lock import Lock
from runbook.engine.messages import Ended, Message, Progressed, Signalled
from runbook.engine.perform import Attempt, describe_failure, undecided
from runbook.engine.scene import Scene
from runbook.engine.standing import closed
from runbook.engine.watcher import Answer, Ending, Watcher
from runbook.errors import InputError, JournalUnwritable, RunbookError, StepError
from runbook.tools.files import make_directories
from runbook.tools.redactor import Redactor
from runbook.tools.supervised import Supervised

Successor = Callable[[Scene, RunState, RunFinished], tuple[RunFinished, Batch]]
"""Makes, for a run that is handed over, its last event and the first batch of its rollback."""


@dataclass(kw_only=True)
class LocalRuntime:
    """Drives one run; made anew for each."""

    scene: Scene
    run_id: str
    journal: Journal
    history: Sequence[Event]
    """The run's events so far; at least its start."""
    state: RunState
    """The fold of `history`."""
    state_dir: Path
    environ: Mapping[str, str]
    redactor: Redactor
    watcher: Watcher
    hand_over: Successor
    lock: Lock
    """The lock that the run is driven under."""
    is_interactive: bool
    """Whether a person sits at a terminal and can wait, or press Ctrl-C again."""
    inbox: SimpleQueue[Message] = field(default_factory=SimpleQueue)
    """What has happened; a signal may come in before, or after, the run is driven."""

    def __post_init__(self) -> None:
        self._seq = len(self.history)
        self._contexts: dict[str, StepContext] = {}
        self._scheduled: list[tuple[float, str, Execute]] = []
        self._recorded: list[Event] = []
        self._signals: list[str] = []
        self._leave_at: float | None = None

    # --- the loop -------------------------------------------------------------------------

    def run(self, decide: Decide = next_actions) -> Ending:
        """Drive the run until its end, a signal, a question nobody answers, or a full disk."""
        self._tidy()
        loop = drive(self.scene.plan, self.state, decide)
        error: RunbookError | None = None
        with signals.hear_signals(lambda name: self.inbox.put(Signalled(name))):
            try:
                turn = next(loop)
                while not self._is_leaving() and self._perform(turn):
                    self._wait_for_news()
                    turn = loop.send(self._report())
                    self.state = turn.state
            except StopIteration as end:
                self.state = end.value
            except (JournalUnwritable, InputError, StepError) as refusal:
                # The journal cannot be written, or the rollback's inputs cannot be made out.
                error = refusal
            if self._contexts:
                self.lock.keep()
                self._let_go()
        return Ending(
            run_id=self.run_id,
            plan=self.scene.plan,
            state=self.state,
            signal=self._signals[0] if self._signals else None,
            error=error,
        )

    def _let_go(self) -> None:
        """Let steps undo what nobody else would (who is paused goes on); no command is stopped."""
        until = time.monotonic() + signals.LET_GO_S
        for context in self._contexts.values():
            context.leave()
        while self._contexts and (left_s := until - time.monotonic()) > 0:
            with suppress(Empty, JournalUnwritable):
                self._take(self.inbox.get(timeout=left_s))

    def _tidy(self) -> None:
        """Forget what the commands of ended attempts printed; a crash may have come in between."""
        steps = self.state.steps.items()
        doubtful = {f"{step_id}.{now.attempt}" for step_id, now in steps if is_in_doubt(now)}
        for call in attempts_dir(self.state_dir, self.run_id).glob("*/call-*"):
            if call.parent.name not in doubtful:
                Supervised(call).discard_output()

    def _report(self) -> Report:
        events, self._recorded = tuple(self._recorded), []
        waiting = {step for _, step, _ in self._scheduled}
        return Report(events=events, in_flight=frozenset(self._contexts) | waiting)

    def _perform(self, turn: Turn) -> bool:
        """Perform a turn's actions; False: all that is left is for a person who is not there."""
        asks = [action for action in turn.actions if isinstance(action, Ask)]
        for action in turn.actions:
            match action:
                case Execute():
                    self._schedule(action)
                case Stop():
                    self._stop(action.step)
                case Record():
                    self._record_fact(action.event)
                case Ask():
                    pass
        is_idle = not self._contexts and not self._scheduled and not self._recorded
        return not asks or not is_idle or self._ask_all(asks)

    def _wait_for_news(self) -> None:
        """Take messages until at least one event is recorded or something in flight has ended."""
        while not self._recorded:
            self._start_what_is_due()
            if self._recorded:
                return  # what was due could not begin, and nothing else may be in flight
            try:
                message = self.inbox.get(timeout=self._patience_s())
            except Empty:
                if self._is_leaving():
                    return
                continue
            if self._take(message):
                return

    def _take(self, message: Message) -> bool:
        """Record what the message says; True: the machine should look again."""
        match message:
            case Progressed(step, attempt, progress, is_saved):
                self._record(
                    StepProgressed(at=_now(), step=step, attempt=attempt, progress=progress)
                )
                is_saved.set()
            case Ended(step, event):
                context = self._contexts.pop(step, None)
                if event is not None:
                    self._record(replace(event, at=_now()))
                if context is not None and event is not None:
                    context.discard_outputs()
            case Signalled(name):
                self._take_signal(name)
        return True

    def _patience_s(self) -> float | None:
        moments = [due for due, _, _ in self._scheduled[:1]]
        if self._leave_at is not None:
            moments.append(self._leave_at)
        return max(min(moments) - time.monotonic(), 0.0) if moments else None

    # --- steps ----------------------------------------------------------------------------

    def _schedule(self, execute: Execute) -> None:
        delay_s = (execute.not_before - _now()).total_seconds() if execute.not_before else 0.0
        if delay_s > 0:
            entry = (time.monotonic() + delay_s, execute.step, execute)
            heapq.heappush(self._scheduled, entry)
        else:
            self._start(execute)

    def _start_what_is_due(self) -> None:
        while self._scheduled and self._scheduled[0][0] <= time.monotonic():
            self._start(heapq.heappop(self._scheduled)[2])

    def _start(self, execute: Execute) -> None:
        """Record the intent, then begin; or record why there is nothing to begin."""
        step = self.scene.plan.step(execute.step)
        try:
            if not execute.in_doubt and not self.scene.is_wanted(step, self.state):
                reason = f"`{step.when}` does not hold"
                self._record(StepSkipped(at=_now(), step=step.id, reason=reason))
                return
            self._begin(execute, step)
        except RunbookError as error:
            self._fail_unbegun(execute, error)

    def _begin(self, execute: Execute, step: PlannedStep) -> None:
        context = self._make_context(execute, step)
        attempt = Attempt(
            step=step,
            kind=self.scene.registry.find(step.kind),
            spec=self.scene.spec(step, self.state),
            context=context,
        )
        if not execute.in_doubt:
            self._record(StepStarted(at=_now(), step=step.id, attempt=execute.attempt))
        self.lock.update(self.run_id, step.id)
        self._contexts[step.id] = context
        work = attempt.settle if execute.in_doubt else attempt.run
        threading.Thread(
            target=lambda: self.inbox.put(Ended(step.id, work())), name=step.id, daemon=True
        ).start()

    def _fail_unbegun(self, execute: Execute, error: RunbookError) -> None:
        """A step whose own text cannot be resolved fails before it has done anything.

        Of one in doubt that tells nothing: a person is asked.
        """
        if isinstance(error, JournalUnwritable):
            raise error
        if execute.in_doubt:
            reason = self.redactor.text(f"nothing can tell: {error.message}")
            self._record(undecided(execute.step, execute.attempt, reason, _now()))
            return
        self._record(StepStarted(at=_now(), step=execute.step, attempt=execute.attempt))
        failure = describe_failure(error, self.redactor)
        self._record(
            StepFailed(
                at=_now(),
                step=execute.step,
                attempt=execute.attempt,
                failure=failure,
                changed=False,
            )
        )

    def _make_context(self, execute: Execute, step: PlannedStep) -> StepContext:
        scene, state, run_id = self.scene, self.state, self.run_id
        log_dir = self.state_dir / "runs" / run_id
        try:
            make_directories(log_dir)
        except OSError as error:
            raise JournalUnwritable(
                f"cannot make `{log_dir}`: {(error.strerror or str(error)).lower()}",
                hint="make room, then `runbook resume`",
            ) from error
        return StepContext(
            run_id=run_id,
            step_id=step.id,
            attempt=execute.attempt,
            project=scene.plan.project,
            trigger=state.trigger,
            operation=operation_name(run_id, step.id),
            state_dir=self.state_dir,
            scratch=attempts_dir(self.state_dir, run_id) / f"{step.id}.{execute.attempt}",
            pinned=step.files,
            resources=scene.resources(state),
            completed=scene.completed(state),
            undone=scene.undone_run(),
            baseline=scene.baseline(state),
            progress=state.steps[step.id].progress,
            redactor=self.redactor,
            environ=self.environ,
            step_log=StepLog(
                log_dir / f"{step.id}.log",
                self.redactor,
                lambda line: self.watcher.log(step.id, line),
            ),
            list_plan_steps=lambda: scene.plan_steps(state),
            list_needed_points=Ledger(journal=self.journal).needed_points,
            save_progress=lambda progress: self._save_progress(step.id, execute.attempt, progress),
            show_line=lambda line: self.watcher.show(step.id, line),
            timeout_s=step.timeout_s,
        )

    def _save_progress(self, step: str, attempt: int, progress: JsonObject) -> None:
        is_saved = threading.Event()
        self.inbox.put(Progressed(step, attempt, progress, is_saved))
        is_saved.wait()

    def _stop(self, step: str) -> None:
        kept = [entry for entry in self._scheduled if entry[1] != step]
        if len(kept) < len(self._scheduled):
            heapq.heapify(kept)
            self._scheduled = kept
            self.inbox.put(Ended(step, None))
        if step in self._contexts:
            self._contexts[step].stop()

    # --- people ---------------------------------------------------------------------------

    def _ask_all(self, asks: Sequence[Ask]) -> bool:
        """Put questions; True: there was an answer or a signal: the machine should look again."""
        is_answered = False
        try:
            for ask in asks:
                is_answered = self._ask(ask) or is_answered
        except signals.PromptInterrupted as interrupted:
            self.inbox.put(Signalled(interrupted.name))
            return True
        return is_answered

    def _ask(self, ask: Ask) -> bool:
        """Put a question; True: there was an answer, and it is recorded."""
        answer: Answer | None = NOBODY
        if ask.expires_at is None or _now() < ask.expires_at:
            with signals.interruptible():
                answer = self.watcher.answer(self.scene.plan, self.state, ask)
        if answer is None:
            return False
        self._record(said(ask.step, self.state.steps[ask.step], answer, _now()))
        return True

    # --- the journal ----------------------------------------------------------------------

    def _record(self, *events: Event) -> None:
        """Make events durable, then show them. Raises JournalUnwritable.

        The machine sees them first: what it refuses must not stand in a journal.
        """
        state = self.state
        for event in events:
            state = apply(self.scene.plan, state, event)
        self.journal.append([self._batch(events)])
        self.state = state
        self._note(events)

    def _record_fact(self, event: StepSkipped | RunFinished) -> None:
        event = replace(event, at=_now())
        if isinstance(event, RunFinished) and event.outcome is Outcome.HANDED_OVER:
            if not self.inbox.empty():
                return  # a signal: nothing else can come now, and it comes first
            event, successor = self.hand_over(self.scene, self.state, event)
            self.journal.append([self._batch((event,)), successor])
            self.state = apply(self.scene.plan, self.state, event)
            self._note((event,))
        else:
            self._record(closed(self.scene.plan, self.state, event))

    def _batch(self, events: tuple[Event, ...]) -> Batch:
        ids = tuple(uuid4().hex for _ in events)
        return Batch(run_id=self.run_id, expected_seq=self._seq, events=events, ids=ids)

    def _note(self, events: tuple[Event, ...]) -> None:
        self.watcher.saw(self.run_id, self.scene.plan, self._seq, events)
        self._seq += len(events)
        self._recorded.extend(events)

    # --- signals --------------------------------------------------------------------------

    def _take_signal(self, name: str) -> None:
        """First: record it, let what changes something end. A second Ctrl-C stops that, too."""
        self._signals.append(name)
        self._scheduled.clear()
        is_first = len(self._signals) == 1
        if is_first:
            self._record(CancelRequested(at=_now(), by="", signal=name))
        changing = [
            step for step in self._contexts
            if self.scene.plan.step(step).effect is not Effect.READS
        ]  # fmt: skip
        if not self.is_interactive or "SIGHUP" in self._signals:
            # Nobody is there to wait, or to press Ctrl-C again: what changes something goes on.
            self._leave_at = self._leave_at or time.monotonic() + signals.LEAVE_AFTER_S
        elif is_first and changing:
            names = ", ".join(f"`{step}`" for step in changing)
            self.watcher.notice(
                f"interrupted: waiting for {names} to end;"
                " press Ctrl-C again to stop it and leave it in doubt"
            )
        elif not is_first and name == "SIGINT":
            for step in changing:
                self._contexts[step].stop()

    def _is_leaving(self) -> bool:
        return self._leave_at is not None and time.monotonic() >= self._leave_at


def _now() -> datetime:
    return datetime.now(UTC)
