"""`runbook run`: compile a runbook and drive it to its end."""

from dataclasses import replace
from pathlib import Path

import click

from runbook.app import open_app
from runbook.cli.answers import Answers
from runbook.cli.driving import drive
from runbook.cli.inputs import ask_secrets, parse_assignments, questions
from runbook.cli.options import HELP, Options, common_options, output_option, planning_options
from runbook.engine.watcher import Ending, Watcher
from runbook.errors import ExitStatus
from runbook.language.compile import compile_runbook
from runbook.language.inputs import read_inputs


@click.command("run", context_settings=HELP)
@click.argument("path", type=click.Path(path_type=Path))
@planning_options
@click.option(
    "-y",
    "--yes",
    "is_confirmed",
    is_flag=True,
    help="Answer what is asked: by `confirm` steps, by a protected environment.",
)
@output_option("text", "json", "jsonl")
@common_options
@click.pass_obj
def run(
    options: Options,
    /,
    *,
    path: Path,
    environment: str | None,
    assignments: tuple[str, ...],
    vars_files: tuple[Path, ...],
    is_confirmed: bool,
) -> ExitStatus | None:
    """Run a runbook.

    \b
    Examples:
      runbook run runbooks/deploy.yaml --set revision=v2
      runbook run runbooks/deploy.yaml --env prod --yes
    """
    given = parse_assignments(assignments)
    settings = options.settings()
    environ = dict(settings.environ)
    settings = replace(settings, environ=environ)
    answers = Answers(
        user=settings.user, is_interactive=settings.is_interactive, is_confirmed=is_confirmed
    )
    with open_app(settings, is_first_use=True) as app:

        def act(watcher: Watcher) -> Ending:
            plan = compile_runbook(
                path,
                registry=app.registry,
                read=lambda declared: read_inputs(
                    declared, questions(given, environ, answers).ask(declared), environ
                ),
                environment=environment,
                vars_files=vars_files,
            )
            ask_secrets([plan], environ, answers)
            answers.confirm_environment(plan)
            return app.run(plan, is_confirmed=is_confirmed, watcher=watcher)

        return drive(options, app, answers, act)
