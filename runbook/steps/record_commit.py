"""Record which commit a git work tree is at."""

from collections.abc import Sequence
from shlex import quote

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Resource, Spec, StepKind
from runbook.resources import Git
from runbook.tools import git


class RecordCommit(Spec):
    """Record which commit a git work tree is at, so that a rollback can go back to it.

    Example:
        id: commit
        uses: record_commit
        with: {repository: code}
    """

    repository: Resource[Git]
    """The work tree."""
    revision: str | None = None
    """What to record; absent: what is checked out now."""


class RecordedCommit(Outputs):
    """Where the work tree stands."""

    repository: str
    """Name of the resource."""
    path: str
    """Directory of the work tree."""
    commit: str | None
    """Full sha of HEAD; absent where there is no work tree, or no commit in it, yet."""
    branch: str | None
    """The branch that is checked out; absent where HEAD is detached."""


def _run(spec: RecordCommit, ctx: Context) -> RecordedCommit:
    path = spec.repository.path
    there = git.is_work_tree(path)
    recorded = RecordedCommit(
        repository=spec.repository.name,
        path=str(path),
        commit=_commit(spec) if there else None,
        branch=git.branch(path) if there else None,
    )
    ctx.log(f"`{path}` is at {recorded.commit or 'no commit yet'}")
    return recorded


def _commit(spec: RecordCommit) -> str | None:
    if spec.revision is None:
        return git.head_commit(spec.repository.path)
    git.check_revision(spec.revision)
    return git.resolve(spec.repository.path, spec.revision, None)


def _describe(spec: RecordCommit) -> str:
    return f"record the commit of {spec.repository.path}"


def _by_hand(spec: RecordCommit) -> Sequence[str]:
    return [f"git -C {quote(str(spec.repository.path))} rev-parse HEAD"]


STEP = StepKind(
    spec=RecordCommit,
    outputs=RecordedCommit,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    by_hand=_by_hand,
    preflight=lambda spec, _ctx: git.missing_for(spec.repository.path),
)
