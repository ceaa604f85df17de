"""The step author's whole interface: Spec, Outputs, Context, StepKind.

A kind is one module in `runbook/steps/`; the module's name is the kind's name, its `STEP` the kind.
Nothing is registered anywhere else; how kinds are found: registry.py.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from runbook.core.events import Approvers, Trigger
from runbook.core.failure import Failure
from runbook.core.plan import Effect, JsonObject, Rerun
from runbook.facts import EffectFrom
from runbook.field_rules import measure
from runbook.resources import MODEL_CONFIG, Whole
from runbook.tools.command import Command, Completed
from runbook.units import FRACTION_PATTERN, SIZE_PATTERN, parse_fraction, parse_size_bytes


class Spec(BaseModel):
    """Base of a kind's parameters: what stands under `with`.

    The class docstring's first line says what the kind does; an indented `Example:` in it is
    validated and shown in the reference. Every field has a docstring.
    """

    model_config = MODEL_CONFIG


class Outputs(BaseModel):
    """Base of a kind's outputs: what `steps.<id>.outputs` holds. JSON only."""

    model_config = MODEL_CONFIG


S = TypeVar("S", bound=Spec)
O = TypeVar("O", bound=Outputs)  # noqa: E741 — the type of Outputs, beside S for Spec
T = TypeVar("T")


# --- types for fields of a Spec -------------------------------------------------------------


def _look_up_resource(value: Any, info: ValidationInfo) -> Any:
    """The resource of that name, from the validation context; a resource itself passes through."""
    if not isinstance(value, str):
        return value
    resources = (info.context or {}).get("resources", {})
    if value not in resources:
        raise ValueError(f"there is no resource `{value}`; there are: {', '.join(resources)}")
    return resources[value]


Resource = Annotated[
    T, BeforeValidator(_look_up_resource), WithJsonSchema({"type": "string", "format": "resource"})
]
"""`Resource[Sqlite | Git]`: the file gives a resource's name, the step gets the resource."""

ResourceName = Annotated[str, WithJsonSchema({"type": "string", "format": "resource"})]
"""The name of a resource of any type; the step gets the name."""


def _parse_fraction(value: Any) -> Any:
    return parse_fraction(value) if isinstance(value, str) else value


def _parse_size(value: Any) -> Any:
    return parse_size_bytes(value) if isinstance(value, str) else value


Fraction = Annotated[
    float,
    BeforeValidator(_parse_fraction),
    Field(ge=0, le=1),
    WithJsonSchema({**measure(FRACTION_PATTERN, type="number", minimum=0, maximum=1)}),
]
"""A number from 0 to 1; written `0.10` or `10%`."""

Size = Annotated[
    Whole,
    BeforeValidator(_parse_size),
    Field(ge=0),
    WithJsonSchema({**measure(SIZE_PATTERN, type="integer", minimum=0)}),
]
"""Bytes; written `512MiB`, `10GB` or as a whole number."""


# --- what a probe may find ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NotDone:
    """The attempt left nothing behind that matters: the step may run again."""

    reason: str


@dataclass(frozen=True, slots=True)
class HalfDone:
    """The attempt got part of the way; `run` goes on from what it finds."""

    reason: str


@dataclass(frozen=True, slots=True)
class Done(Generic[O]):
    """The attempt did its work; only the record of it was lost."""

    outputs: O
    reason: str
    changed: bool = True


@dataclass(frozen=True, slots=True)
class Unknown:
    """The world does not tell: a person must."""

    reason: str


ProbeResult = NotDone | HalfDone | Done[O] | Unknown


# --- what a run may end with, besides an error ----------------------------------------------


@dataclass(frozen=True, slots=True)
class Result(Generic[O]):
    """Success, where a kind that changes things must say whether it did."""

    outputs: O
    changed: bool


@dataclass(frozen=True, slots=True)
class Question(Generic[O]):
    """The step has done its part and needs a person's yes; a no fails it."""

    text: str
    outputs: O
    """Its outputs, should the answer be yes."""
    expires_at: datetime | None = None
    approvers: Approvers | None = None
    """Whose yes; absent: that of whoever drives the run."""


