"""What `approve` and `reject` have in common: the answer is recorded, then the run goes on."""

from datetime import UTC, datetime

from runbook.app import App, open_app
from runbook.cli.answers import Answers
from runbook.cli.driving import drive
from runbook.cli.options import Options
from runbook.core.events import ApprovalGiven, ApprovalRefused
from runbook.engine.approvals import asking_steps
from runbook.engine.ledger import Recorded
from runbook.errors import ApprovalInvalid, ExitStatus, SecretMissing, UsageError


def answer_request(
    options: Options,
    run_id: str | None,
    step: str | None,
    note: str,
    answer: type[ApprovalGiven | ApprovalRefused],
) -> ExitStatus | None:
    """Record what the person who typed this says to a run's request, and go on with the run.

    Raises:
        ApprovalInvalid: it does not count, and is not recorded.
    """
    settings = options.settings()
    answers = Answers(user=settings.user, is_interactive=settings.is_interactive)
    with open_app(settings) as app:
        run = _waiting_run(app, run_id)
        said = answer(at=datetime.now(UTC), step=_asked(run, step), by=settings.user, note=note)
        app.say(run, said)
        word = "approved" if answer is ApprovalGiven else "rejected"
        options.say(f"{word} by {settings.user}: {run.run_id}, step `{said.step}`")
        try:
            return drive(
                options,
                app,
                answers,
                lambda watcher: app.resume(run, is_confirmed=False, watcher=watcher),
                run=run,
            )
        except SecretMissing as error:
            # The answer stands: the same command would be refused, and somebody else may go on.
            hint = (error.hint or "").rpartition("\n")[0]
            raise SecretMissing(
                f"{word}, but the run cannot go on here: {error.message}",
                hint=f"{hint}\nrunbook resume {run.run_id}",
            ) from error


def _waiting_run(app: App, run_id: str | None) -> Recorded:
    """The run that is meant: the named one, or the only one that waits for an approval."""
    if run_id is not None:
        return app.ledger.newest_of(app.ledger.find(run_id))
    found = [run for run in app.ledger.unfinished() if asking_steps(run)]
    if not found:
        raise ApprovalInvalid("no run waits for an approval", hint="runbook status")
    if len(found) > 1:
        names = ", ".join(run.run_id for run in found)
        raise UsageError(
            f"several runs wait for an approval: {names}", hint=f"runbook status {found[0].run_id}"
        )
    return found[0]


def _asked(run: Recorded, step: str | None) -> str:
    """The step that is meant: the named one, or the only one that asks."""
    asking = asking_steps(run)
    if not asking:
        why = f"run `{run.run_id}` waits for no approval"
        if run.state.successor:
            why = f"run `{run.run_id}` was superseded by `{run.state.successor}`: nothing is asked"
        raise ApprovalInvalid(why, hint=f"runbook status {run.state.successor or run.run_id}")
    names = ", ".join(f"`{name}`" for name in asking)
    if step is None and len(asking) > 1:
        raise UsageError(
            f"several steps of run `{run.run_id}` wait for an approval: {names}",
            hint=f"add --step {asking[0]}",
        )
    if step is not None and step not in asking:
        raise UsageError(f"step `{step}` waits for no approval", hint=f"these do: {names}")
    return step or asking[0]
