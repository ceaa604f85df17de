"""assert: passes exactly if what it asserts is true, and says why it does not."""

from typing import Any

import pytest
from pydantic import ValidationError

from runbook.errors import CheckFailed
from runbook.registry import discover

STEP = discover().find("assert")


def test_what_holds_passes(make_context: Any) -> None:
    STEP.run(STEP.spec.model_validate({"that": True}), make_context())


def test_what_does_not_hold_fails_with_the_authors_words(make_context: Any) -> None:
    with pytest.raises(CheckFailed, match="only stable releases") as caught:
        STEP.run(
            STEP.spec.model_validate({"that": False, "message": "only stable releases"}),
            make_context(),
        )

    assert not caught.value.changed
    assert not caught.value.is_retryable


def test_without_a_message_the_step_is_named(make_context: Any) -> None:
    with pytest.raises(CheckFailed, match="`check` asserts does not hold"):
        STEP.run(STEP.spec.model_validate({"that": False}), make_context(step_id="check"))


@pytest.mark.parametrize("value", ["yes", "false", 1, 0, None, []])
def test_only_true_and_false_are_asserted(value: object) -> None:
    with pytest.raises(ValidationError):
        STEP.spec.model_validate({"that": value})
