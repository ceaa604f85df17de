"""`runbook history`: list runs, newest first."""

import click

from runbook.app import App, open_app
from runbook.cli.driving import no_journal, recording_of, rollback_of
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.journal import RunFilter
from runbook.errors import ExitStatus, JournalUnreadable
from runbook.report.document import run_row
from runbook.report.table import columns
from runbook.report.view import RunView, view_run
from runbook.units import format_duration


@click.command("history", context_settings=HELP)
@click.option(
    "-n", "--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many."
)
@output_option()
@common_options
@click.pass_obj
def history(options: Options, /, *, limit: int) -> ExitStatus:
    """List runs, newest first."""
    with open_app(options.settings(), is_read_only=True) as app:
        views = recent_views(app, limit, options)
        nothing = f"no run yet{no_journal(app)}"
    if options.output == "json":
        options.answer_json("history", {"runs": [run_row(view) for view in views]})
    elif not views:
        options.answer(nothing)
    else:
        options.answer(columns(_HEADER, [_row(view) for view in views]))
    return ExitStatus.SUCCEEDED


_HEADER = ("RUN", "RUNBOOK", "END", "STARTED", "TOOK", "BY")


def recent_views(app: App, limit: int, options: Options) -> list[RunView]:
    """The newest runs; of one that is damaged only that."""
    views = []
    for summary in app.ledger.runs(RunFilter(limit=limit)):
        try:
            run = app.ledger.recorded(summary.run_id)
            views.append(view_run(recording_of(run), rollback=rollback_of(app, run)))
        except JournalUnreadable as error:
            options.say(f"left out: {summary.run_id}: {error.message}")
    return views


def _row(view: RunView) -> tuple[str, ...]:
    started = f"{view.started_at.astimezone():%d %b %Y %H:%M}"
    took = format_duration(view.took_s)
    where = f" -> {view.environment}" if view.environment else ""
    return (view.id, view.runbook + where, str(view.end), started, took, view.by)
