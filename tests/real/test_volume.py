"""Docker volumes on a real engine: what a snapshot holds, and what becomes of who uses them."""

import os
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook.core.plan import JsonObject
from runbook.errors import StepError, Unfit
from runbook.kinds import CompletedStep, Result
from runbook.resources import Volume
from runbook.restore.trees import way_of
from runbook.restore.writers import held, require_stopped, without_users
from runbook.steps import restore_volume, seal_restore_point, snapshot_volume
from runbook.steps.restore_volume import RestoreVolume
from runbook.steps.seal_restore_point import SealRestorePoint
from runbook.steps.snapshot_volume import SnapshotVolume
from runbook.tools.halted import Halted, as_progress, to_start_again
from runbook.tools.inventory import scan, tree_sha256
from tests.real.conftest import MakeStack, Stack

pytestmark = [pytest.mark.real, pytest.mark.slow]

WRITER = "i=0; while :; do i=$$((i+1)); echo $$i > /data/counter; done"
STACK = f"""
    services:
      writer:
        image: runbook-test/python:1
        command: [sh, -c, "{WRITER}"]
        volumes: ["data:/data"]
      other:
        image: runbook-test/python:1
        command: [sleep, "600"]
    volumes: {{data: {{}}}}
"""


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    stack = make_stack(STACK)
    stack.compose("up", "--detach")
    return stack


def volume_of(stack: Stack) -> Volume:
    found = Volume.model_validate({"name": f"{stack.project}_data", "used_by": ["stack/writer"]})
    return found.model_copy(update={"name": "files"})


def place_of(stack: Stack) -> Path:
    template = "{{.Mountpoint}}"
    words = ["volume", "inspect", "--format", template, f"{stack.project}_data"]
    return Path(stack.docker(*words).strip())


def filled(stack: Stack) -> Path:
    """The volume's files, of all sorts; nobody writes any more."""
    stack.compose("stop", "-t", "0", "writer")
    root = place_of(stack)
    (root / ".hidden").mkdir()
    (root / ".hidden" / "file").write_text("dot")
    (root / "a").write_text("one")
    (root / "a").chmod(0o640)
    os.chown(root / "a", 1234, 4321)
    os.utime(root / "a", ns=(1, 1_700_000_000_123_456_789))
    (root / "hard").hardlink_to(root / "a")
    (root / "soft").symlink_to("a")
    os.setxattr(root / "a", "user.colour", b"red")
    return root


def state_of(root: Path) -> str:
    """All that a restore must bring back, in one hash."""
    return tree_sha256(scan(root, ignored=lambda _path: False, check=lambda: None))


def snapshot(stack: Stack, level: Any, **fields: Any) -> Any:
    spec = SnapshotVolume(volume=volume_of(stack), level=level)
    return snapshot_volume.STEP.run(spec, stack.context(step_id="files", **fields))


def loaded(stack: Stack, level: Any = "stopped") -> list[CompletedStep]:
    """What a rollback sees after a snapshot was taken and sealed."""
    taken = snapshot(stack, level)
    assert isinstance(taken, Result)
    resources = {"files": volume_of(stack)}
    done = [
        CompletedStep(
            id="files",
            kind="snapshot_volume",
            outputs=taken.outputs.model_dump(mode="json"),
            changed=False,
        )
    ]
    context = stack.context(step_id="seal", completed=done, resources=resources)
    sealed = seal_restore_point.STEP.run(SealRestorePoint(), context)
    assert isinstance(sealed, Result)
    outputs: JsonObject = {"id": sealed.outputs.id}
    return [CompletedStep(id="point", kind="load_restore_point", outputs=outputs, changed=False)]


def restore(stack: Stack, completed: list[CompletedStep], **fields: Any) -> Any:
    context = stack.context(step_id="back", completed=completed, **fields)
    return restore_volume.STEP.run(RestoreVolume(volume=volume_of(stack)), context)


