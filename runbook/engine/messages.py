"""What the threads of steps, and signals, tell the main thread."""

import threading
from dataclasses import dataclass

from runbook.core.plan import JsonObject
from runbook.engine.perform import AttemptEnd


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt is over, or was torn (no event)."""

    step: str
    event: AttemptEnd


@dataclass(frozen=True, slots=True)
class Progressed:
    """A step wants a sub-checkpoint; `is_saved` is set once it is durable."""

    step: str
    attempt: int
    progress: JsonObject
    is_saved: threading.Event


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal arrived."""

    name: str


Message = Ended | Progressed | Signalled
