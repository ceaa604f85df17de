"""What lies in a state directory to go back to: restore points, and what restores have replaced."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from runbook.errors import Unfit
from runbook.restore.manifest import Manifest
from runbook.restore.point import open_point, point_ids, points_dir, replaced_dir


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A restore point in a list."""

    id: str
    size_bytes: int
    manifest: Manifest | None
    """Absent: it is damaged, and nothing restores from it."""

    @property
    def commit(self) -> str | None:
        """The commit that was checked out, where one was recorded."""
        commits = self.manifest.commits if self.manifest else []
        return commits[0].commit if commits else None

    def age_s(self, now: datetime) -> float | None:
        """How long ago it was sealed, in seconds."""
        if self.manifest is None:
            return None
        return max(0.0, (now - datetime.fromisoformat(self.manifest.created_at)).total_seconds())


def restore_points(state_dir: Path) -> list[Listed]:
    """Every sealed restore point, newest first; their files are not read."""
    found = []
    for identifier in reversed(point_ids(state_dir)):
        try:
            manifest = open_point(state_dir, identifier).manifest
        except Unfit:
            manifest = None
        size_bytes = _size_of(points_dir(state_dir) / identifier)
        found.append(Listed(id=identifier, size_bytes=size_bytes, manifest=manifest))
    return found


def replaced(state_dir: Path) -> Iterator[tuple[Path, int]]:
    """What restores have replaced and kept as files, with its size in bytes."""
    for place in sorted(replaced_dir(state_dir, ".").glob("*")):
        yield place, _size_of(place)


def _size_of(tree: Path) -> int:
    """Bytes of the files in it; one that goes while we look counts nothing."""
    size = 0
    for folder, _, names in os.walk(tree):
        for name in names:
            try:
                size += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 — of many
            except FileNotFoundError:
                continue
    return size
