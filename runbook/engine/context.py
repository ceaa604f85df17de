"""What one attempt of a step is given: kinds.Context over the local machine.

One per attempt and thread. What it writes passes the redactor; what it runs survives this process.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runbook.core.events import Trigger
from runbook.core.plan import JsonObject
from runbook.errors import StepStopped, TimedOut
from runbook.kinds import CompletedStep, PlanStep, UndoneRun
from runbook.tools.process import Command, Completed
from runbook.tools.redactor import RedactedStream, Redactor
from runbook.tools.supervised import Exit, Gone, Supervised
from runbook.units import format_duration

POLL_S = 0.1
KEPT_OUTPUT_BYTES = 1024 * 1024


class CommandGone(Exception):
    """A command in doubt left neither a living process nor an exit status that tells anything."""


class StepLog:
    """A step's log file; every byte passes the redactor, whole lines at a time."""

    def __init__(self, path: Path, redactor: Redactor, echo: Callable[[str], None]) -> None:
        self._path = path
        self._redactor = redactor
        self._echo = echo

    def write(self, text: str) -> None:
        """Append the text, a line end added where it lacks one; a full disk loses it."""
        clean = self._redactor.text(text.removesuffix("\n") + "\n")
        # It decides nothing: a change that has been made must not fail for want of its log, nor
        # must the record of a failure. A full disk is the journal's to complain about.
        with (
            suppress(OSError),
            self._path.open("a", encoding="utf-8", errors="replace") as file,
        ):
            file.write(clean)
        for line in clean.splitlines():
            self._echo(line)


@dataclass(kw_only=True)
class StepContext:
    """The context of one attempt (kinds.Context says what each part means)."""

    run_id: str
    step_id: str
    attempt: int
    project: str
    trigger: Trigger
    operation: str
    state_dir: Path
    scratch: Path
    pinned: Mapping[str, str]
    resources: Mapping[str, Any]
    completed: Sequence[CompletedStep]
    undone: UndoneRun | None
    baseline: Mapping[str, str]
    progress: JsonObject | None
    redactor: Redactor
    environ: Mapping[str, str]
    """What this process was given; commands inherit a part of it."""
    step_log: StepLog
    list_plan_steps: Callable[[], Sequence[PlanStep]]
    save_progress: Callable[[JsonObject], None]
    show_line: Callable[[str], None]
    timeout_s: float
    list_needed_points: Callable[[], Collection[str]] = frozenset
    _is_stopped: bool = False
    _is_left: bool = False
    _woken: threading.Event = field(default_factory=threading.Event)
    _calls: int = 0
    _followed: list[Supervised] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.timeout_s

    @property
    def needed_points(self) -> Collection[str]:
        return self.list_needed_points()

    @property
    def plan_steps(self) -> Sequence[PlanStep]:
        return self.list_plan_steps()

    def stop(self) -> None:
        """Make `check`, `sleep` and `run` raise StepStopped from now on; from any thread."""
        self._is_stopped = True
        self._woken.set()

    def leave(self) -> None:
        """The same, but no command is stopped: its supervisor sees it to its end."""
        self._is_left = True
        self._woken.set()

    def grant(self, seconds: float) -> None:
        """So much time from now on, whatever the timeout was."""
        self._deadline = time.monotonic() + seconds

    def discard_outputs(self) -> None:
        """Forget what the commands printed: the attempt's end is recorded."""
        for supervised in self._followed:
            supervised.discard_output()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def remaining_s(self) -> float:
        return max(self._deadline - time.monotonic(), 0.0)

    def check(self) -> None:
        if self._woken.is_set():
            raise StepStopped("stopped before its end")
        if self.remaining_s() <= 0:
            raise self._timed_out()

    def sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left_s := until - time.monotonic()) > 0:
            self.check()
            self._woken.wait(min(left_s, max(self.remaining_s(), 0.001)))
        self.check()

    def record_progress(self, progress: JsonObject) -> None:
        self.save_progress(progress)
        self.progress = progress

    def log(self, text: str) -> None:
        self.step_log.write(text)

    def show(self, line: str) -> None:
        self.show_line(self.redactor.text(line))

    def run(self, command: Command) -> Completed:
        """Run a command, or adopt the one that this attempt's same call has started already."""
        self._calls += 1
        directory = self.scratch / f"call-{self._calls}"
        for secret in command.secrets():
            self.redactor.add(secret)
        supervised = Supervised.find(directory)
        if supervised is None:
            self.check()
            supervised = Supervised.start(
                command, directory, self.remaining_s(), environ=self.environ
            )
        return self._follow(supervised, command)

    def wait_out(self, supervised: Supervised) -> None:
        """Wait until nobody is left of a command that an attempt in doubt had started."""
        with suppress(CommandGone, TimedOut):
            self._follow(supervised, Command(argv=()))

    def _follow(self, supervised: Supervised, command: Command) -> Completed:
        self._followed.append(supervised)
        reader = _OutputReader(supervised, self.redactor, self.log)
        is_late = False
        while (end := supervised.poll(POLL_S)) is None:
            reader.read()
            if self._is_left:
                raise StepStopped("left to its supervisor")
            # Its supervisor stops it in time; this is for one that was killed.
            is_late = time.monotonic() > self._deadline + command.grace_s + POLL_S
            if is_late or self._is_stopped:
                end = supervised.stop(command.grace_s)
                break
        reader.read()
        completed = reader.finish(end.exit_code if isinstance(end, Exit) else -1)
        if is_late or (isinstance(end, Exit) and end.has_timed_out):
            raise self._timed_out(completed)
        if end.was_stopped and self._is_stopped:
            raise StepStopped("stopped before its end")
        # Stopped, but not by us: by the process before us, which left the step in doubt.
        if end.was_stopped or isinstance(end, Gone):
            raise CommandGone
        if command.needs_output and supervised.has_lost_output:
            raise CommandGone
        return completed

    def _timed_out(self, completed: Completed | None = None) -> TimedOut:
        return TimedOut(
            f"did not end within {format_duration(self.timeout_s)}",
            hint="raise the step's `timeout`, or find out what it waited for",
            output_tail=completed.tail if completed else (),
        )


