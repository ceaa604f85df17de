"""Snapshots of buckets: how they are taken, and whether a restore could use them.

A versioned bucket keeps what is overwritten and deleted by itself: its snapshot is the list of
versions. Of another the snapshot holds the objects, each content once, shared with the restore
point before. How either is brought back stands in bucket_restore.py.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from runbook.errors import Absent, StepError, Unfit
from runbook.kinds import Context, Room
from runbook.resources import S3
from runbook.restore.manifest import BucketEntry
from runbook.restore.point import RestorePoint, artefact_of, open_point, point_ids
from runbook.tools.files import (
    disk_errors,
    fsync_directory,
    make_directories,
    sha256_of,
    sync_file_system,
    write_durably,
)
from runbook.tools.objects import Bucket, StoredObject
from runbook.tools.s3 import bucket

_THREADS = 8
_LOOK_S = 0.2
_SHOWN = 3
I = TypeVar("I")  # noqa: E741
O = TypeVar("O")  # noqa: E741


def snapshot(resource: S3, staging: Path, ctx: Context) -> BucketEntry:
    """Note every object of the bucket, and keep its content where the bucket does not."""
    entry = BucketEntry(
        name=resource.name,
        location=f"{resource.url or resource.service}/{resource.bucket}",
        taken_at=ctx.now().isoformat(),
    )
    try:
        with opened(resource, ctx) as there:
            if not there.exists:
                raise Absent(f"there is no bucket `{resource.bucket}` yet", changed=False)
            return _fill(entry, there, staging, ctx)
    except Absent as error:
        ctx.log(f"{error.message}: there is nothing to back up")
        return entry.model_copy(update={"absent": True})


def opened(resource: S3, ctx: Context) -> AbstractContextManager[Bucket]:
    """The bucket; its server runs once the block begins."""
    return bucket(resource, ctx.resources, check=ctx.check, log=ctx.log)


def _fill(entry: BucketEntry, there: Bucket, staging: Path, ctx: Context) -> BucketEntry:
    is_versioned = there.is_versioned
    home = staging / "buckets" / entry.name
    with disk_errors("backing up the bucket", changed=False):
        make_directories(home / "objects")
        look = there.described if is_versioned else _Keeper(there, home / "objects", ctx).keep
        looked = on_threads(look, there.listed().values(), ctx)
        found = [each for each in looked if each is not None]
        sync_file_system(home)
        lines = "".join(f"{each.model_dump_json()}\n" for each in found)
        write_durably(home / "objects.jsonl", lines.encode())
        fsync_directory(home.parent)
        listing = artefact_of(staging, f"buckets/{entry.name}/objects.jsonl")
    for each in found:
        if each.unwritable:
            names = ", ".join(each.unwritable)
            ctx.log(f"of object `{each.key}` a restore could not write {names}: no UTF-8")
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


class _Keeper:
    """Keeps the content of each object, under its checksum; what was kept before is shared."""

    def __init__(self, there: Bucket, home: Path, ctx: Context) -> None:
        self._there = there
        self._home = home
        self._ctx = ctx
        self._before = _previous(home.parent.name, ctx)

    def keep(self, each: StoredObject) -> StoredObject | None:
        """The object with all that belongs to it and its checksum; None: it is gone."""
        older, source = self._before.get(each.key, (None, self._home))
        if older and older.is_same_content(each) and self._link(source / str(older.sha256)):
            now = self._there.described(each)
            if now is None:
                return None
            if now.is_same_content(each):
                return now.model_copy(update={"sha256": older.sha256})
        part = self._home / f".part-{sha256(each.key.encode()).hexdigest()}"
        part.unlink(missing_ok=True)
        fetched = self._there.fetch(each, part, self._ctx.check)
        if fetched is None:
            part.unlink()
        else:
            part.rename(self._home / str(fetched.sha256))
        return fetched

    def _link(self, older: Path) -> bool:
        """Whether the content is there now; the same object may stand under several keys."""
        content = self._home / older.name
        if content.exists():
            return True
        try:
            if sha256_of(older) != older.name:
                return False
            content.hardlink_to(older)
        except FileExistsError:
            return True
        except OSError:
            return False
        return True


def _previous(name: str, ctx: Context) -> dict[str, tuple[StoredObject, Path]]:
    """What the newest restore point with that bucket has of it, by key."""
    for identifier in reversed(point_ids(ctx.state_dir)):
        try:
            point = open_point(ctx.state_dir, identifier)
            entry = point.manifest.bucket(name)
            if point.manifest.project == ctx.project and entry and not entry.absent:
                home = point.directory / "buckets" / name / "objects"
                return {each.key: (each, home) for each in listed(point.directory, entry)}
        except Unfit:
            continue
    return {}


def on_threads(work: Callable[[I], O], items: Iterable[I], ctx: Context) -> list[O]:
    """What the work makes of each item, in order."""
    with ThreadPoolExecutor(_THREADS) as pool:
        pending = [pool.submit(work, item) for item in items]
        done = []
        try:
            for future in pending:
                while not future.done():
                    ctx.check()
                    wait([future], timeout=_LOOK_S)
                done.append(future.result())
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
        return done


def problems(root: Path, entry: BucketEntry, *, check: Callable[[], None]) -> list[str]:
    """What is missing or altered of the objects that a restore point holds."""
    objects = listed(root, entry)
    if entry.is_versioned:
        return []
    found = []
    for digest in sorted({str(each.sha256) for each in objects}):
        check()
        content = root / "buckets" / entry.name / "objects" / digest
        if not content.is_file():
            found.append(f"object `{digest}` of bucket `{entry.name}` is missing")
        elif sha256_of(content) != digest:
            found.append(f"object `{digest}` of bucket `{entry.name}` is damaged")
    return found


def listed(root: Path, entry: BucketEntry) -> list[StoredObject]:
    """The objects that there were; raises Unfit."""
    if entry.listing is None:
        return []
    try:
        lines = (root / entry.listing.path).read_bytes().splitlines()
        found = [StoredObject.model_validate_json(line) for line in lines]
    except (OSError, ValueError) as error:
        raise Unfit(f"the list of bucket `{entry.name}` cannot be read: {error}") from error
    if any("headers" not in each.model_fields_set for each in found):
        raise Unfit(
            f"the list of bucket `{entry.name}` is of an older form, without headers",
            hint="name another restore point by `point`",
        )
    return found


# --- what people and preflight are told -----------------------------------------------------


def written_since(resource: S3, point: RestorePoint, entry: BucketEntry, ctx: Context) -> list[str]:
    """What differs from then, for people; raises StepError where it can't tell."""
    if entry.absent:
        return [f"bucket `{entry.name}` did not exist then"]
    wanted = {each.key: each for each in listed(point.directory, entry)}
    with opened(resource, ctx) as there:
        now = there.listed()
    both = wanted.keys() & now.keys()
    changed = [key for key in both if not wanted[key].is_same_content(now[key])]
    added, gone = now.keys() - wanted.keys(), wanted.keys() - now.keys()
    told = f"{len(added)} objects added, {len(changed)} changed, {len(gone)} deleted since"
    return [f"bucket `{entry.name}`: {told}"]


