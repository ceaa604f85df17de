"""Questions: answered beforehand, by a person at a terminal, or not at all."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from runbook.cli.answers import Answers
from runbook.cli.inputs import Questions
from runbook.core.actions import Ask
from runbook.core.events import Verdict
from runbook.core.machine import begin
from runbook.core.plan import Effect, JsonObject, Plan, PlannedStep, Rerun
from runbook.core.state import RunState, Status
from runbook.errors import InputError
from runbook.language.inputs import read_inputs


def plan_of(kind: str) -> Plan:
    step = PlannedStep(id="x", kind=kind, effect=Effect.CHANGES, rerun=Rerun.ASK, timeout_s=1)
    return Plan(runbook="r", lock="r", steps=(step,))


def state_of(plan: Plan, status: Status) -> RunState:
    state = begin(plan)
    return replace(state, steps={"x": replace(state.steps["x"], status=status)})


def typing(*lines: str | None) -> Iterator[str | None]:
    return iter(lines)


def answers(*lines: str | None, is_interactive: bool = True, **rest: object) -> Answers:
    typed = typing(*lines)
    made = Answers(user="dana", is_interactive=is_interactive, read=lambda _prompt: next(typed))
    return replace(made, **rest)  # type: ignore[arg-type]


ASK = Ask(step="x", question="?")
COMMAND, CONFIRM, MONITOR = plan_of("command"), plan_of("confirm"), plan_of("monitor")
DOUBT, ASKING = Status.DOUBTFUL, Status.ASKING


def test_without_a_terminal_nobody_is_asked() -> None:
    answer = answers(is_interactive=False).answer(COMMAND, state_of(COMMAND, DOUBT), ASK)

    assert answer is None


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [("done", Verdict.DONE), ("again", Verdict.AGAIN), ("FAILED", Verdict.FAILED)],
)
def test_doubt_is_settled_by_one_of_three_words_and_a_reason(typed: str, verdict: Verdict) -> None:
    asked = answers("what?", typed, "I looked")

    answer = asked.answer(COMMAND, state_of(COMMAND, DOUBT), ASK)

    assert answer is not None
    assert (answer.verdict, answer.by, answer.reason) == (verdict, "dana", "I looked")


@pytest.mark.parametrize(
    ("typed", "verdict"),
    [("y", Verdict.DONE), ("yes", Verdict.DONE), ("", Verdict.FAILED), ("n", Verdict.FAILED)],
)
def test_a_confirmation_is_no_unless_it_is_yes(typed: str, verdict: Verdict) -> None:
    answer = answers(typed).answer(CONFIRM, state_of(CONFIRM, ASKING), ASK)

    assert answer is not None
    assert answer.verdict is verdict


@pytest.mark.parametrize("status", [DOUBT, ASKING])
def test_who_goes_away_has_not_answered(status: Status) -> None:
    assert answers(None).answer(COMMAND, state_of(COMMAND, status), ASK) is None


def test_yes_answers_confirmations_and_nothing_else() -> None:
    asked = answers(is_interactive=False, is_confirmed=True)

    assert asked.answer(CONFIRM, state_of(CONFIRM, ASKING), ASK) is not None
    assert asked.answer(CONFIRM, state_of(CONFIRM, DOUBT), ASK) is None
    assert asked.answer(MONITOR, state_of(MONITOR, ASKING), ASK) is None


def test_an_answer_given_beforehand_serves_once() -> None:
    asked = answers(is_interactive=False, verdicts={"x": Verdict.AGAIN}, reason="it was not there")
    state = state_of(COMMAND, DOUBT)

    first, second = (asked.answer(COMMAND, state, ASK) for _ in range(2))

    assert first is not None
    assert (first.verdict, first.reason) == (Verdict.AGAIN, "it was not there")
    assert second is None


DECLARED: JsonObject = {
    "data": {"type": "choice", "choices": ["restore", "keep"], "help": "What becomes of it."},
    "confirm": {"type": "boolean", "default": False},
    "token": {"type": "string", "sensitive": True, "env": "TOKEN"},
    "mode": {"type": "string", "env": "MODE"},
}


def test_missing_inputs_are_asked_for_until_they_fit() -> None:
    prompts: list[str] = []
    typed = typing("both", "keep")

    def read(prompt: str) -> str | None:
        prompts.append(prompt)
        return next(typed)

    environ = {"MODE": "fast", "TOKEN": "hunter2"}
    asking = Questions(given={}, environ=environ, is_interactive=True, read=read)

    assert asking.ask(DECLARED, lambda: ["orders: 3 rows more"]) == {"data": "keep"}
    assert "What becomes of it. (restore, keep)" in prompts[0]
    assert "orders: 3 rows more" in prompts[0]
    assert "both" in prompts[1]
    assert "orders" not in prompts[1]


def test_a_sensitive_input_is_typed_unseen_and_becomes_its_variable() -> None:
    environ = {"MODE": "fast"}
    asking = Questions(
        given={"data": "keep"},
        environ=environ,
        is_interactive=True,
        read=pytest.fail,
        read_hidden=lambda _prompt: "hunter2",
    )

    assert asking.ask(DECLARED) == {"data": "keep"}
    assert environ["TOKEN"] == "hunter2"


def test_who_does_not_give_an_input_runs_nothing() -> None:
    environ = {"TOKEN": "hunter2"}
    gone = Questions(
        given={"mode": "x"}, environ=environ, is_interactive=True, read=lambda _prompt: None
    )

    with pytest.raises(InputError):
        gone.ask(DECLARED)


def test_nobody_is_asked_where_no_terminal_is() -> None:
    asking = Questions(
        given={"mode": "x"},
        environ={},
        is_interactive=False,
        read=pytest.fail,
        read_hidden=pytest.fail,
    )

    assert asking.ask(DECLARED) == {"mode": "x"}


def test_what_is_missing_is_told_all_at_once_ready_to_be_pasted() -> None:
    with pytest.raises(InputError) as raised:
        read_inputs(DECLARED, {}, {})

    assert "3 inputs are missing: data, token, mode" in raised.value.message
    assert (raised.value.hint or "").splitlines() == [
        "add --set mode=STRING",
        "add --set data=restore or --set data=keep: What becomes of it.",
        "export TOKEN=…",
    ]
