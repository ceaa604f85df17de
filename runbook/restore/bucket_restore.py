"""Bringing a bucket back: only what differs is written, and nothing is lost that was written since.

A versioned bucket does it by itself: the version of then becomes the newest again, what is new is
marked as deleted, and a list tells which version each object had. Of another, what is overwritten
or deleted is copied aside first, and is replaced only while it still is what was copied.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from runbook.errors import StepError, Unfit
from runbook.kinds import Context
from runbook.resources import S3
from runbook.restore.buckets import lacking, listed, on_threads, opened
from runbook.restore.manifest import BucketEntry
from runbook.restore.point import RestorePoint, replaced_dir
from runbook.tools.files import (
    disk_errors,
    fsync_directory,
    make_directories,
    sync_file_system,
    write_durably,
)
from runbook.tools.objects import Bucket, StoredObject

_PASSES = 4
_SHOWN = 3
REPLACED_LIST = "objects.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class BroughtBack:
    """What a restore did."""

    written: int = 0
    """Objects that were written again."""
    removed: int = 0
    """Objects that were not there then."""
    replaced: str | None = None
    """Where the list of what was overwritten or deleted lies now; none where nothing was."""


def restore(resource: S3, point: RestorePoint, entry: BucketEntry, ctx: Context) -> BroughtBack:
    """Make the bucket what it was; converges, so that it may be repeated after a crash."""
    work = None
    try:
        with opened(resource, ctx) as there:
            work = _begun(there, resource, point, entry, ctx)
            work.run()
    except StepError as error:
        error.changed |= work is not None and work.may_have_changed
        raise
    ctx.log(f"{len(work.written)} objects written, {len(work.removed)} removed")
    replaced = work.aside.home if work.aside.home.exists() else None
    if replaced:
        ctx.log(f"what they were before is listed in `{replaced / REPLACED_LIST}`")
    return BroughtBack(
        written=len(work.written),
        removed=len(work.removed),
        replaced=str(replaced) if replaced else None,
    )


def _begun(
    there: Bucket, resource: S3, point: RestorePoint, entry: BucketEntry, ctx: Context
) -> "_Restoring":
    if not there.exists:
        raise StepError(
            f"there is no bucket `{resource.bucket}` any more",
            hint="make it, then `runbook resume`",
            changed=False,
        )
    if found := lacking(there, point.directory, entry):
        raise Unfit("; ".join(found))
    return _Restoring(
        there=there,
        wanted={each.key: each for each in listed(point.directory, entry)},
        is_versioned=entry.is_versioned,
        contents=point.directory / "buckets" / entry.name / "objects",
        aside=_Aside(replaced_dir(ctx.state_dir, ctx.operation)),
        ctx=ctx,
    )


@dataclass(slots=True, kw_only=True)
class _Restoring:
    """A restore under way. Each pass does what is left to do, the last finds that nothing is."""

    there: Bucket
    wanted: dict[str, StoredObject]
    is_versioned: bool
    """Whether the server keeps what is overwritten and deleted."""
    contents: Path
    """Where what it does not keep lies, by checksum."""
    aside: "_Aside"
    ctx: Context
    written: dict[str, str] = field(default_factory=dict)
    """Key and etag of what was written."""
    removed: set[str] = field(default_factory=set)
    settled: dict[str, StoredObject] = field(default_factory=dict)
    """As it was listed when it was found to be what it was."""
    may_have_changed: bool = False
    """Whether a request was sent that changes the bucket, whatever became of it."""

    def run(self) -> None:
        for _ in range(_PASSES):
            now = self.there.listed()
            differing = self._differing(now)
            extra = [now[key] for key in sorted(now.keys() - self.wanted.keys())]
            if not differing and not extra:
                return
            overwritten = [now[each.key] for each in differing if each.key in now]
            kept = self._keep_aside([*overwritten, *extra])
            self.may_have_changed = True
            # What is missing first, what is too much last: in between there is rather more.
            self._write(differing, kept)
            self._remove(extra, kept)
        if differing := self._differing(self.there.listed()):
            shown = ", ".join(f"`{each.key}`" for each in differing[:_SHOWN])
            raise StepError(
                f"{len(differing)} objects do not stay what they were: {shown}",
                hint="stop what writes to the bucket, then `runbook resume`",
            )
        self.ctx.log("something goes on writing new objects to the bucket; those stay")

    def _differing(self, now: dict[str, StoredObject]) -> list[StoredObject]:
        """The wanted objects that are not there as they were."""

        def is_settled(each: StoredObject) -> bool:
            current = now.get(each.key)
            if current is None:
                return False
            if self.settled.get(each.key) != current:
                if not self._is_same(each, current):
                    return False
                self.settled[each.key] = current
            return True

        wanted = list(self.wanted.values())
        verdicts = on_threads(is_settled, wanted, self.ctx)
        return [each for each, is_so in zip(wanted, verdicts, strict=True) if not is_so]

    def _is_same(self, each: StoredObject, current: StoredObject) -> bool:
        if each.size_bytes != current.size_bytes:
            return False
        found = self.there.described(current)
        if found is None or not found.is_same_besides(each):
            return False
        if found.is_same_content(each) or found.etag == self.written.get(each.key):
            return True
        if not each.size_bytes:
            return True
        # The same content in other parts has another etag.
        digest = each.sha256 or self.there.sha256_of(each, self.ctx.check)
        newest = found.model_copy(update={"version_id": None})
        return digest is not None and digest == self.there.sha256_of(newest, self.ctx.check)

    def _keep_aside(self, losing: Sequence[StoredObject]) -> dict[str, StoredObject]:
        """What will be overwritten or deleted, as it was kept, by key."""
        if not losing:
            return {}
        with disk_errors("keeping what the restore replaces", changed=self.may_have_changed):
            if self.is_versioned:
                return self.aside.note(losing)
            return self.aside.keep(losing, self.there, self.ctx)

    def _write(self, differing: Sequence[StoredObject], kept: dict[str, StoredObject]) -> None:
        def write(each: StoredObject) -> None:
            check = self.ctx.check
            if self.is_versioned and each.size_bytes:
                etag: str | None = self.there.copy_version(self._source(each, kept), check)
            else:
                replacing = kept[each.key].etag if each.key in kept else None
                content = self.contents / str(each.sha256)
                etag = self.there.put(each, content, replacing, check)
            if etag is not None:
                self.written[each.key] = etag

        on_threads(write, differing, self.ctx)

    @staticmethod
    def _source(each: StoredObject, kept: dict[str, StoredObject]) -> StoredObject:
        """The version to copy; of one that is the newest still, some servers know no id."""
        is_newest = each.key in kept and kept[each.key].version_id == each.version_id
        return each.model_copy(update={"version_id": None}) if is_newest else each

    def _remove(self, extra: Sequence[StoredObject], kept: dict[str, StoredObject]) -> None:
        def remove(each: StoredObject) -> None:
            if self.is_versioned:
                self.there.mark_deleted(each.key)
                self.removed.add(each.key)
            elif each.key in kept and self.there.delete(kept[each.key]):
                self.removed.add(each.key)

        on_threads(remove, extra, self.ctx)


class _Aside:
    """What a restore replaces: a list of objects, each with the file or the version it is kept in.

    An attempt after a crash adds to it.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def note(self, losing: Sequence[StoredObject]) -> dict[str, StoredObject]:
        """List versions, which the server keeps. Raises OSError."""
        self._add([(None, each) for each in losing])
        return {each.key: each for each in losing}

    def keep(
        self, losing: Sequence[StoredObject], there: Bucket, ctx: Context
    ) -> dict[str, StoredObject]:
        """Copy objects that are not kept yet, and list them. Raises OSError."""
        make_directories(self.home)

        def keep(each: StoredObject) -> tuple[str, StoredObject] | None:
            name = sha256(f"{each.key}\0{each.etag}\0{each.last_modified}".encode()).hexdigest()
            part = self.home / f".part-{name}"
            part.unlink(missing_ok=True)
            fetched = there.fetch(each, part, ctx.check)
            if fetched is None:
                part.unlink()
                return None
            part.rename(self.home / str(fetched.sha256))
            return str(fetched.sha256), fetched

        found = [each for each in on_threads(keep, losing, ctx) if each is not None]
        sync_file_system(self.home)
        self._add(found)
        return {each.key: each for _, each in found}

    def _add(self, found: Sequence[tuple[str | None, StoredObject]]) -> None:
        make_directories(self.home)
        path = self.home / REPLACED_LIST
        lines = path.read_text("ascii").splitlines() if path.exists() else []
        lines += [
            json.dumps({"file": name, **each.model_dump()}, sort_keys=True) for name, each in found
        ]
        write_durably(path, "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode())
        fsync_directory(self.home.parent)
