"""The terminal's watcher, seen through a terminal: 40 and 80 columns."""

import sys
from collections.abc import Mapping
from pathlib import Path

import pexpect  # type: ignore[import-untyped]  # it has no types, nor stubs that we may install
import pyte
import pytest

RUN = ["-m", "runbook", "run"]


class Terminal:
    """A program on a terminal of so many columns."""

    def __init__(self, arguments: list[str], environment: Mapping[str, str], columns: int) -> None:
        self.child = pexpect.spawn(
            sys.executable,
            arguments,
            env={**environment, "TERM": "xterm", "COLUMNS": str(columns)},
            dimensions=(60, columns),
            encoding="utf-8",
            timeout=15,
        )
        self.screen = pyte.Screen(columns, 60)
        self._stream = pyte.Stream(self.screen)
        self.child.logfile_read = self

    def write(self, text: str) -> None:
        """What the program sends goes to the screen."""
        self._stream.feed(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def wait(self) -> list[str]:
        """The lines on the screen once the program has ended."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        return self.lines()

    def lines(self) -> list[str]:
        """The lines on the screen."""
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.mark.parametrize("columns", [40, 80])
def test_what_is_over_stays_and_what_was_in_flight_is_gone(
    columns: int, program_environment: Mapping[str, str]
) -> None:
    terminal = Terminal([*RUN, "runbooks/ok.yaml"], program_environment, columns)

    terminal.child.expect("pause")
    lines = terminal.wait()

    text = "\n".join(lines)
    assert terminal.child.exitstatus == 0
    assert [word for word in ("one", "pause", "two") if f"  ok {word} " in text] == [
        "one",
        "pause",
        "two",
    ]
    assert not any(line.startswith("  >") for line in lines)
    assert any(line.startswith("succeeded: ok-") for line in lines)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_step_in_flight_has_one_line_that_fits(
    columns: int, program_environment: Mapping[str, str]
) -> None:
    terminal = Terminal([*RUN, "runbooks/slow.yaml"], program_environment, columns)
    terminal.child.expect("left")

    in_flight = [line for line in terminal.lines() if line.startswith("  >")]
    terminal.child.sendintr()
    terminal.wait()

    assert len(in_flight) == 1
    assert "pause" in in_flight[0]
    assert terminal.child.exitstatus == 130


def test_a_confirmation_is_asked_for(program_environment: Mapping[str, str]) -> None:
    terminal = Terminal([*RUN, "runbooks/sure.yaml"], program_environment, 80)

    terminal.child.expect(r"really\? \[y/N\] ")
    terminal.child.sendline("y")
    terminal.wait()

    assert terminal.child.exitstatus == 0


def test_a_no_to_a_rollback_that_has_changed_nothing_ends_it(
    program_environment: Mapping[str, str], project: Path
) -> None:
    undo = project / "runbooks" / "undo.yaml"
    undo.write_text(undo.read_text().replace("steps:\n", "steps:\n  - {id: sure, uses: confirm}\n"))
    Terminal([*RUN, "runbooks/deploy.yaml"], program_environment, 80).wait()
    rollback = ["-m", "runbook", "rollback", "--set", "data=keep"]
    terminal = Terminal(rollback, program_environment, 80)

    terminal.child.expect(r"\[y/N\] ")
    terminal.child.sendline("n")
    said = "\n".join(terminal.wait())
    status = Terminal(["-m", "runbook", "status"], program_environment, 80).wait()

    assert "\nnot rolled back: undo-" in said
    assert "; nothing was changed" in said
    assert "resume" not in said
    assert terminal.child.exitstatus == 1
    assert any("no run is unfinished" in line for line in status)


def test_ctrl_c_at_a_question_interrupts(program_environment: Mapping[str, str]) -> None:
    terminal = Terminal([*RUN, "runbooks/sure.yaml"], program_environment, 80)

    terminal.child.expect(r"really\? \[y/N\] ")
    terminal.child.sendintr()
    lines = terminal.wait()

    assert terminal.child.exitstatus == 130
    assert lines[-1].startswith("resume") or "resume sure-" in "".join(lines[-2:])


def test_missing_inputs_of_a_rollback_are_asked_for(
    program_environment: Mapping[str, str], project: Path
) -> None:
    Terminal([*RUN, "runbooks/deploy.yaml"], program_environment, 80).wait()
    terminal = Terminal(["-m", "runbook", "rollback"], program_environment, 80)

    terminal.child.expect("What becomes of the data")
    terminal.child.sendline("keep")
    terminal.wait()

    assert terminal.child.exitstatus == 0
    assert not (project / "runbooks" / "there").exists()


@pytest.mark.parametrize(
    "surroundings", [{"TERM": "dumb"}, {"CI": "1"}, {"CI": "1", "FORCE_COLOR": "1"}]
)
def test_a_dumb_terminal_or_a_ci_system_gets_no_cursor_codes(
    surroundings: dict[str, str], program_environment: Mapping[str, str]
) -> None:
    child = pexpect.spawn(
        sys.executable,
        [*RUN, "runbooks/ok.yaml"],
        env={**program_environment, "TERM": "xterm", **surroundings},
        encoding="utf-8",
        timeout=15,
    )

    child.expect(pexpect.EOF)
    child.close()

    assert child.exitstatus == 0
    assert "\x1b[2K" not in str(child.before)
    assert "\x1b[?25l" not in str(child.before)


def test_no_input_on_a_terminal_asks_nothing(program_environment: Mapping[str, str]) -> None:
    terminal = Terminal([*RUN, "runbooks/sure.yaml", "--no-input"], program_environment, 80)

    lines = terminal.wait()

    assert terminal.child.exitstatus == 2
    assert any("--yes" in line for line in lines)
