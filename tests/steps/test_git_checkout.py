"""git_checkout and record_commit in real repositories, killed and dirtied."""

import itertools
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runbook.errors import CommandFailed, Unfit
from runbook.kinds import CompletedStep, Done, HalfDone, NotDone, Result, UndoneRun
from runbook.resources import Git
from runbook.steps import git_checkout, record_commit
from runbook.steps.git_checkout import GitCheckout
from runbook.steps.record_commit import RecordCommit, RecordedCommit


@dataclass(frozen=True, kw_only=True)
class Repositories:
    """A remote with two releases on `main` and a clone of it at the first."""

    remote: Path
    clone: Path
    first: str
    second: str

    @property
    def code(self) -> Git:
        return Git(path=self.clone, name="code")

    def git(self, *arguments: str, at: Path | None = None) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", "-C", str(at or self.clone), *identity, *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str], at: Path | None = None) -> str:
        place = at or self.remote
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        self.git("add", "-A", at=place)
        self.git("commit", "-q", "-m", "a release", at=place)
        return self.git("rev-parse", "HEAD", at=place)

    def read(self, name: str) -> str:
        return (self.clone / name).read_text()


@pytest.fixture
def repositories(tmp_path: Path) -> Repositories:
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    made = Repositories(remote=remote, clone=clone, first="", second="")
    remote.mkdir()
    made.git("init", "-q", "-b", "main", at=remote)
    ignored = {".gitignore": ".env\n"}
    first = made.commit({"app": "one", "old": "old", **ignored})
    made.git("clone", "-q", str(remote), str(clone), at=tmp_path)
    (remote / "old").unlink()
    second = made.commit({"app": "two", "new/page": "new"})
    return Repositories(remote=remote, clone=clone, first=first, second=second)


def check_out(code: Git, revision: str, context: Any, **fields: Any) -> Any:
    spec = GitCheckout(repository=code, revision=revision, **fields)
    outcome = git_checkout.STEP.run(spec, context)
    assert isinstance(outcome, Result)
    return outcome


def undone_by(outcome: Any) -> UndoneRun:
    outputs = outcome.outputs.model_dump()
    step = CompletedStep(id="checkout", kind="git_checkout", outputs=outputs, changed=True)
    return UndoneRun(run_id="run-1", completed=[step], failed_step="watch", failure=None)


def test_a_branch_is_fetched_and_checked_out_detached(
    repositories: Repositories, make_context: Any
) -> None:
    (repositories.clone / ".env").write_text("kept")
    (repositories.clone / "notes").write_text("kept")

    outcome = check_out(repositories.code, "main", make_context())

    assert outcome.changed
    assert outcome.outputs.commit == repositories.second
    assert outcome.outputs.previous_commit == repositories.first
    assert outcome.outputs.branch == "main"
    assert repositories.read("app") == "two"
    assert repositories.read("new/page") == "new"
    assert not (repositories.clone / "old").exists()
    assert (repositories.read(".env"), repositories.read("notes")) == ("kept", "kept")
    assert repositories.git("rev-parse", "main") == repositories.first
    assert repositories.git("status", "--porcelain") == "?? notes"


def test_a_remote_branch_wins_over_a_tag_and_over_a_stale_local_branch(
    repositories: Repositories, make_context: Any
) -> None:
    repositories.git("branch", "release", repositories.first)
    repositories.git("branch", "release", "main", at=repositories.remote)
    repositories.git("tag", "release", repositories.first, at=repositories.remote)
    repositories.git("tag", "v1", repositories.first, at=repositories.remote)

    branch = check_out(repositories.code, "release", make_context())
    tag = check_out(repositories.code, "v1", make_context(run_id="run-2"))
    sha = check_out(repositories.code, repositories.second[:9], make_context(run_id="run-3"))

    assert branch.outputs.commit == repositories.second
    assert tag.outputs.commit == repositories.first
    assert sha.outputs.commit == repositories.second


def test_a_work_tree_without_a_remote_is_used_as_it_is(
    repositories: Repositories, make_context: Any
) -> None:
    code = Git(path=repositories.remote, name="code")

    outcome = check_out(code, repositories.first[:10], make_context())

    assert outcome.outputs.commit == repositories.first


