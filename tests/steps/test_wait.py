"""wait: as long as it says, and after a crash only what is left."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from runbook.steps.wait import STEP, Wait


def test_it_waits_as_long_as_it_says(make_context: Any) -> None:
    context = make_context()
    started_s = time.monotonic()

    STEP.run(Wait.model_validate({"for": "200ms"}), context)

    assert time.monotonic() - started_s >= 0.2
    assert context.progress is not None


def test_after_a_crash_it_waits_for_what_is_left(make_context: Any) -> None:
    started_at = datetime.now(UTC) - timedelta(seconds=59.9)
    started_s = time.monotonic()

    STEP.run(
        Wait.model_validate({"for": "1m"}),
        make_context(progress={"started_at": started_at.isoformat()}),
    )

    assert time.monotonic() - started_s < 5
