"""The facts of a run, as they are recorded: each is past, immutable and complete in itself.

An event's wire form (codec.py) is versioned and append-only: a field may be added with a default,
never removed or given another meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from runbook.core.failure import Failure
from runbook.core.plan import JsonObject, Plan


class Trigger(StrEnum):
    """Who started a run."""

    OPERATOR = "operator"
    FAILURE = "failure"


class Verdict(StrEnum):
    """How a step in doubt was settled."""

    DONE = "done"
    AGAIN = "again"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The probe could not tell: a person must."""


class Outcome(StrEnum):
    """How a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Ended by a failed step; no rollback was due. May be resumed."""
    HANDED_OVER = "handed_over"
    """Ended by its rollback: from then on only that goes on."""
    ABORTED = "aborted"
    """A person has mended it by hand."""
    SUPERSEDED = "superseded"
    """A newer run took its place; it had changed nothing, or nothing was due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """What a rollback must know of a step of the run that it undoes."""

    was_started: bool
    has_changed: bool
    """Doubt included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The run that a rollback undoes, as it stood when the rollback began."""

    run_id: str
    steps: Mapping[str, StepFacts]
    failed_step: str | None = None
    failure: Failure | None = None
    had_succeeded: bool = False
    """Whether it had ended well: then nothing is lost if this rollback is given up unbegun."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The host that drives a run."""

    host: str
    boot_id: str
    """Changes with every boot, of the container engine too: what ran before it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted:
    """First event of every run; pins its plan."""

    at: datetime
    run_id: str
    plan: Plan
    by: str
    """The person or account that typed the command."""
    machine: Machine
    trigger: Trigger = Trigger.OPERATOR
    undone: Undone | None = None
    """Rollbacks only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStarted:
    """The step's effect may begin from now on."""

    at: datetime
    step: str
    attempt: int
    """Counts from 1 over the whole life of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProgressed:
    """A durable sub-checkpoint: where a long step goes on after a crash."""

    at: datetime
    step: str
    attempt: int
    progress: JsonObject
    """The whole of it: replaces what an earlier event of this step said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSucceeded:
    """The step is completed and never repeated."""

    at: datetime
    step: str
    attempt: int
    outputs: JsonObject
    changed: bool
    """Whether it changed anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailed:
    """This attempt is over; whether another follows is the plan's `retry` to say."""

    at: datetime
    step: str
    attempt: int
    failure: Failure
    changed: bool
    """Whether the world may differ from before the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSkipped:
    """The step was not needed."""

    at: datetime
    step: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DoubtSettled:
    """What became of an attempt whose end was not recorded."""

    at: datetime
    step: str
    attempt: int
    verdict: Verdict
    by: str
    """`probe`, `safe`, `stopped`, or the person who answered."""
    reason: str
    outputs: JsonObject = field(default_factory=dict)
    changed: bool = True
    failure: Failure | None = None
    """With verdict `failed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approvers:
    """Whose yes is wanted."""

    required: int = 1
    """Of how many people."""
    names: tuple[str, ...] = ()
    """Who may say so; none named: anybody."""
    allow_self: bool = False
    """Whether whoever started the run may be one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequested:
    """The step has done its part; a person's yes completes it, a no fails it."""

    at: datetime
    step: str
    attempt: int
    question: str
    outputs: JsonObject = field(default_factory=dict)
    """The step's outputs, should the answer be yes."""
    expires_at: datetime | None = None
    approvers: Approvers | None = None
    """Absent: whoever drives the run answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalGiven:
    """Somebody said yes."""

    at: datetime
    step: str
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRefused:
    """Somebody said no."""

    at: datetime
    step: str
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelRequested:
    """A signal arrived: no new step starts until the run is resumed."""

    at: datetime
    by: str
    signal: str
    """`SIGINT`, `SIGTERM` or `SIGHUP`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed:
    """A process took the run up again."""

    at: datetime
    by: str
    machine: Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanAmended:
    """From now on the run follows another plan; what it has done stays as it was planned."""

    at: datetime
    by: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished:
    """The run ended. After `failed` it may be resumed; after the others never."""

    at: datetime
    outcome: Outcome
    by: str = ""
    reason: str = ""
    successor: str | None = None
    """With `handed_over`: the rollback's run. With `superseded`: the newer run."""


Event = (
    RunStarted
    | StepStarted
    | StepProgressed
    | StepSucceeded
    | StepFailed
    | StepSkipped
    | DoubtSettled
    | ApprovalRequested
    | ApprovalGiven
    | ApprovalRefused
    | CancelRequested
    | RunResumed
    | PlanAmended
    | RunFinished
)
