"""`runbook diff`: what differs between two environments, once each is laid over the runbooks."""

from pathlib import Path

import click

from runbook.cli.config import read_values, shown
from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.cli.validate import find_runbooks
from runbook.core.plan import Json, JsonObject
from runbook.errors import ExitStatus
from runbook.language.effective import EffectiveValue
from runbook.report.table import columns


@click.command("diff", context_settings=HELP)
@click.argument("first", metavar="ENV")
@click.argument("second", metavar="ENV")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@output_option()
@common_options
@click.pass_obj
def diff(options: Options, /, *, first: str, second: str, paths: tuple[Path, ...]) -> ExitStatus:
    """Show what differs between two environments; nothing is executed.

    \b
    Examples:
      runbook diff staging prod
    """
    found = {
        str(path): differences(options, path, first, second) for path in find_runbooks(paths, first)
    }
    if options.output == "json":
        options.answer_json("diff", {"environments": [first, second], "runbooks": found})
        return ExitStatus.SUCCEEDED
    for path, rows in found.items():
        if rows:
            lines = [(key, *map(shown, pair.values())) for key, pair in rows.items()]
            options.answer(f"{path}\n{columns(('KEY', first, second), lines)}\n")
    if not any(found.values()):
        options.answer(f"`{first}` and `{second}` come to the same")
    return ExitStatus.SUCCEEDED


def differences(options: Options, path: Path, first: str, second: str) -> dict[str, JsonObject]:
    """By key what a runbook has in either environment, where that is not the same."""
    one, other = (
        {each.key: each for each in read_values(options, path, environment)}
        for environment in (first, second)
    )
    return {
        key: {first: _shown(one.get(key)), second: _shown(other.get(key))}
        for key in {**one, **other}
        if key not in one or key not in other or one[key].value != other[key].value
    }


def _shown(found: EffectiveValue | None) -> Json:
    return found.shown if found else None
