"""Put a revision into a git work tree.

HEAD is detached: a branch moved by a rollback would be moved forward again by the next `git pull`,
and nobody would notice. Hooks do not run; submodules are left as they are.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from pydantic import Field

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError, Unfit
from runbook.kinds import (
    Context,
    Done,
    HalfDone,
    NotDone,
    Outputs,
    ProbeResult,
    Resource,
    Result,
    Spec,
    StepKind,
)
from runbook.resources import Git
from runbook.steps import _kept_changes as kept_changes
from runbook.steps._kept_changes import Checkout
from runbook.tools import files, git

_POLL_S = 0.1
_LOCK_PATIENCE_S = 60.0
_LOCK_REST_S = 3.0


class GitCheckout(Spec):
    """Put a revision into a git work tree, HEAD detached.

    Untracked files stay where they are, unless the revision has files of its own there: these count
    as changes. In a rollback changes are always saved.

    Example:
        id: checkout
        uses: git_checkout
        with: {repository: code, revision: main}
    """

    repository: Resource[Git]
    """The work tree."""
    revision: str = Field(min_length=1)
    """A branch of the remote, a tag, or a commit's sha: the first of these that there is."""
    dirty: Literal["refuse", "save"] = "refuse"
    """What to do with changes that would be lost. Saved ones are put back by the rollback."""


class CheckedOut(Outputs):
    """What is in the work tree now, and was before."""

    commit: str
    """Full sha of what is in it."""
    previous_commit: str | None
    """Full sha of what was in it; absent where that was nothing."""
    branch: str | None
    """The branch that was checked out before; absent where HEAD was detached already."""
    patch: str | None
    """Directory of the changes that were saved; absent: there were none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begun:
    """What is recorded before the work tree is touched; a later attempt decides nothing anew."""

    target: str
    previous: str | None
    branch: str | None
    kept: str | None
    """Directory of the changes that were kept aside."""
    put_back: str | None
    """Directory of the undone run's changes, which are to be put back."""
    left_by: str | None
    """Target of an earlier checkout that was never finished."""
    is_needed: bool = True
    """False: it is all there already."""
    is_over: bool = False

    @property
    def outputs(self) -> CheckedOut:
        return CheckedOut(
            commit=self.target,
            previous_commit=self.previous,
            branch=self.branch,
            patch=self.kept,
        )


def _run(spec: GitCheckout, ctx: Context) -> Result[CheckedOut]:
    path = spec.repository.path
    git.check_revision(spec.revision)
    if not git.is_work_tree(path):
        raise Unfit(f"`{path}` is not a git work tree", hint=f"git clone URL {quote(str(path))}")
    _clear_locks(spec.repository, ctx)
    earlier = _read(ctx)
    begun = _begin(spec, ctx, _resolve(spec, ctx)) if earlier is None else earlier
    if not begun.is_needed:
        ctx.log(f"`{begun.target}` is checked out already")
        return Result(begun.outputs, changed=False)
    if earlier is not None and not begun.is_over:
        begun = _keep_what_came_since(spec, begun, ctx)
    _check_out(path, begun, ctx)
    return Result(begun.outputs, changed=True)


def _clear_locks(repository: Git, ctx: Context) -> None:
    """Wait for whoever works here; remove the locks of a git that was killed."""
    waited_s = 0.0
    before, left = None, git.left_locks(repository.path, repository.remote)
    while left.files and not (left == before and _are_abandoned(left)):
        if waited_s >= _LOCK_PATIENCE_S:
            pids = f", maybe as pid {', '.join(map(str, left.holders))}" if left.holders else ""
            raise Unfit(
                f"git is at work in `{repository.path}` since long{pids}",
                hint=f"if none is: rm {' '.join(quote(str(file)) for file in left.files)}",
            )
        ctx.sleep(_POLL_S)
        waited_s += _POLL_S
        before, left = left, git.left_locks(repository.path, repository.remote)
    for file in left.files:
        file.unlink(missing_ok=True)
        ctx.log(f"removed `{file}`, which a killed git had left behind")


def _are_abandoned(left: git.LeftLocks) -> bool:
    # A git that works from elsewhere, or a library, is not to be seen: its locks are new.
    return not left.holders and left.untouched_s >= _LOCK_REST_S


def _resolve(spec: GitCheckout, ctx: Context) -> str:
    path, remote = spec.repository.path, spec.repository.remote
    # A rollback names a commit that is here: it must work without the network.
    if git.is_commit(path, spec.revision):
        return spec.revision
    if not git.has_remote(path, remote):
        return git.resolve(path, spec.revision, None)
    kept_changes.run(git.fetch(path, remote), ctx, changed=False)
    return git.resolve(path, spec.revision, remote)


def _begin(spec: GitCheckout, ctx: Context, target: str) -> _Begun:
    """Keep what would be lost, and record all that later attempts must know."""
    path = spec.repository.path
    newest = kept_changes.newest_checkout(ctx.state_dir, path)
    unfinished = newest if newest is not None and not newest.is_finished else None
    head = git.head_commit(path)
    lost = kept_changes.losses(path, head, target, unfinished)
    put_back = kept_changes.kept_for(path, target, ctx)
    begun = _Begun(
        target=target,
        previous=head,
        branch=git.branch(path),
        kept=None,
        put_back=None if put_back is None else str(put_back),
        left_by=None if unfinished is None else unfinished.target,
    )
    if head == target and not git.changed_files(path) and not put_back and not unfinished:
        return replace(begun, is_needed=False)
    if put_back is not None:
        standing = kept_changes.standing_of(path, put_back)
        lost = replace(lost, untracked=sorted({*lost.untracked, *standing}))
    if lost:
        begun = replace(begun, kept=str(_keep(spec, ctx, head, lost)))
    ctx.record_progress(asdict(begun))
    return begun


