"""Runs the program in processes that are to be killed: forked from this one, which is warm.

Started as a module. Reads an order a line (JSON), answers each with two lines: the pid of the
process that performs it, then its exit status as `os.waitstatus_to_exitcode` gives it. The process
leads a session, and so a group, of its own: that group is the program's, and nobody else's.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

from runbook.app import App, open_app
from runbook.cli import resume, rollback, run, status
from runbook.cli.boundary import run_program
from runbook.core.actions import Ask
from runbook.core.events import Event
from runbook.core.journal import Batch, Journal, RunFilter, RunSummary
from runbook.core.plan import Plan
from runbook.core.state import RunState
from runbook.engine.ledger import Ledger
from runbook.engine.watcher import Answer, Ending
from runbook.language.compile import compile_runbook
from runbook.language.inputs import read_inputs
from runbook.registry import discover
from runbook.report.ending import exit_status
from runbook.settings import load_settings

WARM = (run, resume, rollback, status)
"""What the root command would import only when it is called."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a process is to do."""

    command: Literal["run", "resume", "rollback", "status"]
    state_dir: str
    output: str
    """The file that it prints to."""
    runbook: str | None = None
    given: Mapping[str, str]
    dies_at: int | None = None
    """The journal's append at which it kills itself, from 1; absent: it is the plain program."""
    moment: Literal["before", "after"] = "before"

    @property
    def argv(self) -> list[str]:
        """The command line that a person would type."""
        path = [self.runbook] if self.runbook else []
        given = [word for item in self.given.items() for word in ("--set", "=".join(item))]
        yes = ["--yes"] if self.command == "rollback" else []
        form = ["--output", "json"] if self.command == "status" else []
        return [self.command, "--state-dir", self.state_dir, *path, *given, *yes, *form]


@dataclass(kw_only=True)
class DeadlyJournal:
    """A journal that kills its process at one of its appends, before or after it is durable."""

    journal: Journal
    dies_at: int
    moment: Literal["before", "after"]
    appended: int = 0

    def append(self, batches: Sequence[Batch]) -> None:
        self.appended += 1
        self._die("before")
        self.journal.append(batches)
        self._die("after")

    def _die(self, moment: Literal["before", "after"]) -> None:
        if (self.appended, moment) == (self.dies_at, self.moment):
            os.kill(os.getpid(), signal.SIGKILL)

    def read(self, run_id: str) -> list[Event]:
        return self.journal.read(run_id)

    def runs(self, run_filter: RunFilter) -> list[RunSummary]:
        return self.journal.runs(run_filter)

    def resolve(self, prefix: str) -> list[str]:
        return self.journal.resolve(prefix)

    def close(self) -> None:
        self.journal.close()


class Nobody:
    """A watcher that shows nothing and has no answers."""

    def saw(self, run_id: str, plan: Plan, seq: int, events: Sequence[Event]) -> None: ...
    def show(self, step: str, line: str) -> None: ...
    def log(self, step: str, line: str) -> None: ...
    def notice(self, text: str) -> None: ...
    def answer(self, plan: Plan, state: RunState, ask: Ask) -> Answer | None: ...


def perform(order: Order) -> int:
    """Do what is ordered, as a person's command line would; the exit status."""
    if order.dies_at is None:
        return run_program(order.argv)
    settings = load_settings(os.environ, state_dir=order.state_dir, is_interactive=False)
    with open_app(settings, is_first_use=True) as app:
        journal = DeadlyJournal(journal=app.journal, dies_at=order.dies_at, moment=order.moment)
        ending = drive(replace(app, journal=journal, ledger=Ledger(journal=journal)), order)
    if ending is None:
        return 0
    return exit_status(
        ending.plan, ending.state, signal=ending.signal, is_cut_short=ending.error is not None
    )


def drive(app: App, order: Order) -> Ending | None:
    """Do what is ordered, through an app with a journal of its own."""
    if order.command == "resume":
        unfinished = app.ledger.resumable(None)
        if unfinished is None:
            return None
        return app.resume(unfinished, is_confirmed=False, watcher=Nobody())
    if order.command == "rollback":
        return app.rollback(
            app.ledger.undoable(None),
            ask_inputs=lambda declared, _tell: read_inputs(declared, order.given, os.environ),
            is_confirmed=True,
            watcher=Nobody(),
        )
    assert order.runbook is not None
    plan = compile_runbook(
        Path(order.runbook),
        registry=app.registry,
        read=lambda declared: read_inputs(declared, order.given, os.environ),
    )
    return app.run(plan, is_confirmed=False, watcher=Nobody())


def become(order: Order) -> None:
    """Be the process that performs the order, and end."""
    exit_code = 70
    try:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(order.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, stream in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, stream)
        exit_code = perform(order)
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        sys.stderr.flush()
        os._exit(exit_code)


def warm_up() -> None:
    """Load now what each process would load for itself: every kind, and what is loaded late."""
    registry = discover()
    for kind in registry.names:
        registry.find(kind)
    for module in ("httpx", "jinja2", "jsonschema", "yaml", "runbook.language.refusals"):
        import_module(module)


def main() -> None:
    warm_up()
    for line in sys.stdin:
        order = Order(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            become(order)
        print(pid, flush=True)
        _, status_code = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status_code), flush=True)


if __name__ == "__main__":
    main()