# --- what a step is given -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedStep:
    """A step that has succeeded, as later steps may see it."""

    id: str
    kind: str
    outputs: JsonObject
    changed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoneRun:
    """The run that this rollback undoes."""

    run_id: str
    completed: Sequence[CompletedStep]
    failed_step: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStep:
    """A step of this run's plan or of its rollback's, as preflight may see it."""

    id: str
    kind: "StepKind[Any, Any]"
    spec: Spec | None
    """Absent where a parameter depends on what an earlier step has yet to find out."""
    is_rollback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Disk that a step will take."""

    place: Path
    """On whose file system; need not exist yet."""
    size_bytes: int
    purpose: str
    """What for, as the start of a sentence."""


class Context(Protocol):
    """All that a step may know and do besides its own parameters. One per attempt, one thread."""

    @property
    def run_id(self) -> str: ...
    @property
    def step_id(self) -> str: ...
    @property
    def attempt(self) -> int: ...
    @property
    def project(self) -> str: ...
    @property
    def trigger(self) -> Trigger:
        """Whether a person or a failure started this run."""
        ...

    @property
    def operation(self) -> str:
        """The same for every attempt of this step: names what it stages; its idempotency key."""
        ...

    @property
    def state_dir(self) -> Path:
        """Where the journal lies, and restore points, and what was replaced."""
        ...

    @property
    def scratch(self) -> Path:
        """This attempt's own directory, mode 0700; there before `run` begins."""
        ...

    @property
    def pinned(self) -> Mapping[str, str]:
        """Text of the script files that the step's parameters name, by path, as it was planned."""
        ...

    @property
    def resources(self) -> Mapping[str, Any]:
        """Every resource of the plan, by name."""
        ...

    @property
    def completed(self) -> Sequence[CompletedStep]:
        """The steps of this run that have succeeded, in order of the plan."""
        ...

    @property
    def undone(self) -> UndoneRun | None:
        """The run that this rollback undoes; absent outside rollbacks."""
        ...

    @property
    def needed_points(self) -> Collection[str]:
        """Ids of the restore points that a run which is not finished may go back to."""
        ...

    @property
    def plan_steps(self) -> Sequence[PlanStep]:
        """Every step of the plan and of its rollback, in order."""
        ...

    @property
    def baseline(self) -> Mapping[str, str]:
        """Checks that failed before the run changed anything, by key, with how they failed."""
        ...

    @property
    def progress(self) -> JsonObject | None:
        """What `record_progress` last recorded for this step, by whichever attempt."""
        ...

    def now(self) -> datetime:
        """The wall clock, aware, UTC."""
        ...

    def remaining_s(self) -> float:
        """Seconds until the step's timeout."""
        ...

    def check(self) -> None:
        """Call between small pieces of work. Raises StepStopped or TimedOut."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait, or be woken by `check`'s reasons and raise them."""
        ...

    def record_progress(self, progress: JsonObject) -> None:
        """Make a sub-checkpoint durable; returns once it is."""
        ...

    def log(self, text: str) -> None:
        """Append lines to the step's log; every byte passes the redactor."""
        ...

    def show(self, line: str) -> None:
        """Show what the step is doing right now; not kept."""
        ...

    def run(self, command: Command) -> Completed:
        """Run an external command under its supervisor, until its end or the step's timeout.

        What it prints goes to the log. It survives this process; see StepKind.adopts.

        Raises:
            TimedOut: it was stopped at the step's timeout.
            StepStopped: it was stopped on request.
        """
        ...


# --- a kind ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StepKind(Generic[S, O]):
    """A step kind: one value per module."""

    spec: type[S]
    outputs: type[O]
    effect: Effect | EffectFrom
    """What it does to the world; or which parameter says so."""
    rerun: Rerun | None
    """How doubt is settled; None: the step says, by `rerun:`, or by `creates` or `probe`."""
    describe: Callable[[S], str]
    """One line: what it would do."""
    run: Callable[[S, Context], O | Result[O] | Question[O]]
    """Do it. Plain Outputs mean `changed` exactly if the effect is not `reads`."""
    probe: Callable[[S, Context], ProbeResult[O]] | None = None
    """Look what became of an attempt in doubt. Reads only. Required with Rerun.PROBE."""
    adopts: bool = False
    """`run` is one supervised command with nothing that changes anything before or after it: where
    the command of an attempt in doubt still lives or left its exit status, `run` is entered again
    and `Context.run` yields that command's end instead of starting another."""
    holds: str | None = None
    """Name of the Spec field whose resource this kind brings up or stops for good."""
    backs_up: str | None = None
    """Name of the Spec field whose resource this kind makes a copy of."""
    destroys: str | None = None
    """Name of the Spec field whose resource this kind replaces or deletes."""
    pins: tuple[str, ...] = ()
    """Names of the Spec fields, argument lists, whose script files the plan pins."""
    asked_for: Mapping[str, str] = field(default_factory=dict)
    """Outputs that are there only where a Spec field asks for them, by that field's name: where it
    is absent or `none`, they are not."""
    releases: str | None = None
    """Name of the Spec field that says which revision this kind brings in; policies bound it."""
    timeout_s: float = 600.0
    """Unless the step says otherwise."""
    by_hand: Callable[[S], Sequence[str]] | None = None
    """The shell commands that a person would type instead."""
    preflight: Callable[[S, Context], Sequence[str]] | None = None
    """What is missing for this step, found without changing anything; empty: nothing."""
    room: Callable[[S, Context], Sequence[Room]] | None = None
    """The disk that this step will take at most; preflight adds it up."""
    baseline: Callable[[S, Context], Mapping[str, str]] | None = None
    """Checks only: which of this step's checks fail right now, by key, and how."""
    needs_answer: Callable[[S, Trigger], bool] | None = None
    """Whether it will ask a person: a run without a terminal refuses beforehand."""
    after_abort: Callable[[JsonObject], Sequence[str]] | None = None
    """Given what a step of an aborted run has recorded as progress: the shell commands that bring
    back what it has left stopped. Looks only."""
    retry_forbidden: str | None = None
    """Why a step of this kind may not have `retry`; absent: it may."""
