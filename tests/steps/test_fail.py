"""fail: ends the run with what its author says, and counts as a failure like any other."""

from typing import Any

import pytest

from runbook.errors import GivenUp
from runbook.steps.fail import STEP, Fail


def test_it_fails_with_its_message(make_context: Any) -> None:
    with pytest.raises(GivenUp, match="settle them first") as caught:
        STEP.run(Fail.model_validate({"message": "settle them first"}), make_context())

    assert not caught.value.changed
    assert not caught.value.is_retryable