def _keep_what_came_since(spec: GitCheckout, begun: _Begun, ctx: Context) -> _Begun:
    """An earlier attempt has not come to its end, and somebody may have changed files since."""
    path = spec.repository.path
    head = git.head_commit(path)
    newest = kept_changes.newest_checkout(ctx.state_dir, path)
    own = newest if newest is not None and newest.operation == ctx.operation else None
    lost = kept_changes.losses(path, head, begun.target, own)
    if not lost:
        return begun
    known = kept_changes.kept_files(begun.kept)
    place = str(_keep(spec, ctx, head, lost))
    if known <= {*lost.changed, *lost.untracked} and head == begun.previous:
        begun = replace(begun, kept=place)
        ctx.record_progress(asdict(begun))
    return begun


def _keep(spec: GitCheckout, ctx: Context, head: str | None, lost: kept_changes.Losses) -> Path:
    path = spec.repository.path
    if spec.dirty == "refuse" and ctx.undone is None:
        raise Unfit(
            f"`{path}` has changes that would be lost, expected a clean work tree: {lost}",
            hint="commit or move them, or write `dirty: save`",
        )
    with files.disk_errors("saving changes", changed=False):
        return kept_changes.keep(path, head, lost, ctx)


def _check_out(path: Path, begun: _Begun, ctx: Context) -> None:
    checkout = Checkout(
        run_id=ctx.run_id,
        operation=ctx.operation,
        previous=begun.previous,
        target=begun.target,
        kept=begun.kept,
    )
    with files.disk_errors("checking out", changed=True):
        kept_changes.record_checkout(ctx.state_dir, path, checkout)
        kept_changes.run(git.checkout(path, begun.target), ctx, changed=True)
        if begun.left_by is not None:
            kept_changes.remove_left(path, begun.target, begun.left_by, ctx)
        if begun.put_back is not None:
            kept_changes.put_back(path, Path(begun.put_back), ctx)
        # Git makes neither the work tree nor HEAD durable by itself.
        files.sync_file_system(path)
        ctx.record_progress(asdict(replace(begun, is_over=True)))
        finished = replace(checkout, is_finished=True)
        kept_changes.record_checkout(ctx.state_dir, path, finished)
    ctx.log(f"HEAD is detached at {begun.target}")


def _read(ctx: Context) -> _Begun | None:
    progress: Any = ctx.progress
    return _Begun(**progress) if progress else None


def _probe(spec: GitCheckout, ctx: Context) -> ProbeResult[CheckedOut]:
    begun = _read(ctx)
    if begun is None:
        return NotDone("the work tree was not touched yet")
    path = spec.repository.path
    if git.left_locks(path, spec.repository.remote).files:
        return HalfDone("git was stopped in the middle")
    head = git.head_commit(path)
    if head != begun.target:
        return HalfDone(f"HEAD is {head}, not {begun.target}")
    if begun.is_over:
        return Done(begun.outputs, f"HEAD is {head}, and nothing was left to do")
    if begun.left_by or begun.put_back or git.changed_files(path):
        return HalfDone(f"HEAD is {head}; the rest is not known to be done")
    files.sync_file_system(path)
    return Done(begun.outputs, f"HEAD is {head}, and the work tree is clean")


def _describe(spec: GitCheckout) -> str:
    return f"check out `{spec.revision}` in {spec.repository.path}"


def _by_hand(spec: GitCheckout) -> Sequence[str]:
    there = f"git -C {quote(str(spec.repository.path))}"
    return [
        f"{there} fetch --prune --tags {quote(spec.repository.remote)}",
        f"{there} checkout --detach {quote(spec.revision)} --",
    ]


def _preflight(spec: GitCheckout, ctx: Context) -> Sequence[str]:
    path = spec.repository.path
    missing = git.missing_for(path)
    if not missing and not path.exists():
        missing = [f"`{path}` is not a git work tree"]
    return missing or [*_flaws(spec), *_dirt(spec, ctx)]


def _flaws(spec: GitCheckout) -> list[str]:
    """Why the revision cannot be checked out, as far as can be told before the fetch."""
    path, remote = spec.repository.path, spec.repository.remote
    try:
        if not git.has_remote(path, remote):
            git.resolve(path, spec.revision, None)
        elif not git.is_commit(path, spec.revision):
            git.check_is_offered(path, spec.revision, remote)
    except StepError as error:
        return [": ".join([error.message, *error.output_tail[:1]])]
    return []


def _dirt(spec: GitCheckout, ctx: Context) -> list[str]:
    """Changes that would stop it later, as far as they can be told before the fetch."""
    is_of_rollback = all(step.is_rollback for step in ctx.plan_steps if step.spec == spec)
    if spec.dirty == "save" or is_of_rollback:
        return []
    path = spec.repository.path
    changed = kept_changes.changed_files(ctx.state_dir, path)
    if not changed:
        return []
    lost = kept_changes.Losses(changed=changed)
    return [f"`{path}` has changes that would be lost, expected a clean work tree: {lost}"]


STEP = StepKind(
    spec=GitCheckout,
    outputs=CheckedOut,
    releases="revision",
    effect=Effect.CHANGES,
    rerun=Rerun.PROBE,
    describe=_describe,
    run=_run,
    probe=_probe,
    by_hand=_by_hand,
    preflight=_preflight,
)
