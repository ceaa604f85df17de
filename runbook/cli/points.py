"""`runbook points`: what there is to go back to, and what restores have replaced."""

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from runbook.app import App, open_app
from runbook.cli.driving import no_journal
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.journal import RunFilter
from runbook.core.plan import JsonObject
from runbook.errors import ExitStatus, JournalUnreadable
from runbook.report.table import columns
from runbook.restore.listing import Listed, replaced, restore_points
from runbook.units import format_duration, format_size


@click.command("points", context_settings=HELP)
@output_option()
@common_options
@click.pass_obj
def points(options: Options) -> ExitStatus:
    """List restore points, newest first, and what restores have replaced, which nothing deletes.

    \b
    Example:
      runbook run runbooks/rollback.yaml --set point=POINT --set data=restore
    """
    with open_app(options.settings(), is_read_only=True) as app:
        found = [_row(each) for each in restore_points(app.settings.state_dir)]
        kept = [*_replaced(app)]
        nothing = f"no restore point yet{no_journal(app)}"
    if options.output == "json":
        options.answer_json("points", {"points": [*found], "replaced": [*kept]})
        return ExitStatus.SUCCEEDED
    blocks = [columns(_HEADER, [_cells(row) for row in found]) if found else nothing]
    if kept:
        rows = [(_size(row["size_bytes"]), str(row["place"])) for row in kept]
        blocks.append(f"replaced by restores, and yours to delete:\n{columns(_KEPT, rows)}")
    options.answer("\n\n".join(blocks))
    return ExitStatus.SUCCEEDED


_HEADER = ("POINT", "PROJECT", "AGE", "SIZE", "COMMIT", "VERIFIED", "RUN")
_KEPT = ("SIZE", "PLACE")


def _row(point: Listed) -> JsonObject:
    manifest, age_s = point.manifest, point.age_s(datetime.now(UTC))
    return {
        "id": point.id,
        "project": manifest.project if manifest else None,
        "created_at": manifest.created_at if manifest else None,
        "age_s": None if age_s is None else int(age_s),
        "size_bytes": point.size_bytes,
        "commit": point.commit,
        "verified": manifest.verify if manifest else None,
        "run": manifest.run_id if manifest else None,
        "is_damaged": manifest is None,
    }


def _cells(row: JsonObject) -> tuple[str, ...]:
    age_s = row["age_s"]
    return (
        str(row["id"]),
        str(row["project"] or "-"),
        _age(age_s) if isinstance(age_s, int) else "-",
        _size(row["size_bytes"]),
        str(row["commit"] or "-")[:10],
        str(row["verified"] or "DAMAGED"),
        str(row["run"] or "-"),
    )


def _age(seconds: int) -> str:
    days = seconds // 86_400
    return f"{days}d" if days > 1 else format_duration(seconds)


def _size(size_bytes: object) -> str:
    return format_size(size_bytes) if isinstance(size_bytes, int) else "-"


def _replaced(app: App) -> Iterator[JsonObject]:
    """Files by what lies there; databases by what runs tell: on their servers nobody looks."""
    for place, size_bytes in replaced(app.settings.state_dir):
        yield {"place": str(place), "size_bytes": size_bytes}
    for summary in app.ledger.runs(RunFilter()):
        try:
            run = app.ledger.recorded(summary.run_id)
        except JournalUnreadable:  # `history` tells of it
            continue
        for step in run.plan.steps:
            kept = run.state.steps[step.id].outputs.get("replaced")
            if isinstance(kept, str) and not kept.startswith("/"):
                yield {"place": f"{kept}, if nobody dropped it", "size_bytes": None}
