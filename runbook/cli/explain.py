"""`runbook explain`: what a code means, with an example of what is wrong and how it is right."""

import inspect
import textwrap

import click

from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.core.plan import JsonObject
from runbook.errors import ExitStatus, UsageError, error_classes
from runbook.language.diagnostics import did_you_mean
from runbook.language.examples import examples, sides
from runbook.language.findings import FINDINGS
from runbook.report.table import columns

_WIDTH = 80


@click.command("explain", context_settings=HELP)
@click.argument("code", metavar="[CODE]", required=False)
@output_option()
@common_options
@click.pass_obj
def explain(options: Options, /, *, code: str | None) -> ExitStatus:
    """Explain the code of an error or a warning; without CODE, list all.

    \b
    Example:
      runbook explain RB307
    """
    known = [*FINDINGS, *error_classes()]
    wanted = code.upper() if code else None
    if wanted and wanted not in known:
        near = did_you_mean(wanted, known)
        raise UsageError(f"there is no code `{code}`", hint=near or "runbook explain")
    found = [explained(each) for each in ([wanted] if wanted else known)]
    if options.output == "json":
        options.answer_json("explained", {"codes": [*found]})
    elif wanted:
        options.answer(_text(found[0]))
    else:
        rows = [(str(each["code"]), _first_sentence(str(each["meaning"]))) for each in found]
        options.answer(columns(("CODE", "WHAT IT MEANS"), rows))
    return ExitStatus.SUCCEEDED


def explained(code: str) -> JsonObject:
    """What a code means, with its example where there is one."""
    if code in FINDINGS:
        diff = examples().get(code)
        wrong, right = sides(diff) if diff else (None, None)
        return {
            "code": code, "meaning": FINDINGS[code], "exit_status": int(ExitStatus.INVALID),
            "diff": diff, "wrong": wrong, "right": right,
        }  # fmt: skip
    error = error_classes()[code]
    meaning = " ".join((inspect.getdoc(error) or "").split())
    return {
        "code": code, "meaning": meaning, "exit_status": int(error.exit_status),
        "diff": None, "wrong": None, "right": None,
    }  # fmt: skip


def _text(explained: JsonObject) -> str:
    heading = f"{explained['code']}, exit status {explained['exit_status']}"
    parts = [heading, "", textwrap.fill(str(explained["meaning"]), _WIDTH)]
    if explained["diff"]:
        parts += ["", textwrap.indent(str(explained["diff"]), "  ")]
    return "\n".join(parts)


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].partition(": ")[0].rstrip(".")
