"""`runbook graph`: a runbook and its way back, drawn."""

from pathlib import Path

import click

from runbook.cli.options import HELP, Options, common_options
from runbook.errors import ExitStatus
from runbook.language.checking import read_valid
from runbook.language.compile import undone_ids
from runbook.language.document import Bundle, Document, Step
from runbook.language.effects import after_step, effect_of
from runbook.registry import discover
from runbook.report.graph import Box, Chart, mermaid, svg


@click.command("graph", context_settings=HELP)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("-e", "--env", "environment", metavar="NAME", help="The environment.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["mermaid", "svg"]),
    default="mermaid",
    help="For a page that draws Mermaid, such as GitHub's; or a picture.",
)
@common_options
@click.pass_obj
def graph(options: Options, /, *, path: Path, environment: str | None, form: str) -> ExitStatus:
    """Draw a runbook with the rollback that it starts; nothing is executed.

    \b
    Example:
      runbook graph runbooks/deploy.yaml --format svg > deploy.svg
    """
    bundle = read_valid(path, registry=discover(), environment=environment, vars_files=())
    chart = chart_of(bundle)
    options.answer(svg(chart) if form == "svg" else mermaid(chart))
    return ExitStatus.SUCCEEDED


def chart_of(bundle: Bundle) -> Chart:
    """What is drawn of a runbook without errors."""
    after = after_step(bundle.main) if bundle.rollback else None
    return Chart(
        name=bundle.main.name,
        boxes=_boxes(bundle.main, bundle.undone),
        rollback=Chart(name=bundle.rollback.name, boxes=_boxes(bundle.rollback, bundle.main))
        if bundle.rollback
        else None,
        after=after.id if after else None,
    )


def _boxes(document: Document, undone: Document | None) -> tuple[Box, ...]:
    return tuple(
        Box(
            id=step.id,
            kind=step.kind_name,
            effect=str(effect_of(step)),
            needs=tuple(need.id for need in step.needs or _ends_before(step, document)),
            undoes=tuple(undone_ids(step, undone)),
            when=step.when and " ".join(step.when.split()),
            is_finally=step.is_finally,
        )
        for step in document.steps
    )


def _ends_before(step: Step, document: Document) -> list[Step]:
    """The steps that are the last before the first finally step: it needs none of them to run."""
    if not step.is_finally:
        return []
    main = [each for each in document.steps if not each.is_finally]
    needed = {need.id for each in main for need in each.needs}
    return [each for each in main if each.id not in needed]