def test_every_file_comes_back_as_it_was_dot_files_too(stack: Stack) -> None:
    root = filled(stack)
    before = state_of(root)
    completed = loaded(stack)
    (root / ".hidden" / "file").write_text("other")
    (root / "a").unlink()
    (root / "new").write_text("new")

    result = restore(stack, completed)

    assert isinstance(result, Result)
    assert state_of(root) == before
    assert os.getxattr(root / "a", "user.colour") == b"red"
    kept = Path(str(result.outputs.replaced))
    assert {path.read_text() for path in kept.rglob("*") if path.is_file()} >= {"other", "new"}


def test_who_uses_the_volume_is_stopped_meanwhile_and_started_again(stack: Stack) -> None:
    root = filled(stack)
    completed = loaded(stack)
    stack.compose("start", "writer")
    stack.eventually((root / "counter").exists, "it writes")
    others_since = stack.containers()["other"]["State"]["StartedAt"]

    restore(stack, completed)

    assert stack.is_running("writer")
    assert stack.containers()["other"]["State"]["StartedAt"] == others_since


def test_who_was_stopped_by_a_killed_attempt_is_started_by_the_next(stack: Stack) -> None:
    filled(stack)
    completed = loaded(stack)
    container = stack.containers()["writer"]["Id"]

    was = Halted(id=container, name="writer", service="writer", restart="no", ran=True)
    restore(stack, completed, progress=as_progress([was]))

    assert stack.is_running("writer")


def test_who_was_stopped_already_stays_so(stack: Stack) -> None:
    filled(stack)
    completed = loaded(stack)

    restore(stack, completed)

    assert not stack.is_running("writer")


def test_paused_writers_stand_still_and_go_on(stack: Stack) -> None:
    root = place_of(stack)
    stack.eventually((root / "counter").exists, "it writes")
    seen: list[bool] = []
    look = threading.Event()

    def on_check() -> None:
        if not look.is_set():
            seen.append(bool(stack.containers()["writer"]["State"]["Paused"]))
            look.set()

    snapshot(stack, "paused", on_check=on_check)

    assert seen == [True]
    assert not stack.containers()["writer"]["State"]["Paused"]


def test_what_a_killed_attempt_has_paused_is_woken_first(stack: Stack) -> None:
    stack.compose("pause", "writer")
    context = stack.context(step_id="files", progress={"paused": ["stack/writer"]})

    way_of(volume_of(stack)).wake(context)

    assert not stack.containers()["writer"]["State"]["Paused"]


def test_what_somebody_else_has_paused_stays_so(stack: Stack) -> None:
    stack.compose("pause", "writer")

    snapshot(stack, "paused")

    assert stack.containers()["writer"]["State"]["Paused"]
    stack.compose("unpause", "writer")


def test_a_writer_that_runs_is_an_error_where_it_should_be_stopped(stack: Stack) -> None:
    with pytest.raises(StepError) as caught:
        snapshot(stack, "stopped")

    assert "`stack/writer`" in caught.value.message


# --- writers and users that end, are removed or come up meanwhile ---------------------------


@dataclass(frozen=True)
class Users:
    """Containers that mount the stack's volume, as service `writer` unless an option says else."""

    stack: Stack

    @property
    def volume(self) -> str:
        return f"{self.stack.project}_data"

    def run(self, *command: str, options: Sequence[str] = ()) -> str:
        """Start one; its id."""
        labels = [
            f"--label=com.docker.compose.project={self.stack.project}",
            "--label=com.docker.compose.service=writer",
            "--label=com.docker.compose.oneoff=False",
        ]
        words = [*labels, f"--volume={self.volume}:/data", *options, "runbook-test/python:1"]
        return self.stack.docker("run", "--detach", "--init", *words, *command).strip()

    def look(self, container: str, what: str = ".State.Status") -> str:
        return self.stack.docker("inspect", "--format", "{{" + what + "}}", container).strip()

    def end(self, container: str) -> None:
        """Returns once it has ended, and is gone where it was started with --rm."""
        self.stack.docker("kill", container)
        argv = ["docker", "wait", container]  # fails where it is gone already
        subprocess.run(argv, capture_output=True, check=False)

    def remove(self, container: str) -> None:
        self.stack.docker("rm", "--force", container)


