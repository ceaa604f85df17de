"""The reference pages, made from the code: kinds, inputs, commands, errors, states."""

import inspect
from dataclasses import replace
from json import dumps
from pathlib import Path
from typing import Any

import click

from runbook.cli.graph import chart_of
from runbook.cli.main import COMMANDS, program
from runbook.core.machine import RUN_TRANSITIONS, STEP_TRANSITIONS
from runbook.core.plan import JsonObject
from runbook.errors import error_classes
from runbook.language.checking import read_valid
from runbook.language.examples import examples
from runbook.language.findings import FINDINGS
from runbook.language.inputs import INPUT_TYPES, misfit, parse_text
from runbook.language.schema import schema_for
from runbook.registry import discover
from runbook.report.graph import svg
from runbook.report.reference import FieldReference, KindReference, fields_of, refer_to

NOTE = "<!-- Generated from the code by `make generate`. -->\n"


_WRITTEN = {
    "string": ("v1.2.0", "two words"),
    "integer": ("3", "-1"),
    "number": ("0.5", "1e3"),
    "fraction": ("10%", "0.10"),
    "boolean": ("yes", "true", "1", "no", "false", "0"),
    "duration": ("90s", "10m", "1h30m", "500ms", "90"),
    "bytes": ("512MiB", "10GB", "1024"),
    "choice": ("keep", "restore"),
    "path": ("backups/shop.sql",),
    "url": ("https://example.org",),
}
"""By type of input, texts that it takes."""
_TYPES = {"uses": "[step kind](kinds.md)", "on_error": "`fail` or map (continue)"}
"""By key, what its schema says at too great length, or by a condition."""
_UNFIT = "\0"


def reference_pages() -> dict[str, str]:
    """Path below `docs/reference/` to text."""
    return {
        "kinds.md": _kinds(),
        "inputs.md": _inputs(),
        "commands.md": _commands(),
        "errors.md": _errors(),
        "states.md": _states(),
        "deploy.svg": _deploy(),
    }


def _deploy() -> str:
    path = Path(__file__).parents[2] / "runbooks" / "deploy.yaml"
    bundle = read_valid(path, registry=discover(), environment=None, vars_files=())
    return svg(chart_of(bundle)) + "\n"


def _kinds() -> str:
    registry = discover()
    references = [refer_to(name, registry.find(name)) for name in registry.names]
    parts = [NOTE, "# Step kinds\n", "| kind | effect | in doubt | |\n|---|---|---|---|"]
    parts += [
        f"| [{each.name}](#{each.name}) | {each.effect} | {each.doubt} | {each.summary} |"
        for each in references
    ]
    return "\n".join(parts) + "\n" + "".join(_kind(each) for each in references)


def _kind(kind: KindReference) -> str:
    parts = [f"\n## {kind.name}\n", kind.summary]
    if kind.details:
        parts += ["", kind.details]
    parts += ["", f"Effect: {kind.effect}. In doubt: {kind.doubt}. Timeout: {kind.timeout}."]
    if kind.example:
        parts += ["", "```yaml", kind.example, "```"]
    parts += _table("parameter", kind.parameters) + _table("output", kind.outputs)
    return "\n".join(parts) + "\n"


def _table(
    title: str, fields: tuple[FieldReference, ...], *, optional: str = "default `none`"
) -> list[str]:
    if not fields:
        return []
    rows = [f"\n| {title} | type | | |\n|---|---|---|---|"]
    for field in fields:
        need = "required" if field.is_required else optional
        need = f"default `{field.default}`" if field.default else need
        kind = field.type.replace("|", "\\|")
        rows.append(f"| `{field.name}` | {kind} | {need} | {field.description} |")
    return rows


def _inputs() -> str:
    definitions: Any = schema_for("runbook", discover())["$defs"]
    parts = [
        NOTE,
        "# Inputs and steps\n",
        "## Types of inputs\n",
        "As `--set NAME=VALUE` and variables give them; what expressions then see stands beside.",
        "In a file, numbers and booleans stand without quotes, booleans as `true` or `false`.\n",
        "| type | written as | is then | else |\n|---|---|---|---|",
        *map(_input_type, INPUT_TYPES),
    ]
    for title, name in (("An input", "input"), ("A step", "step"), ("`retry`", "retry")):
        definition = definitions[name]
        fields = fields_of({**definition, "$defs": definitions})
        shown = [
            replace(
                field,
                type=_TYPES.get(field.name, field.type),
                description=field.description or definitions[field.name]["description"],
            )
            for field in fields
        ]
        parts += [f"\n## {title}", *_table("key", tuple(shown), optional="optional")]
        if name == "input":
            parts += ["", "One must be given unless it has a `default` or says `required: false`."]
    return "\n".join(parts) + "\n"


def _input_type(name: str) -> str:
    declaration: JsonObject = {"type": name}
    if name == "choice":
        declaration["choices"] = [*_WRITTEN[name]]
    written = ", ".join(f"`{text}`" for text in _WRITTEN[name])
    values = ", ".join(f"`{dumps(parse_text(declaration, text))}`" for text in _WRITTEN[name])
    refused = (misfit(declaration, _UNFIT) or "any text will do").partition(", found")[0]
    return f"| `{name}` | {written} | {values} | {refused} |"


def _commands() -> str:
    parts = [NOTE, "# Commands\n", "```text", _help(program, "runbook"), "```"]
    root = click.Context(program, info_name="runbook")
    for name in COMMANDS:
        command = program.get_command(root, name)
        assert command is not None, name
        inner = command.commands if isinstance(command, click.Group) else {"": command}
        for word, each in inner.items():
            called = f"runbook {name} {word}".rstrip()
            parts += [f"\n## {called}\n", "```text", _help(each, called), "```"]
    return "\n".join(parts) + "\n"


def _help(command: click.Command, name: str) -> str:
    context = command.make_context(
        name, [], resilient_parsing=True, max_content_width=90, terminal_width=90
    )
    return command.get_help(context)


def _errors() -> str:
    parts = [NOTE, "# Errors\n", "## In a runbook\n"]
    parts += ["All at once, in order of place; exit status 2; nothing has run.\n"]
    for code, text in sorted(FINDINGS.items()):
        diff = examples().get(code)
        parts.append(f"### {code}\n\n{text}\n" + (f"\n```diff\n{diff}\n```\n" if diff else ""))
    parts += ["## Of a command or a step\n"]
    for code, error in error_classes().items():
        status = f"{error.exit_status.value} {error.exit_status.name.lower()}"
        text = inspect.getdoc(error) or ""
        parts.append(f"### {code}\n\n`{error.__name__}`, exit status {status}.\n\n{text}\n")
    return "\n".join(parts)


def _states() -> str:
    steps = "\n".join(
        f"    {before} --> {after}: {event}" for (before, event), after in STEP_TRANSITIONS.items()
    )
    runs = "\n".join(
        f"    {before} --> {after}: {event}" for (before, event), after in RUN_TRANSITIONS.items()
    )
    return (
        f"{NOTE}\n# States\n\nFrom the tables in `runbook/core/machine.py`;"
        " an event that is not here is refused.\n\n"
        f"## A step\n\n```mermaid\nstateDiagram-v2\n    [*] --> waiting\n{steps}\n```\n\n"
        f"## A run\n\n```mermaid\nstateDiagram-v2\n    [*] --> new\n{runs}\n```\n"
    )
