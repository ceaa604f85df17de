"""approval: whom it asks, until when, and when it asks nobody."""

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from runbook.core.events import Approvers, Trigger
from runbook.kinds import Question
from runbook.steps.approval import STEP, Approval, Approved


def test_it_asks_whom_it_names_until_it_expires(make_context: Any) -> None:
    context = make_context()
    spec = Approval(message="release?", required=2, by=["ann", "bob"], expires="4h")

    asked = STEP.run(spec, context)

    assert isinstance(asked, Question)
    assert asked.text == "release?"
    assert asked.approvers == Approvers(required=2, names=("ann", "bob"), allow_self=False)
    assert asked.expires_at is not None
    assert timedelta(hours=3) < asked.expires_at - context.now() <= timedelta(hours=4)


def test_nobody_stands_in_the_way_of_a_rollback_that_a_failure_starts(make_context: Any) -> None:
    assert STEP.run(Approval(), make_context(trigger=Trigger.FAILURE)) == Approved(by=[])
    assert isinstance(STEP.run(Approval(), make_context(trigger=Trigger.OPERATOR)), Question)


def test_it_does_not_want_more_people_than_it_names() -> None:
    with pytest.raises(ValidationError):
        Approval(required=3, by=[])
