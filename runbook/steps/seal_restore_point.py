"""Seal what the backup, snapshot and record steps of this run have made into a restore point."""

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from runbook import __version__
from runbook.core.plan import Effect, Json, Rerun
from runbook.errors import Unfit
from runbook.kinds import (
    CompletedStep,
    Context,
    Done,
    NotDone,
    Outputs,
    ProbeResult,
    Result,
    Spec,
    StepKind,
)
from runbook.resources import Process
from runbook.restore import buckets
from runbook.restore.databases import DatabaseWay, way_of
from runbook.restore.manifest import (
    AnyDatabaseEntry,
    BucketEntry,
    CommitEntry,
    Manifest,
    StackImages,
    VolumeEntry,
)
from runbook.restore.point import (
    RestorePoint,
    artefact_problems,
    find_sealed,
    point_id,
    point_suffix,
    seal,
    staging_dir,
    volume_problems,
)
from runbook.restore.warm import drop_older
from runbook.tools.files import disk_errors, make_directories


class SealRestorePoint(Spec):
    """Seal what the backup, snapshot and record steps of this run have made into a restore point.

    Until this step is over there is no restore point; from then on a rollback can use it.

    Example:
        id: restore_point
        uses: seal_restore_point
        with: {verify: restore}
    """

    verify: Literal["checksum", "read_back", "restore"] = "read_back"
    """`checksum` compares every file with its checksum; `read_back` also reads databases as
    databases and compares them with their fingerprint; `restore` also restores each beside the live
    one and leaves it there, so that a rollback only has to rename it."""


class Sealed(Outputs):
    """The restore point."""

    id: str
    """Its id."""
    path: str
    """Its directory."""
    created_at: str
    """When it was sealed, UTC, ISO 8601."""
    size_bytes: int
    """Size of all that it holds, in bytes."""
    served: bool
    """Whether the project's processes were running."""


def _run(spec: SealRestorePoint, ctx: Context) -> Result[Sealed]:
    point = find_sealed(ctx.state_dir, point_suffix(ctx.run_id, ctx.step_id))
    if point is None:
        point = _seal(spec, ctx)
    with disk_errors("dropping older warm ways back", changed=False):
        for path in drop_older(ctx):
            ctx.log(f"dropped the older warm way back `{path}`")
    return Result(_outputs(point), changed=False)


def _seal(spec: SealRestorePoint, ctx: Context) -> RestorePoint:
    staging = staging_dir(ctx.state_dir, ctx.run_id)
    with disk_errors("sealing the restore point", changed=False):
        make_directories(staging)
    manifest = _manifest(spec, staging, ctx)
    _verify(spec, staging, manifest, ctx)
    if spec.verify == "restore":
        manifest = manifest.model_copy(
            update={"databases": [_with_warm(e, staging, ctx) for e in manifest.databases]}
        )
    point = seal(staging, manifest)
    ctx.log(f"restore point `{point.id}`")
    return point


def _manifest(spec: SealRestorePoint, staging: Path, ctx: Context) -> Manifest:
    at = ctx.now()
    steps = _since_last_seal(ctx.completed)
    served, processes = _served(ctx)
    return Manifest(
        id=point_id(at, point_suffix(ctx.run_id, ctx.step_id)),
        project=ctx.project,
        run_id=ctx.run_id,
        created_at=at.isoformat(),
        tool_version=__version__,
        host=platform.node(),
        verify=spec.verify,
        served=served,
        processes=processes,
        databases=_entries(AnyDatabaseEntry, "backup_db", steps),
        volumes=_entries(VolumeEntry, "snapshot_volume", steps),
        images=_entries(StackImages, "snapshot_images", steps),
        buckets=_entries(BucketEntry, "backup_bucket", steps),
        commits=[_commit(step) for step in steps if step.kind == "record_commit"],
    )


def _entries(form: Any, kind: str, steps: Sequence[CompletedStep]) -> list[Any]:
    """What the steps of a kind have made, by its entry in the manifest.

    Made twice, the later copy lies under the name that both have.
    """
    found = [TypeAdapter(form).validate_python(s.outputs["entry"]) for s in steps if s.kind == kind]
    return list({entry.name: entry for entry in found}.values())


