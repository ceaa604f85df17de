"""`runbook rollback`: undo a run by the rollback that it pinned."""

from collections.abc import Callable, Mapping, Sequence

import click

from runbook.app import open_app
from runbook.cli.answers import Answers
from runbook.cli.driving import drive, parse_assignments
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.plan import JsonObject
from runbook.engine.ledger import Recorded
from runbook.errors import ExitStatus, InputError
from runbook.language.inputs import parse_text, read_inputs


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
    answers = Answers(
        user=settings.user, is_interactive=settings.is_interactive, is_confirmed=is_confirmed
    )

    def ask_inputs(declarations: JsonObject, tell: Callable[[], Sequence[str]]) -> JsonObject:
        known = dict(given)
        if settings.is_interactive:
            known |= ask_for_missing(declarations, given, settings.environ, answers.read, tell)
        return read_inputs(declarations, known, settings.environ)

    with open_app(settings) as app:
        run = app.ledger.undoable(run_id)
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


def _undone_already(options: Options, run: Recorded) -> ExitStatus:
    if options.output == "text":
        options.answer(f"nothing to do: {run.run_id} is undone already")
    else:
        options.answer_json("run", {"run": None, "undone": run.run_id})
    return ExitStatus.SUCCEEDED


def ask_for_missing(
    declarations: JsonObject,
    given: Mapping[str, str],
    environ: Mapping[str, str],
    read: Callable[[str], str | None],
    tell: Callable[[], Sequence[str]],
) -> dict[str, str]:
    """Ask a person for the inputs that have no value yet; raises InputError if they go away.

    What `tell` says comes before the first question.
    """
    asked: dict[str, str] = {}
    for name, declaration in declarations.items():
        if not isinstance(declaration, dict) or not _is_missing(name, declaration, given, environ):
            continue
        told = "" if asked else "".join(f"\n{line}" for line in tell())
        prompt = f"{told}{_explain(name, declaration)}{name}: "
        while name not in asked:
            typed = read(prompt)
            if typed is None:
                raise InputError(f"input `{name}` is missing", hint=f"add --set {name}=VALUE")
            try:
                parse_text(declaration, typed)
            except ValueError as error:
                prompt = f"{error}\n{name}: "
            else:
                asked[name] = typed
    return asked


def _is_missing(
    name: str, declaration: JsonObject, given: Mapping[str, str], environ: Mapping[str, str]
) -> bool:
    variable = declaration.get("env")
    is_given = name in given or (isinstance(variable, str) and bool(environ.get(variable)))
    has_value = is_given or "default" in declaration or declaration.get("sensitive")
    return not has_value and declaration.get("required", True) is not False


def _explain(name: str, declaration: JsonObject) -> str:
    """What a person must know to answer: the help, and what may be chosen."""
    choices = declaration.get("choices")
    words = f" ({', '.join(map(str, choices))})" if isinstance(choices, list) else ""
    text = declaration.get("help")
    return f"\n{text or name}{words}\n"