class _OutputReader:
    """Feeds a command's raw output through the redactor into the log while it runs."""

    def __init__(
        self, supervised: Supervised, redactor: Redactor, log: Callable[[str], None]
    ) -> None:
        self._supervised = supervised
        self._log = log
        self._offsets = list(supervised.output_begins_at)
        self._streams = [RedactedStream(redactor), RedactedStream(redactor)]
        self._kept = [b"", b""]
        self._is_cut = False

    def read(self) -> None:
        for stream, piece in enumerate(self._supervised.read_output(*self._offsets)):
            lost_bytes = piece.start - self._offsets[stream]
            lost = f"\n[{lost_bytes} bytes that nobody read]\n" if lost_bytes else ""
            self._is_cut = self._is_cut or (lost_bytes > 0 and stream == 0)
            self._offsets[stream] = piece.end
            self._keep(stream, self._streams[stream].feed(lost.encode() + piece.data))

    def finish(self, exit_code: int) -> Completed:
        for stream in (0, 1):
            self._keep(stream, self._streams[stream].finish())
        stdout, stderr = (kept.decode("utf-8", "replace") for kept in self._kept)
        return Completed(exit_code=exit_code, stdout=stdout, stderr=stderr, is_cut=self._is_cut)

    def _keep(self, stream: int, clean: bytes) -> None:
        if not clean:
            return
        is_more = len(self._kept[stream]) + len(clean) > KEPT_OUTPUT_BYTES
        self._is_cut = self._is_cut or (is_more and stream == 0)
        self._kept[stream] = (self._kept[stream] + clean)[-KEPT_OUTPUT_BYTES:]
        self._log(clean.decode("utf-8", "replace"))


def operation_name(run_id: str, step_id: str) -> str:
    """The name of all that a step stages: the same for each of its attempts."""
    return f"{run_id}-{step_id}"