def _since_last_seal(completed: Sequence[CompletedStep]) -> list[CompletedStep]:
    """What belongs to this restore point, in a run that seals more than one."""
    steps: list[CompletedStep] = []
    for step in completed:
        steps = [] if step.kind == "seal_restore_point" else [*steps, step]
    return steps


def _commit(step: CompletedStep) -> CommitEntry:
    return CommitEntry(
        repository=_text(step.outputs.get("repository")) or "",
        location=_text(step.outputs.get("path")) or "",
        commit=_text(step.outputs.get("commit")),
        branch=_text(step.outputs.get("branch")),
    )


def _text(value: Json) -> str | None:
    return value if isinstance(value, str) else None


def _served(ctx: Context) -> tuple[bool, dict[str, bool]]:
    """Whether the processes ran, as preflight saw it; where nobody looked: they are taken to."""
    for step in reversed(ctx.completed):
        running = step.outputs.get("running")
        if step.kind == "preflight" and isinstance(running, list):
            names = [name for name, res in ctx.resources.items() if isinstance(res, Process)]
            processes = dict.fromkeys(map(str, running), True)
            processes |= {name: name in running for name in names}
            return bool(step.outputs.get("served", True)), processes
    return True, {}


def _verify(spec: SealRestorePoint, staging: Path, manifest: Manifest, ctx: Context) -> None:
    with disk_errors("verifying the restore point", changed=False):
        problems = artefact_problems(staging, manifest.artefacts)
    for volume in [] if problems else manifest.volumes:
        problems += volume_problems(staging, volume, check=ctx.check)
    for bucket in [] if problems else manifest.buckets:
        problems += buckets.problems(staging, bucket, check=ctx.check)
    for database in [] if problems or spec.verify == "checksum" else manifest.databases:
        problems += _way(database, ctx).flaws(staging, database, ctx)
    if problems:
        raise Unfit(
            f"the backup is damaged: {'; '.join(problems[:3])}",
            hint="check the disk, then start a new run",
        )
    for bucket in manifest.buckets:
        if lost := buckets.obstacles(ctx.resources[bucket.name], staging, bucket, ctx):
            raise Unfit(
                f"the backup is not whole: {'; '.join(lost)}",
                hint="see what deletes versions, such as a lifecycle rule, then start a new run",
            )


def _with_warm(entry: AnyDatabaseEntry, staging: Path, ctx: Context) -> AnyDatabaseEntry:
    if entry.absent:
        return entry
    way = _way(entry, ctx)
    warm = way.staged_name(ctx.operation)
    way.stage(warm, staging, entry, ctx)
    ctx.log(f"restored beside the live database as `{warm}`")
    return entry.model_copy(update={"warm": warm})


def _way(entry: AnyDatabaseEntry, ctx: Context) -> DatabaseWay[Any]:
    return way_of(ctx.resources[entry.name])


def _outputs(point: RestorePoint) -> Sealed:
    manifest = point.manifest
    artefacts_bytes = sum(artefact.size_bytes for artefact in manifest.artefacts)
    return Sealed(
        id=point.id,
        path=str(point.directory),
        created_at=manifest.created_at,
        size_bytes=artefacts_bytes + sum(volume.size_bytes for volume in manifest.volumes),
        served=manifest.served,
    )


def _probe(spec: SealRestorePoint, ctx: Context) -> ProbeResult[Sealed]:
    point = find_sealed(ctx.state_dir, point_suffix(ctx.run_id, ctx.step_id))
    if point is None:
        return NotDone("there is no restore point of this step yet")
    return Done(_outputs(point), f"restore point `{point.id}` is sealed", changed=False)


STEP = StepKind(
    spec=SealRestorePoint,
    outputs=Sealed,
    effect=Effect.CHANGES,
    rerun=Rerun.PROBE,
    describe=lambda spec: f"seal the restore point (verify: {spec.verify})",
    run=_run,
    probe=_probe,
    timeout_s=3600.0,
)
