"""`runbook reject`: say no to what a run of somebody else waits for."""

import click

from runbook.cli.approving import answer_request
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.events import ApprovalRefused
from runbook.errors import ExitStatus


@click.command("reject", context_settings=HELP)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--step", metavar="STEP", help="The step that asks, where several do.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is recorded.")
@output_option("text", "json", "jsonl")
@common_options
@click.pass_obj
def reject(
    options: Options, /, *, run_id: str | None, step: str | None, reason: str
) -> ExitStatus | None:
    """Reject what a run waits for; without RUN, the only one that waits.

    The step that asks fails, and the run ends as after any failure: what it has changed by then
    is rolled back, if its runbook says so.

    \b
    Example:
      runbook reject --reason "not before the weekend"
    """
    return answer_request(options, run_id, step, reason, ApprovalRefused)
