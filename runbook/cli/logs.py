"""`runbook logs`: print the step logs of a run, in order of the plan."""

from pathlib import Path

import click

from runbook.app import open_app
from runbook.cli.answers import check_steps_exist
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.events import Verdict
from runbook.errors import ExitStatus


@click.command("logs", context_settings=HELP)
@click.argument("run_id", metavar="RUN")
@click.argument("step", metavar="[STEP]", required=False)
@output_option()
@common_options
@click.pass_obj
def logs(options: Options, /, *, run_id: str, step: str | None) -> ExitStatus:
    """Print the step logs of a run; with STEP, of that step alone."""
    settings = options.settings()
    with open_app(settings, is_read_only=True) as app:
        run = app.ledger.find(run_id)
    if step is not None:
        check_steps_exist({step: Verdict.DONE}, run.plan)
    wanted = [planned.id for planned in run.plan.steps if step in (None, planned.id)]
    folder = settings.state_dir / "runs" / run.run_id
    logs = {name: _read(folder / f"{name}.log") for name in wanted}
    if options.output == "json":
        found = [{"step": name, "lines": text.splitlines()} for name, text in logs.items() if text]
        options.answer_json("logs", {"run": run.run_id, "steps": found})
    elif step is not None:
        options.answer(logs[step] or f"`{step}` has logged nothing")
    else:
        blocks = [f"--- {name}\n{text}" for name, text in logs.items() if text]
        options.answer("\n".join(blocks) or f"{run.run_id} has logged nothing")
    return ExitStatus.SUCCEEDED


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""
