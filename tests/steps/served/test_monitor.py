"""monitor against a real server."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from runbook.errors import StepStopped, ThresholdCrossed
from runbook.kinds import Question
from runbook.steps.monitor import STEP, Monitor, Watched


def monitor(url: str, **fields: Any) -> Monitor:
    return Monitor.model_validate(
        {"http": {"get": url, "timeout": 1.0}, "duration": 0.4, "interval": 0.05, **fields}
    )


def test_a_healthy_service_is_watched_to_the_end(web: Any, make_context: Any) -> None:
    context = make_context()

    outputs = STEP.run(monitor(web.url), context)

    assert isinstance(outputs, Watched)
    assert (outputs.verdict, outputs.failures) == ("passed", 0)
    assert outputs.checks + outputs.skipped == 8
    assert context.shown[-1].startswith("Progress: 0.4s / 0.4s | Checks: ")


def test_the_line_is_the_one_that_was_promised(web: Any, make_context: Any) -> None:
    context = make_context()
    at = datetime.now(UTC).isoformat()
    context.record_progress({"samples": "59o", "at": at, "paused": 0})
    spec = monitor(web.url, duration=0.6, interval=0.01)

    STEP.run(spec, context)

    assert context.shown == [
        "Progress: 0.6s / 0.6s | Checks: 60 | Failures: 0 (0.00%) | Consecutive: 0 | Remaining: 0s"
    ]


def test_three_failures_in_a_row_end_it_at_once_and_for_good(web: Any, make_context: Any) -> None:
    web.answers = [(200, ""), (500, ""), (500, ""), (200, ""), (500, "")]
    context = make_context()

    with pytest.raises(ThresholdCrossed, match="3 failures in a row") as caught:
        STEP.run(monitor(web.url, duration=60.0), context)

    assert web.asked == 7, context.logged
    assert not caught.value.is_retryable
    assert not caught.value.changed
    assert context.progress == {}


def test_a_slow_answer_does_not_delay_the_beat(web: Any, make_context: Any) -> None:
    context = make_context()
    delays = [0.22]
    web.delay = lambda: context.sleep(delays.pop()) if delays else None

    outputs = STEP.run(monitor(web.url, duration=0.5), context)

    assert isinstance(outputs, Watched)
    assert outputs.skipped >= 2
    assert outputs.checks + outputs.skipped == 10


def test_after_a_crash_it_goes_on_and_the_pause_is_no_failure(web: Any, make_context: Any) -> None:
    first = make_context()

    def stop_after_four() -> None:
        if web.asked == 4:
            raise StepStopped("stopped")

    first.on_check = stop_after_four
    with pytest.raises(StepStopped):
        STEP.run(monitor(web.url), first)
    progress = dict(first.progress)
    progress["at"] = (datetime.now(UTC) - timedelta(seconds=10)).isoformat()

    outputs = STEP.run(monitor(web.url), make_context(progress=progress))

    assert isinstance(outputs, Watched)
    assert (outputs.verdict, outputs.checks, outputs.failures) == ("passed", web.asked, 0)
    assert outputs.skipped >= 190


def test_what_was_broken_before_does_not_count(web: Any, make_context: Any) -> None:
    web.answers = [(503, "")]
    spec = monitor(web.url)
    assert STEP.baseline is not None
    baseline = STEP.baseline(spec, make_context())

    outputs = STEP.run(spec, make_context(baseline=baseline))

    assert isinstance(outputs, Watched)
    assert (outputs.verdict, outputs.failures) == ("passed", 0)
    assert outputs.discounted == outputs.checks > 0


@pytest.mark.parametrize("on_inconclusive", ["ask", "pass"])
def test_where_nobody_can_be_asked_a_person_is(make_context: Any, on_inconclusive: str) -> None:
    context = make_context()
    fields = {"duration": 60.0, "interval": 0.01, "on_inconclusive": on_inconclusive}

    outcome = STEP.run(monitor("http://nowhere.invalid/", **fields), context)

    assert isinstance(outcome, Question)
    assert "could not ask 5 times in a row" in outcome.text
    assert (outcome.outputs.checks, outcome.outputs.unknown) == (0, 5)
    assert "Checks: 0 | Failures: 0 (0.00%) | Unknown: 5" in context.shown[-1]


def test_too_few_samples_fail_or_pass_where_the_author_says_so(web: Any, make_context: Any) -> None:
    rate = {"above": "10%", "min_samples": 100}
    progress = {"samples": "7s", "at": datetime.now(UTC).isoformat(), "paused": 0}

    with pytest.raises(ThresholdCrossed, match="inconclusive"):
        STEP.run(
            monitor(web.url, error_rate=rate, on_inconclusive="fail"),
            make_context(progress=progress),
        )
    passed = STEP.run(
        monitor(web.url, error_rate=rate, on_inconclusive="pass"), make_context(progress=progress)
    )

    assert isinstance(passed, Watched)
    assert passed.verdict == "inconclusive"


def test_a_short_watch_fails_at_too_large_a_share(web: Any, make_context: Any) -> None:
    web.answers = [(500, ""), (200, "")] * 4
    rate = {"above": 0.1, "min_samples": 10}
    spec = monitor(web.url, error_rate=rate, on_inconclusive="pass")

    with pytest.raises(ThresholdCrossed, match="checks failed"):
        STEP.run(spec, make_context())
