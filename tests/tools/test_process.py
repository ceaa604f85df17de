"""Commands: read-only ones run to their end, and supervised ones that outlive their starter."""

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runbook.errors import TimedOut, Unfit
from runbook.secret import Secret
from runbook.tools import supervisor
from runbook.tools.process import Command, Exit, Gone, Supervised, output
from tests.conftest import small_tmpfs


def sh(script: str, *, grace_s: float = 5.0, **environment: str | Secret) -> Command:
    return Command(argv=("sh", "-c", script), environment=environment, grace_s=grace_s)


def eventually(is_so: Callable[[], bool], timeout_s: float = 10.0) -> bool:
    never = threading.Event()
    for _ in range(int(timeout_s / 0.02)):
        if is_so():
            return True
        never.wait(0.02)
    return is_so()


def printed(supervised: Supervised, out: int = 0, err: int = 0) -> tuple[bytes, bytes]:
    """What it printed from these offsets on."""
    stdout, stderr = supervised.read_output(out, err)
    return stdout.data, stderr.data


def start_and_die(directory: Path, script: str, before_death: str = "") -> None:
    """Start a command in another process, which is then killed as kill -9 does."""
    program = f"""
        import os, signal
        from pathlib import Path
        from runbook.tools import supervised
        from runbook.tools.process import Command
        {before_death}
        supervised.Supervised.start(
            Command(argv=("sh", "-c", {script!r})), Path({str(directory)!r}), 60)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    died = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False)
    assert died.returncode == -signal.SIGKILL


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "call-1"
    yield directory
    Supervised(directory).discard_output()


# --- commands that only read ----------------------------------------------------------------


def test_output_holds_both_streams_and_the_exit_code() -> None:
    completed = output(sh("echo out; echo err >&2; exit 3"), timeout_s=10)

    assert (completed.stdout, completed.stderr, completed.exit_code) == ("out\n", "err\n", 3)


def test_output_of_a_killed_command_counts_the_signal_from_128() -> None:
    completed = output(sh("kill -KILL $$"), timeout_s=10)

    assert completed.exit_code == 137


def test_output_is_whole_however_long() -> None:
    completed = output(Command(argv=("head", "-c", "3000000", "/dev/zero")), timeout_s=30)

    assert len(completed.stdout) == 3_000_000


def test_a_command_inherits_only_the_base_environment() -> None:
    environ = {"PATH": os.environ["PATH"], "HOME": "/h", "TOKEN": "t"}

    completed = output(Command(argv=("env",)), timeout_s=10, environ=environ)

    assert set(completed.stdout.split()) >= {"HOME=/h"}
    assert "TOKEN" not in completed.stdout


def test_a_command_reads_its_stdin_and_its_secrets_are_masked() -> None:
    command = Command(argv=("cat",), stdin=Secret("hunter22"))

    completed = output(command, timeout_s=10)

    assert completed.stdout == "[secret]"


def test_a_command_without_stdin_reads_nothing() -> None:
    completed = output(Command(argv=("cat",)), timeout_s=10)

    assert completed.stdout == ""


def test_a_command_that_does_not_end_in_time_is_killed_with_its_children(tmp_path: Path) -> None:
    command = sh(f"sleep 60 & echo $! > {tmp_path}/pid; echo hunter$((20+2)); wait")

    with pytest.raises(TimedOut) as caught:
        output(command, timeout_s=0.5)

    assert "hunter22" not in repr(vars(caught.value))
    assert caught.value.__context__ is None
    pid = (tmp_path / "pid").read_text().strip()
    assert eventually(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(int(pid)))


def is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./nothing"])
def test_a_missing_program_is_named(program: str) -> None:
    with pytest.raises(Unfit, match=program):
        output(Command(argv=(program,)), timeout_s=10)


def test_a_missing_working_directory_is_named() -> None:
    with pytest.raises(Unfit, match="/no/such/directory"):
        output(Command(argv=("true",), directory=Path("/no/such/directory")), timeout_s=10)


# --- supervised commands --------------------------------------------------------------------


def test_a_supervised_command_runs_to_its_end(directory: Path) -> None:
    supervised = Supervised.start(sh("echo out; echo err >&2; exit 4"), directory, 30)

    end = supervised.poll(20)

    assert end == Exit(exit_code=4)
    assert printed(supervised, 0, 0) == (b"out\n", b"err\n")
    assert printed(supervised, 2, 3) == (b"t\n", b"\n")


def test_what_it_prints_is_private_and_leaves_nothing_once_discarded(directory: Path) -> None:
    supervised = Supervised.start(sh("echo out"), directory, 30)
    supervised.poll(20)
    raw = (directory / "raw").readlink()

    modes = [path.stat().st_mode & 0o777 for path in (directory, raw, raw / "stdout")]
    supervised.discard_output()

    assert modes == [0o700, 0o700, 0o600]
    assert not raw.exists()
    assert printed(supervised, 0, 0) == (b"", b"")
    assert not supervised.has_lost_output


def test_lost_output_is_told_from_discarded_output(directory: Path) -> None:
    supervised = Supervised.start(sh("echo out"), directory, 30)
    supervised.poll(20)
    raw = (directory / "raw").readlink()
    subprocess.run(["rm", "-r", raw], check=True)

    is_lost = supervised.has_lost_output

    assert is_lost


def test_secrets_reach_it_by_environment_and_stdin_and_stand_nowhere(directory: Path) -> None:
    command = Command(
        argv=("sh", "-c", 'test "$(cat)" = "stdin-secret" && test "$KEY" = "key-secret"'),
        environment={"KEY": Secret("key-secret")},
        stdin=Secret("stdin-secret"),
    )

    supervised = Supervised.start(command, directory, 30)

    assert supervised.poll(20) == Exit(exit_code=0)
    files = [path for path in directory.rglob("*") if path.is_file()]
    assert not any(b"-secret" in path.read_bytes() for path in files)


def test_a_command_that_goes_on_is_alive_until_it_is_stopped(directory: Path) -> None:
    supervised = Supervised.start(sh("sleep 60"), directory, 60)

    before = supervised.poll(0.2)
    was_alive = supervised.is_alive()
    end = supervised.stop(10)

    assert (before, was_alive) == (None, True)
    assert end == Exit(exit_code=143, was_stopped=True)
    assert not supervised.is_alive()


def test_a_command_that_is_stopped_at_once_ends_at_once(directory: Path) -> None:
    supervised = Supervised.start(sh("sleep 60"), directory, 60)

    end = supervised.stop(10)

    assert end == Exit(exit_code=143, was_stopped=True)


def test_a_command_deaf_to_sigterm_is_killed_after_the_grace(directory: Path) -> None:
    supervised = Supervised.start(
        sh("trap '' TERM; echo ready; while :; do sleep 1; done"), directory, 60
    )
    assert eventually(lambda: printed(supervised)[0] == b"ready\n")

    end = supervised.stop(0.3)

    assert end == Exit(exit_code=137, was_stopped=True)


def test_children_of_a_stopped_command_are_gone_before_its_end_is_told(
    directory: Path, tmp_path: Path
) -> None:
    script = f"(trap '' TERM; echo ready; sleep 60) & echo $! > {tmp_path}/pid; wait"
    supervised = Supervised.start(sh(script), directory, 60)
    assert eventually(lambda: printed(supervised)[0] == b"ready\n")

    end = supervised.stop(0.3)

    assert end == Exit(exit_code=143, was_stopped=True)
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def test_the_deadline_holds_without_the_interpreter(directory: Path) -> None:
    supervised = Supervised.start(sh("sleep 60", grace_s=0.2), directory, 0.3)

    assert eventually((directory / "exit").exists)

    assert supervised.poll() == Exit(exit_code=143, has_timed_out=True)


def test_a_missing_program_leaves_no_directory(directory: Path) -> None:
    with pytest.raises(Unfit, match="no-such-program"):
        Supervised.start(Command(argv=("no-such-program",)), directory, 30)

    assert not directory.exists()


def test_nothing_of_a_directory_that_is_absent_is_found(directory: Path) -> None:
    assert Supervised.find(directory) is None


def test_a_living_command_is_found_again_after_its_starter_was_killed(directory: Path) -> None:
    start_and_die(directory, "sleep 60")
    found = Supervised.find(directory)
    assert found is not None

    was_alive = found.is_alive()
    end = found.stop(5)

    assert was_alive
    assert end == Exit(exit_code=143, was_stopped=True)


def test_the_end_of_a_command_whose_starter_was_killed_is_adopted(directory: Path) -> None:
    start_and_die(directory, "sleep 0.3; echo done; exit 7")

    found = Supervised.find(directory)

    assert found is not None
    assert found.poll(20) == Exit(exit_code=7)
    assert printed(found, 0, 0) == (b"done\n", b"")


def test_a_starter_killed_before_its_supervisor_lived_has_started_nothing(directory: Path) -> None:
    death = "supervised._stdin = lambda command: os.kill(os.getpid(), signal.SIGKILL)"
    start_and_die(directory, "true", before_death=death)
    assert directory.exists()

    found = Supervised.find(directory)

    assert found is None
    assert not directory.exists()


@pytest.mark.parametrize("call", ["os.symlink", "os.mkdir"])
def test_a_starter_killed_while_it_makes_room_for_output_leaves_none_in_memory(
    directory: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as tmpfs:
        monkeypatch.setenv("XDG_RUNTIME_DIR", tmpfs)
        hook = f"lambda call, path: call == {call!r} and {tmpfs!r} in str(path) and die()"
        death = f"die = lambda: os.kill(os.getpid(), 9); import sys; sys.addaudithook({hook})"
        start_and_die(directory, "true", before_death=death)

        found = Supervised.find(directory)

        assert found is None
        assert list(Path(tmpfs).iterdir()) == []


def test_a_supervisor_that_cannot_mark_the_start_starts_nothing(tmp_path: Path) -> None:
    program = [sys.executable, "-I", "-S", supervisor.__file__, str(tmp_path / "absent"), "0", "1"]

    ended = subprocess.run(
        [*program, "touch", str(tmp_path / "effect")], check=False, capture_output=True
    )

    assert ended.returncode != 0
    assert not (tmp_path / "effect").exists()


def test_a_command_outlives_its_supervisor_and_is_then_gone(directory: Path) -> None:
    supervised = Supervised.start(sh("echo ready; sleep 0.5"), directory, 60)
    kill_supervisor(supervised)

    was_alive = supervised.is_alive()
    end = supervised.poll(20)

    assert was_alive
    assert end == Gone(was_started=True)


def test_a_command_without_its_supervisor_can_be_stopped(directory: Path) -> None:
    supervised = Supervised.start(sh("echo ready; sleep 60"), directory, 60)
    kill_supervisor(supervised)

    end = supervised.stop(5)

    assert end == Gone(was_started=True, was_stopped=True)
    assert not supervised.is_alive()


def test_a_script_that_opens_its_own_streams_loses_nothing(directory: Path) -> None:
    script = (
        "echo one >&2; echo two > /dev/stderr; echo a; echo b | tee /dev/stdout; echo three >&2"
    )
    supervised = Supervised.start(sh(script), directory, 30)

    supervised.poll(20)

    assert printed(supervised) == (b"a\nb\nb\n", b"one\ntwo\nthree\n")


def test_whoever_it_leaves_behind_can_go_on_printing(directory: Path, tmp_path: Path) -> None:
    left = "while [ ! -e end ]; do echo more || break; echo >> lines; sleep 0.01; done; touch ended"
    supervised = Supervised.start(sh(f"cd {tmp_path}; touch lines; ({left}) &"), directory, 30)

    assert supervised.poll(20) == Exit(exit_code=0)
    supervised.discard_output()
    lines = tmp_path / "lines"
    printed_before = lines.stat().st_size
    assert eventually(lambda: lines.stat().st_size > printed_before + 20)
    listeners = command_lines_with(str(directory))
    (tmp_path / "end").touch()

    assert len(listeners) == 1
    assert eventually((tmp_path / "ended").exists)
    assert eventually(lambda: not command_lines_with(str(directory)))


def command_lines_with(text: str) -> list[str]:
    lines = subprocess.run(["ps", "-eww", "-o", "args"], check=True, capture_output=True, text=True)
    return [line for line in lines.stdout.splitlines() if text in line]


def test_where_memory_is_full_the_newest_output_is_kept(directory: Path, tmp_path: Path) -> None:
    full = tmp_path / "memory"
    full.mkdir()
    with small_tmpfs(full, "size=1m"):
        script = "head -c 3000000 /dev/zero | tr '\\0' x; printf end"
        environ = os.environ | {"XDG_RUNTIME_DIR": str(full)}
        supervised = Supervised.start(sh(script), directory, 30, environ=environ)

        assert supervised.poll(20) == Exit(exit_code=0)
        piece, _ = supervised.read_output(0, 0)

        assert piece.start > 0
        assert piece.end == 3_000_003
        assert piece.data.endswith(b"end")


def kill_supervisor(supervised: Supervised) -> None:
    assert eventually(lambda: printed(supervised)[0] == b"ready\n")
    pid = int((supervised.directory / "spawned").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not Path(f"/proc/{pid}").exists() or is_zombie(pid))


def test_what_was_read_of_much_output_is_given_back(directory: Path) -> None:
    supervised = Supervised.start(sh("head -c 40000000 /dev/zero | tr '\\0' x"), directory, 60)
    supervised.poll(30)
    stdout = directory / "raw" / "stdout"
    before_bytes = stdout.stat().st_blocks * 512

    chunk, _ = printed(supervised, 39_000_000, 0)

    assert chunk == b"x" * 1_000_000
    assert before_bytes >= 40_000_000
    assert stdout.stat().st_blocks * 512 < 2_000_000
    assert 38_000_000 < supervised.output_begins_at[0] <= 39_000_000
    supervised.discard_output()


def test_what_nobody_reads_does_not_fill_the_memory(directory: Path) -> None:
    script = "head -c 200000000 /dev/zero | tr '\\0' x; printf end; sleep 60"
    supervised = Supervised.start(sh(script), directory, 60)
    stdout = directory / "raw" / "stdout"
    assert eventually(lambda: stdout.stat().st_size == 200_000_003, timeout_s=30)
    assert eventually(lambda: stdout.stat().st_blocks * 512 <= 2 * supervisor.UNREAD_BYTES)

    piece, _ = supervised.read_output(1_000, 0)

    supervised.stop(5)
    assert 200_000_003 - piece.end == 0
    assert len(piece.data) >= supervisor.UNREAD_BYTES
    assert piece.data == b"x" * (len(piece.data) - 3) + b"end"
