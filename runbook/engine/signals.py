"""Signals: heard as messages, never as exceptions, but for a prompt that Ctrl-C must end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LEAVE_AFTER_S = 4.0
"""Told to stop without a terminal, we leave after this: CI systems kill soon after."""
LET_GO_S = 4.0
"""How long, at most, we then wait for what must not be left as it is."""


@contextmanager
def hear_signals(tell: Callable[[str], None]) -> Iterator[None]:
    """Tell the name of each signal that arrives; only the main thread can hear them."""

    def hear(number: int, _frame: FrameType | None) -> None:
        tell(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What was ignored when the program began stays so: whoever called it by `nohup` meant it.
    wanted = [number for number in HEARD if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, hear) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class PromptInterrupted(BaseException):
    """A signal arrived while a person was being asked. No error: nothing may swallow it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@contextmanager
def interruptible() -> Iterator[None]:
    """Let signals raise PromptInterrupted: a handler that takes note would leave it waiting."""

    def interrupt(name: str) -> None:
        raise PromptInterrupted(name)

    with hear_signals(interrupt):
        yield
