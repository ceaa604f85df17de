"""A monitor's line in a terminal of any width, and what a line says."""

from datetime import UTC, datetime

import pytest

from runbook.core.events import DoubtSettled, Verdict
from runbook.report.lines import Teller, fit
from tests.report.conftest import DEPLOY

LINE = "Progress: 120s / 600s | Checks: 12 | Failures: 0 (0.00%) | Consecutive: 0 | Remaining: 480s"


def test_a_wide_terminal_shows_the_whole_line() -> None:
    assert fit(LINE, 100) == LINE


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (80, "Progress: 120s / 600s | Checks: 12 | Failures: 0 (0.00%) | Remaining: 480s"),
        (64, "Progress: 120s / 600s | Failures: 0 (0.00%) | Remaining: 480s"),
        (45, "Progress: 120s / 600s | Failures: 0 (0.00%)"),
        (30, "Progress: 120s / 600s"),
        (10, "Progress:…"),
    ],
)
def test_a_narrow_terminal_drops_the_least_telling_fields(width: int, shown: str) -> None:
    assert fit(LINE, width) == shown


@pytest.mark.parametrize("width", range(120))
def test_no_width_is_ever_exceeded(width: int) -> None:
    assert len(fit(LINE, width)) <= max(width, 1)


def test_of_what_may_be_repeated_is_not_said_that_it_is() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)
    settled = DoubtSettled(
        at=at, step="watch", attempt=1, verdict=Verdict.AGAIN, by="safe", reason="may be repeated"
    )

    line = Teller().tell("deploy-1", DEPLOY, settled)

    assert line is not None
    assert line.note == "not finished: may be repeated"
