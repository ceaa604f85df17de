"""`runbook config`: what a runbook comes to in an environment, and where each value stands."""

import json
from pathlib import Path

import click

from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.cli.validate import find_runbooks
from runbook.core.plan import Json
from runbook.errors import ExitStatus
from runbook.language.checking import read_valid
from runbook.language.effective import EffectiveValue, effective_values
from runbook.registry import discover
from runbook.report.table import columns


@click.command("config", context_settings=HELP)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-e", "--env", "environment", metavar="NAME", help="The environment.")
@click.option(
    "--vars-file",
    "vars_files",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML with `inputs` and `vars`, as `run` takes it. Repeatable.",
)
@click.option("--origin", "has_origin", is_flag=True, help="Show where each value was written.")
@output_option()
@common_options
@click.pass_obj
def config(
    options: Options,
    /,
    *,
    paths: tuple[Path, ...],
    environment: str | None,
    vars_files: tuple[Path, ...],
    has_origin: bool,
) -> ExitStatus:
    """Show every value that stands once an environment is laid over runbooks; nothing is executed.

    \b
    Examples:
      runbook config --env prod --origin
      runbook config runbooks/deploy.yaml --env staging
    """
    found = {
        path: read_values(options, path, environment, vars_files)
        for path in find_runbooks(paths, environment)
    }
    if options.output == "json":
        runbooks = [
            {
                "file": str(path),
                "values": [
                    {"key": each.key, "value": each.shown, "origin": each.origin} for each in values
                ],
            }
            for path, values in found.items()
        ]
        content = {"environment": environment, "runbooks": runbooks}
        options.answer_json("config", content)
        return ExitStatus.SUCCEEDED
    # The value last, where it is not padded: it may be long.
    header = ("KEY", *["ORIGIN"] * has_origin, "VALUE")
    for path, values in found.items():
        rows = [(each.key, *[each.origin] * has_origin, shown(each.shown)) for each in values]
        options.answer(f"{path}\n{columns(header, rows)}\n")
    return ExitStatus.SUCCEEDED


def read_values(
    options: Options, path: Path, environment: str | None, vars_files: tuple[Path, ...] = ()
) -> list[EffectiveValue]:
    """What a runbook comes to in an environment; raises InvalidRunbook and InputError."""
    bundle = read_valid(path, registry=discover(), environment=environment, vars_files=vars_files)
    return list(effective_values(bundle, options.environ))


def shown(value: Json) -> str:
    """A value on one line."""
    if value is None:
        return "-"
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)
