"""Git, by its command line: commands as pure functions, and what can be read of a work tree.

Commands that change something are only built here; a step runs them under its supervisor. No hook,
no file system monitor and no `ext::` URL is ever executed; nobody is asked for a password.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from runbook.errors import CommandFailed, Unfit
from runbook.secret import Secret
from runbook.tools.process import Command, Completed, output

_READ_TIMEOUT_S = 120.0
_FULL_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT_SHA = re.compile(r"[0-9a-f]{4,64}")
_SAFE = (
    *("-c", "core.hooksPath=/dev/null"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.fsync=all"),
    *("-c", "advice.detachedHead=false"),
    *("-c", "gc.auto=0"),
    *("-c", "maintenance.auto=false"),
)


def _git(path: Path, *arguments: str) -> Command:
    environment: dict[str, str | Secret] = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        # Else a directory that is no work tree would pass for the work tree that it lies in.
        "GIT_CEILING_DIRECTORIES": str(path.resolve().parent),
        "LC_ALL": "C",
    }
    return Command(argv=("git", "-C", str(path), *_SAFE, *arguments), environment=environment)


# --- commands that change something ---------------------------------------------------------


def fetch(path: Path, remote: str) -> Command:
    """Bring the remote's branches and tags up to date, whatever the clone was narrowed to."""
    branches = f"+refs/heads/*:refs/remotes/{remote}/*"
    options = ("--force", "--prune", "--tags", "--no-recurse-submodules", "--no-progress")
    return _git(path, "fetch", *options, "--end-of-options", remote, branches)


def checkout(path: Path, commit: str) -> Command:
    """Put a commit, given by its full sha, into the work tree, over whatever is there."""
    return _git(path, "checkout", "--force", "--detach", "--no-recurse-submodules", commit, "--")


def apply_patch(path: Path, patch: Path) -> Command:
    """Apply a patch to work tree and index."""
    options = ("--index", "--binary", "--whitespace=nowarn")
    return _git(path, "apply", *options, "--end-of-options", str(patch))


def write_patch(path: Path, patch: Path, names: Sequence[str]) -> Command:
    """Write what these files, or all, differ in from HEAD to a file that `apply_patch` takes."""
    options = ("--binary", "--full-index", "--no-color", "--no-ext-diff", "--no-textconv")
    prefixes = ("--src-prefix=a/", "--dst-prefix=b/")
    places = [f":(top,literal){name}" for name in names]
    return _git(path, "diff", *options, *prefixes, f"--output={patch}", "HEAD", "--", *places)


# --- reading --------------------------------------------------------------------------------


def is_work_tree(path: Path) -> bool:
    """Whether this very directory, not one above it, is a work tree."""
    if not path.is_dir():
        return False
    top = _read(path, "rev-parse", "--show-toplevel")
    return top.exit_code == 0 and Path(top.stdout.strip()).resolve() == path.resolve()


def missing_for(path: Path) -> list[str]:
    """What is missing to use the work tree that is, or will be, there."""
    if shutil.which("git") is None:
        return ["there is no program `git`"]
    if path.exists() and not is_work_tree(path):
        return [f"`{path}` is not a git work tree"]
    return []


def head_commit(path: Path) -> str | None:
    """Full sha of HEAD; absent before the first commit."""
    return _commit(path, "HEAD")


def branch(path: Path) -> str | None:
    """The branch that is checked out; absent when HEAD is detached."""
    found = _read(path, "symbolic-ref", "--quiet", "--short", "HEAD")
    return found.stdout.strip() or None if found.exit_code == 0 else None


def has_remote(path: Path, remote: str) -> bool:
    """Whether the work tree has a remote of that name."""
    key = f"remote.{remote}.url"
    return _read(path, "config", "--get", key).exit_code == 0


def is_commit(path: Path, revision: str) -> bool:
    """Whether it is a full sha, and that commit is here already."""
    return bool(_FULL_SHA.fullmatch(revision)) and _commit(path, revision) is not None


def check_revision(revision: str) -> None:
    """Refuse what could be taken for an option or a file.

    Raises:
        Unfit: it begins with `-`, or is no name of a branch, a tag or a commit.
    """
    is_name = re.fullmatch(r"[^\s~^:?*\[\\\x00-\x1f\x7f]+", revision) and ".." not in revision
    if revision.startswith("-") or not is_name:
        raise Unfit(f"`{revision}` is no revision, expected a branch, a tag or a commit's sha")


def resolve(path: Path, revision: str, remote: str | None) -> str:
    """Full sha of a remote branch (local, where there is no remote), tag or commit, in this order.

    Raises:
        Unfit: there is none of that name, or more than one commit begins with it.
    """
    check_revision(revision)
    branches = f"refs/remotes/{remote}" if remote else "refs/heads"
    for ref in (f"{branches}/{revision}", f"refs/tags/{revision}"):
        if _read(path, "show-ref", "--verify", "--quiet", "--", ref).exit_code == 0:
            commit = _commit(path, ref)
            if commit is not None:
                return commit
    commits = _commits_beginning_with(path, revision)
    if len(commits) == 1:
        return commits[0]
    what = "the beginning of more than one commit" if commits else "nothing"
    place = f"of the remote `{remote}`" if remote else f"in `{path}`"
    raise _no_revision(f"`{revision}` is {what} {place}")


def _no_revision(what: str) -> Unfit:
    return Unfit(
        f"{what}, expected a branch, a tag or a commit's sha",
        hint="push it first, or name another revision",
    )


