"""Docker volumes for who is in group `docker` and not root: everything goes through the engine."""

import grp
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from shlex import quote
from typing import Any, cast
from uuid import uuid4

import pytest

from runbook.tools.helper_containers import helper
from runbook.tools.inventory import CAPABILITY, Entry, EntryType, scan, tree_sha256
from runbook.tools.kept import Kept
from runbook.tools.volume_restore import VolumeRestore, read_live
from tests.conftest import Eventually
from tests.real.conftest import MakeStack, Stack
from tests.real.shop import Told
from tests.steps.conftest import MakeContext

pytestmark = [pytest.mark.real, pytest.mark.slow]

NOBODY = 65534
REPOSITORY = Path(__file__).parents[2]
STACK = """
    services:
      web:
        image: runbook-test/python:1
        command: [sleep, "600"]
        init: true
        volumes: ["data:/data"]
    volumes: {data: {}}
"""
PROJECT = """
    project: {project}
    resources:
      stack: {{compose: {{project: {project}, files: [compose.yaml]}}}}
      files: {{volume: {{name: {project}_data, used_by: [stack/web]}}}}
"""
BACKUP = """
    runbook: v1
    name: backup
    steps:
      - {id: fit, uses: preflight}
      - {id: files, uses: snapshot_volume, with: {volume: files, level: paused}}
      - {id: point, uses: seal_restore_point}
"""
RESTORE = """
    runbook: v1
    name: restore
    inputs:
      point: {type: string}
    steps:
      - {id: fit, uses: preflight}
      - {id: point, uses: load_restore_point, with: {point: "${{ inputs.point }}"}}
      - {id: files, uses: restore_volume, with: {volume: files}}
"""
CAPABLE = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep


def as_nobody(argv: list[str]) -> list[str]:
    """A command line as one of group `docker`, who is not root and may do nothing else.

    Where Python lies below a directory that only root may enter, it alone is shown there to him.
    """
    needed = {Path(path) for path in (sys.base_prefix, sys.prefix, REPOSITORY)}
    hidden = [path for path in needed if not _is_open(path)]
    script = ["mount -t tmpfs tmpfs /mnt"]
    for number, path in enumerate(hidden):
        script.append(f"mkdir /mnt/{number}; mount --bind {quote(str(path))} /mnt/{number}")
    tops = {quote(path.parts[1]) for path in hidden}
    script += [f"mount -t tmpfs -o mode=0755 tmpfs /{top}" for top in tops]
    for number, path in enumerate(hidden):
        place = quote(str(path))
        script.append(f"mkdir -p {place}; mount --bind /mnt/{number} {place}")
    group = grp.getgrnam("docker").gr_gid
    rights = f"--reuid={NOBODY} --regid={NOBODY} --groups={group} --bounding-set=-all"
    script.append(f'exec setpriv {rights} -- "$@"')
    return ["unshare", "--mount", "sh", "-euc", "\n".join(script), "sh", *argv]


def _is_open(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o001 for parent in (path, *path.parents))


