"""One attempt of one step: run it, or settle it if in doubt; always exactly one event.

With `cli/boundary.py` this is the only place that catches `Exception`: a kind that breaks is a
failed step, not a crash of the interpreter.
"""

import json
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from runbook.core.events import (
    ApprovalRequested,
    DoubtSettled,
    StepFailed,
    StepSucceeded,
    Verdict,
)
from runbook.core.failure import Failure
from runbook.core.plan import Effect, JsonObject, PlannedStep, Rerun
from runbook.engine.context import CommandGone, StepContext
from runbook.errors import KindBroken, RunbookError, StepError, StepStopped, SystemRefused, TimedOut
from runbook.kinds import (
    Done,
    HalfDone,
    NotDone,
    Outputs,
    ProbeResult,
    Question,
    Result,
    Spec,
    StepKind,
    Unknown,
)
from runbook.tools.files import make_directories
from runbook.tools.redactor import Redactor
from runbook.tools.supervised import Supervised

PROBE_TIMEOUT_S = 60.0
"""For finding out what became of a step that had used up its own time."""

AttemptEnd = StepSucceeded | StepFailed | DoubtSettled | ApprovalRequested | None
"""None: a step that changes something was torn, and is in doubt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt of a step, ready to run."""

    step: PlannedStep
    kind: StepKind[Any, Any]
    spec: Spec
    context: StepContext

    def run(self) -> AttemptEnd:
        """Run the attempt to its end."""
        return self._ended(self._begin)

    def settle(self) -> AttemptEnd:
        """Find out what became of the attempt, whose start is recorded and whose end is not."""
        if not self.context.scratch.is_dir():
            return self._doubt(Verdict.AGAIN, "journal", "never started", changed=False)
        return self._ended(self._settle)

    def _ended(self, work: Callable[[], AttemptEnd]) -> AttemptEnd:
        """Exactly one end, come what may: somebody waits for it."""
        try:
            return self._guard(work)
        except Exception as error:  # noqa: BLE001 — a kind's probe may raise anything, too
            return self._failed(KindBroken(f"{type(error).__name__}: {error}"))

    def _guard(self, work: Callable[[], AttemptEnd]) -> AttemptEnd:
        try:
            return work()
        except CommandGone:
            return self._guard(self._settle_by_policy)
        except StepStopped:
            if self.step.effect is not Effect.READS:
                return None
            return self._doubt(Verdict.AGAIN, "stopped", "stopped before its end", changed=False)
        except TimedOut as error:
            return self._settle_timed_out(error)
        except RunbookError as error:
            return self._failed(error)
        except OSError as error:
            return self._failed(SystemRefused(_describe_refusal(error)))
        except Exception as error:  # noqa: BLE001 — a kind may raise anything; see above
            self.context.log(traceback.format_exc())
            return self._failed(KindBroken(f"{type(error).__name__}: {error}"))

    def _begin(self) -> AttemptEnd:
        """The attempt's directory comes first: without it, nothing of the attempt has begun."""
        make_directories(self.context.scratch)
        return self._enter()

    def _enter(self) -> AttemptEnd:
        result = self.kind.run(self.spec, self.context)
        if isinstance(result, Question):
            return ApprovalRequested(
                at=self.context.now(),
                step=self.step.id,
                attempt=self.context.attempt,
                question=self.context.redactor.text(result.text),
                outputs=self._dump(result.outputs),
                expires_at=result.expires_at,
                approvers=result.approvers,
            )
        if isinstance(result, Result):
            return self._succeeded(result.outputs, changed=result.changed)
        return self._succeeded(result, changed=self.step.effect is not Effect.READS)

    def _settle(self) -> AttemptEnd:
        """In this order: adopt its end, wait for it, else as the kind says."""
        calls = sorted(self.context.scratch.glob("call-*"))
        found = [call for call in map(Supervised.find, calls) if call]
        if self.kind.adopts and found:
            return self._enter()
        for call in found:
            self.context.wait_out(call)
        return self._settle_by_policy()

    def _settle_by_policy(self) -> AttemptEnd:
        if self.step.rerun is Rerun.SAFE:
            return self._doubt(Verdict.AGAIN, "safe", "may be repeated", changed=True)
        if self.step.rerun is Rerun.PROBE and self.kind.probe:
            return self._settle_by_probe(self.kind.probe)
        return self._doubt(Verdict.UNKNOWN, "journal", _unknown_question(self.step.id))

    def _settle_by_probe(self, probe: Callable[[Any, Any], ProbeResult[Any]]) -> AttemptEnd:
        """What the probe finds; one that fails has found nothing out: a person is asked."""
        try:
            return self._probed(probe(self.spec, self.context))
        except StepStopped:
            raise
        except CommandGone:
            return self._doubt(Verdict.UNKNOWN, "probe", "the probe itself was lost")
        except RunbookError as error:
            why = error.message
        except OSError as error:
            why = _describe_refusal(error)
        except Exception as error:  # noqa: BLE001 — a kind may raise anything; see above
            self.context.log(traceback.format_exc())
            why = f"{type(error).__name__}: {error}"
        self.context.log(f"the probe failed: {why}")
        return self._doubt(Verdict.UNKNOWN, "probe", f"its probe failed: {why}")

    def _probed(self, result: ProbeResult[Any]) -> AttemptEnd:
        match result:
            case NotDone(reason):
                return self._doubt(Verdict.AGAIN, "probe", reason, changed=False)
            case HalfDone(reason):
                return self._doubt(Verdict.AGAIN, "probe", reason)
            case Done(outputs, reason, changed):
                return self._doubt(
                    Verdict.DONE, "probe", reason, changed=changed, outputs=self._dump(outputs)
                )
            case Unknown(reason):
                return self._doubt(Verdict.UNKNOWN, "probe", reason)

    def _settle_timed_out(self, error: TimedOut) -> AttemptEnd:
        if self.step.rerun is not Rerun.PROBE or self.kind.probe is None:
            return self._failed(error)
        self.context.grant(PROBE_TIMEOUT_S)
        try:
            result = self.kind.probe(self.spec, self.context)
        except (RunbookError, OSError, CommandGone):
            return self._failed(error, changed=True)
        if isinstance(result, Done):
            return self._succeeded(result.outputs, changed=result.changed)
        return self._failed(error, changed=not isinstance(result, NotDone))

    def _succeeded(self, outputs: Outputs, *, changed: bool) -> StepSucceeded:
        return StepSucceeded(
            at=self.context.now(),
            step=self.step.id,
            attempt=self.context.attempt,
            outputs=self._dump(outputs),
            changed=changed,
        )

    def _failed(self, error: RunbookError, *, changed: bool | None = None) -> StepFailed:
        self.context.log(f"failed: {error.message}")
        if changed is None:
            changed = error.changed if isinstance(error, StepError) else True
        return StepFailed(
            at=self.context.now(),
            step=self.step.id,
            attempt=self.context.attempt,
            failure=describe_failure(error, self.context.redactor),
            changed=changed and self.step.effect is not Effect.READS,
        )

    def _doubt(
        self,
        verdict: Verdict,
        by: str,
        reason: str,
        *,
        changed: bool = True,
        outputs: JsonObject | None = None,
    ) -> DoubtSettled:
        return DoubtSettled(
            at=self.context.now(),
            step=self.step.id,
            attempt=self.context.attempt,
            verdict=verdict,
            by=by,
            reason=self.context.redactor.text(reason),
            outputs=outputs or {},
            changed=changed and self.step.effect is not Effect.READS,
        )

    def _dump(self, outputs: Outputs) -> JsonObject:
        dumped: JsonObject = outputs.model_dump(mode="json")
        try:
            json.dumps(dumped, allow_nan=False, ensure_ascii=False).encode()
        except ValueError as error:
            # It has done its work: another attempt would do it twice.
            message = f"its outputs cannot be recorded: {error}"
            raise KindBroken(message, is_retryable=False) from error
        return dumped


def undecided(step: str, attempt: int, reason: str, at: datetime) -> DoubtSettled:
    """What is recorded of a step in doubt that cannot even be looked for: a person is asked."""
    return DoubtSettled(
        at=at, step=step, attempt=attempt, verdict=Verdict.UNKNOWN, by="journal", reason=reason,
        changed=True,
    )  # fmt: skip


def describe_failure(error: RunbookError, redactor: Redactor) -> Failure:
    """The error as it is persisted, every text of it redacted."""
    clean = redactor.text
    step_error = error if isinstance(error, StepError) else None
    return Failure(
        code=error.code,
        message=clean(error.message),
        hint=clean(error.hint) if error.hint else None,
        where=clean(error.where) if error.where else None,
        output_tail=tuple(map(clean, step_error.output_tail)) if step_error else (),
        is_retryable=step_error is not None and step_error.is_retryable,
    )


def _describe_refusal(error: OSError) -> str:
    where = f": `{error.filename}`" if error.filename else ""
    return f"{(error.strerror or str(error)).lower()}{where}"


def _unknown_question(step_id: str) -> str:
    return f"`{step_id}` was started, and nothing tells whether it did its work"
