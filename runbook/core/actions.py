"""What the machine tells a runtime to do."""

from dataclasses import dataclass
from datetime import datetime

from runbook.core.events import RunFinished, StepSkipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Execute:
    """Run an attempt, or settle the one in doubt."""

    step: str
    attempt: int
    in_doubt: bool = False
    not_before: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Stop what is in flight of this step: it changes nothing, and nobody needs it any more."""

    step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Ask a person."""

    step: str
    question: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record what follows from the facts; the runtime gives it the time, and a successor."""

    event: StepSkipped | RunFinished


Action = Execute | Stop | Ask | Record
