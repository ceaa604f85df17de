"""When an environment takes runs."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from runbook.core.plan import Window
from runbook.engine.policy import is_open

WORK = Window(days=("mon", "tue"), begins="09:00", ends="17:00", timezone="Europe/Zurich")
NIGHT = Window(days=("fri",), begins="22:00", ends="04:00", timezone="UTC")


@pytest.mark.parametrize(
    ("window", "time", "is_in"),
    [
        (WORK, "2026-11-23T08:00+00:00", True),  # a Monday, 9 o'clock in Zurich
        (WORK, "2026-11-23T07:59+00:00", False),
        (WORK, "2026-11-23T15:59+00:00", True),
        (WORK, "2026-11-23T16:00+00:00", False),
        (WORK, "2026-07-20T07:00+00:00", True),  # in summer, 9 o'clock is 7 o'clock UTC
        (WORK, "2026-11-25T10:00+00:00", False),
        (NIGHT, "2026-11-27T22:00+00:00", True),
        (NIGHT, "2026-11-28T03:59+00:00", True),  # Saturday, of the night that began on Friday
        (NIGHT, "2026-11-28T04:00+00:00", False),
        (NIGHT, "2026-11-27T03:00+00:00", False),
        (NIGHT, "2026-11-28T23:00+00:00", False),
        (Window(), "2026-11-28T23:59+00:00", True),
    ],
)
def test_a_window_is_open_on_its_days_from_its_beginning_to_its_end(
    window: Window, time: str, is_in: bool
) -> None:
    moment = datetime.fromisoformat(time)

    assert is_open(window, moment) is is_in
    assert is_open(window, moment.astimezone(ZoneInfo("Asia/Tokyo"))) is is_in
