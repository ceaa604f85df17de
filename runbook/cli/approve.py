"""`runbook approve`: say yes to what a run of somebody else waits for, and go on with it."""

import click

from runbook.cli.approving import answer_request
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.events import ApprovalGiven
from runbook.errors import ExitStatus


@click.command("approve", context_settings=HELP)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--step", metavar="STEP", help="The step that asks, where several do.")
@click.option("--note", metavar="TEXT", default="", help="A word to it; it is recorded.")
@output_option("text", "json", "jsonl")
@common_options
@click.pass_obj
def approve(
    options: Options, /, *, run_id: str | None, step: str | None, note: str
) -> ExitStatus | None:
    """Approve what a run waits for; without RUN, the only one that waits.

    Your account and the time are recorded, and the run goes on from here: it ends with the exit
    status that it would have ended with. If it cannot go on here, for want of a secret perhaps,
    the approval stands, and `runbook resume` goes on.

    \b
    Examples:
      runbook approve
      runbook approve deploy-20261123-044003-7f3a --note "looked at the release notes"
    """
    return answer_request(options, run_id, step, note, ApprovalGiven)
