"""Failure: an error as it is persisted."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed, in the words that a person will read."""

    code: str
    """Stable code of the error (errors.py)."""
    message: str
    hint: str | None = None
    """What to type next."""
    where: str | None = None
    """Which command or which check it was."""
    output_tail: tuple[str, ...] = ()
    """The last lines of what the command printed, redacted."""
    is_retryable: bool = True