def check_is_offered(path: Path, revision: str, remote: str) -> None:
    """Refuse what a remote does not have, as far as that can be told without fetching from it.

    Raises:
        Unfit: it has no branch or tag of that name, and it is no sha, which may be one of its own.
        CommandFailed: it does not answer.
    """
    check_revision(revision)
    refs = [f"refs/heads/{revision}", f"refs/tags/{revision}"]
    offered = _expect(path, "ls-remote", "--refs", "--end-of-options", remote, *refs)
    names = {line.partition("\t")[2] for line in offered.splitlines()}
    if not names.intersection(refs) and not _SHORT_SHA.fullmatch(revision):
        raise _no_revision(f"`{revision}` is nothing of the remote `{remote}`")


def _commits_beginning_with(path: Path, revision: str) -> list[str]:
    if not _SHORT_SHA.fullmatch(revision):
        return []
    # By `--disambiguate`, because rev-parse would let a local branch of that name win.
    objects = _read(path, "rev-parse", f"--disambiguate={revision}").stdout.split()
    types = {sha: _read(path, "cat-file", "-t", sha).stdout.strip() for sha in objects}
    return [sha for sha, type_ in types.items() if type_ == "commit"]


def changed_files(path: Path) -> list[str]:
    """The tracked files in which the index or the work tree differs from HEAD."""
    status = _expect(path, "status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames")
    return [entry[3:] for entry in _entries(status)]


def added_files(path: Path, old: str, new: str) -> list[str]:
    """The files of one commit that another does not have."""
    options = ("-r", "-z", "--name-only", "--diff-filter=A", "--no-renames")
    return _entries(_expect(path, "diff-tree", *options, old, new))


def staged_files(path: Path) -> list[str]:
    """The files in the index that HEAD does not have."""
    options = ("--cached", "-z", "--name-only", "--diff-filter=A", "--no-renames")
    return _entries(_expect(path, "diff", *options, "HEAD", "--"))


def same_as(path: Path, commit: str, names: Sequence[str]) -> frozenset[str]:
    """Those regular files in the work tree that have the content that a commit gives them."""
    asked = [name for name in names if "\n" not in name and not name.startswith('"')]
    if not asked:
        return frozenset()
    entries = _entries(_expect(path, "ls-tree", "-r", "-z", "--full-tree", commit))
    blobs = {name: head.split()[2] for head, _, name in (e.partition("\t") for e in entries)}
    found = _expect(path, "hash-object", "--stdin-paths", stdin="".join(f"{n}\n" for n in asked))
    hashes = zip(asked, found.split(), strict=True)
    return frozenset(name for name, blob in hashes if blobs.get(name) == blob)


def tracked_files(path: Path) -> frozenset[str]:
    """Every file that the index holds."""
    return frozenset(_entries(_expect(path, "ls-files", "-z")))


def _commit(path: Path, name: str) -> str | None:
    options = ("--verify", "--quiet", "--end-of-options")
    found = _read(path, "rev-parse", *options, f"{name}^{{commit}}")
    return found.stdout.strip() if found.exit_code == 0 else None


def _entries(text: str) -> list[str]:
    return [entry for entry in text.split("\0") if entry]


def _read(path: Path, *arguments: str, stdin: str | None = None) -> Completed:
    return output(replace(_git(path, *arguments), stdin=stdin), timeout_s=_READ_TIMEOUT_S)


def _expect(path: Path, *arguments: str, stdin: str | None = None) -> str:
    ended = _read(path, *arguments, stdin=stdin)
    if ended.exit_code != 0:
        raise CommandFailed(
            f"`git {arguments[0]}` ended with exit code {ended.exit_code} in `{path}`, expected 0",
            where=f"git {arguments[0]}",
            changed=False,
            output_tail=ended.tail,
        )
    return ended.stdout


# --- locks that a killed git leaves behind --------------------------------------------------


@dataclass(frozen=True, slots=True)
class LeftLocks:
    """Lock files in a repository, and the processes of git that may be holding them."""

    files: Mapping[Path, tuple[int, int]]
    """Each one's inode and modification time in nanoseconds."""
    holders: tuple[int, ...]

    @property
    def untouched_s(self) -> float:
        """For how long nobody has written to any of them."""
        return min((time.time() - mtime_ns / 1e9 for _, mtime_ns in self.files.values()), default=0)


def left_locks(path: Path, remote: str) -> LeftLocks:
    """The locks that would stop a fetch or checkout here."""
    options = ("--path-format=absolute", "--git-dir", "--git-common-dir")
    own, common = (Path(line) for line in _expect(path, "rev-parse", *options).splitlines())
    candidates = [own / "index.lock", own / "HEAD.lock", own / "ORIG_HEAD.lock"]
    candidates += [common / "packed-refs.lock", common / "shallow.lock"]
    for refs in (common / "refs/remotes" / remote, common / "refs/tags"):
        # Unlike `rglob`, it passes over a directory that another git prunes meanwhile.
        for directory, _, names in os.walk(refs):
            candidates += [Path(directory, name) for name in names if name.endswith(".lock")]
    files: dict[Path, tuple[int, int]] = {}
    for file in candidates:
        with suppress(FileNotFoundError, NotADirectoryError):
            status = file.stat()
            files[file] = (status.st_ino, status.st_mtime_ns)
    return LeftLocks(files, tuple(_gits_in(path.resolve())) if files else ())


def _gits_in(path: Path) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        with suppress(OSError):  # gone meanwhile
            is_git = (process / "comm").read_text("utf-8", "replace").startswith("git")
            is_alive = b") Z" not in (process / "stat").read_bytes()
            if is_git and is_alive and _may_be_in(path, process):
                yield int(process.name)


def _may_be_in(path: Path, process: Path) -> bool:
    """Whether a git works here: `git -C` makes the work tree its working directory."""
    try:
        return (process / "cwd").readlink().is_relative_to(path)
    except PermissionError:
        return True  # another user's, who does not tell