@dataclass(kw_only=True)
class Shop:
    """A project of nobody's, with a volume that only root and the engine reach."""

    stack: Stack
    home: Path

    @property
    def root(self) -> Path:
        """The volume's files, for the test to see; the program may not."""
        words = ["volume", "inspect", "--format", "{{.Mountpoint}}", f"{self.stack.project}_data"]
        return Path(self.stack.docker(*words).strip())

    def start(self, *words: str, is_root: bool = False) -> "subprocess.Popen[str]":
        argv = [sys.executable, "-m", "runbook", *words, "--state-dir", str(self.home / "state")]
        return subprocess.Popen(
            argv if is_root else as_nobody(argv),
            cwd=self.home,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(REPOSITORY)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runbook(self, *words: str, is_root: bool = False) -> Told:
        process = self.start(*words, is_root=is_root)
        out, err = process.communicate(timeout=240)
        return Told(status=process.returncode, out=out, err=err)

    def back_up(self, *, is_root: bool = False) -> str:
        """A restore point's id."""
        told = self.runbook("run", "backup.yaml", is_root=is_root)
        assert told.status == 0, told.text
        return self.newest_point()

    def newest_point(self) -> str:
        return max(path.name for path in (self.home / "state" / "restore-points").glob("2*"))

    def restoring(self, point: str) -> list[str]:
        return ["run", "restore.yaml", "--set", f"point={point}", "--yes"]

    def restore(self, point: str, *, is_root: bool = False) -> None:
        told = self.runbook(*self.restoring(point), is_root=is_root)
        assert told.status == 0, told.text

    def kept(self) -> dict[str, str]:
        """What was replaced so far, by path."""
        found = (self.home / "state" / "replaced").glob("*/files/**/*")
        names = [path for path in found if path.is_file() and not path.is_symlink()]
        return {str(path).partition("/files/")[2]: path.read_text() for path in names}

    def helpers(self) -> str:
        label = f"label=runbook.helper={self.stack.project}/{self.stack.project}_data"
        return self.stack.docker("ps", "--all", "--quiet", "--filter", label)

    def kill_once(self, words: list[str], holds: Callable[[], object], wait: Eventually) -> None:
        """Start the program and kill -9 it once something holds."""
        process = self.start(*words)
        wait(lambda: holds() or process.poll() is not None, "the moment to kill", 60)
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()


@pytest.fixture
def shop(make_stack: MakeStack) -> Iterator[Shop]:
    """The stack runs, and its volume is full of odd things."""
    stack = make_stack(STACK)
    stack.compose("up", "--detach")
    home = Path(tempfile.mkdtemp(prefix="runbook-nobody-"))
    texts = {"project": PROJECT.format(project=stack.project), "backup": BACKUP, "restore": RESTORE}
    for name, text in texts.items():
        (home / f"{name}.yaml").write_text(textwrap.dedent(text))
    shutil.copy(stack.root / "compose.yaml", home)
    for path in (home, *home.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    made = Shop(stack=stack, home=home)
    fill(made.root)
    yield made
    shutil.rmtree(home)


@pytest.fixture
def user_without_a_shell(shop: Shop) -> Iterator[None]:
    """The newest container that mounts the volume has an image with nothing in it."""
    project, docker = shop.stack.project, shop.stack.docker
    (shop.stack.root / "empty.tar").write_bytes(bytes(1024))
    image = docker("import", "empty.tar", f"runbook-test/empty:{project}").strip()
    mount = f"--volume={project}_data:/data"
    container = docker("create", mount, image, "nothing").strip()
    yield
    docker("rm", container)
    docker("rmi", image)


def fill(root: Path) -> None:
    for name in (b"new\nline", b"not-utf8-\xff\x81'", b"-rf", b"x" * 255, b".dot", b" $(x)*"):
        (root / os.fsdecode(name)).write_bytes(name * 1000)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "deep" / "er" / "same").write_text("same")
    (root / "deep" / "twin").hardlink_to(root / "-rf")
    (root / "link").symlink_to("deep")
    (root / "dangling").symlink_to(os.fsdecode(b"no\xffwhere"))
    (root / "was_directory").mkdir(mode=0o1750)
    (root / "was_directory" / "file").write_text("file")
    (root / "was_file").write_text("was_file")
    (root / "owned").write_text("owned")
    os.chown(root / "owned", 1234, 4321)
    (root / "owned").chmod(0o4640)
    os.setxattr(root / "was_file", CAPABILITY, CAPABLE)
    os.setxattr(root / "deep" / "er" / "same", "user.colour", b"red")
    for path in (*root.rglob("*"), root):
        os.utime(path, ns=(1, 1_500_000_000_123_456_789), follow_symlinks=False)


def make_a_mess(root: Path) -> None:
    (root / "-rf").unlink()
    (root / "-rf").write_text("no twin any more")
    (root / "link").unlink()
    (root / "link").symlink_to("was_directory")
    shutil.rmtree(root / "was_directory")
    (root / "was_directory").write_text("now a file")
    (root / "was_file").unlink()
    (root / "was_file").mkdir()
    (root / "was_file" / "inside").write_text("inside")
    (root / "owned").chmod(0o666)
    (root / "added" / "deep'er").mkdir(parents=True)
    (root / "added" / "deep'er" / "-new").write_text("new")
    (root / "added" / "other").hardlink_to(root / "added" / "deep'er" / "-new")
    subprocess.run(
        [sys.executable, "-c", "import socket; socket.socket(socket.AF_UNIX).bind('socket')"],
        cwd=root / "added",
        check=True,
    )
    os.mkfifo(root / "added" / "pipe")
    (root / ".dot").unlink()


REPLACED = {
    "-rf": "no twin any more",
    "was_directory": "now a file",
    "was_file/inside": "inside",
    "added/deep'er/-new": "new",
    "added/other": "new",
}


def state_of(root: Path, *, is_exact: bool = False) -> str:
    """All that a restore must bring back; without `is_exact` as far as an engine tells of it."""

    def told(entry: Entry) -> Entry:
        content = (root / entry.path).read_bytes() if entry.type is EntryType.FILE else b""
        entry = replace(entry, sha256=repr(content))
        if is_exact:
            return entry
        xattrs = {n: value for n, value in entry.xattrs.items() if n == CAPABILITY}
        return replace(entry, mtime_ns=entry.mtime_ns // 10**9, xattrs=xattrs)

    found = scan(root, ignored=lambda _: False, check=lambda: None)
    return tree_sha256({path: told(entry) for path, entry in found.items()})


@pytest.mark.usefixtures("user_without_a_shell")
def test_all_comes_back_as_it_was_and_what_was_replaced_is_kept(shop: Shop) -> None:
    before = state_of(shop.root)
    point = shop.back_up()
    make_a_mess(shop.root)

    shop.restore(point)

    assert state_of(shop.root) == before
    assert os.getxattr(shop.root / "deep" / "er" / "same", "user.colour") == b"red"
    assert shop.kept() == REPLACED
    assert shop.stack.is_running("web")
    assert shop.helpers() == ""


def test_what_root_has_taken_comes_back_through_the_engine_to_the_nanosecond(shop: Shop) -> None:
    before = state_of(shop.root, is_exact=True)
    point = shop.back_up(is_root=True)
    for path in (shop.home / "state", *(shop.home / "state").rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    (shop.root / "deep" / "er" / "same").unlink()
    make_a_mess(shop.root)

    shop.restore(point)

    assert state_of(shop.root, is_exact=True) == before


def test_what_the_engine_has_told_root_brings_back_and_touches_nothing_else(shop: Shop) -> None:
    before = state_of(shop.root)
    point = shop.back_up()
    (shop.root / "owned").write_text("after")
    (shop.root / "deep" / "er" / "same").chmod(0o600)

    shop.restore(point, is_root=True)

    assert state_of(shop.root) == before
    same = shop.root / "deep" / "er" / "same"
    assert os.getxattr(same, "user.colour") == b"red"
    assert same.stat().st_mtime_ns == 1_500_000_000_123_456_789
    assert shop.kept() == {"owned": "after"}


def test_killed_while_it_reads_or_writes_a_resume_gets_to_the_same_end(
    shop: Shop, eventually: Eventually
) -> None:
    (shop.root / "big").write_bytes(os.urandom(1_000_000) * 12)
    before = state_of(shop.root)
    staging = shop.home / "state" / "restore-points"
    shop.kill_once(
        ["run", "backup.yaml"],
        lambda: any(path.is_file() for path in staging.glob(".creating-*/volumes/files/files/*")),
        eventually,
    )
    assert shop.helpers() != ""

    told = shop.runbook("resume")

    assert told.status == 0, told.text
    assert shop.helpers() == ""
    assert shop.stack.containers()["web"]["State"]["Status"] == "running"
    make_a_mess(shop.root)
    (shop.root / "big").write_text("small")
    shop.kill_once(
        shop.restoring(shop.newest_point()),
        lambda: any(shop.root.glob(".runbook-restore-*")),
        eventually,
    )

    told = shop.runbook("resume")

    assert told.status == 0, told.text
    assert state_of(shop.root) == before
    assert shop.kept() == {**REPLACED, "big": "small"}
    assert shop.stack.is_running("web")
    assert shop.helpers() == ""


@dataclass(kw_only=True)
class Watched:
    """A helper's container, whose acts on the volume are noted."""

    container: Any
    acts: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def put_archive(self, path: str, data: Any) -> Any:
        self.acts.append("write")
        return self.container.put_archive(path, data)

    def start(self) -> None:
        chunks, _ = self.container.get_archive("/runbook.sh")
        script = b"".join(chunks).decode().splitlines()
        self.acts.append("sync" if "sync" in script else "start")
        self.container.start()


@dataclass(kw_only=True)
class Restoring:
    """A restore of a volume, not begun yet."""

    root: Path
    work: VolumeRestore
    watched: Watched


@pytest.fixture
def restoring(make_context: MakeContext, engine: None, tmp_path: Path) -> Iterator[Restoring]:
    """The volume holds `one`, under two names, and `directory`, as the restore point does."""
    name = f"runbook-test-{uuid4().hex[:8]}"
    subprocess.run(["docker", "volume", "create", name], check=True, capture_output=True)
    words = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", name]
    told = subprocess.run(words, check=True, capture_output=True, text=True)
    root = Path(told.stdout.strip())
    (root / "directory").mkdir()
    (root / "one").write_text("one")
    (root / "twin").hardlink_to(root / "one")
    shutil.copytree(root, tmp_path / "files")
    context = make_context()
    with helper(name, context, runs_script=True) as real:
        watched = Watched(container=real.container)
        work = VolumeRestore(
            helper=replace(real, container=cast("Any", watched)),
            name=name,
            wanted=read_live(real, name),
            files=tmp_path / "files",
            kept=Kept(tmp_path / "kept"),
            spool=tmp_path / "spool",
            operation=context.operation,
            check=context.check,
        )
        yield Restoring(root=root, work=work, watched=watched)
    subprocess.run(["docker", "volume", "rm", name], check=True, capture_output=True)


def test_what_was_written_since_is_kept_though_a_killed_attempt_has_linked_to_it(
    restoring: Restoring,
) -> None:
    root, work = restoring.root, restoring.work
    (root / "twin").unlink()
    (root / f".runbook-restore-{work.operation}-0").hardlink_to(root / "one")
    (root / "one").write_text("written since")

    work.run()

    assert (work.kept.directory / "files" / "one").read_text() == "written since"
    assert sorted(path.name for path in root.iterdir()) == ["directory", "one", "twin"]
    assert (root / "twin").read_text() == "one"
    assert (root / "twin").samefile(root / "one")


def test_the_last_of_a_restore_is_that_all_of_it_is_synced(restoring: Restoring) -> None:
    (restoring.root / "directory").chmod(0o700)

    restoring.work.run()

    assert (restoring.root / "directory").stat().st_mode & 0o777 == 0o755
    assert restoring.watched.acts[-1] == "sync"
