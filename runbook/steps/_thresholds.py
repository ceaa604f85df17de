"""When a monitor has seen enough: samples in, verdict out. Pure, exact, no clock.

Samples are taken on a fixed beat: the n-th, counted from 1, belongs to n times the interval of
watched time, whenever its answer came; the last one to the end of the duration. A beat that passes
while an answer is awaited is `skipped`. So a sample's time is its place in the list, and times are
whole milliseconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import groupby


class Sample(StrEnum):
    """How one beat went; the values are how it is recorded."""

    OK = "o"
    FAILED = "f"
    UNKNOWN = "u"
    """We could not ask."""
    SKIPPED = "s"
    """Nobody asked: the answer before was too slow."""
    DISCOUNTED = "d"
    """Failed just as it did before the run changed anything."""


MAX_UNKNOWN_IN_A_ROW = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """Too large a share of failures."""

    above: Fraction
    """Fires when failed / (failed + ok) is strictly greater."""
    window_ms: int
    min_samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What a monitor allows."""

    duration_ms: int
    interval_ms: int
    consecutive_failures: int
    error_rate: ErrorRate | None = None
    grace_ms: int = 0

    @property
    def beats(self) -> int:
        """How many samples there are in all."""
        return max(1, -(-self.duration_ms // self.interval_ms))

    @property
    def needed(self) -> int:
        """How many samples it takes to tell: no more than a window, or the whole watch, has."""
        if self.error_rate is None:
            return 1
        span_ms = min(self.error_rate.window_ms, self.duration_ms)
        return max(1, min(self.error_rate.min_samples, -(-span_ms // self.interval_ms)))

    def at_ms(self, number: int) -> int:
        """Watched time of the n-th sample, counted from 1."""
        return min(number * self.interval_ms, self.duration_ms)


@dataclass(frozen=True, slots=True)
class Crossed:
    """Too many failures: final."""

    reason: str


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """Nobody can tell from these samples."""

    reason: str
    is_blind: bool = False
    """Whether nothing at all is known, or we could no longer ask: more than too few samples."""


@dataclass(frozen=True, slots=True)
class Watching:
    """Nothing has happened yet that decides."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Watched to the end, and within the thresholds."""


Verdict = Crossed | Inconclusive | Watching | Passed


def exact(number: float) -> Fraction:
    """The decimal fraction that a person wrote, not the nearest binary one: 0.1 is 1/10."""
    return Fraction(number).limit_denominator(10**9)


def counted(samples: Sequence[Sample], thresholds: Thresholds) -> list[Sample | None]:
    """The samples in their places; failures inside the grace period are absent."""
    kept: list[Sample | None] = []
    is_grace = thresholds.grace_ms > 0
    for number, sample in enumerate(samples, start=1):
        if sample is Sample.OK or thresholds.at_ms(number) >= thresholds.grace_ms:
            is_grace = False
        kept.append(None if is_grace and sample is Sample.FAILED else sample)
    return kept


def consecutive(kept: Sequence[Sample | None]) -> int:
    """Failures since the last success."""
    failures = 0
    for sample in reversed(kept):
        if sample is Sample.OK:
            break
        failures += sample is Sample.FAILED
    return failures


def judge(samples: Sequence[Sample], thresholds: Thresholds) -> Verdict:
    """What the samples so far mean; there are `thresholds.beats` of them at the end."""
    kept = counted(samples, thresholds)
    failures = consecutive(kept)
    if failures >= thresholds.consecutive_failures:
        return Crossed(
            f"{failures} failures in a row, expected fewer than {thresholds.consecutive_failures}"
        )
    crossed = _judge_rate(kept, thresholds, needed=thresholds.needed)
    if crossed is not None:
        return crossed
    if _unknown_in_a_row(samples) >= MAX_UNKNOWN_IN_A_ROW:
        return Inconclusive(f"could not ask {MAX_UNKNOWN_IN_A_ROW} times in a row", is_blind=True)
    if len(samples) < thresholds.beats:
        return Watching()
    return _judge_end(kept, thresholds)


def _judge_rate(
    kept: Sequence[Sample | None], thresholds: Thresholds, *, needed: int
) -> Crossed | None:
    rate = thresholds.error_rate
    if rate is None:
        return None
    recent = _within(kept, thresholds, rate.window_ms)
    failed, ok = recent.count(Sample.FAILED), recent.count(Sample.OK)
    if failed + ok < needed or Fraction(failed, failed + ok) <= rate.above:
        return None
    share = f"{failed} of {failed + ok} checks failed ({percent(failed, failed + ok)})"
    return Crossed(
        f"{share}, expected at most {percent(rate.above.numerator, rate.above.denominator)}"
    )


def _judge_end(kept: Sequence[Sample | None], thresholds: Thresholds) -> Verdict:
    rate, needed = thresholds.error_rate, thresholds.needed
    window_ms = thresholds.duration_ms if rate is None else rate.window_ms
    recent = _within(kept, thresholds, window_ms)
    # What is as broken as before has been looked at too: it decides nothing, but is not too little.
    told = sum(recent.count(sample) for sample in (Sample.OK, Sample.FAILED, Sample.DISCOUNTED))
    if told >= needed:
        return Passed()
    # Too few to pass, but there are no more to come: too many failures among them decide.
    return _judge_rate(kept, thresholds, needed=1) or Inconclusive(
        f"only {told} of the {needed} samples that it takes to tell", is_blind=told == 0
    )


def _within(
    kept: Sequence[Sample | None], thresholds: Thresholds, window_ms: int
) -> Sequence[Sample | None]:
    """The samples later than `window_ms` before the newest one."""
    after_ms = thresholds.at_ms(len(kept)) - window_ms
    return kept[max(0, min(len(kept), after_ms // thresholds.interval_ms)) :]


def _unknown_in_a_row(samples: Sequence[Sample]) -> int:
    unknown = 0
    for sample in reversed(samples):
        if sample is Sample.SKIPPED:
            continue
        if sample is not Sample.UNKNOWN:
            break
        unknown += 1
    return unknown


def percent(part: int, whole: int) -> str:
    """`8.33%`, rounded half up from the exact share; an empty whole is `0.00%`."""
    hundredths = 0 if whole == 0 else (part * 10_000 * 2 + whole) // (whole * 2)
    return f"{hundredths // 100}.{hundredths % 100:02d}%"


def pack(samples: Sequence[Sample]) -> str:
    """A few characters for many samples, such as `12o1f3o`."""
    return "".join(f"{len(list(run))}{sample.value}" for sample, run in groupby(samples))


def unpack(text: str) -> list[Sample]:
    """What `pack` packed."""
    samples: list[Sample] = []
    digits = ""
    for character in text:
        if character.isdigit():
            digits += character
            continue
        samples.extend([Sample(character)] * int(digits))
        digits = ""
    return samples
