"""Restore points on disk: where they lie, how one is made, sealed, found, opened and verified.

While a run makes one it is `.creating-<run>`; sealing writes the manifest last and renames once.
Nothing restores from one that is not sealed.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from runbook.errors import Unfit
from runbook.restore.manifest import (
    SCHEMA_VERSION,
    Artefact,
    Manifest,
    VolumeEntry,
)
from runbook.tools.archive import problems_of_copy
from runbook.tools.files import (
    disk_errors,
    fsync_directory,
    make_directories,
    sha256_of,
    sync_file_system,
    write_durably,
)
from runbook.tools.inventory import Inventory, decode, tree_sha256

MANIFEST = "manifest.json"
_CREATING = ".creating-"
_RECORDS = ".records"


def points_dir(state_dir: Path) -> Path:
    """Where the restore points lie."""
    return state_dir / "restore-points"


def staging_dir(state_dir: Path, run_id: str) -> Path:
    """Where a run gathers what its restore point will hold; artefact paths are relative to it."""
    return points_dir(state_dir) / f"{_CREATING}{run_id}"


def unsealed(state_dir: Path) -> list[tuple[Path, str]]:
    """What runs have gathered and not sealed, each with its run's id."""
    found = points_dir(state_dir).glob(f"{_CREATING}*")
    return [(path, path.name.removeprefix(_CREATING)) for path in found]


def replaced_dir(state_dir: Path, operation: str) -> Path:
    """Where the step of that operation keeps what it replaces."""
    return state_dir / "replaced" / operation


# --- records of what is staged --------------------------------------------------------------


def write_record(staging: Path, operation: str, record: BaseModel) -> None:
    """Note, as the last thing, that a step's artefact is complete: what its probe looks for."""
    directory = staging / _RECORDS
    make_directories(directory)
    write_durably(directory / f"{operation}.json", record.model_dump_json().encode())


def read_record(staging: Path, operation: str) -> bytes | None:
    """What that step has noted; None: it did not get to its end."""
    try:
        return (staging / _RECORDS / f"{operation}.json").read_bytes()
    except FileNotFoundError:
        return None


def artefact_of(root: Path, path: str) -> Artefact:
    """An artefact's size and checksum, read from disk. Raises OSError."""
    full = root / path
    return Artefact(path=path, size_bytes=full.stat().st_size, sha256=sha256_of(full))


# --- sealing and opening --------------------------------------------------------------------


def point_suffix(run_id: str, step_id: str) -> str:
    """The part of a restore point's id by which the step that seals it finds it again."""
    digest = hashlib.sha256(f"{run_id}/{step_id}".encode()).digest()
    return base64.b32encode(digest)[:8].decode().lower()


def point_id(at: datetime, suffix: str) -> str:
    """Sortable, such as `20261123T054203.812Z-k3q9xa7b`."""
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03d}Z-{suffix}"


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """A sealed restore point."""

    directory: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        """Its id."""
        return self.manifest.id


def seal(staging: Path, manifest: Manifest) -> RestorePoint:
    """Write the manifest and give the restore point its name; durable once this returns.

    Raises:
        StepError: the disk refuses.
    """
    directory = staging.parent / manifest.id
    data = canonical(manifest)
    with disk_errors("sealing the restore point", changed=False):
        shutil.rmtree(staging / _RECORDS, ignore_errors=True)
        write_durably(staging / f"{MANIFEST}.sha256", _checksum_line(data).encode())
        write_durably(staging / MANIFEST, data)
        sync_file_system(staging)
        staging.rename(directory)
        fsync_directory(directory.parent)
    return RestorePoint(directory, manifest)


def _checksum_line(data: bytes) -> str:
    """What `sha256sum manifest.json` prints."""
    return f"{hashlib.sha256(data).hexdigest()}  {MANIFEST}\n"


def canonical(manifest: Manifest) -> bytes:
    """The manifest's only byte form: sorted keys, UTF-8, no floats."""
    fields = manifest.model_dump(mode="json")
    return json.dumps(fields, sort_keys=True, indent=1, ensure_ascii=False).encode() + b"\n"


def point_ids(state_dir: Path) -> list[str]:
    """Every sealed restore point, oldest first."""
    try:
        entries = list(points_dir(state_dir).iterdir())
    except FileNotFoundError:
        return []
    return sorted(
        entry.name
        for entry in entries
        if not entry.name.startswith(".") and (entry / MANIFEST).exists()
    )