def obstacles(resource: S3, root: Path, entry: BucketEntry, ctx: Context) -> list[str]:
    """What keeps the bucket from being brought back: what the server was to keep is not there."""
    if entry.absent:
        return []
    with opened(resource, ctx) as there:
        if not there.exists:
            return [f"there is no bucket `{resource.bucket}` any more"]
        return lacking(there, root, entry)


def lacking(there: Bucket, root: Path, entry: BucketEntry) -> list[str]:
    """What is gone of the versions that a restore would copy."""
    if not entry.is_versioned:
        return []
    if not there.is_versioned:
        return [f"bucket `{there.name}` keeps no versions any more: they are off or suspended"]
    wanted = {(each.key, each.version_id): each for each in listed(root, entry) if each.size_bytes}
    for kept in there.versions():
        each = wanted.get((kept.key, kept.version_id))
        if each and each.is_same_content(kept):
            del wanted[each.key, each.version_id]
    if not wanted:
        return []
    gone = [key for key, _ in wanted]
    shown = ", ".join(f"`{key}`" for key in gone[:_SHOWN])
    more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
    return [f"bucket `{there.name}` has not kept the versions of {shown}{more}"]


def missing_for(resource: S3, ctx: Context) -> list[str]:
    """What is missing to act on the bucket; changes nothing."""
    try:
        with opened(resource, ctx) as there:
            _ = there.exists
    except Absent:
        return []
    except StepError as error:
        return [error.message]
    return []


def room_for(resource: S3, purpose: str, ctx: Context) -> list[Room]:
    """The disk that a snapshot, or keeping what a restore replaces, takes at most."""
    try:
        with opened(resource, ctx) as there:
            if not there.exists or there.is_versioned:
                return []
            size_bytes = sum(each.size_bytes for each in there.listed().values())
    except StepError:
        return []
    text = f"{purpose} bucket `{resource.name}`"
    return [Room(place=ctx.state_dir, size_bytes=size_bytes, purpose=text)]