def test_a_commit_that_is_here_needs_no_network(
    repositories: Repositories, make_context: Any
) -> None:
    check_out(repositories.code, "main", make_context())
    repositories.git("remote", "set-url", "origin", "/nowhere")

    back = check_out(repositories.code, repositories.first, make_context(run_id="run-2"))

    assert back.outputs.commit == repositories.first
    with pytest.raises(CommandFailed) as caught:
        check_out(repositories.code, "main", make_context(run_id="run-3"))
    assert not caught.value.changed


def test_the_commit_that_is_there_already_changes_nothing(
    repositories: Repositories, make_context: Any
) -> None:
    outcome = check_out(repositories.code, repositories.first, make_context())

    assert not outcome.changed
    assert repositories.git("symbolic-ref", "HEAD") == "refs/heads/main"


@pytest.mark.parametrize(
    "revision", ["--orphan", "-", "main~1", "a..b", "no-such", "HEAD^", "main:app", "deadbeef"]
)
def test_what_is_no_revision_is_refused(
    repositories: Repositories, make_context: Any, revision: str
) -> None:
    with pytest.raises(Unfit):
        check_out(repositories.code, revision, make_context())

    assert repositories.read("app") == "one"


def test_an_empty_revision_is_refused_before_the_run(repositories: Repositories) -> None:
    with pytest.raises(ValidationError):
        GitCheckout(repository=repositories.code, revision="")


def test_preflight_finds_a_revision_that_the_remote_does_not_have(
    repositories: Repositories, make_context: Any
) -> None:
    repositories.git("tag", "-a", "-m", "v1", "v1", at=repositories.remote)
    repositories.git("branch", "release/2", at=repositories.remote)
    repositories.git("branch", "only-here")

    def flaws(revision: str) -> Sequence[str]:
        spec = GitCheckout(repository=repositories.code, revision=revision)
        assert git_checkout.STEP.preflight is not None
        return git_checkout.STEP.preflight(spec, make_context())

    there = ["main", "v1", "release/2", repositories.first, repositories.second, "a" * 40]
    assert [flaws(revision) for revision in there] == [[]] * len(there)
    for revision in ("v11", "release", "only-here", "--upload-pack=x"):
        assert revision in flaws(revision)[0]
    repositories.git("remote", "set-url", "origin", "/nowhere")
    assert flaws(repositories.first) == []
    assert "'/nowhere' does not appear to be a git repository" in flaws("main")[0]
    repositories.git("remote", "remove", "origin")
    assert (flaws("only-here"), len(flaws("a" * 40))) == ([], 1)


def test_hooks_and_ext_urls_are_never_executed(
    repositories: Repositories, make_context: Any, tmp_path: Path
) -> None:
    hook = repositories.clone / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    hook.chmod(0o755)

    check_out(repositories.code, "main", make_context())
    repositories.git("remote", "set-url", "origin", f"ext::touch {tmp_path}/executed")
    with pytest.raises(CommandFailed):
        check_out(repositories.code, "main", make_context(run_id="run-2"))

    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("name", ["app", "new/page", "new", "staged"])
def test_what_would_be_lost_refuses_the_checkout(
    repositories: Repositories, make_context: Any, name: str
) -> None:
    (repositories.clone / name).parent.mkdir(exist_ok=True)
    (repositories.clone / name).write_text("mine")
    if name == "staged":
        repositories.git("add", name)

    with pytest.raises(Unfit, match=f"`{name}`"):
        check_out(repositories.code, "main", make_context())

    assert repositories.read(name) == "mine"
    assert repositories.git("rev-parse", "HEAD") == repositories.first


