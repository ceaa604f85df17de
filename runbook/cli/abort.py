"""`runbook abort`: give up a run for good, after mending it by hand."""

import click

from runbook.app import App, open_app
from runbook.cli.answers import Answers
from runbook.cli.driving import conclude, recording_of, undone_of, watching
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.events import Outcome
from runbook.engine.aftermath import left_stopped
from runbook.engine.claim import release
from runbook.engine.ledger import Recorded
from runbook.errors import ExitStatus, UsageError
from runbook.report.document import run_document
from runbook.report.view import view_run


@click.command("abort", context_settings=HELP)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--journal", metavar="ID", help="In place of RUN: give up the claims of a journal that is lost."
)
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is recorded.")
@output_option()
@common_options
@click.pass_obj
def abort(
    options: Options, /, *, run_id: str | None, journal: str | None, reason: str
) -> ExitStatus:
    """Give up a run for good: waits for what is in flight, records what stays in doubt.

    For a person who has mended it by hand. Nothing is undone.

    \b
    Example:
      runbook abort deploy-20261123-044003-7f3a --reason "restored by hand"
    """
    if (run_id is None) == (journal is None):
        raise UsageError("expected either RUN or `--journal ID`", hint="runbook status")
    if journal is not None:
        return _release(options, journal, reason)
    assert run_id is not None
    settings = options.settings()
    answers = Answers(user=settings.user, is_interactive=False)
    with open_app(settings) as app:
        run = app.ledger.find(run_id)
        with watching(options, answers) as watcher:
            ending = app.abort(run, reason=reason, watcher=watcher)
        if ending.signal or ending.error:
            return conclude(options, app, ending)
        run = app.ledger.recorded(ending.run_id)
        if run.state.outcome is not Outcome.ABORTED:
            raise UsageError(
                f"run `{run.run_id}` has ended already ({run.state.outcome})", hint="runbook status"
            )
        left = _left(app, run)
        view = view_run(recording_of(run), undone=undone_of(app, run))
        if options.output == "json":
            options.answer_json("run", run_document(view, invocation=options.invocation()))
            for line in left:
                options.say(line)
            return ExitStatus.SUCCEEDED
        lines = [f"aborted: {view.id}: {view.note}"]
        doubts = [step.id for step in view.steps if step.is_in_doubt]
        if doubts:
            lines.append(f"still in doubt: {', '.join(doubts)}")
        options.answer("\n".join([*lines, *left]))
    return ExitStatus.SUCCEEDED


def _left(app: App, run: Recorded) -> list[str]:
    """What the run, and the one that it was to undo, have left stopped, for people."""
    undone = run.state.undone
    runs = [app.ledger.recorded(undone.run_id), run] if undone else [run]
    commands = left_stopped(runs, app.registry)
    return (
        ["left stopped; to bring it back:", *(f"  {each}" for each in commands)] if commands else []
    )


def _release(options: Options, journal: str, reason: str) -> ExitStatus:
    released = release(journal)
    if not released:
        raise UsageError(f"there is no claim of a journal `{journal}` on this engine")
    if options.output == "json":
        options.answer_json("released", {"volumes": list(released), "reason": reason})
    else:
        options.answer(f"given up: the claims of journal {journal}: {', '.join(released)}")
    return ExitStatus.SUCCEEDED
