"""What a checkout would take away: found, kept aside before it, put back by a rollback.

Kept are what tracked files differ in from HEAD, as a patch, and the untracked files that stand
where the new commit has files of its own. Other untracked files are in nobody's way and left alone.
In a directory of kept changes stand `manifest.json`, `changes.patch` and `untracked/`.
"""

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runbook.errors import CommandFailed, Unfit
from runbook.kinds import Context
from runbook.restore.point import replaced_dir
from runbook.tools import files, git
from runbook.tools.process import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """The newest checkout that was begun in a work tree, whoever began it; durable."""

    run_id: str
    operation: str
    previous: str | None
    target: str
    kept: str | None = None
    """Directory of the changes that it has kept aside."""
    is_finished: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a checkout would take away."""

    changed: list[str] = field(default_factory=list)
    """Tracked files that differ from HEAD."""
    untracked: list[str] = field(default_factory=list)
    """Untracked files and directories that stand in the way."""

    def __bool__(self) -> bool:
        return bool(self.changed or self.untracked)

    def __str__(self) -> str:
        names = [*self.changed, *self.untracked]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return ", ".join(f"`{name}`" for name in names[:5]) + more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    path: str
    commit: str | None
    changed: list[str]
    untracked: list[str]
    added: list[str]
    """Of the changed ones, those that the commit does not have."""


def newest_checkout(state_dir: Path, path: Path) -> Checkout | None:
    """The newest checkout that was begun there."""
    file = _record_file(state_dir, path)
    return Checkout(**json.loads(file.read_bytes())) if file.exists() else None


def record_checkout(state_dir: Path, path: Path, checkout: Checkout) -> None:
    """Record that a checkout begins, or has ended; durable on return."""
    file = _record_file(state_dir, path)
    files.make_directories(file.parent)
    files.write_durably(file, json.dumps(asdict(checkout)).encode())


def _record_file(state_dir: Path, path: Path) -> Path:
    name = str(path.resolve()).strip("/").replace("%", "%25").replace("/", "%2F")
    return state_dir / "checkouts" / f"{name[-200:]}.json"


# --- finding --------------------------------------------------------------------------------


def changed_files(state_dir: Path, path: Path) -> list[str]:
    """Tracked files that somebody has changed; what an unfinished checkout left does not count."""
    newest = newest_checkout(state_dir, path)
    unfinished = newest if newest is not None and not newest.is_finished else None
    return _changed(path, unfinished)


def losses(path: Path, head: str | None, target: str, unfinished: Checkout | None) -> Losses:
    """What checking out `target` would take away, but for what an unfinished one left."""
    changed = _changed(path, unfinished)
    added = [] if head is None else git.added_files(path, head, target)
    standing = {found for name in added if (found := _standing(path, name)) is not None}
    if not standing:
        return Losses(changed=changed)
    tracked = git.tracked_files(path)
    untracked = sorted(name for name in standing if _holds_untracked(path, name, tracked))
    for owner in {target} if unfinished is None else {target, unfinished.target}:
        left = _left(path, owner, untracked)
        untracked = [name for name in untracked if name not in left]
    return Losses(changed=changed, untracked=untracked)


def _changed(path: Path, unfinished: Checkout | None) -> list[str]:
    changed = git.changed_files(path)
    if unfinished is None:
        return changed
    left = _left(path, unfinished.target, changed)
    return [name for name in changed if name not in left]


def _standing(path: Path, name: str) -> str | None:
    """What stands where that file is to go: itself, or a file instead of a directory above."""
    parts = Path(name).parts
    for count in range(1, len(parts)):
        above = path.joinpath(*parts[:count])
        if above.is_symlink() or above.is_file():
            return str(Path(*parts[:count]))
        if not above.exists():
            return None
    return name if (path / name).exists() or (path / name).is_symlink() else None


def _holds_untracked(path: Path, name: str, tracked: frozenset[str]) -> bool:
    if not (path / name).is_dir() or (path / name).is_symlink():
        return name not in tracked
    inside = (entry for entry in (path / name).rglob("*") if not entry.is_dir())
    return any(str(entry.relative_to(path)) not in tracked for entry in inside)


def _left(path: Path, commit: str, names: list[str]) -> frozenset[str]:
    """The files that are what a killed checkout of that commit leaves: absent, empty or whole."""
    plain = [name for name in names if not (path / name).is_symlink()]
    absent = {name for name in plain if not (path / name).exists()}
    regular = [name for name in plain if (path / name).is_file()]
    empty = {name for name in regular if (path / name).stat().st_size == 0}
    whole = git.same_as(path, commit, [name for name in regular if name not in empty])
    return frozenset(absent | empty | whole)


# --- keeping and putting back ---------------------------------------------------------------


def keep(path: Path, head: str | None, lost: Losses, ctx: Context) -> Path:
    """Copy aside what would be lost; durable on return."""
    place = replaced_dir(ctx.state_dir, ctx.operation) / f"git-{ctx.attempt}"
    shutil.rmtree(place, ignore_errors=True)
    files.make_directories(place)
    manifest = _Manifest(
        path=str(path),
        commit=head,
        changed=lost.changed,
        untracked=lost.untracked,
        added=git.staged_files(path) if lost.changed else [],
    )
    if lost.changed:
        # What a killed checkout has done to other files is nobody's change.
        names = lost.changed if set(lost.changed) != set(git.changed_files(path)) else ()
        run(git.write_patch(path, place / "changes.patch", names), ctx, changed=False)
    for name in lost.untracked:
        _copy(path / name, place / "untracked" / name)
    files.write_durably(place / "manifest.json", json.dumps(asdict(manifest), indent=2).encode())
    files.sync_file_system(place)
    ctx.log(f"kept {lost} in `{place}`")
    return place


def kept_files(place: str | None) -> set[str]:
    """The names of what was kept in a directory."""
    manifest = _manifest(Path(place)) if place else None
    return {*manifest.changed, *manifest.untracked} if manifest else set()


def kept_for(path: Path, commit: str, ctx: Context) -> Path | None:
    """The changes to that commit that the undone run has kept aside, if it has."""
    if ctx.undone is None:
        return None
    patches = [step.outputs for step in ctx.undone.completed if step.kind == "git_checkout"]
    places = [str(found["patch"]) for found in patches if found.get("patch")]
    newest = newest_checkout(ctx.state_dir, path)
    if newest is not None and newest.run_id == ctx.undone.run_id and newest.kept is not None:
        places.append(newest.kept)
    for place in map(Path, reversed(places)):
        manifest = _manifest(place)
        if manifest is not None and (manifest.path, manifest.commit) == (str(path), commit):
            return place
    return None


def put_back(path: Path, place: Path, ctx: Context) -> None:
    """Apply what was kept to the work tree that it came from, freshly checked out; converges."""
    manifest = _manifest(place)
    if manifest is None:
        raise Unfit(f"`{place}`, where changes were kept, is gone or not whole")
    for name in manifest.added:
        # Left by an attempt that was killed before its end; git would refuse to write over them.
        (path / name).unlink(missing_ok=True)
    if manifest.changed:
        run(git.apply_patch(path, place / "changes.patch"), ctx, changed=True)
    for name in manifest.untracked:
        if not (path / name).exists():
            _copy(place / "untracked" / name, path / name)
    ctx.log(f"put back what was kept in `{place}`")


def standing_of(path: Path, place: Path) -> list[str]:
    """The files that stand where `put_back` is to write new ones."""
    manifest = _manifest(place)
    return [name for name in (manifest.added if manifest else []) if (path / name).is_file()]


def remove_left(path: Path, head: str, commit: str, ctx: Context) -> None:
    """Remove the files that a killed checkout of `commit` has left in a work tree of `head`."""
    tracked = git.tracked_files(path)
    added = [name for name in git.added_files(path, head, commit) if name not in tracked]
    for name in sorted(_left(path, commit, [n for n in added if (path / n).is_file()])):
        (path / name).unlink()
        ctx.log(f"removed `{name}`, left by an unfinished checkout")
        above = (path / name).parent
        while above != path and not any(above.iterdir()):
            above.rmdir()
            above = above.parent


def run(command: Command, ctx: Context, *, changed: bool) -> None:
    """Run a command of git's to its end.

    Raises:
        CommandFailed: it ended with another status than 0.
    """
    ended = ctx.run(command)
    if ended.exit_code == 0:
        return
    arguments = [word for word in command.argv[3:] if word != "-c" and "=" not in word]
    raise CommandFailed(
        f"`git {arguments[0]}` ended with exit code {ended.exit_code}, expected 0",
        where=f"git {' '.join(arguments)}",
        changed=changed,
        output_tail=ended.tail,
    )


def _manifest(place: Path) -> _Manifest | None:
    try:
        return _Manifest(**json.loads((place / "manifest.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)
