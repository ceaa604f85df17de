"""Run a command of the author's own."""

import json
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, ValidationInfo, model_validator

from runbook.core.plan import Effect
from runbook.errors import CommandFailed, StepError, StepStopped, TimedOut
from runbook.facts import EffectFrom
from runbook.field_rules import exactly_one, rule, rules
from runbook.kinds import (
    Context,
    Done,
    HalfDone,
    NotDone,
    Outputs,
    ProbeResult,
    ResourceName,
    Result,
    Spec,
    StepKind,
    Unknown,
)
from runbook.resources import AbsolutePath, Database, PossiblySecret
from runbook.restore.databases import way_of
from runbook.tools.command import assignments
from runbook.tools.files import disk_errors, make_directories, write_durably
from runbook.tools.process import Command, Completed, output

_PROBE_TIMEOUT_S = 60.0
_OF_A_SHELL = "^(-.*|pipefail|(.*/)?[a-z]*sh)$"
_WANTS_CODE = "^-[A-Za-z]*c$"
_NO_CODE = (
    "after `-c` a shell wants the text itself, and is given the script's file;"
    " write `shell: [bash, -euo, pipefail]`"
)
_SCHEMA = "schema"
"""Key in the step's progress."""


class RunCommand(Spec):
    """Run a command of the author's own.

    Example:
        id: migrate
        uses: command
        with:
          argv: [./manage, migrate]
          directory: ../app
          probe: [./manage, migrate, --check]
          changes: db
    """

    model_config = rules(
        exactly_one("argv", "script"),
        rule(
            "`changes` does not go with `effect: reads`",
            {
                "not": {
                    "required": ["changes", "effect"],
                    "properties": {"effect": {"const": "reads"}},
                }
            },
        ),
        rule(
            _NO_CODE,
            {
                "not": {
                    "required": ["shell"],
                    "properties": {
                        "shell": {
                            "type": "array",
                            "items": {"type": "string", "pattern": _OF_A_SHELL},
                            "contains": {"type": "string", "pattern": _WANTS_CODE},
                        }
                    },
                }
            },
        ),
    )

    argv: list[str] | None = Field(default=None, min_length=1)
    """Program and arguments; no shell. Either this or `script`."""
    script: str | None = None
    """Text that `shell` runs, from a file."""
    shell: list[str] = Field(default=["bash", "-euo", "pipefail"], min_length=1)
    """What runs `script`."""
    directory: AbsolutePath | None = None
    """Working directory; absent: that of the file that holds this step."""
    environment: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Variables that it gets besides the usual ones; the place for secrets."""
    creates: AbsolutePath | None = None
    """A file that is there exactly if the command has done its work: settles doubt."""
    probe: list[str] | None = Field(default=None, min_length=1)
    """A command that settles doubt and changes nothing: exit 0, it is done; 1, it is not."""
    output: Literal["none", "text", "lines", "json"] = "none"
    """What later steps see of what it prints: nothing, all of it, its lines, or its value; 1 MiB at
    most."""
    effect: Literal["reads", "changes"] = "changes"
    """Whether it changes anything."""
    changes: ResourceName | None = None
    """Name of the resource that it changes. A database: its schema and its tables of migrations are
    compared before and after, and it has `changed` something if they differ or if it fails; leave
    this out where it changes rows besides. Absent, or another resource: it always has."""

    @model_validator(mode="before")
    @classmethod
    def _fill_directory(cls, raw: Any, info: ValidationInfo) -> Any:
        base = (info.context or {}).get("base")
        if not base or not isinstance(raw, dict) or raw.get("directory") is not None:
            return raw
        return {**raw, "directory": base}

    @model_validator(mode="after")
    def _has_one_command(self) -> Self:
        if (self.argv is None) == (self.script is None):
            raise ValueError("expected either `argv` or `script`")
        if self.effect == "reads" and self.changes is not None:
            raise ValueError("`changes` does not go with `effect: reads`")
        is_a_shell = all(re.match(_OF_A_SHELL, word) for word in self.shell)
        if is_a_shell and any(re.match(_WANTS_CODE, word) for word in self.shell):
            raise ValueError(_NO_CODE)
        return self


class CommandEnded(Outputs):
    """How it ended."""

    exit_code: int
    """Always 0."""
    stdout: JsonValue = None
    """What it printed, in the shape that `output` asks for; absent where that is `none`."""


def _run(spec: RunCommand, ctx: Context) -> Result[CommandEnded]:
    _note_schema(spec, ctx)
    ended = ctx.run(_command(spec, ctx))
    if ended.exit_code != 0:
        raise CommandFailed(
            f"`{_title(spec)}` ended with exit code {ended.exit_code}, expected 0",
            where=_title(spec),
            changed=spec.effect == "changes",
            output_tail=ended.tail,
        )
    stdout = _shaped(spec, ended)
    return Result(CommandEnded(exit_code=0, stdout=stdout), _has_changed(spec, ctx))


def _note_schema(spec: RunCommand, ctx: Context) -> None:
    """Record, once for all attempts, what the database that it changes is like before."""
    is_database = isinstance(ctx.resources.get(spec.changes or ""), Database)
    if is_database and _SCHEMA not in (ctx.progress or {}):
        ctx.record_progress({_SCHEMA: _schema(spec, ctx)})


def _has_changed(spec: RunCommand, ctx: Context) -> bool:
    """Whether it, ended well, has changed anything, as far as that can be told; else it has."""
    before = (ctx.progress or {}).get(_SCHEMA)
    return spec.effect == "changes" and (before is None or _schema(spec, ctx) != before)


def _schema(spec: RunCommand, ctx: Context) -> str | None:
    database = ctx.resources.get(spec.changes or "")
    if not isinstance(database, Database):
        return None
    try:
        return way_of(database).schema_digest(ctx)
    except (StepStopped, TimedOut):
        raise
    except StepError as error:
        ctx.log(f"whether `{spec.changes}` changes cannot be told: {error.message}")
        return None


def _command(spec: RunCommand, ctx: Context) -> Command:
    if spec.argv is not None:
        argv = _as_planned(spec.argv, spec, ctx)
    else:
        argv = (*spec.shell, str(_script_file(spec.script or "", ctx.scratch)))
    return Command(
        argv=argv,
        directory=spec.directory,
        environment=spec.environment,
        needs_output=spec.output != "none",
    )


def _as_planned(argv: Sequence[str], spec: RunCommand, ctx: Context) -> tuple[str, ...]:
    """The argument list, with a copy in the place of each script that is not what it was."""
    if not ctx.pinned:
        return tuple(argv)
    directory = spec.directory or Path()
    return tuple(_planned_file(directory / argument, ctx) or argument for argument in argv)


def _planned_file(path: Path, ctx: Context) -> str | None:
    """A copy of a pinned script as it was; absent where the file itself will do."""
    text = ctx.pinned.get(str(path.resolve()))
    if text is None or (path.is_file() and path.read_bytes() == text.encode()):
        return None
    copy = ctx.scratch / "pinned" / str(path.resolve()).lstrip("/")
    ctx.log(f"`{path}` is not what it was when the run began; run as it was then")
    with disk_errors("writing the script", changed=False):
        make_directories(copy.parent)
        write_durably(copy, text.encode(), mode=0o700)
    return str(copy)


def _script_file(text: str, scratch: Path) -> Path:
    path = scratch / "script"
    # A shell that outlived us is reading the file still: it is left as it is.
    if not path.exists():
        with disk_errors("writing the script", changed=False):
            write_durably(path, text.encode(), mode=0o600)
    return path


def _shaped(spec: RunCommand, ended: Completed) -> JsonValue:
    if ended.is_cut and spec.output != "none":
        raise CommandFailed(
            f"`{_title(spec)}` printed more than the 1 MiB that a step's output may have",
            hint="let it write a file, and print the file's name",
            where=_title(spec),
            changed=spec.effect == "changes",
            is_retryable=False,
        )
    match spec.output:
        case "none":
            return None
        case "text":
            return ended.stdout
        case "lines":
            return list(ended.stdout.splitlines())
        case "json":
            return _parsed(spec, ended)


def _parsed(spec: RunCommand, ended: Completed) -> JsonValue:
    try:
        value: JsonValue = json.loads(ended.stdout)
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()  # Python reads NaN, too
    except ValueError as error:
        raise CommandFailed(
            f"`{_title(spec)}` printed no JSON, expected one value as `output: json` says",
            where=_title(spec),
            changed=spec.effect == "changes",
            is_retryable=False,
            output_tail=ended.tail,
        ) from error
    return value


def _probe(spec: RunCommand, ctx: Context) -> ProbeResult[CommandEnded]:
    if spec.creates is None and spec.probe is None:
        return Unknown("neither `creates` nor `probe` tells whether it was done")
    if spec.creates is not None and not spec.creates.exists():
        return _not_done(spec, f"`{spec.creates}` is not there")
    if spec.probe is not None:
        verdict = _asked(spec, spec.probe, ctx)
        if verdict is not None:
            return verdict
    if spec.output != "none":
        return Unknown("it was done, but what it printed is lost")
    reason = "its probe says so" if spec.probe else f"`{spec.creates}` is there"
    return Done(CommandEnded(exit_code=0), reason, changed=_has_changed(spec, ctx))


def _not_done(spec: RunCommand, reason: str) -> NotDone | HalfDone:
    """Of what changes a resource, some may be done: half a migration is not none."""
    return HalfDone(reason) if spec.changes else NotDone(reason)


def _asked(spec: RunCommand, argv: list[str], ctx: Context) -> NotDone | HalfDone | Unknown | None:
    """What the probe says against it; absent: it was done."""
    command = Command(
        argv=_as_planned(argv, spec, ctx),
        directory=spec.directory,
        environment=spec.environment,
    )
    ended = output(command, timeout_s=min(_PROBE_TIMEOUT_S, ctx.remaining_s()))
    if ended.exit_code == 0:
        return None
    if ended.exit_code == 1:
        return _not_done(spec, "its probe says that it was not done")
    last = f": {ended.tail[-1]}" if ended.tail else ""
    return Unknown(f"its probe ended with exit code {ended.exit_code}{last}")


def _title(spec: RunCommand) -> str:
    if spec.argv is not None:
        return shlex.join(spec.argv)
    lines = (spec.script or "").strip().splitlines()
    return f"script: {lines[0] if lines else ''}"


def _describe(spec: RunCommand) -> str:
    return f"run `{_title(spec)}`"


def _by_hand(spec: RunCommand) -> Sequence[str]:
    there = [f"cd {shlex.quote(str(spec.directory))}"] if spec.directory else []
    if spec.argv is not None:
        return [*there, Command(argv=tuple(spec.argv), environment=spec.environment).typed()]
    exports = [f"export {each}" for each in assignments(spec.environment)]
    return [*there, *exports, *(spec.script or "").strip().splitlines()]


def _preflight(spec: RunCommand, _ctx: Context) -> Sequence[str]:
    program = spec.argv[0] if spec.argv else spec.shell[0]
    # One with a slash may come with the checkout, or be built by a step before.
    if "/" in program or shutil.which(program):
        return []
    return [f"there is no program `{program}` to run"]


STEP = StepKind(
    spec=RunCommand,
    outputs=CommandEnded,
    effect=EffectFrom("effect", default=Effect.CHANGES),
    rerun=None,
    describe=_describe,
    run=_run,
    probe=_probe,
    adopts=True,
    pins=("argv", "probe"),
    asked_for={"stdout": "output"},
    by_hand=_by_hand,
    preflight=_preflight,
)
