"""The way back of a bucket.

A versioned bucket keeps what is overwritten and deleted by itself: its snapshot is the list of
versions, and a restore makes each the newest again, by the server, and marks what is new as
deleted. Of another bucket the snapshot holds the objects, each once, shared with the restore point
before; what a restore overwrites or deletes is copied aside first.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from runbook.errors import Absent, StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import S3
from runbook.restore.manifest import BucketEntry
from runbook.restore.point import RestorePoint, artefact_of, open_point, point_ids, replaced_dir
from runbook.tools.files import disk_errors, fsync_directory, make_directories, write_durably
from runbook.tools.objects import Bucket, StoredObject, bucket

_THREADS = 8
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtBack:
    """What a restore did."""

    written: int = 0
    """Objects that were written again."""
    removed: int = 0
    """Objects that were not there then."""
    replaced: str | None = None
    """Where what was overwritten or deleted lies now; none where nothing was, or by versions."""


# --- snapshots ------------------------------------------------------------------------------


def snapshot(resource: S3, staging: Path, ctx: Context) -> BucketEntry:
    """Note every object of the bucket, and keep its content where the bucket does not."""
    entry = BucketEntry(
        name=resource.name,
        location=f"{resource.url or resource.service}/{resource.bucket}",
        taken_at=ctx.now().isoformat(),
    )
    try:
        with bucket(resource, ctx.resources) as there:
            if not there.exists:
                raise Absent(f"there is no bucket `{resource.bucket}` yet", changed=False)
            return _fill(entry, there, staging, ctx)
    except Absent as error:
        ctx.log(f"{error.message}: there is nothing to back up")
        return entry.model_copy(update={"absent": True})


def _fill(entry: BucketEntry, there: Bucket, staging: Path, ctx: Context) -> BucketEntry:
    is_versioned = there.is_versioned
    found = list(there.listed().values())
    home = staging / "buckets" / entry.name
    with disk_errors("backing up the bucket", changed=False):
        make_directories(home / "objects")
        if not is_versioned:
            found = _keep_all(found, there, home / "objects", entry.name, ctx)
        lines = "".join(f"{each.model_dump_json()}\n" for each in found)
        write_durably(home / "objects.jsonl", lines.encode())
        fsync_directory(home.parent)
        listing = artefact_of(staging, f"buckets/{entry.name}/objects.jsonl")
    size_bytes = sum(each.size_bytes for each in found)
    kept = "kept by their versions" if is_versioned else "kept here"
    ctx.log(f"{len(found)} objects, {size_bytes} bytes, {kept}")
    return entry.model_copy(
        update={
            "is_versioned": is_versioned,
            "listing": listing,
            "object_count": len(found),
            "size_bytes": size_bytes,
        }
    )


def _keep_all(
    found: Sequence[StoredObject], there: Bucket, home: Path, name: str, ctx: Context
) -> list[StoredObject]:
    """Each with its metadata and checksum, its content in `home` under that checksum."""
    before = _previous(name, ctx)

    def keep(each: StoredObject) -> StoredObject:
        older, source = before.get(each.key, (None, home))
        digest = older.sha256 if older and older.is_same_content(each) else None
        if digest and _link(source / digest, home / digest):
            return there.described(each).model_copy(update={"sha256": digest})
        part = home / f".part-{sha256(each.key.encode()).hexdigest()}"
        part.unlink(missing_ok=True)
        digest = there.fetch(each, part)
        part.rename(home / digest)
        return there.described(each).model_copy(update={"sha256": digest})

    return _on_threads(keep, found, ctx)


def _previous(name: str, ctx: Context) -> dict[str, tuple[StoredObject, Path]]:
    """What the newest restore point with that bucket has of it, by key."""
    for identifier in reversed(point_ids(ctx.state_dir)):
        try:
            point = open_point(ctx.state_dir, identifier)
            entry = point.manifest.bucket(name)
            if point.manifest.project == ctx.project and entry and not entry.absent:
                home = point.directory / "buckets" / name / "objects"
                return {each.key: (each, home) for each in _listed(point.directory, entry)}
        except Unfit:
            continue
    return {}


def _link(older: Path, content: Path) -> bool:
    """Whether the content is there now; the same object may stand under several keys."""
    if content.exists():
        return True
    try:
        content.hardlink_to(older)
    except FileExistsError:
        return True
    except OSError:
        return False
    return True


def _on_threads(work: Callable[[I], O], items: Iterable[I], ctx: Context) -> list[O]:
    """What the work makes of each item, in order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        pending = [pool.submit(work, item) for item in items]
        done = []
        try:
            for future in pending:
                ctx.check()
                done.append(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return done


def problems(root: Path, entry: BucketEntry, *, check: Callable[[], None]) -> list[str]:
    """What is missing or altered of the objects that a restore point holds."""
    if entry.absent or entry.is_versioned:
        return []
    found = []
    for digest in sorted({str(each.sha256) for each in _listed(root, entry)}):
        check()
        content = root / "buckets" / entry.name / "objects" / digest
        if not content.is_file():
            found.append(f"object `{digest}` of bucket `{entry.name}` is missing")
        elif sha256(content.read_bytes()).hexdigest() != digest:
            found.append(f"object `{digest}` of bucket `{entry.name}` is damaged")
    return found


def _listed(root: Path, entry: BucketEntry) -> list[StoredObject]:
    if entry.listing is None:
        return []
    try:
        lines = (root / entry.listing.path).read_text(encoding="utf-8").splitlines()
        return [StoredObject.model_validate_json(line) for line in lines]
    except (OSError, ValueError) as error:
        raise Unfit(f"the list of bucket `{entry.name}` cannot be read: {error}") from error


# --- restoring ------------------------------------------------------------------------------


def restore(resource: S3, point: RestorePoint, entry: BucketEntry, ctx: Context) -> BroughtBack:
    """Make the bucket what it was; converges, so that it may be repeated after a crash."""
    wanted = {each.key: each for each in _listed(point.directory, entry)}
    with bucket(resource, ctx.resources) as there:
        if not there.exists:
            raise StepError(
                f"there is no bucket `{resource.bucket}` any more",
                hint="make it, then `runbook resume`",
                changed=False,
            )
        now = there.listed()
        differing = _differing(there, entry, wanted, now, ctx)
        extra = [now[key] for key in sorted(now.keys() - wanted.keys())]
        if entry.is_versioned and not there.is_versioned:
            raise Unfit(f"bucket `{resource.bucket}` keeps no versions any more")
        kept = None
        if not entry.is_versioned:
            kept = _keep_aside([now[e.key] for e in differing if e.key in now], extra, there, ctx)
        home = point.directory / "buckets" / entry.name / "objects"

        def write(each: StoredObject) -> None:
            if entry.is_versioned:
                there.copy_version(each)
            else:
                there.put(each, home / str(each.sha256))

        # What is missing first, what is too much last: in between there is rather more than less.
        _on_threads(write, differing, ctx)
        _on_threads(lambda each: there.delete(each.key), extra, ctx)
    ctx.log(f"{len(differing)} objects written, {len(extra)} removed")
    return BroughtBack(written=len(differing), removed=len(extra), replaced=kept)


def _is_settled(each: StoredObject, entry: BucketEntry) -> bool:
    """Whether a later change must have another time: some servers count whole seconds."""
    age = datetime.fromisoformat(entry.taken_at) - datetime.fromisoformat(each.last_modified)
    return age > timedelta(seconds=2)


def _differing(
    there: Bucket,
    entry: BucketEntry,
    wanted: dict[str, StoredObject],
    now: dict[str, StoredObject],
    ctx: Context,
) -> list[StoredObject]:
    """The wanted objects that are not there as they were."""

    def differs(each: StoredObject) -> bool:
        current = now.get(each.key)
        if current is None or not each.is_same_content(current):
            return True
        is_same = (each.version_id, each.last_modified) == (
            current.version_id,
            current.last_modified,
        )
        if is_same and (each.version_id or _is_settled(each, entry)):
            return False
        # A version is asked for what belongs to it; of other objects that was noted.
        then = there.described(each) if each.version_id else each
        return not then.is_same_besides(there.described(current))

    verdicts = _on_threads(differs, list(wanted.values()), ctx)
    return [each for each, is_other in zip(wanted.values(), verdicts, strict=True) if is_other]


def _keep_aside(
    overwritten: Sequence[StoredObject],
    deleted: Sequence[StoredObject],
    there: Bucket,
    ctx: Context,
) -> str | None:
    """Copy what will be overwritten or deleted; what an attempt before has kept stays kept."""
    losing = [*overwritten, *deleted]
    home = replaced_dir(ctx.state_dir, ctx.operation)
    if not losing:
        return str(home) if home.exists() else None
    with disk_errors("keeping what the restore replaces", changed=False):
        make_directories(home)

        def keep(each: StoredObject) -> None:
            name = sha256(f"{each.key}\0{each.etag}".encode()).hexdigest()
            if (home / f"{name}.json").exists():
                return
            (home / name).unlink(missing_ok=True)
            digest = there.fetch(each, home / name)
            whole = there.described(each).model_copy(update={"sha256": digest})
            record = json.dumps(whole.model_dump(), sort_keys=True, indent=1)
            write_durably(home / f"{name}.json", record.encode())

        _on_threads(keep, losing, ctx)
        fsync_directory(home)
    ctx.log(f"{len(losing)} objects that are overwritten or deleted lie in `{home}`")
    return str(home)


# --- what people and preflight are told -----------------------------------------------------


def written_since(resource: S3, point: RestorePoint, entry: BucketEntry, ctx: Context) -> list[str]:
    """What differs from then, for people; raises StepError where it can't tell."""
    if entry.absent:
        return [f"bucket `{entry.name}` did not exist then"]
    wanted = {each.key: each for each in _listed(point.directory, entry)}
    with bucket(resource, ctx.resources) as there:
        now = there.listed()
    both = wanted.keys() & now.keys()
    changed = [key for key in both if not wanted[key].is_same_content(now[key])]
    added, gone = now.keys() - wanted.keys(), wanted.keys() - now.keys()
    told = f"{len(added)} objects added, {len(changed)} changed, {len(gone)} deleted since"
    return [f"bucket `{entry.name}`: {told}"]


def missing_for(resource: S3, ctx: Context) -> list[str]:
    """What is missing to act on the bucket; changes nothing."""
    try:
        with bucket(resource, ctx.resources) as there:
            _ = there.exists
    except Absent:
        return []
    except StepError as error:
        return [error.message]
    return []


def room_for(resource: S3, purpose: str, ctx: Context) -> list[Room]:
    """The disk that a snapshot, or keeping what a restore replaces, takes at most."""
    try:
        with bucket(resource, ctx.resources) as there:
            if not there.exists or there.is_versioned:
                return []
            size_bytes = sum(each.size_bytes for each in there.listed().values())
    except StepError:
        return []
    text = f"{purpose} bucket `{resource.name}`"
    return [Room(place=ctx.state_dir, size_bytes=size_bytes, purpose=text)]
