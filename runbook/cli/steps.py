"""`runbook steps`: explain the step kinds, from their own types."""

import click

from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.errors import ExitStatus, UsageError
from runbook.registry import discover
from runbook.report.reference import KindReference, kind_document, kind_text, refer_to
from runbook.report.table import columns


@click.command("steps", context_settings=HELP)
@click.argument("kind", metavar="[KIND]", required=False)
@output_option()
@common_options
@click.pass_obj
def steps(options: Options, /, *, kind: str | None) -> ExitStatus:
    """List the step kinds; with KIND, its parameters, outputs and an example."""
    registry = discover()
    if kind is not None and kind not in registry.names:
        raise UsageError(f"there is no step kind `{kind}`", hint=_similar(kind, registry.names))
    names = registry.names if kind is None else (kind,)
    references = [refer_to(name, registry.find(name)) for name in names]
    if options.output == "json":
        options.answer_json("steps", {"steps": [kind_document(each) for each in references]})
    elif kind is None:
        options.answer(columns(("KIND", "EFFECT", "WHAT IT DOES"), list(map(_row, references))))
    else:
        options.answer(kind_text(references[0]))
    return ExitStatus.SUCCEEDED


def _row(reference: KindReference) -> tuple[str, str, str]:
    return (reference.name, reference.effect, reference.summary)


def _similar(kind: str, names: tuple[str, ...]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(kind, names, n=1)
    return f"did you mean `{close[0]}`?" if close else "runbook steps"
