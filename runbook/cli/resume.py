"""`runbook resume`: go on with a run after its last completed step."""

from dataclasses import replace

import click

from runbook.app import App, open_app
from runbook.cli.answers import Answers, check_steps_exist, parse_verdicts
from runbook.cli.driving import drive, no_journal
from runbook.cli.inputs import ask_secrets
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.events import Outcome
from runbook.core.plan import Plan
from runbook.engine.ledger import Recorded
from runbook.engine.standing import Standing
from runbook.errors import ConfirmationMissing, ExitStatus, UsageError
from runbook.report.amendment import amendment_lines


@click.command("resume", context_settings=HELP)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option(
    "--answer",
    "verdicts",
    multiple=True,
    metavar="STEP=done|again|failed",
    help="Say what became of a step in doubt, or yes (done) or no (failed) to what it asks.",
)
@click.option("--reason", metavar="TEXT", help="Why; goes with --answer and is recorded.")
@click.option(
    "--amend",
    "is_amending",
    is_flag=True,
    help="Show how its runbook differs now, and follow it from here on.",
)
@click.option(
    "-y", "--yes", "is_confirmed", is_flag=True, help="Answer what --amend and `confirm` steps ask."
)
@output_option("text", "json", "jsonl")
@common_options
@click.pass_obj
def resume(
    options: Options,
    /,
    *,
    run_id: str | None,
    verdicts: tuple[str, ...],
    reason: str | None,
    is_amending: bool,
    is_confirmed: bool,
) -> ExitStatus | None:
    """Go on with a run after its last completed step; without RUN, with the only unfinished one.

    It ends with the exit status that the run would have ended with.

    \b
    Examples:
      runbook resume
      runbook resume deploy-20261123-044003-7f3a --answer migrate=done --reason "it is there"
      runbook resume --amend
    """
    settings = options.settings()
    environ = dict(settings.environ)
    settings = replace(settings, environ=environ)
    answers = Answers(
        user=settings.user,
        is_interactive=settings.is_interactive,
        is_confirmed=is_confirmed,
        verdicts=parse_verdicts(verdicts, reason),
        reason=reason or "",
    )
    with open_app(settings) as app:
        run = app.ledger.resumable(run_id)
        if run is None:
            return _nothing(options, app)
        _refuse_given_up(run)
        check_steps_exist(answers.verdicts, run.plan)
        amended = _amended(options, app, run, answers) if is_amending else None
        if run.standing is not Standing.FINISHED:
            ask_secrets([amended or run.plan, *_undone_plans(app, run)], environ, answers)
        return _resume(options, app, run, answers, amended)


def _amended(options: Options, app: App, run: Recorded, answers: Answers) -> Plan | None:
    """The plan by the files as they are now, once a person has seen it and agrees; None: no other.

    Raises:
        ConfirmationMissing: nobody agreed.
    """
    plan = app.amended(run)
    lines = amendment_lines(run.plan, plan)
    if not lines:
        options.say(f"{run.run_id} follows its runbook as it is: there is nothing to amend")
        return None
    for line in lines:
        options.say(line)
    if answers.agrees("Follow it from here on?"):
        return plan
    raise ConfirmationMissing(
        "nobody agreed to the amended plan, and nothing has run",
        hint=f"runbook resume {run.run_id} --amend --yes",
    )


def _undone_plans(app: App, run: Recorded) -> list[Plan]:
    """The plan of the run that this one undoes, whose finally steps are this one's last."""
    return [app.ledger.recorded(run.state.undone.run_id).plan] if run.state.undone else []


def _resume(
    options: Options, app: App, run: Recorded, answers: Answers, amended: Plan | None
) -> ExitStatus | None:
    status = drive(
        options,
        app,
        answers,
        lambda watcher: app.resume(
            run, is_confirmed=answers.is_confirmed, watcher=watcher, amended=amended
        ),
        run=run,
    )
    for step in answers.verdicts:
        options.say(f"nobody asked about `{step}`: that answer was not needed")
    return status


def _nothing(options: Options, app: App) -> ExitStatus:
    if options.output == "text":
        options.answer(f"nothing to resume: no run is unfinished{no_journal(app)}")
    else:
        options.answer_json("run", {"run": None})
    return ExitStatus.SUCCEEDED


def _refuse_given_up(run: Recorded) -> None:
    """A run that was given up is never taken up again."""
    if run.state.outcome is Outcome.ABORTED:
        raise UsageError(
            f"run `{run.run_id}` was aborted, and does not go on", hint="runbook status"
        )
    if run.state.outcome is Outcome.SUPERSEDED:
        raise UsageError(
            f"run `{run.run_id}` was superseded by `{run.state.successor}`, and does not go on",
            hint="runbook status",
        )
