"""process_up and process_stop with real processes, and kills at every moment of a start."""

import os
import random
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runbook.errors import StepError
from runbook.kinds import Done, HalfDone, NotDone, Result, Spec, StepKind
from runbook.steps import process_stop, process_up
from runbook.steps.process_stop import ProcessStop
from runbook.steps.process_up import ProcessUp
from runbook.tools import daemon
from runbook.tools.http import Answer, Request, ask


def up(process: Any, context: Any, **fields: Any) -> Any:
    outcome = process_up.STEP.run(ProcessUp(process=process, **fields), context)
    assert isinstance(outcome, Result)
    return outcome


def answer(url: str) -> Answer:
    reply = ask(Request(url=url))
    assert isinstance(reply, Answer)
    return reply


def probe(kind: StepKind[Any, Any], spec: Spec, context: Any) -> object:
    assert kind.probe is not None
    return kind.probe(spec, context)


def stop(process: Any, context: Any) -> Any:
    outcome = process_stop.STEP.run(ProcessStop(process=process), context)
    assert isinstance(outcome, Result)
    return outcome


def test_it_is_started_ready_and_found_again(service: Any, make_context: Any) -> None:
    context = make_context()

    outcome = up(service.process, context)

    assert outcome.changed
    assert answer(service.url).text == f"{outcome.outputs.pid} hello"
    running = daemon.find_running(context.state_dir, "shop", "web")
    assert running is not None
    assert running.pid == outcome.outputs.pid == os.getsid(running.pid)
    found = probe(process_up.STEP, ProcessUp(process=service.process), context)
    assert isinstance(found, Done)
    assert found.outputs == outcome.outputs


