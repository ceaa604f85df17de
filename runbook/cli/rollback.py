"""`runbook rollback`: undo a run by the rollback that it pinned."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from runbook.app import open_app
from runbook.cli.answers import Answers
from runbook.cli.driving import drive
from runbook.cli.inputs import ask_secrets, parse_assignments, questions
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.plan import JsonObject
from runbook.engine.ledger import Recorded
from runbook.errors import ExitStatus, InputError
from runbook.language.inputs import read_inputs


@click.command("rollback", context_settings=HELP)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Give an input of the rollback. Repeatable.",
)
@click.option("-y", "--yes", "is_confirmed", is_flag=True, help="Answer what `confirm` steps ask.")
@output_option("text", "json", "jsonl")
@common_options
@click.pass_obj
def rollback(
    options: Options,
    /,
    *,
    run_id: str | None,
    assignments: tuple[str, ...],
    is_confirmed: bool,
) -> ExitStatus | None:
    """Undo a run; without RUN, the newest one that changed something and pins a rollback.

    \b
    Examples:
      runbook rollback
      runbook rollback --set data=keep --yes
    """
    given = parse_assignments(assignments)
    settings = options.settings()
    environ = dict(settings.environ)
    settings = replace(settings, environ=environ)
    answers = Answers(
        user=settings.user, is_interactive=settings.is_interactive, is_confirmed=is_confirmed
    )

    with open_app(settings) as app:
        run = app.ledger.undoable(run_id)

        def ask_inputs(declarations: JsonObject, tell: Callable[[], Sequence[str]]) -> JsonObject:
            known = questions(given, environ, answers).ask(declarations, tell)
            try:
                return read_inputs(declarations, known, environ)
            except InputError as error:
                if not answers.can_answer and _asks(run):
                    error.hint = "\n".join(filter(None, [error.hint, "add --yes: it asks first"]))
                raise

        if not app.ledger.is_undone(run):
            ask_secrets([run.plan], environ, answers)
        status = drive(
            options,
            app,
            answers,
            lambda watcher: app.rollback(
                run, ask_inputs=ask_inputs, is_confirmed=is_confirmed, watcher=watcher
            ),
            run=app.ledger.newest_of(run),
        )
        return _undone_already(options, run) if status is None else status


def _asks(run: Recorded) -> bool:
    way_back = run.plan.on_failure
    return way_back is not None and any(step.kind == "confirm" for step in way_back.plan.steps)


def _undone_already(options: Options, run: Recorded) -> ExitStatus:
    if options.output == "text":
        further = f"further back: {options.invocation()} history, then rollback RUN"
        options.answer(f"nothing to do: {run.run_id} is undone already\n{further}")
    else:
        options.answer_json("run", {"run": None, "undone": run.run_id})
    return ExitStatus.SUCCEEDED
