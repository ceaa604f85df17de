"""`runbook validate`: check runbooks; nothing is executed."""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from runbook.cli.options import HELP, Options, common_options, output_option
from runbook.errors import ExitStatus, InputError, UsageError
from runbook.language import checking
from runbook.language.diagnostics import Diagnostic, did_you_mean, in_order, render_all, to_json
from runbook.language.environments import FOLDER, environments_beside
from runbook.language.meant import PROJECT_FILE
from runbook.registry import discover

MAX_ANNOTATIONS = 10
"""GitHub shows no more of each severity a step (actions/toolkit#734)."""


@click.command("validate", context_settings=HELP)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("-e", "--env", "environment", metavar="NAME", help="Check in this environment only.")
@click.option("--strict", "is_strict", is_flag=True, help="Count warnings as errors.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github", "sarif"]),
    help="How to show findings; `github`: with annotations; `sarif`: for code scanning.",
)
@output_option()
@common_options
@click.pass_obj
def validate(
    options: Options,
    /,
    *,
    paths: tuple[Path, ...],
    environment: str | None,
    is_strict: bool,
    form: str | None,
) -> ExitStatus:
    """Check runbooks, in each of their environments. Nothing is executed.

    Without PATH every one in ./runbooks. As JSON: `files`, the runbooks that were checked, one or
    several, and `diagnostics`, all that was found; the `file` of each is one of those, or one
    that they name.
    """
    files = find_runbooks(paths, environment)
    registry = discover()
    found = [
        diagnostic
        for path in files
        for diagnostic in checking.validate(path, registry=registry, environment=environment)
    ]
    diagnostics = in_order(found)
    is_invalid = any(each.is_error or is_strict for each in diagnostics)
    status = ExitStatus.INVALID if is_invalid else ExitStatus.SUCCEEDED
    if (form or options.output) == "json":
        content = {
            "files": [str(path) for path in files],
            "is_valid": not is_invalid,
            "exit_status": int(status),
            "diagnostics": to_json(diagnostics),
        }
        options.answer_json("diagnostics", content)
        return status
    if form == "sarif":
        from runbook.language.sarif import sarif

        options.answer(json.dumps(sarif(diagnostics), ensure_ascii=False, indent=2))
        return status
    if diagnostics:
        options.say(_in_color(render_all(diagnostics), options))
    if form == "github" and diagnostics:
        options.answer("\n".join(annotations(diagnostics)))
    if not is_invalid:
        noun = "runbook" if len(files) == 1 else "runbooks"
        options.answer(f"{len(files)} {noun} valid: {', '.join(map(_name, files))}")
    return status


def find_runbooks(paths: Sequence[Path], environment: str | None = None) -> list[Path]:
    """The files that are named, and in folders that are named all that are runbooks.

    A project's file, or an environment's, stands for the runbooks that it is laid over. With an
    environment only those of the folders that have it.
    """
    files: list[Path] = []
    for path in paths or [Path("runbooks")]:
        if path.is_dir():
            inside = _runbooks_in([path])
            files += [f for f in inside if not environment or environment in environments_beside(f)]
        elif (folder := _laid_over(path)) is not None:
            files += [file for file in sorted(folder.glob("*.yaml")) if _is_runbook(file)]
        elif paths:
            files.append(path)
    if not files:
        where = ", ".join(map(str, paths)) or "./runbooks"
        inside = _runbooks_in(paths)
        if environment and inside:
            known = sorted({name for file in inside for name in environments_beside(file)})
            message = f"no runbook in `{where}` has an environment `{environment}`"
            raise InputError(message, hint=did_you_mean(environment, known) or "leave out --env")
        raise UsageError(
            f"there is no runbook in `{where}`",
            hint="runbook validate PATH\nwhere a file begins with `runbook: v1`",
        )
    return list(dict.fromkeys(files))


def _laid_over(path: Path) -> Path | None:
    """The folder whose runbooks a file is laid over; absent: it is taken for a runbook itself."""
    if not path.is_file() or _is_runbook(path):
        return None
    if path.parent.name == FOLDER:
        return path.parent.parent
    return path.parent if path.name == PROJECT_FILE else None


def _runbooks_in(paths: Sequence[Path]) -> list[Path]:
    """All that are runbooks in the folders among these, in order."""
    folders = [path for path in paths or [Path("runbooks")] if path.is_dir()]
    return [f for folder in folders for f in sorted(folder.rglob("*.yaml")) if _is_runbook(f)]


def _is_runbook(file: Path) -> bool:
    """Whether the file says that it is one: others may lie beside it."""
    if not file.is_file():
        return False
    try:
        text = file.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return False
    return re.search(r"(?m)^['\"]?runbook['\"]?\s*:", text) is not None


def _name(path: Path) -> str:
    return os.path.relpath(path)


def _in_color(text: str, options: Options) -> str:
    """The severity of each finding in colour."""
    colors = {"error": "red", "warning": "yellow"}
    return re.sub(
        r"(?m)^(error|warning)\[\w+\]",
        lambda found: options.mark(found[0], colors[found[1]], sys.stderr),
        text,
    )


def annotations(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Findings as GitHub workflow commands, as many of each severity as it shows."""
    lines = []
    for severity in ("error", "warning"):
        found = [each for each in diagnostics if each.severity == severity]
        lines += [_annotation(each) for each in found[:MAX_ANNOTATIONS]]
        if len(found) > MAX_ANNOTATIONS:
            lines.append(
                f"{len(found) - MAX_ANNOTATIONS} more of severity {severity} are not annotated"
            )
    return lines


def _annotation(diagnostic: Diagnostic) -> str:
    hint = f" - {diagnostic.hint}" if diagnostic.hint else ""
    properties = {
        "file": diagnostic.file,
        "line": diagnostic.line,
        "col": diagnostic.column,
        "endLine": diagnostic.end_line,
        "endColumn": diagnostic.end_column,
        "title": f"runbook {diagnostic.code}",
    }
    pairs = ",".join(f"{key}={_property(str(value))}" for key, value in properties.items())
    return f"::{diagnostic.severity} {pairs}::{_message(diagnostic.message + hint)}"


def _message(text: str) -> str:
    """Escaped as GitHub's toolkit does (actions/toolkit, command.ts)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
