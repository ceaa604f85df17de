"""What `run`, `resume` and `rollback` have in common: who watches, and what is said at the end."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from runbook.app import App
from runbook.cli.answers import Answers
from runbook.cli.options import Options
from runbook.core.state import Phase
from runbook.engine.ledger import Recorded
from runbook.engine.watcher import Ending, Watcher
from runbook.errors import ExitStatus, JournalUnwritable
from runbook.report.commands import headline
from runbook.report.document import run_document
from runbook.report.ending import exit_status
from runbook.report.text import end_text
from runbook.report.view import Recording, RunView, view_run


class ClosableWatcher(Watcher, Protocol):
    """A watcher that holds a thread or the terminal."""

    def close(self) -> None:
        """Let go of it."""


@contextmanager
def watching(options: Options, answers: Answers) -> Iterator[Watcher]:
    """The watcher that suits where stderr goes, and what was asked for."""
    watcher = _choose(options, answers)
    try:
        yield watcher
    finally:
        watcher.close()


def _choose(options: Options, answers: Answers) -> ClosableWatcher:
    if options.output == "jsonl":
        from runbook.cli.jsonl import JsonlWatcher

        return JsonlWatcher(write=options.answer, answers=answers)
    if options.is_animated:
        from runbook.cli.live import LiveWatcher

        return LiveWatcher(
            answers=answers,
            has_color=options.has_color(sys.stderr),
            verbosity=options.verbosity,
        )
    from runbook.cli.plain import PlainWatcher

    return PlainWatcher(say=options.say, answers=answers, verbosity=options.verbosity)


def drive(
    options: Options,
    app: App,
    answers: Answers,
    act: Callable[[Watcher], Ending | None],
    *,
    run: Recorded | None = None,
) -> ExitStatus | None:
    """Act under a watcher and say how it ended; None: there was nothing to drive.

    `run` is there already: if the journal takes nothing more, how far it came decides the status.
    """
    try:
        with watching(options, answers) as watcher:
            ending = act(watcher)
    except JournalUnwritable as error:
        if run is None or run.state.phase is Phase.ENDED:
            raise
        ending = Ending(run_id=run.run_id, plan=run.plan, state=run.state, error=error)
    return conclude(options, app, ending) if ending else None


def conclude(options: Options, app: App, ending: Ending) -> ExitStatus:
    """Print the end of a run, in the form that was asked for; its exit status."""
    status = exit_status(
        ending.plan, ending.state, signal=ending.signal, is_cut_short=ending.error is not None
    )
    run = app.ledger.recorded(ending.run_id)
    view = view_run(
        Recording(plan=ending.plan, events=run.events, state=ending.state),
        undone=undone_of(app, run),
        exit_status=status,
        signal=ending.signal,
        error=ending.error.message if ending.error else None,
    )
    _print(options, app, view)
    if options.lost:
        options.say(f"the answer cannot be written: {options.lost}")
        options.lost = ""  # what the run came to does not hang on it
    return status


def _print(options: Options, app: App, view: RunView) -> None:
    invocation = options.invocation()
    stream = sys.stdout if options.output == "text" else sys.stderr
    text = end_text(
        view,
        invocation=invocation,
        log_dir=str(app.settings.state_dir / "runs" / view.id),
        width=terminal_width(options),
    )
    head = headline(view)
    if text.startswith(head):
        color = "green" if head.islower() else "red"
        text = options.mark(head, color, stream) + text.removeprefix(head)
    document = run_document(view, invocation=invocation)
    match options.output:
        case "json":
            options.answer_json("run", document)
            options.say(text)
        case "jsonl":
            options.answer(json.dumps({"type": "ended", **document}, ensure_ascii=False))
        case _:
            options.answer(text)


def no_journal(app: App) -> str:
    """What belongs behind every "there is none": that nothing was looked into, and where."""
    if app.settings.journal.exists():
        return ""
    return f": no journal in {app.settings.state_dir}; choose another by --state-dir"


def terminal_width(options: Options) -> int:
    """Columns for text: those of the terminal, within reason."""
    columns = shutil.get_terminal_size((80, 24)).columns if options.is_animated else 80
    return min(max(columns, 40), 100)


def recording_of(run: Recorded) -> Recording:
    """A run as the reports take it."""
    return Recording(plan=run.plan, events=run.events, state=run.state)


def undone_of(app: App, run: Recorded) -> Recording | None:
    """The run that this one undoes, if it does."""
    if run.state.undone is None:
        return None
    return recording_of(app.ledger.recorded(run.state.undone.run_id))


def rollback_of(app: App, run: Recorded) -> Recording | None:
    """The rollback that followed a run, if one did."""
    found = app.ledger.rollback_of(run.run_id)
    return recording_of(found) if found else None
