"""Check, before anything changes, that everything the run and its rollback need is there.

What is broken already is recorded, so that it does not count against this run later. Only what was
served can be broken: where the process that a check belongs to (the one whose `ready` address has
the same host and port) does not run, its failure now says nothing about what the run will start,
and must count later. A check of an address that no process has belongs to all of them: it is
recorded if any of them runs, or if the plan has no process at all and so checks what somebody else
runs.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import Context, Outputs, Room, Size, Spec, StepKind
from runbook.resources import Compose, Process
from runbook.restore.running import fallen, running
from runbook.steps._expectations import HttpExpectation, look
from runbook.tools.files import missing_room


class Preflight(Spec):
    """Check, before anything changes, that all the run and its rollback need is there.

    Example:
        id: preflight
        uses: preflight
        with: {free_disk: auto, healthy: recorded}
    """

    free_disk: Literal["auto"] | Size = "auto"
    """Room that must be free in the state directory; `auto`: for backup and restore."""
    healthy: Literal["required", "recorded"] = "recorded"
    """Whether what is served must be healthy, or what is broken is noted and never counted."""
    checks: list[HttpExpectation] = Field(default_factory=list)
    """What must answer besides, such as a service that the release will need."""


class Fit(Outputs):
    """How things stand before anything changes."""

    served: bool
    """Whether any process or service of the plan runs."""
    running: list[str]
    """Names of the processes that run, and of the services, as `stack/service`."""
    broken: dict[str, str]
    """The checks that fail although what they check runs, by key, and how."""
    free_bytes: int
    """Room in the state directory."""


def _run(spec: Preflight, ctx: Context) -> Fit:
    missing = [*_missing_for_steps(ctx), *_missing_disk(spec, ctx)]
    missing += [flaw for check in spec.checks if (flaw := _flaw(check)) is not None]
    names = running(ctx)
    broken = _broken(ctx, names)
    for key, flaw in broken.items():
        ctx.log(f"broken already: {key}: found {flaw}")
    if spec.healthy == "required":
        missing += [f"not healthy: {key}: found {flaw}" for key, flaw in broken.items()]
        missing += [f"`{name}` does not run" for name in fallen(ctx)]
    if missing:
        raise _unfit(list(dict.fromkeys(missing)))
    return Fit(
        served=bool(names),
        running=names,
        broken=broken,
        free_bytes=shutil.disk_usage(ctx.state_dir).free,
    )


def _unfit(missing: list[str]) -> Unfit:
    if len(missing) == 1:
        return Unfit(missing[0])
    return Unfit(f"{len(missing)} things are missing: {'; '.join(missing)}")


# --- what is missing ------------------------------------------------------------------------


def _missing_for_steps(ctx: Context) -> list[str]:
    missing: list[str] = []
    for step in ctx.plan_steps:
        if step.spec is None or step.kind.preflight is None or step.id == ctx.step_id:
            continue
        ctx.check()
        missing += step.kind.preflight(step.spec, ctx)
    return missing


def _missing_disk(spec: Preflight, ctx: Context) -> list[str]:
    if spec.free_disk != "auto":
        free_bytes = shutil.disk_usage(ctx.state_dir).free
        if free_bytes >= spec.free_disk:
            return []
        needed = f"`{ctx.state_dir}` needs {spec.free_disk} bytes free"
        return [f"{needed}, and has {free_bytes}"]
    rooms = [
        room
        for step in ctx.plan_steps
        if step.spec is not None and step.kind.room is not None
        for room in step.kind.room(step.spec, ctx)
    ]
    return _lacking(rooms)


def _lacking(rooms: Sequence[Room]) -> list[str]:
    """What each file system lacks for all that the steps will take of it together."""
    by_device: dict[int, list[Room]] = {}
    for room in rooms:
        by_device.setdefault(_existing(room.place).stat().st_dev, []).append(room)
    return [
        message
        for sharing in by_device.values()
        for message in missing_room(
            sharing[0].place,
            sum(room.size_bytes for room in sharing),
            " and ".join(dict.fromkeys(room.purpose for room in sharing)),
        )
    ]


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _flaw(check: HttpExpectation) -> str | None:
    finding = look(check)
    if finding.flaw is None:
        return None
    return f"{check.method} {check.address}: expected {check.expected}, found {finding.flaw}"


# --- what is served, and what is broken of it -----------------------------------------------


def _processes(ctx: Context) -> list[Process]:
    return [resource for resource in ctx.resources.values() if isinstance(resource, Process)]


def _broken(ctx: Context, names: Sequence[str]) -> dict[str, str]:
    processes = _processes(ctx)
    if not names and any(isinstance(each, Process | Compose) for each in ctx.resources.values()):
        return {}
    absent = [process for process in processes if process.name not in names]
    excluded = {_place(process.ready.get) for process in absent if process.ready is not None}
    broken: dict[str, str] = {}
    for step in ctx.plan_steps:
        if step.spec is None or step.kind.baseline is None:
            continue
        ctx.check()
        if not _addresses(step.spec) & excluded:
            broken.update(step.kind.baseline(step.spec, ctx))
            continue
        ctx.log(f"`{step.id}` checks what does not run yet: its failures will count")
    return broken


def _addresses(value: Any) -> set[str]:
    """Host and port of everything that a check asks, however deep it stands in its parameters."""
    match value:
        case HttpExpectation():
            return {_place(value.address)}
        case BaseModel():
            fields = [getattr(value, name) for name in type(value).model_fields]
            return set().union(*map(_addresses, fields))
        case list():
            return set().union(*map(_addresses, value))
        case _:
            return set()


def _place(url: str) -> str:
    return urlsplit(url).netloc.replace("localhost", "127.0.0.1")


def _describe(spec: Preflight) -> str:
    return f"check that all is there that the run and its rollback need ({spec.healthy} health)"


STEP = StepKind(
    spec=Preflight,
    outputs=Fit,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
)
