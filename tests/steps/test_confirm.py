"""confirm: whom it asks, and what it says."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.core.events import Trigger
from runbook.core.plan import JsonObject
from runbook.kinds import CompletedStep, Question
from runbook.steps.confirm import STEP, Confirm, Confirmed


@pytest.mark.parametrize(
    ("trigger", "given", "by"),
    [
        (Trigger.FAILURE, None, "failure"),
        (Trigger.FAILURE, False, "failure"),
        (Trigger.OPERATOR, True, "given"),
        (Trigger.OPERATOR, False, None),
        (Trigger.OPERATOR, None, None),
    ],
)
def test_it_asks_only_the_person_who_has_not_answered_yet(
    make_context: Any, trigger: Trigger, given: bool | None, by: str | None
) -> None:
    spec = Confirm(given=given)
    assert STEP.needs_answer is not None

    outcome = STEP.run(spec, make_context(trigger=trigger))

    assert STEP.needs_answer(spec, trigger) == isinstance(outcome, Question) == (by is None)
    if by is not None:
        assert isinstance(outcome, Confirmed)
        assert outcome.by == by


@pytest.mark.parametrize("served", [True, False])
def test_the_question_says_what_will_be_lost(make_context: Any, served: bool) -> None:
    created_at = datetime.now(UTC) - timedelta(minutes=5)
    outputs: JsonObject = {"id": "rp-1", "created_at": created_at.isoformat(), "served": served}
    point = CompletedStep(id="point", kind="load_restore_point", outputs=outputs, changed=False)

    outcome = STEP.run(Confirm(message="roll back?"), make_context(completed=[point]))

    assert isinstance(outcome, Question)
    assert "rp-1" in outcome.text
    assert "5m0" in outcome.text
    assert outcome.text.endswith("roll back?")
    assert ("everything will be stopped" in outcome.text) != served
