"""Regular expressions that authors write: whether a text matches, in bounded time.

Python's way of matching may take for ever (`(a+)+$`). It runs under a timer of the processor's
time; signals tell of its end, which only the main thread hears: inputs are read there alone.
"""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TypeVar

T = TypeVar("T")

_LIMIT_S = 0.2
_LEAST_S = 0.001
_slow: set[str] = set()
"""Patterns that took too long. Each leaves half the time to the next: all of them are bounded."""


class PatternInvalid(ValueError):
    """A pattern is no regular expression, or takes too long to match."""


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, ready to match; raises PatternInvalid."""
    try:
        return _bounded(pattern, lambda: re.compile(pattern))
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternInvalid(f"`{_short(pattern)}` is no regular expression: {error}") from None


def matches(pattern: str, text: str) -> bool:
    """Whether a pattern matches a whole text; raises PatternInvalid."""
    found = compiled(pattern)
    return _bounded(pattern, lambda: found.fullmatch(text) is not None)


def _bounded(pattern: str, match: Callable[[], T]) -> T:
    too_slow = PatternInvalid(
        f"`{_short(pattern)}` takes too long to match: write it without repeats inside repeats"
    )
    if pattern in _slow:
        raise too_slow
    try:
        with _timer(max(_LEAST_S, _LIMIT_S / 2 ** min(len(_slow), 10))):
            return match()
    except _TimeIsUp:
        _slow.add(pattern)
        raise too_slow from None


class _TimeIsUp(Exception):
    """The timer has run out."""


@contextmanager
def _timer(limit_s: float) -> Iterator[None]:
    """Raise _TimeIsUp after so much of the processor's time; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: object) -> None:
        raise _TimeIsUp

    before = signal.signal(signal.SIGVTALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s, limit_s)
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _short(pattern: str) -> str:
    return pattern if len(pattern) <= 60 else f"{pattern[:60]}…"