@pytest.fixture
def users(make_stack: MakeStack) -> Users:
    stack = make_stack(STACK)
    label = f"--label=com.docker.compose.project={stack.project}"
    stack.docker("volume", "create", label, f"{stack.project}_data")
    return Users(stack)


def test_replicas_that_have_ended_or_end_meanwhile_leave_no_other_paused(users: Users) -> None:
    users.end(users.run("sleep", "600"))
    ends, stays = users.run("sleep", "600"), users.run("sleep", "600")
    context = users.stack.context()

    def record(progress: JsonObject) -> None:
        context.progress = progress
        users.end(ends)

    context.record_progress = record
    with held(["stack/writer"], "paused", context):
        assert users.look(stays) == "paused"

    assert users.look(stays) == "running"


def test_what_an_attempt_could_not_wake_the_next_one_wakes(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = users.run("sleep", "600")
    context = users.stack.context()
    with (
        monkeypatch.context() as gone,
        pytest.raises(StepError) as caught,
        held(["stack/writer"], "paused", context),
    ):
        gone.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert caught.value.changed
    assert users.look(writer) == "paused"

    with held(["stack/writer"], "paused", context):
        pass

    assert users.look(writer) == "running"


def test_a_writer_that_crashes_again_and_again_runs_and_is_paused_once_it_is_up(
    users: Users,
) -> None:
    script = "test -e /data/may && exec sleep 600"
    writer = users.run("sh", "-c", script, options=["--restart=always"])
    restarts = lambda: users.look(writer) == "restarting"  # noqa: E731
    users.stack.eventually(restarts, "it crashes")
    with pytest.raises(StepError, match="found running: `stack/writer`"):
        require_stopped(["stack/writer"], users.stack.context())

    context = users.stack.context(on_check=(place_of(users.stack) / "may").touch)
    with held(["stack/writer"], "paused", context):
        assert users.look(writer) == "paused"


def test_users_that_are_gone_keep_no_other_stopped(users: Users) -> None:
    removed = users.run("sleep", "600")
    stays = users.run("sleep", "600", options=["--restart=always"])
    ends = users.run("sleep", "600", options=["--rm"])
    context = users.stack.context()

    def record(progress: JsonObject) -> None:
        context.progress = progress
        users.end(ends)

    context.record_progress = record
    with without_users(users.volume, context):
        policy = users.look(stays, ".HostConfig.RestartPolicy.Name")
        assert (users.look(stays), policy) == ("exited", "no")
        users.remove(removed)

    policy = users.look(stays, ".HostConfig.RestartPolicy.Name")
    assert (users.look(stays), policy) == ("running", "always")


def test_users_that_could_not_be_started_again_are_a_change(
    users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.run("sleep", "600")
    context = users.stack.context()

    with pytest.raises(StepError) as caught, without_users(users.volume, context):
        monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.undo()

    assert caught.value.changed
    (command,) = to_start_again(context.progress)
    assert command.startswith("docker start ")


def test_a_servers_own_directory_is_refused_live(stack: Stack) -> None:
    (place_of(stack) / "PG_VERSION").write_text("17\n")

    with pytest.raises(Unfit) as caught:
        snapshot(stack, "live")

    assert "backup_db" in str(caught.value.hint)


def test_a_volume_that_is_not_there_yet_is_absent(make_stack: MakeStack) -> None:
    result = snapshot(make_stack(STACK), "stopped")

    assert result.outputs.absent


def test_a_volume_that_is_mounted_from_elsewhere_is_read_though_nobody_uses_it(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    stack = make_stack(STACK)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_text("there")
    options = ("type=none", "o=bind", f"device={tmp_path / 'elsewhere'}")
    label = f"--label=com.docker.compose.project={stack.project}"
    words = [word for option in options for word in ("--opt", option)]
    stack.docker("volume", "create", label, *words, f"{stack.project}_data")

    result = snapshot(stack, "stopped")

    assert result.outputs.file_count == 1
