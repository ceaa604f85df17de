"""`runbook secrets check`: whether every secret can be had, without showing any."""

from pathlib import Path

import click

from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.cli.validate import find_runbooks
from runbook.core.plan import SENSITIVE_INPUT, JsonObject, PlannedSecret
from runbook.errors import ExitStatus, SecretMissing
from runbook.language.checking import read_valid
from runbook.language.compile import planned_secrets
from runbook.registry import discover
from runbook.report.table import columns
from runbook.tools.secret_sources import fetch_secret


@click.group("secrets", context_settings=HELP)
def secrets() -> None:
    """Secrets: whether they can be had."""


@secrets.command("check", context_settings=HELP)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-e", "--env", "environment", metavar="NAME", help="The environment.")
@output_option()
@common_options
@click.pass_obj
def check(options: Options, /, *, paths: tuple[Path, ...], environment: str | None) -> ExitStatus:
    """Fetch every secret of runbooks and their rollbacks; no value is ever shown.

    \b
    Example:
      runbook secrets check --env prod
    """
    found: dict[str, PlannedSecret] = {}
    for path in find_runbooks(paths, environment):
        bundle = read_valid(path, registry=discover(), environment=environment, vars_files=())
        found |= planned_secrets(bundle)
    rows = [_checked(name, source, options) for name, source in sorted(found.items())]
    if options.output == "json":
        options.answer_json("secrets", {"environment": environment, "secrets": [*rows]})
    elif rows:
        header = ("SECRET", "FROM", "STATE")
        texts = [(str(row["name"]), str(row["from"]), _state(row)) for row in rows]
        options.answer(columns(header, texts))
    else:
        options.answer("no runbook here uses a secret")
    is_complete = all(row["error"] is None for row in rows)
    return ExitStatus.SUCCEEDED if is_complete else ExitStatus.INVALID


def _checked(name: str, source: PlannedSecret, options: Options) -> JsonObject:
    label = name.removeprefix(SENSITIVE_INPUT)
    where = source.argv[0] if source.argv else source.reference
    row: JsonObject = {"name": label, "from": f"{source.provider} {where}", "is_there": True}
    try:
        is_there = fetch_secret(label, source, options.environ) is not None
    except SecretMissing as error:
        return {**row, "is_there": False, "error": error.message, "hint": error.hint}
    return {**row, "is_there": is_there, "error": None, "hint": None}


def _state(row: JsonObject) -> str:
    if row["error"] is not None:
        return f"MISSING: {str(row['error']).partition(': ')[2]}; {row['hint']}"
    return "ok" if row["is_there"] else "absent, not required"
