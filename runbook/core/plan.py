"""A plan: everything that a run will do, compiled, before anything has run.

A plan is recorded with its run and never read from the files again. It holds no secret: only where
each one comes from. Values that depend on what earlier steps find out stay `${{ }}` text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from zlib import crc32

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
JsonObject = dict[str, Json]
SENSITIVE_INPUT = "input:"
"""Prefix, among a plan's secrets, of the inputs that are declared `sensitive`."""


class Effect(StrEnum):
    """What a step does to the world."""

    READS = "reads"
    CHANGES = "changes"
    DESTROYS = "destroys"


class Rerun(StrEnum):
    """How a step is settled whose start is recorded and whose end is not."""

    SAFE = "safe"
    """Repeat it: the step converges."""
    PROBE = "probe"
    """Look at the world."""
    ASK = "ask"
    """A person decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often, and how soon, a failed attempt is followed by another."""

    attempts: int = 1
    """Attempts in all, the first included."""
    delay_s: float = 1.0
    factor: float = 2.0
    max_delay_s: float = 60.0
    jitter: float = 0.0
    """Share of the delay, from 0 to 1, by which it may be shortened."""

    def delay_after_s(self, failures: int, seed: str) -> float:
        """Seconds to wait after so many failures; the same seed gives the same jitter."""
        delay_s = min(self.delay_s * self.factor ** (failures - 1), self.max_delay_s, _YEAR_S)
        share = crc32(f"{seed}/{failures}".encode()) / 0xFFFFFFFF
        return delay_s * (1 - self.jitter * share)


_YEAR_S = 365 * 86400.0
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a run may start; later on the same day, or after midnight where it ends earlier."""

    days: tuple[str, ...] = WEEK
    """The days on which it begins."""
    begins: str = "00:00"
    ends: str = "24:00"
    timezone: str = "UTC"
    """Name in the IANA time zone database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What an environment demands of a run that a person starts; never of a way back."""

    revisions: tuple[str, ...] | None = None
    """Shell patterns of the revisions that may be released; absent: any."""
    window: Window | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedResource:
    """A thing that steps act on, as the file names it."""

    kind: str
    """`git`, `sqlite`, `directory`, `process`, …: see resources.py."""
    params: JsonObject
    """Its parameters; may hold `${{ }}` text."""
    base: str
    """Directory that relative paths in `params` start from: that of the file that names them."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """That of each parameter that an environment's file names instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSecret:
    """Where a secret comes from; never the secret."""

    provider: str
    """`env`, `file` or `command`."""
    reference: str
    """The variable's name, the file's absolute path, or the directory that the command runs in."""
    argv: tuple[str, ...] = ()
    """The command that prints it."""
    timeout_s: float = 0.0
    """How long the command may take."""
    is_required: bool = True
    """Whether nothing starts without it; else what uses it finds nothing there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step, with all that deciding about it needs."""

    id: str
    kind: str
    name: str = ""
    """What people call it; empty: its id."""
    params: JsonObject = field(default_factory=dict)
    """The kind's parameters; may hold `${{ }}` text."""
    base: str = ""
    """Directory that relative paths in `params` start from."""
    bases: Mapping[str, str] = field(default_factory=dict)
    """That of each parameter that an environment's file names instead."""
    needs: tuple[str, ...] = ()
    """Ids of the steps that must be over before this one starts."""
    effect: Effect
    rerun: Rerun
    when: str | None = None
    """Bare expression; false: the step is skipped."""
    timeout_s: float
    retry: Retry = Retry()
    continue_reason: str | None = None
    """Why a failure of this step does not fail the run; absent: it does."""
    undoes: tuple[str, ...] = ()
    """Rollbacks only: ids of the steps of the undone run that this one undoes."""
    holds: str | None = None
    """Name of the resource that this step brings up or stops for good."""
    guidance: str | None = None
    """What a person should do when this step fails."""
    is_finally: bool = False
    from_undone: bool = False
    """A finally step of the undone run: its expressions see that run's inputs and steps."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text of the script files that the parameters name, by absolute path: see pinning.py."""
    place: str = ""
    """`file:line` of the step in the runbook."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnFailure:
    """The way back of a plan."""

    plan: "Plan"
    """The rollback, compiled; its `inputs` are the declared defaults."""
    after: str
    """A failure of a later step than this starts the rollback."""
    inputs: JsonObject = field(default_factory=dict)
    """What `with` gives the rollback's inputs; may hold `${{ }}` text."""
    stale_after_s: float = 900.0
    """Interrupted longer than this in all, a failed run asks a person before it rolls back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything compiled: the steps in order of the file, finally steps last."""

    runbook: str
    """The runbook's name."""
    summary: str = ""
    source: str = ""
    """Absolute path of the file."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The files that were compiled: sha256 by absolute path, to tell which changed since."""
    vars_files: tuple[str, ...] = ()
    """Those of them that `--vars-file` named, in order."""
    project: str = ""
    environment: str = ""
    is_protected: bool = False
    policy: Policy = Policy()
    lock: str
    """The name that one run at a time may hold."""
    steps: tuple[PlannedStep, ...]
    inputs: JsonObject = field(default_factory=dict)
    """Each input's value. A sensitive one is not here but under `secrets`, as `input:<name>`."""
    input_types: JsonObject = field(default_factory=dict)
    """The inputs' declarations as in the file: a rollback by hand reads its own by them."""
    vars: JsonObject = field(default_factory=dict)
    """Values, or `${{ }}` text where they are secret."""
    secrets: Mapping[str, PlannedSecret] = field(default_factory=dict)
    resources: Mapping[str, PlannedResource] = field(default_factory=dict)
    undoes: str | None = None
    """Rollbacks only: the name of the runbook that this one undoes (`for`)."""
    on_failure: OnFailure | None = None

    def step(self, step_id: str) -> PlannedStep:
        """The step of that id; raises KeyError."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)
