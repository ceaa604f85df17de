"""Check, before anything changes, that everything the run and its rollback need is there.

What is broken already is recorded, so that it does not count against this run later. Only what was
served can be broken: where the process that a check belongs to (the one whose `ready` address has
the same host and port) does not run, its failure now says nothing about what the run will start,
and must count later. A check of an address that no process has belongs to all of them: it is
recorded if any of them runs, or if the plan has no process at all and so checks what somebody else
runs.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, Field

from runbook.core.plan import Effect, Rerun
from runbook.errors import Unfit
from runbook.kinds import Context, Outputs, Size, Spec, StepKind
from runbook.resources import Directory, Git, Process, Sqlite
from runbook.steps._expectations import HttpExpectation, look
from runbook.tools import daemon, git
from runbook.tools.files import missing_room

_COPIES_IN_STATE = 2
"""Of everything backed up: its backup, and what a rollback replaces and keeps."""
_COPIES_IN_PLACE = 1
"""Beside the thing itself: what a rollback stages there."""


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
    """Whether any process of the plan runs."""
    running: list[str]
    """Names of the processes that run."""
    broken: dict[str, str]
    """The checks that fail although what they check runs, by key, and how."""
    free_bytes: int
    """Room in the state directory."""


def _run(spec: Preflight, ctx: Context) -> Fit:
    missing = [*_missing_for_steps(ctx), *_missing_for_resources(ctx)]
    missing += _missing_disk(spec, ctx)
    missing += [flaw for check in spec.checks if (flaw := _flaw(check)) is not None]
    running = _running(ctx)
    broken = _broken(ctx, running)
    for key, flaw in broken.items():
        ctx.log(f"broken already: {key}: found {flaw}")
    if spec.healthy == "required":
        missing += [f"not healthy: {key}: found {flaw}" for key, flaw in broken.items()]
        missing += [f"`{name}` does not run" for name in _fallen(ctx, running)]
    if missing:
        raise _unfit(list(dict.fromkeys(missing)))
    return Fit(
        served=bool(running),
        running=[process.name for process in running],
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


def _missing_for_resources(ctx: Context) -> list[str]:
    missing: list[str] = []
    for resource in ctx.resources.values():
        match resource:
            case Git():
                missing += _missing_for_git(resource)
            case Sqlite() | Directory():
                missing += _missing_for_path(resource.path)
            case _:
                pass
    return missing


def _missing_for_git(resource: Git) -> list[str]:
    if shutil.which("git") is None:
        return ["there is no program `git`"]
    if resource.path.exists() and not git.is_work_tree(resource.path):
        return [f"`{resource.path}` is not a git work tree"]
    return []


def _missing_for_path(path: Path) -> list[str]:
    place = path.parent
    while not place.exists():
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        return [f"`{place}` is not a directory that we may write to"]
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        return [f"`{path}` may not be read and written by us"]
    return []


def _missing_disk(spec: Preflight, ctx: Context) -> list[str]:
    if spec.free_disk != "auto":
        free_bytes = shutil.disk_usage(ctx.state_dir).free
        if free_bytes >= spec.free_disk:
            return []
        needed = f"`{ctx.state_dir}` needs {spec.free_disk} bytes free"
        return [f"{needed}, and has {free_bytes}"]
    needs: dict[int, tuple[Path, int]] = {}
    for path in _backed_up(ctx):
        size_bytes = _size_bytes(path)
        _add(needs, ctx.state_dir, size_bytes * _COPIES_IN_STATE)
        _add(needs, path.parent, size_bytes * _COPIES_IN_PLACE)
    return [
        message
        for path, size_bytes in needs.values()
        for message in missing_room(path, size_bytes, "backup and restore")
    ]


def _backed_up(ctx: Context) -> list[Path]:
    paths: dict[Path, None] = {}
    for step in ctx.plan_steps:
        if step.spec is not None and step.kind.backs_up is not None:
            resource = getattr(step.spec, step.kind.backs_up)
            if isinstance(resource, Sqlite | Directory) and resource.path.exists():
                paths[resource.path] = None
    return list(paths)


def _add(needs: dict[int, tuple[Path, int]], path: Path, size_bytes: int) -> None:
    device = path.stat().st_dev
    first, sum_bytes = needs.get(device, (path, 0))
    needs[device] = (first, sum_bytes + size_bytes)


def _size_bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    total_bytes = 0
    for directory, _, names in os.walk(path):
        total_bytes += sum(Path(directory, name).lstat().st_size for name in names)
    return total_bytes


def _flaw(check: HttpExpectation) -> str | None:
    finding = look(check)
    if finding.flaw is None:
        return None
    return f"{check.method} {check.address}: expected {check.expected}, found {finding.flaw}"


# --- what is served, and what is broken of it -----------------------------------------------


def _processes(ctx: Context) -> list[Process]:
    return [resource for resource in ctx.resources.values() if isinstance(resource, Process)]


def _running(ctx: Context) -> list[Process]:
    return [process for process in _processes(ctx) if _is_running(ctx, process)]


def _is_running(ctx: Context, process: Process) -> bool:
    found = daemon.find_running(ctx.state_dir, ctx.project, process.name, sleep=ctx.sleep)
    return found is not None


def _fallen(ctx: Context, running: Sequence[Process]) -> list[str]:
    """Processes that were started, not stopped, and do not run any more."""
    names = {process.name for process in running}
    return [
        process.name
        for process in _processes(ctx)
        if process.name not in names
        and daemon.is_recorded(ctx.state_dir, ctx.project, process.name)
    ]


def _broken(ctx: Context, running: Sequence[Process]) -> dict[str, str]:
    processes = _processes(ctx)
    if processes and not running:
        return {}
    absent = [process for process in processes if process not in running]
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