def test_it_inherits_no_descriptor_and_little_of_the_environment(
    service: Any, make_context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNBOOK_TEST_LEAK", "1")

    pid = up(service.process, make_context()).outputs.pid

    names = {
        entry.split(b"=")[0] for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    }
    assert names - {b""} <= {b"PATH", b"HOME", b"LANG", b"TZ", b"GREETING", b"LC_CTYPE"}
    files = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    assert not any(file.endswith(".lock") for file in files), files
    assert str(Path(f"/proc/{pid}/fd/0").readlink()) == "/dev/null"


def test_another_attempt_of_the_same_step_starts_nothing_new(
    service: Any, make_context: Any
) -> None:
    first = up(service.process, make_context())

    again = up(service.process, make_context(attempt=2))

    assert again.outputs == first.outputs
    assert service.start_count == 1


def test_another_step_restarts_it_because_the_code_may_have_changed(
    service: Any, make_context: Any
) -> None:
    first = up(service.process, make_context())

    second = up(service.process, make_context(run_id="run-2"))

    assert second.changed
    assert second.outputs.pid != first.outputs.pid
    assert service.start_count == 2


def test_without_restart_only_a_changed_process_is_started_anew(
    service: Any, make_context: Any
) -> None:
    first = up(service.process, make_context())

    same = up(service.process, make_context(run_id="run-2"), restart=False)
    other = up(
        service.changed(environment={"GREETING": "hi"}), make_context(run_id="run-3"), restart=False
    )

    assert (same.changed, same.outputs.pid) == (False, first.outputs.pid)
    assert (other.changed, service.start_count) == (True, 2)


def test_one_that_dies_fails_at_once_with_its_last_lines(service: Any, make_context: Any) -> None:
    broken = service.changed(argv=[sys.executable, "-c", "raise SystemExit('no database')"])

    with pytest.raises(StepError, match="ended before it was ready") as caught:
        up(broken, make_context())

    assert caught.value.output_tail == ("no database",)


def test_one_that_never_gets_ready_is_stopped_again(service: Any, make_context: Any) -> None:
    ready = service.process.ready.model_copy(update={"timeout": 0.3})
    idle = service.changed(argv=["sleep", "600"], ready=ready)
    context = make_context()

    with pytest.raises(StepError, match="was not ready within"):
        up(idle, context)

    assert daemon.find_running(context.state_dir, "shop", "web") is None


def test_a_strangers_answer_is_not_taken_for_readiness(
    web: Any, service: Any, make_context: Any
) -> None:
    ready = service.process.ready.model_copy(update={"get": web.url})

    with pytest.raises(StepError, match="something else answers"):
        up(service.changed(ready=ready), make_context())

    assert service.start_count == 0


def test_a_program_that_is_not_there_says_so(service: Any, make_context: Any) -> None:
    with pytest.raises(StepError) as caught:
        up(service.changed(argv=["no-such-program"]), make_context())

    assert "cannot be started" in caught.value.output_tail[-1]


def test_stopping_ends_it_and_stopping_again_changes_nothing(
    service: Any, make_context: Any
) -> None:
    up(service.process, make_context())
    context = make_context(step_id="stop")

    first = stop(service.process, context)
    second = stop(service.process, make_context(step_id="stop again"))

    assert first.changed
    assert first.outputs.was_running
    assert not second.changed
    assert isinstance(probe(process_stop.STEP, ProcessStop(process=service.process), context), Done)


def test_one_that_ignores_sigterm_is_killed_after_its_grace(
    service: Any, make_context: Any
) -> None:
    stubborn = service.changed(argv=[*service.process.argv, "stubborn"], stop_grace=0.2)
    pid = up(stubborn, make_context()).outputs.pid

    stop(stubborn, make_context(step_id="stop"))

    assert (
        not Path(f"/proc/{pid}/cmdline").exists() or not Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(service: Any, make_context: Any) -> None:
    context = make_context()
    pid = up(service.process, context).outputs.pid
    record = context.state_dir / "processes" / "shop.web.json"
    honest = record.read_text()
    record.write_text(honest.replace('"started_at": ', '"started_at": 1'))

    outcome = stop(service.process, make_context(step_id="stop"))

    assert not outcome.changed
    assert answer(service.url).status == 200
    os.kill(pid, signal.SIGKILL)


def test_a_probe_tells_what_became_of_a_start(service: Any, make_context: Any) -> None:
    spec = ProcessUp(process=service.process)

    assert isinstance(probe(process_up.STEP, spec, make_context()), NotDone)
    stopped = make_context(progress={"stopped_pid": 1})
    assert isinstance(probe(process_up.STEP, spec, stopped), HalfDone)


STARTER = """
import sys
from pathlib import Path
from runbook.resources import Process
from runbook.tools import daemon
process = Process.model_validate_json(sys.argv[2])
process = process.model_copy(update={"name": "web"})
sys.stdout.write("go\\n"); sys.stdout.flush()
daemon.start(process, state_dir=Path(sys.argv[1]), project="shop", operation="op")
"""


@pytest.mark.slow
def test_killing_starter_and_launcher_at_any_moment_never_leaves_two(
    service: Any, make_context: Any, eventually: Any
) -> None:
    context = make_context()
    quick = service.changed(ready=None)
    document = quick.model_dump_json()
    dice = random.Random(3)

    for _ in range(25):
        _kill_a_start(context.state_dir, document, dice)
        running = daemon.find_running(context.state_dir, "shop", "web")
        alive = _processes_with(str(service.starts))
        assert alive == ([] if running is None else [running.pid])
        daemon.start(quick, state_dir=context.state_dir, project="shop", operation="op")
        running = daemon.find_running(context.state_dir, "shop", "web")
        assert running is not None
        assert _processes_with(str(service.starts)) == [running.pid]
        daemon.stop(service.changed(stop_grace=0.0), state_dir=context.state_dir, project="shop")
        assert _processes_with(str(service.starts)) == []


def _kill_a_start(state_dir: Path, document: str, dice: random.Random) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(state_dir), document], stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    starter.stdout.readline()
    with suppress(subprocess.TimeoutExpired):
        starter.wait(dice.uniform(0, 0.06))
    for pid in _launchers_of(state_dir) if dice.random() < 0.5 else []:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    starter.kill()
    starter.wait()
    starter.stdout.close()


def _launchers_of(state_dir: Path) -> list[int]:
    """Launchers that hold a lock there; those of other tests are none of ours."""
    found = []
    for pid in _processes_with("launcher.py"):
        with suppress(OSError):
            opened = [entry.readlink() for entry in Path(f"/proc/{pid}/fd").iterdir()]
            if any(path.is_relative_to(state_dir) for path in opened):
                found.append(pid)
    return found


def _processes_with(argument: str) -> list[int]:
    """Processes with exactly that argument, or with a program of that name as one."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdigit():
            continue
        try:
            words = (directory / "cmdline").read_text("utf-8", "replace").split("\0")
        except OSError:
            continue
        if argument in words or any(word.endswith(f"/tools/{argument}") for word in words):
            found.append(int(directory.name))
    return found
