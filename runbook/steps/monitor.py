"""Watch a service for a while, and fail as soon as it misbehaves too much."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from runbook.core.plan import Effect, Rerun
from runbook.errors import ThresholdCrossed
from runbook.kinds import Context, Fraction, Outputs, Question, Spec, StepKind
from runbook.resources import MODEL_CONFIG, Duration, Positive, PositiveDuration
from runbook.steps._expectations import Finding, HttpExpectation, failing, look
from runbook.steps._thresholds import (
    Crossed,
    ErrorRate,
    Inconclusive,
    Passed,
    Sample,
    Thresholds,
    Verdict,
    Watching,
    consecutive,
    counted,
    exact,
    judge,
    pack,
    percent,
    unpack,
)
from runbook.tools import http
from runbook.units import format_duration


class ErrorRateLimit(BaseModel):
    """The share of failures that is too large."""

    model_config = MODEL_CONFIG

    above: Fraction
    """Fires when failed / (failed + ok) is strictly greater: exactly 10 % does not."""
    window: Duration | None = None
    """How far back samples count; absent: the whole duration."""
    min_samples: Positive = 10
    """Fewer samples than this tell nothing; where the window has fewer, as many as it has."""


class Monitor(Spec):
    """Watch a service for a while, and fail as soon as it misbehaves too much.

    Example:
        id: watch
        uses: monitor
        with:
          http: {get: "http://localhost:3001/health", timeout: 5s}
          duration: 10m
          interval: 10s
          consecutive_failures: 3
          error_rate: {above: 0.10, min_samples: 10}
    """

    http: HttpExpectation
    """What is asked, and what must come back."""
    duration: PositiveDuration
    """For how long; what a crash takes from it is watched afterwards."""
    interval: PositiveDuration = 10.0
    """From one sample to the next, however slow the answers are; at least 10ms."""
    consecutive_failures: Positive = 3
    """So many failures in a row fail the step."""
    error_rate: ErrorRateLimit | None = None
    """Too large a share of failures fails the step; absent: only failures in a row do."""
    grace: Duration = 0.0
    """Failures this soon are shown and not counted; the first success ends it early."""
    on_inconclusive: Literal["fail", "pass", "ask"] = "ask"
    """What to do when there are too few samples to tell. Where nobody could be asked at all, or not
    five times in a row, `pass` asks too."""


class Watched(Outputs):
    """What was seen."""

    verdict: Literal["passed", "inconclusive"]
    """Whether the samples tell."""
    checks: int
    """How often we asked and know what came of it."""
    failures: int
    """Failures that counted."""
    discounted: int
    """Failures as before the run changed anything, and failures inside the grace period."""
    unknown: int
    """How often we could not ask."""
    skipped: int
    """Beats at which nobody asked: after a slow answer, or while the run was interrupted."""


@dataclass(slots=True)
class _Watch:
    """The samples so far, as they are recorded."""

    thresholds: Thresholds
    samples: list[Sample]
    paused: int
    """Beats that passed while nobody watched."""
    flaw: str | None = None
    """How the newest sample failed."""

    def outputs(self, verdict: Literal["passed", "inconclusive"]) -> Watched:
        kept = counted(self.samples, self.thresholds)
        return Watched(
            verdict=verdict,
            checks=self.checks,
            failures=kept.count(Sample.FAILED),
            discounted=kept.count(None) + kept.count(Sample.DISCOUNTED),
            unknown=kept.count(Sample.UNKNOWN),
            skipped=kept.count(Sample.SKIPPED) + self.paused,
        )

    @property
    def checks(self) -> int:
        return sum(sample not in (Sample.SKIPPED, Sample.UNKNOWN) for sample in self.samples)

    def line(self) -> str:
        """The line that people watch."""
        kept = counted(self.samples, self.thresholds)
        failures, ok = kept.count(Sample.FAILED), kept.count(Sample.OK)
        unknown = kept.count(Sample.UNKNOWN)
        past_ms = self.thresholds.at_ms(len(self.samples))
        duration_ms = self.thresholds.duration_ms
        return (
            f"Progress: {_seconds(past_ms)} / {_seconds(duration_ms)}"
            f" | Checks: {self.checks}"
            f" | Failures: {failures} ({percent(failures, failures + ok)})"
            f"{f' | Unknown: {unknown}' if unknown else ''}"
            f" | Consecutive: {consecutive(kept)}"
            f" | Remaining: {_seconds(duration_ms - past_ms)}"
        )


def _seconds(ms: int) -> str:
    return f"{ms // 1000}s" if ms % 1000 == 0 else f"{ms / 1000:.1f}s"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def thresholds_of(spec: Monitor) -> Thresholds:
    """The thresholds in whole milliseconds and exact fractions."""
    limit = spec.error_rate
    return Thresholds(
        duration_ms=max(1, _ms(spec.duration)),
        interval_ms=max(10, _ms(spec.interval)),
        consecutive_failures=spec.consecutive_failures,
        grace_ms=_ms(spec.grace),
        error_rate=None
        if limit is None
        else ErrorRate(
            above=exact(limit.above),
            window_ms=_ms(spec.duration if limit.window is None else limit.window),
            min_samples=limit.min_samples,
        ),
    )


def _run(spec: Monitor, ctx: Context) -> Watched | Question[Watched]:
    watch = _begin_or_go_on(spec, ctx)
    verdict = judge(watch.samples, watch.thresholds) if watch.samples else Watching()
    http.load()
    started_s = time.monotonic()
    before = len(watch.samples)
    while isinstance(verdict, Watching):
        number = len(watch.samples) + 1
        due_s = (watch.thresholds.at_ms(number) - watch.thresholds.at_ms(before)) / 1000
        late_s = time.monotonic() - started_s - due_s
        if late_s < 0:
            ctx.sleep(-late_s)
        is_late = late_s * 1000 >= watch.thresholds.interval_ms
        is_missed = is_late and number < watch.thresholds.beats
        _take(spec, ctx, watch, is_missed=is_missed)
        verdict = judge(watch.samples, watch.thresholds)
    return _settle(spec, ctx, watch, verdict)


def _begin_or_go_on(spec: Monitor, ctx: Context) -> _Watch:
    watch = _Watch(thresholds_of(spec), [], 0)
    progress = ctx.progress or {}
    if not progress.get("samples"):
        return watch
    watch.samples = unpack(str(progress["samples"]))
    pause = ctx.now() - datetime.fromisoformat(str(progress["at"]))
    missed = max(0, _ms(pause.total_seconds()) // watch.thresholds.interval_ms - 1)
    watch.paused = int(str(progress["paused"])) + missed
    ctx.log(f"going on after {len(watch.samples)} samples; nobody asked for {missed} intervals")
    return watch


def _take(spec: Monitor, ctx: Context, watch: _Watch, *, is_missed: bool) -> None:
    if is_missed:
        watch.samples.append(Sample.SKIPPED)
        return
    finding = look(spec.http)
    sample = _sample(finding, ctx.baseline.get(spec.http.key))
    watch.samples.append(sample)
    ctx.record_progress(
        {"samples": pack(watch.samples), "at": ctx.now().isoformat(), "paused": watch.paused}
    )
    _log_change(ctx, watch, sample, finding)
    ctx.show(watch.line())


def _sample(finding: Finding, flaw_before: str | None) -> Sample:
    if finding.flaw is None:
        return Sample.OK
    if finding.is_unknown:
        return Sample.UNKNOWN
    return Sample.DISCOUNTED if finding.flaw == flaw_before else Sample.FAILED


def _log_change(ctx: Context, watch: _Watch, sample: Sample, finding: Finding) -> None:
    is_first = watch.checks == 1
    if not is_first and finding.flaw == watch.flaw:
        return
    watch.flaw = finding.flaw
    note = ""
    if sample is Sample.DISCOUNTED:
        note = " (as before this run: not counted)"
    elif sample is Sample.FAILED and counted(watch.samples, watch.thresholds)[-1] is None:
        note = " (inside the grace period: not counted)"
    past = _seconds(watch.thresholds.at_ms(len(watch.samples)))
    ctx.log(f"{past}: {sample.name.lower()}: {finding.found}{note}")


def _settle(
    spec: Monitor, ctx: Context, watch: _Watch, verdict: Verdict
) -> Watched | Question[Watched]:
    ctx.log(watch.line())
    match verdict:
        case Passed() | Watching():
            return watch.outputs("passed")
        case Crossed(reason):
            raise _failed(ctx, spec, watch, reason)
        case Inconclusive(reason) if spec.on_inconclusive == "fail":
            raise _failed(ctx, spec, watch, f"inconclusive: {reason}")
        case Inconclusive(reason, is_blind=False) if spec.on_inconclusive == "pass":
            ctx.log(f"inconclusive: {reason}; passed all the same, as `on_inconclusive` says")
            return watch.outputs("inconclusive")
        case Inconclusive(reason):
            ctx.record_progress({})
            text = f"watched {spec.http.address}, but {reason}: is it healthy?"
            return Question(text, watch.outputs("inconclusive"))


def _failed(ctx: Context, spec: Monitor, watch: _Watch, reason: str) -> ThresholdCrossed:
    # Fresh attempts need fresh samples; a crash just before the failure is recorded costs a watch.
    ctx.record_progress({})
    newest = () if watch.flaw is None else (f"newest: {watch.flaw}",)
    return ThresholdCrossed(
        f"{spec.http.method} {spec.http.address}: {reason}",
        where=spec.http.address,
        changed=False,
        is_retryable=False,
        output_tail=(watch.line(), *newest),
    )


def _describe(spec: Monitor) -> str:
    often = f"every {format_duration(spec.interval)} for {format_duration(spec.duration)}"
    return f"watch {spec.http.address} {often}"


def _by_hand(spec: Monitor) -> Sequence[str]:
    return [f"watch -n {spec.interval:g} curl -sS -i '{spec.http.address}'"]


def _baseline(spec: Monitor, _ctx: Context) -> Mapping[str, str]:
    return failing([spec.http])


STEP = StepKind(
    spec=Monitor,
    outputs=Watched,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    timeout_s=7 * 86400.0,
    by_hand=_by_hand,
    baseline=_baseline,
    retry_forbidden="its thresholds say how many failures are too many",
)