def find_sealed(state_dir: Path, suffix: str) -> RestorePoint | None:
    """The one that the step of that suffix has sealed, if it got that far."""
    for found in point_ids(state_dir):
        if found.endswith(f"-{suffix}"):
            return open_point(state_dir, found)
    return None


def open_point(state_dir: Path, identifier: str) -> RestorePoint:
    """A sealed restore point, its manifest checked; the artefacts are not.

    Raises:
        Unfit: there is none of that id, or its manifest is damaged.
    """
    known = point_ids(state_dir)
    if identifier not in known:
        raise Unfit(f"there is no restore point `{identifier}`", hint=listed_hint(known))
    directory = points_dir(state_dir) / identifier
    with disk_errors("reading the restore point", changed=False):
        try:
            data = (directory / MANIFEST).read_bytes()
        except FileNotFoundError as error:
            raise Unfit(f"restore point `{identifier}` has just been deleted") from error
        checksum_file = directory / f"{MANIFEST}.sha256"
        recorded = checksum_file.read_text(errors="replace") if checksum_file.exists() else ""
    if recorded != _checksum_line(data):
        raise damaged(identifier, ["its manifest is not the one that was sealed"])
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise damaged(identifier, [f"its manifest cannot be read: {error}"]) from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise Unfit(f"restore point `{identifier}` was made by a newer version of runbook")
    return RestorePoint(directory, manifest)


def listed_hint(known: Sequence[str]) -> str:
    """What a person can name, of restore points that are known, oldest first."""
    if not known:
        return "there is none yet: choose another state directory by --state-dir"
    return f"the newest: {', '.join(reversed(known[-3:]))}\nrunbook points"


def newest_with_volume(state_dir: Path, project: str, name: str) -> RestorePoint | None:
    """The newest restore point that has a snapshot of that volume; damaged ones are passed over."""
    for identifier in reversed(point_ids(state_dir)):
        try:
            point = open_point(state_dir, identifier)
        except Unfit:
            continue
        entry = point.manifest.volume(name)
        if point.manifest.project == project and entry is not None and not entry.absent:
            return point
    return None


# --- verifying ------------------------------------------------------------------------------


def require_intact(point: RestorePoint, *, check: Callable[[], None]) -> None:
    """Read every byte of a restore point and compare it with the manifest.

    Raises:
        Unfit: something is missing or damaged.
    """
    problems = artefact_problems(point.directory, point.manifest.artefacts)
    problems = problems or [
        problem
        for entry in point.manifest.volumes
        for problem in volume_problems(point.directory, entry, check=check)
    ]
    if problems:
        raise damaged(point.id, problems)


def damaged(identifier: str, problems: Sequence[str]) -> Unfit:
    """What is said of a restore point that is not what was sealed."""
    shown = "; ".join(problems[:3])
    more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
    return Unfit(
        f"restore point `{identifier}` is damaged: {shown}{more}",
        hint="name another restore point by `point`",
    )


def artefact_problems(root: Path, artefacts: Sequence[Artefact]) -> list[str]:
    """What is missing, truncated or altered."""
    problems = []
    for artefact in artefacts:
        path = root / artefact.path
        if not path.is_file():
            problems.append(f"`{artefact.path}` is missing")
        elif path.stat().st_size != artefact.size_bytes:
            size = path.stat().st_size
            problems.append(f"`{artefact.path}` has {size} bytes in place of {artefact.size_bytes}")
        elif sha256_of(path) != artefact.sha256:
            problems.append(f"`{artefact.path}` is damaged: its sha256 differs")
    return problems


def volume_problems(root: Path, entry: VolumeEntry, *, check: Callable[[], None]) -> list[str]:
    """What is missing or altered among a volume's files."""
    if entry.inventory is None:
        return []
    inventory = read_inventory(root, entry)
    if tree_sha256(inventory) != entry.tree_sha256:
        return [f"inventory `{entry.inventory.path}` is not the one that was taken"]
    with disk_errors("reading the restore point", changed=False):
        return problems_of_copy(inventory, root / entry.files, check=check)


def read_inventory(root: Path, entry: VolumeEntry) -> Inventory:
    """The inventory of a volume that was not absent.

    Raises:
        Unfit: it is missing or damaged.
    """
    if entry.inventory is None:
        return {}
    path = root / entry.inventory.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Unfit(f"inventory `{path}` cannot be read: {error.strerror}") from error
    return decode(data, where=path)
