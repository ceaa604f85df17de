"""`runbook status`: what is unfinished and what to type; who holds a lock; how it stands else."""

from dataclasses import asdict
from shlex import quote

import click

from runbook.app import App, open_app
from runbook.cli.driving import no_journal, recording_of, rollback_of, terminal_width, undone_of
from runbook.cli.history import recent_views
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.plan import JsonObject
from runbook.engine.ledger import Recorded
from runbook.engine.lock import Owner, read_owner
from runbook.errors import ExitStatus
from runbook.report.commands import headline, way_on
from runbook.report.document import run_document, run_row
from runbook.report.ending import End
from runbook.report.text import end_text, steps_text
from runbook.report.view import RunView, view_run

_OPEN = (End.PARKED, End.INTERRUPTED, End.UNFINISHED)


@click.command("status", context_settings=HELP)
@click.argument("run_id", metavar="[RUN]", required=False)
@output_option()
@common_options
@click.pass_obj
def status(options: Options, /, *, run_id: str | None) -> ExitStatus:
    """Show what is unfinished and what to type; with RUN, all that is known of that run."""
    with open_app(options.settings(), is_read_only=True) as app:
        if run_id is not None:
            _show_run(options, app, app.ledger.find(run_id))
        else:
            _show_all(options, app)
    return ExitStatus.SUCCEEDED


def _view(app: App, run: Recorded) -> RunView:
    return view_run(recording_of(run), undone=undone_of(app, run), rollback=rollback_of(app, run))


def _show_run(options: Options, app: App, run: Recorded) -> None:
    view = _view(app, run)
    owner = _living_owner(app, view)
    if options.output == "json":
        document = run_document(view, invocation=options.invocation())
        options.answer_json("run", {**document, "driven_by": asdict(owner) if owner else None})
        return
    lines = [steps_text(view)]
    if owner:
        lines += [f"driven by {owner}", *_ways_to_reach(app, owner)]
    else:
        log_dir = str(app.settings.state_dir / "runs" / view.id)
        width = terminal_width(options)
        lines.append(end_text(view, invocation=options.invocation(), log_dir=log_dir, width=width))
    options.answer("\n".join(lines))


def _show_all(options: Options, app: App) -> None:
    unfinished = [_view(app, run) for run in app.ledger.unfinished()]
    unfinished.sort(key=lambda view: view.end not in _OPEN)
    finished = next((view for view in recent_views(app, 20, options) if _is_finished(view)), None)
    if options.output == "json":
        options.answer_json("status", _document(options, app, unfinished, finished))
        return
    blocks = [_unfinished_text(options, app, view) for view in unfinished]
    if not unfinished:
        blocks.append(f"no run is unfinished{no_journal(app)}")
    if finished:
        blocks.append(f"last     {finished.id}  {finished.end}  {finished.by}, {_when(finished)}")
    blocks.append(f"state    {app.settings.state_dir}")
    options.answer("\n".join(blocks))


def _is_finished(view: RunView) -> bool:
    return view.end in (End.SUCCEEDED, End.ROLLED_BACK, End.ABORTED)


def _unfinished_text(options: Options, app: App, view: RunView) -> str:
    owner = read_owner(app.settings.state_dir, view.lock)
    lines = [f"{headline(view)}  {view.id}  {view.by}, {_when(view)}"]
    if owner and owner.is_alive and owner.run_id == view.id:
        lines[0] = f"running  {view.id}  {view.by}, {_when(view)}"
        lines.append(f"  held by  {owner}")
        return "\n".join([*lines, *_ways_to_reach(app, owner)])
    at = view.failed.id if view.failed else next((w.step for w in view.waiting), "")
    lines[0] += f"  at `{at}`" if at else ""
    lines.append(f"  state    {'; '.join(view.world)}")
    if owner and owner.run_id == view.id:
        lines.append(f"  lock     {view.lock}, last held by {owner}")
    way = way_on(view, options.invocation())
    lines += [f"  or       {other}" for other in way.others]
    if way.main:
        lines.append(f"  go on    {way.main}")
    return "\n".join(lines)


def _living_owner(app: App, view: RunView) -> Owner | None:
    owner = read_owner(app.settings.state_dir, view.lock)
    return owner if owner and owner.is_alive and owner.run_id == view.id else None


def _ways_to_reach(app: App, owner: Owner) -> list[str]:
    """What can be typed in another terminal while a run is driven."""
    log_dir = quote(str(app.settings.state_dir / "runs" / owner.run_id))
    return [f"  follow   tail -f {log_dir}/*.log", f"  stop     kill -INT {owner.pid}"]


def _when(view: RunView) -> str:
    return f"{view.at.astimezone():%d %b %H:%M}"


def _document(
    options: Options, app: App, unfinished: list[RunView], finished: RunView | None
) -> JsonObject:
    rows: list[JsonObject] = []
    for view in unfinished:
        owner = _living_owner(app, view)
        way = way_on(view, options.invocation())
        rows.append(
            {
                **run_row(view),
                "system": list(view.world),
                "driven_by": asdict(owner) if owner else None,
                "commands": {"go_on": way.main, "others": list(way.others)},
            }
        )
    return {
        "unfinished": list(rows),
        "last_finished": run_row(finished) if finished else None,
        "state_dir": str(app.settings.state_dir),
        "has_journal": app.settings.journal.exists(),
    }
