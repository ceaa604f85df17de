"""run, resume, rollback and abort, over real runs of tiny runbooks."""

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

BAD, DEPLOY = "runbooks/bad.yaml", "runbooks/deploy.yaml"


def test_a_run_answers_with_one_line(cli: Any) -> None:
    said = cli("run", "runbooks/ok.yaml")

    assert said.status == 0
    assert said.out.startswith("succeeded: ok-")
    assert len(said.out.splitlines()) == 1
    assert " one | ok" in said.err


def test_quiet_says_nothing_but_the_end(cli: Any) -> None:
    said = cli("run", "runbooks/ok.yaml", "-q")

    assert said.err == ""
    assert said.out.startswith("succeeded")


def test_verbose_shows_what_steps_log(cli: Any) -> None:
    said = cli("run", "runbooks/ok.yaml", "-v")

    assert "one | hello" in said.err


def test_jsonl_has_one_line_where_there_is_nothing_to_resume(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()

    said = cli("resume", "-o", "jsonl")

    assert json.loads(said.out) == {"type": "run", "run": None}
    assert said.out.count("\n") == 1


def test_jsonl_is_an_event_a_line_after_the_version(cli: Any) -> None:
    said = cli("run", "runbooks/ok.yaml", "-o", "jsonl")

    lines = [json.loads(line) for line in said.out.splitlines()]
    assert lines[0]["type"] == "version"
    assert lines[0]["format"] == "runbook.events/1"
    assert lines[1]["type"] == "RunStarted"
    assert lines[-1]["type"] == "ended"
    assert lines[-1]["exit_status"] == 0
    numbers = [line["seq"] for line in lines if "seq" in line]
    assert numbers == list(range(len(numbers)))


def test_json_is_one_document_of_the_end(cli: Any) -> None:
    said = cli("run", "runbooks/ok.yaml", "-o", "json")

    assert said.document["format"] == "runbook.run/1"
    assert said.document["end"] == "succeeded"
    assert [step["status"] for step in said.document["steps"]] == ["succeeded"] * 3


def test_a_failed_rollback_ends_with_the_command_that_finishes_it(cli: Any, project: Path) -> None:
    failed = cli("run", BAD)
    (project / "runbooks" / "mended").touch()

    program, *arguments = shlex.split(failed.last_line)
    finished = cli(*arguments)

    assert (failed.status, program) == (4, "runbook")
    assert "touch mended, then resume." in failed.out
    assert finished.status == 3
    assert finished.last_line.startswith("rolled back: the system is as before, bad-")


def test_a_failure_that_changed_nothing_says_so_and_goes_on(cli: Any, project: Path) -> None:
    failed = cli("run", "runbooks/plain.yaml")
    (project / "runbooks" / "mended").touch()

    finished = cli(*shlex.split(failed.last_line)[1:])

    assert failed.status == 1
    assert "the system is as it was" in failed.out
    assert finished.status == 0


def test_what_is_in_the_way_is_named_with_the_three_commands(cli: Any) -> None:
    held = cli("run", BAD)
    who = cli("history", "-o", "json").document["runs"][0]["by"]

    said = cli("run", "runbooks/ok.yaml")

    commands = [line.split("help: ")[-1].strip() for line in said.err.splitlines()[-3:]]
    assert (held.status, said.status) == (4, 6)
    assert f"by {who}, started" in said.err
    assert [line.split()[:2] for line in commands] == [
        ["runbook", "resume"],
        ["runbook", "rollback"],
        ["runbook", "abort"],
    ]


def test_after_abort_the_next_run_starts(cli: Any) -> None:
    held = cli("run", BAD, "-o", "json").document["id"]

    aborted = cli("abort", held, "--reason", "mended by hand")
    after = cli("run", "runbooks/ok.yaml")

    assert aborted.status == 0
    assert aborted.out == f"aborted: {held}: mended by hand\n"
    assert after.status == 0


def test_an_aborted_run_is_not_resumed(cli: Any) -> None:
    held = cli("run", BAD, "-o", "json").document["id"]
    cli("abort", held, "--reason", "x")

    said = cli("resume", held)

    assert said.status == 2
    assert "was aborted" in said.err


def test_nothing_to_resume_is_no_error(cli: Any) -> None:
    cli("run", "runbooks/ok.yaml")

    said = cli("resume")

    assert (said.status, said.out) == (0, "nothing to resume: no run is unfinished\n")


def test_a_confirmation_without_a_terminal_is_refused_before_the_first_step(
    cli: Any, project: Path
) -> None:
    said = cli("run", "runbooks/sure.yaml")

    assert said.status == 2
    assert "--yes" in said.err
    assert not (project / "runbooks" / "there").exists()


def test_yes_answers_a_confirmation(cli: Any) -> None:
    assert cli("run", "runbooks/sure.yaml", "--yes").status == 0


def test_a_rollback_by_hand_undoes_the_newest_run(cli: Any, project: Path) -> None:
    cli("run", DEPLOY)

    said = cli("rollback", "--set", "data=keep")
    again = cli("rollback", "--set", "data=keep")

    assert said.status == 0
    assert "is undone" in said.out
    assert not (project / "runbooks" / "there").exists()
    assert again.status == 0
    assert "undone already" in again.out
    assert again.out.endswith("further back: runbook history, then rollback RUN\n")


def test_a_rollback_without_its_inputs_is_refused_with_what_to_add(cli: Any) -> None:
    cli("run", DEPLOY)

    said = cli("rollback")

    assert said.status == 2
    assert "add --set data=restore or --set data=keep: What becomes of the data.\n" in said.err
    assert "--yes" not in said.err


def test_a_missing_yes_is_told_with_the_missing_inputs(cli: Any, project: Path) -> None:
    undo = project / "runbooks" / "undo.yaml"
    sure = 'steps:\n  - {id: sure, uses: confirm, with: {message: "really?"}}\n'
    undo.write_text(undo.read_text().replace("steps:\n", sure))
    cli("run", DEPLOY)

    assert "add --yes" in cli("rollback").err
    assert "add --yes" not in cli("rollback", "--yes").err


def test_wrong_words_are_refused(cli: Any, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    cases = {
        ("run", DEPLOY, "--set", "novalue"): "NAME=VALUE",
        ("run", DEPLOY, "--set", "a=1", "--set", "a=2"): "twice",
        ("resume", "--answer", "x=done"): "--reason",
        ("resume", "--reason", "x"): "--answer",
        ("resume", "--answer", "x=maybe", "--reason", "x"): "STEP=done",
        ("resume", "nope"): "no run `nope`",
        ("abort", "nope"): "--reason",
    }

    for arguments, expected in cases.items():
        said = cli(*arguments)

        assert said.status == 2, arguments
        assert expected in said.err, arguments


def test_an_answer_for_a_step_that_is_not_there_is_refused(cli: Any) -> None:
    cli("run", BAD)

    said = cli("resume", "--answer", "udno=done", "--reason", "x")

    assert said.status == 2
    assert "did you mean `undo`?" in said.err


@pytest.mark.parametrize(("word", "status"), [("done", 0), ("failed", 1)])
def test_doubt_parks_the_run_until_a_person_answers(word: str, status: int, cli: Any) -> None:
    parked = cli("run", "runbooks/doubt.yaml")
    command = next(line for line in parked.out.splitlines() if f"--answer odd={word}" in line)

    answered = cli(*shlex.split(command)[1:])

    assert parked.status == 5
    assert parked.last_line.endswith("--answer odd=done --reason TEXT")
    assert "done before" not in answered.err
    assert answered.status == status


def test_sigterm_without_a_terminal_ends_with_143_and_the_way_on(
    cli: Any,
    program_environment: Mapping[str, str],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    with (tmp_path / "err").open("w") as err:
        child = subprocess.Popen(
            [sys.executable, "-m", "runbook", "run", "runbooks/slow.yaml"],
            env=program_environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            text=True,
        )
    eventually(lambda: "pause | started" in (tmp_path / "err").read_text(), "the step has started")

    running = cli("status").out
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=6)

    assert f"  stop     kill -INT {child.pid}\n" in running
    assert f"  follow   tail -f {tmp_path / 'state' / 'runs'}/slow-" in running
    assert child.returncode == 143
    assert "INTERRUPTED by SIGTERM" in out
    assert "resume slow-" in out.splitlines()[-1]
    assert "INTERRUPTED" in cli("status").out


def test_a_disk_that_takes_nothing_more_ends_with_4_after_a_change_and_else_with_7(
    cli: Any, program_environment: Mapping[str, str]
) -> None:
    cli("run", BAD)

    codes = [
        subprocess.run(
            ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "runbook", *words],
            env=program_environment,
            capture_output=True,
            check=False,
        ).returncode
        for words in (["resume"], ["run", "runbooks/ok.yaml"])
    ]

    assert codes == [4, 7]