@pytest.mark.parametrize("is_recorded", [True, False])
def test_saved_changes_are_put_back_by_the_rollback(
    repositories: Repositories, make_context: Any, is_recorded: bool
) -> None:
    (repositories.clone / "app").write_bytes(b"mine\0binary")
    (repositories.clone / "old").unlink()
    (repositories.clone / "staged").write_text("mine")
    repositories.git("add", "staged")
    (repositories.clone / "new").mkdir()
    (repositories.clone / "new" / "page").write_text("mine")
    before = _files(repositories.clone)
    deployed = check_out(repositories.code, "main", make_context(), dirty="save")
    assert repositories.read("app") == "two"
    undone = undone_by(deployed)
    if not is_recorded:
        undone = UndoneRun(run_id="run-1", completed=[], failed_step="checkout", failure=None)

    back = make_context(run_id="run-2", undone=undone)
    check_out(repositories.code, repositories.first, back)

    assert _files(repositories.clone) == before


@pytest.mark.parametrize("dirty", ["refuse", "save"])
def test_what_somebody_wrote_after_a_failed_attempt_is_not_lost_by_the_next(
    repositories: Repositories, make_context: Any, dirty: str
) -> None:
    repositories.commit({".gitattributes": "app filter=broken\n", "app": "three"})
    repositories.git("config", "filter.broken.smudge", "false")
    repositories.git("config", "filter.broken.clean", "cat")
    repositories.git("config", "filter.broken.required", "true")
    context = make_context()
    with pytest.raises(CommandFailed):
        check_out(repositories.code, "main", context, dirty=dirty)
    (repositories.clone / "old").write_text("mended in haste")
    repositories.git("config", "filter.broken.smudge", "cat")

    if dirty == "refuse":
        with pytest.raises(Unfit, match="`old`"):
            check_out(repositories.code, "main", context, dirty=dirty)
        assert repositories.read("old") == "mended in haste"
    else:
        outcome = check_out(repositories.code, "main", context, dirty=dirty)
        patch = Path(outcome.outputs.patch) / "changes.patch"
        assert "+mended in haste" in patch.read_text()
        back = make_context(run_id="run-2", undone=undone_by(outcome))
        check_out(repositories.code, repositories.first, back)
        assert repositories.read("old") == "mended in haste"


def test_a_rollback_saves_what_it_would_lose(repositories: Repositories, make_context: Any) -> None:
    deployed = check_out(repositories.code, "main", make_context())
    (repositories.clone / "app").write_text("mended in haste")

    context = make_context(run_id="run-2", undone=undone_by(deployed))
    back = check_out(repositories.code, repositories.first, context)

    assert repositories.read("app") == "one"
    assert "+mended in haste" in (Path(back.outputs.patch) / "changes.patch").read_text()


def test_locks_of_a_killed_git_are_removed(repositories: Repositories, make_context: Any) -> None:
    for name in ("index.lock", "HEAD.lock", "refs/remotes/origin/main.lock"):
        (repositories.clone / ".git" / name).touch()
    make_old(repositories.clone)

    outcome = check_out(repositories.code, "main", make_context())

    assert outcome.outputs.commit == repositories.second


def make_old(clone: Path) -> None:
    """Let the locks that a killed git has left be old."""
    for lock in (clone / ".git").rglob("*.lock"):
        os.utime(lock, (0, 0))


def test_the_lock_of_a_git_that_works_from_elsewhere_is_not_taken_from_it(
    repositories: Repositories, make_context: Any
) -> None:
    dot_git = repositories.clone / ".git"
    lock = dot_git / "index.lock"
    # It holds its lock until its input ends.
    argv = ["git", f"--git-dir={dot_git}", "update-index", "--stdin"]
    checks, was_held = itertools.count(), []
    with subprocess.Popen(argv, cwd="/", stdin=subprocess.PIPE) as unseen:
        while not lock.exists():
            time.sleep(0.01)

        def on_check() -> None:
            if next(checks) == 4:
                was_held.append(lock.exists())
                unseen.communicate()

        outcome = check_out(repositories.code, "main", make_context(on_check=on_check))

    assert was_held == [True]
    assert outcome.outputs.commit == repositories.second


def test_a_directory_inside_another_work_tree_is_none_itself(
    repositories: Repositories, make_context: Any
) -> None:
    inside = repositories.clone / "inside"
    inside.mkdir()

    with pytest.raises(Unfit, match="is not a git work tree"):
        check_out(Git(path=inside, name="code"), "main", make_context())


