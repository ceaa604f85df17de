"""The watcher for terminals: what is over stays as a line, what is in flight is rewritten in place.

The only module that imports rich.
"""

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, TextIO, cast

from runbook.cli.answers import Answers
from runbook.cli.progress import Progress
from runbook.core.actions import Ask
from runbook.core.events import Event
from runbook.core.plan import Plan
from runbook.core.state import RunState
from runbook.engine.watcher import Answer
from runbook.report.lines import Line, Mark, fit, took
from runbook.units import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

_COLORS = {
    Mark.OK: "green",
    Mark.FAILED: "bold red",
    Mark.WARNING: "yellow",
    Mark.GOES_ON: "cyan",
    Mark.SKIPPED: "dim",
    Mark.DOUBT: "yellow",
    Mark.ASKS: "bold",
}
_URGENT = frozenset({Mark.FAILED, Mark.WARNING, Mark.ASKS})
_TOOK_WIDTH = 7


@dataclass(kw_only=True)
class LiveWatcher:
    """Shows a run on the terminal of stderr."""

    answers: Answers
    has_color: bool
    verbosity: int = 0
    clock: Callable[[], float] = time.monotonic
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._progress = Progress(clock=self.clock)
        self._console = Console(
            file=cast("IO[str]", _LastingStream(sys.stderr)),
            force_terminal=True,
            no_color=not self.has_color,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._live.start()

    def close(self) -> None:
        """Take the rewritten lines away."""
        self._live.stop()

    # --- Watcher --------------------------------------------------------------------------

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> None:
        """These events are on disk."""
        with self._guard:
            lines = self._progress.saw(run_id, plan, seq, events)
        for line in lines:
            is_started = line.mark is Mark.GOES_ON and line.step
            if not is_started and (self.verbosity >= 0 or line.mark in _URGENT):
                self._print(line)

    def show(self, step: str, line: str) -> None:
        """What a step is doing right now."""
        with self._guard:
            self._progress.show(step, line)

    def log(self, step: str, line: str) -> None:
        """A line of a step's log."""
        if self.verbosity > 0:
            self._console.print(f"    {step} | {line}", style="dim")

    def notice(self, text: str) -> None:
        """Something about the run as a whole."""
        self._print(Line(mark=Mark.WARNING, note=text))

    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None:
        """A person's answer, asked for below the lines."""
        self._live.stop()
        try:
            return self.answers.answer(plan, state, ask)
        finally:
            self._live.start()

    # --- lines ----------------------------------------------------------------------------

    def _print(self, line: Line) -> None:
        from rich.text import Text

        text = Text(f"{line.mark.value:<3}" if line.step else f"{line.mark.value} ")
        text.stylize(_COLORS[line.mark])
        if line.step:
            text.append(f"{line.step:<{self._name_width()}} {took(line):>{_TOOK_WIDTH}}")
        text.append(f"  {line.note}" if line.step and line.note else line.note)
        indent = "  " if line.step else ""
        text.rstrip()
        self._console.print(Text(indent).append_text(text), soft_wrap=True)

    def _render(self) -> "RenderableType":
        from rich.console import Group
        from rich.text import Text

        width = self._console.width
        with self._guard:
            rows = [
                f"  {Mark.GOES_ON.value:<3}{step:<{self._name_width()}}"
                f" {_elapsed(self.clock() - flight.since_s):>{_TOOK_WIDTH}}  "
                for step, flight in self._progress.flights.items()
            ]
            lines = [flight.line for flight in self._progress.flights.values()]
        text = "\n".join(
            fit(row + fit(line, max(width - len(row) - 1, 0)), width - 1)
            for row, line in zip(rows, lines, strict=True)
        )
        return Text(text, no_wrap=True, overflow="crop") if text else Group()

    def _name_width(self) -> int:
        """Room for the step's name: less where the terminal is narrow."""
        return min(self._progress.width, max(self._console.width // 4, 10))


class _LastingStream:
    """A terminal that may be closed under a run: then nothing is shown, and the run goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as far as somebody is there."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Flush as far as somebody is there."""
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Its descriptor: the terminal's size is asked there."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """What it can show."""
        return self._stream.encoding


def _elapsed(seconds: float) -> str:
    """Whole seconds: tenths would flicker."""
    return f"{int(seconds)}s" if seconds < 60 else format_duration(int(seconds))
