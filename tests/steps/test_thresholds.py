"""The monitor's thresholds: every boundary that the specification names, and what always holds."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook.steps._thresholds import (
    Crossed,
    ErrorRate,
    Inconclusive,
    Passed,
    Sample,
    Thresholds,
    Verdict,
    Watching,
    exact,
    judge,
    pack,
    percent,
    unpack,
)


def thresholds(
    beats: int = 60,
    *,
    in_a_row: int = 1000,
    above: str | None = None,
    min_samples: int = 10,
    window: int | None = None,
    grace_ms: int = 0,
) -> Thresholds:
    """One sample every ten seconds."""
    rate = None
    if above is not None:
        window_ms = (window or beats) * 10_000
        rate = ErrorRate(above=Fraction(above), window_ms=window_ms, min_samples=min_samples)
    return Thresholds(
        duration_ms=beats * 10_000,
        interval_ms=10_000,
        consecutive_failures=in_a_row,
        error_rate=rate,
        grace_ms=grace_ms,
    )


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        ("2f", Watching),
        ("3f", Crossed),
        ("2f1o2f", Watching),
        ("2f1u1f", Crossed),
        ("2f1s1f", Crossed),
        ("2f1d1f", Crossed),
        ("2f1u", Watching),
        ("5o3f", Crossed),
        ("4u", Watching),
        ("5u", Inconclusive),
        ("2u1s3u", Inconclusive),
        ("4u1o1u", Watching),
        ("4u1f1u", Watching),
        ("9d", Watching),
    ],
)
def test_the_third_failure_in_a_row_fires_and_only_success_resets(
    samples: str, verdict: type[Verdict]
) -> None:
    found = judge(unpack(samples), thresholds(in_a_row=3))

    assert isinstance(found, verdict), found


@pytest.mark.parametrize(
    ("samples", "above", "verdict"),
    [
        ("9o1f", "0.1", Watching),
        ("8o2f", "0.1", Crossed),
        ("7o2f", "0.1", Watching),
        ("7o2f1u", "0.1", Watching),
        ("7o2f1u1s1d", "0.1", Watching),
        ("7o2f1u1o", "0.1", Crossed),
        ("10o", "0", Watching),
        ("9o1f", "0", Crossed),
        ("10f", "1", Watching),
        ("1000f", "0.999", Crossed),
        ("27o3f", "0.1", Watching),
        ("26o3f", "0.1", Crossed),
        ("93o7f", "0.07", Watching),
        ("71o29f", "0.29", Watching),
    ],
)
def test_exactly_the_threshold_does_not_fire_and_too_few_samples_never_do(
    samples: str, above: str, verdict: type[Verdict]
) -> None:
    found = judge(unpack(samples), thresholds(beats=5000, above=above))

    assert isinstance(found, verdict), found


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        ("2f8o", Watching),
        ("5f5o", Crossed),
        ("2f9o1f", Watching),
        ("1f7o2f", Crossed),
        ("1f8o2f", Watching),
        ("9f1o", Crossed),
    ],
)
def test_a_sample_counts_until_it_is_a_whole_window_old(
    samples: str, verdict: type[Verdict]
) -> None:
    found = judge(unpack(samples), thresholds(above="0.2", window=10, min_samples=10))

    assert isinstance(found, verdict), found


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        ("2f", Watching),
        ("3f", Watching),
        ("4f", Watching),
        ("5f", Crossed),
        ("1o3f", Crossed),
        ("2f1o3f", Crossed),
        ("2f1u4f", Crossed),
    ],
)
def test_failures_before_the_end_of_grace_do_not_count_and_a_success_ends_it(
    samples: str, verdict: type[Verdict]
) -> None:
    found = judge(unpack(samples), thresholds(in_a_row=3, grace_ms=30_000))

    assert isinstance(found, verdict), found


@pytest.mark.parametrize(
    ("samples", "min_samples", "verdict"),
    [
        ("10o", 10, Passed),
        ("9o1u", 10, Inconclusive),
        ("9o1s", 10, Inconclusive),
        ("1f8o1s", 10, Crossed),
        ("9o1d", 10, Passed),
        ("9o1f", 10, Passed),
        ("4u1s3u2s", 1, Inconclusive),
        ("4u3s3d", 3, Passed),
    ],
)
def test_the_end_tells_passed_from_inconclusive(
    samples: str, min_samples: int, verdict: type[Verdict]
) -> None:
    found = judge(unpack(samples), thresholds(10, above="0.1", min_samples=min_samples))

    assert isinstance(found, verdict), found


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [("1f1o1f1o1f1o", Crossed), ("1f5o", Crossed), ("6o", Passed), ("2f3o", Watching)],
)
def test_a_watch_too_short_for_as_many_samples_is_judged_at_its_end(
    samples: str, verdict: type[Verdict]
) -> None:
    found = judge(unpack(samples), thresholds(6, above="0.1", min_samples=10))

    assert isinstance(found, verdict), found


@pytest.mark.parametrize(
    ("samples", "is_blind"), [("3u", True), ("1o2u", False), ("2o1s", False), ("2u1s", True)]
)
def test_too_few_samples_are_told_from_none_at_all(samples: str, is_blind: bool) -> None:
    found = judge(unpack(samples), thresholds(3, above="0.1", min_samples=10))

    assert isinstance(found, Inconclusive)
    assert found.is_blind == is_blind


def test_without_a_rate_one_answer_is_enough_and_none_is_not() -> None:
    assert isinstance(judge(unpack("1o9s"), thresholds(10)), Passed)
    assert isinstance(judge(unpack("4u6s"), thresholds(10)), Inconclusive)


def test_a_duration_that_is_no_multiple_of_the_interval_ends_with_a_sample() -> None:
    uneven = Thresholds(duration_ms=25_000, interval_ms=10_000, consecutive_failures=3)

    assert [uneven.at_ms(number) for number in range(1, uneven.beats + 1)] == [
        10_000,
        20_000,
        25_000,
    ]


@pytest.mark.parametrize("share", ["0.1", "0.07", "0.29", "0.333", "0.011", "0.0001", "1", "0"])
def test_a_fraction_is_the_one_that_was_written(share: str) -> None:
    assert exact(float(share)) == Fraction(share)
    assert exact(float(Fraction(share) * 100) / 100) == Fraction(share)


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 0, "0.00%"), (1, 12, "8.33%"), (2, 3, "66.67%"), (1, 1, "100.00%"), (1, 800, "0.13%")],
)
def test_percentages_are_rounded_half_up(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


SAMPLES = st.lists(st.sampled_from(Sample), max_size=60)


@given(SAMPLES)
def test_packed_samples_unpack_to_themselves(samples: list[Sample]) -> None:
    assert unpack(pack(samples)) == samples


@given(SAMPLES)
def test_only_failures_ever_cross_a_threshold(samples: list[Sample]) -> None:
    mended = [Sample.OK if sample is Sample.FAILED else sample for sample in samples]

    found = judge(mended, thresholds(in_a_row=1, above="0", min_samples=1))

    assert not isinstance(found, Crossed)


@given(SAMPLES, st.integers(1, 20), st.integers(0, 10))
def test_the_rate_fires_exactly_when_the_counts_say_so(
    samples: list[Sample], min_samples: int, tenths: int
) -> None:
    failed, ok = samples.count(Sample.FAILED), samples.count(Sample.OK)

    found = judge(
        samples,
        thresholds(60, above=f"0.{tenths}" if tenths < 10 else "1", min_samples=min_samples),
    )

    is_too_much = 10 * failed > tenths * (failed + ok)
    told = failed + ok + samples.count(Sample.DISCOUNTED)
    is_last_chance = len(samples) == 60 and told < min_samples
    is_due = is_too_much and (failed + ok >= min_samples or is_last_chance)
    assert isinstance(found, Crossed) == is_due