def test_the_probe_tells_not_begun_half_done_and_done(
    repositories: Repositories, make_context: Any
) -> None:
    context = make_context()
    spec = GitCheckout(repository=repositories.code, revision="main")
    probe = git_checkout.STEP.probe
    assert probe is not None

    assert isinstance(probe(spec, context), NotDone)
    outcome = check_out(repositories.code, "main", context)
    found = probe(spec, context)
    assert isinstance(found, Done)
    assert found.outputs == outcome.outputs
    repositories.git("checkout", "-q", "--force", repositories.first)
    assert isinstance(probe(spec, context), HalfDone)


def test_the_commit_is_recorded_and_absent_where_there_is_none(
    repositories: Repositories, make_context: Any, tmp_path: Path
) -> None:
    there = record_commit.STEP.run(RecordCommit(repository=repositories.code), make_context())
    nowhere = Git(path=tmp_path / "nowhere", name="code")
    absent = record_commit.STEP.run(RecordCommit(repository=nowhere), make_context())

    assert isinstance(there, RecordedCommit)
    assert (there.commit, there.branch, there.repository) == (repositories.first, "main", "code")
    assert isinstance(absent, RecordedCommit)
    assert (absent.commit, absent.branch) == (None, None)


def _files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".git/" not in str(path)
    }


class KilledContext:
    """Kills the commands that change something after a while, as the kernel would; None: before."""

    def __init__(self, context: Any, kill_after_s: float | None) -> None:
        self._context = context
        self._kill_after_s = kill_after_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def run(self, command: Any) -> Any:
        if "checkout" not in command.argv and "apply" not in command.argv:
            return self._context.run(command)
        if self._kill_after_s is None:
            raise KilledError
        process = subprocess.Popen(command.argv, stderr=subprocess.DEVNULL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(self._kill_after_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        make_old(Path(command.argv[2]))
        raise KilledError


class KilledError(Exception):
    """The interpreter died."""


def test_what_a_killed_checkout_has_deleted_is_not_kept_as_somebodys_change(
    repositories: Repositories, make_context: Any
) -> None:
    repositories.commit({"app": "three"})
    (repositories.clone / "app").write_text("mine")
    before = _files(repositories.clone)
    context = make_context()
    with suppress(KilledError):
        check_out(repositories.code, "main", KilledContext(context, None), dirty="save")
    (repositories.clone / "old").unlink()  # as far as git may get before it comes to `app`

    check_out(repositories.code, "main", context, dirty="save")
    undone = UndoneRun(run_id="run-1", completed=[], failed_step=None, failure=None)
    check_out(repositories.code, repositories.first, make_context(run_id="back", undone=undone))

    assert _files(repositories.clone) == before


@pytest.mark.slow
@pytest.mark.parametrize("is_rolled_back", [True, False])
def test_a_checkout_killed_at_any_moment_is_finished_or_rolled_back_without_a_trace(
    repositories: Repositories, make_context: Any, is_rolled_back: bool
) -> None:
    many = {f"d{i % 20}/f{i}": f"text {i}" * 50 for i in range(1500)}
    second = repositories.commit({**many, "app": "three"})
    (repositories.clone / "app").write_text("mine")
    before = _files(repositories.clone)
    dice = random.Random(7)
    halves = 0

    for number in range(8):
        context = make_context(run_id=f"run-{number}")
        with suppress(KilledError):
            killed = KilledContext(context, dice.uniform(0.0, 0.12))
            check_out(repositories.code, "main", killed, dirty="save")
        halves += (repositories.clone / ".git" / "index.lock").exists()
        if not is_rolled_back:
            outcome = check_out(repositories.code, "main", context, dirty="save")
            assert outcome.outputs.commit == second
            assert repositories.git("status", "--porcelain") == ""
        undone = UndoneRun(run_id=f"run-{number}", completed=[], failed_step=None, failure=None)
        back = make_context(run_id=f"back-{number}", undone=undone)
        with suppress(KilledError):
            killed = KilledContext(back, dice.uniform(0.0, 0.12))
            check_out(repositories.code, repositories.first, killed)
        check_out(repositories.code, repositories.first, back)
        assert _files(repositories.clone) == before

    assert halves
