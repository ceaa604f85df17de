"""Check by HTTP that a service answers as it should."""

from collections.abc import Mapping, Sequence

from pydantic import Field

from runbook.core.plan import Effect, Rerun
from runbook.kinds import Context, Outputs, Spec, StepKind
from runbook.steps._checks import CheckResult, line, require
from runbook.steps._expectations import Finding, HttpExpectation, failing, look


class HttpCheckItem(HttpExpectation):
    """One check."""

    name: str = ""
    """What people call it; empty: its URL."""
    required: bool = True
    """Whether its failure fails the step."""

    @property
    def title(self) -> str:
        """What it is called in a report."""
        return self.name or f"{self.method} {self.address}"


class HttpCheck(Spec):
    """Check by HTTP that a service answers as it should.

    All checks run, and all are reported. What failed in the same way before the run changed
    anything is shown and not counted.

    Example:
        id: verify
        uses: http_check
        with:
          checks:
            - {get: "http://localhost:3001/health", status: 200, json: {status: ok}}
            - {get: "http://localhost:3001/metrics", contains: "# HELP", required: false}
    """

    checks: list[HttpCheckItem] = Field(min_length=1)
    """What is asked and what must come back."""


class HttpChecked(Outputs):
    """How the checks ended."""

    results: list[CheckResult]
    """Each check, in order."""


def _run(spec: HttpCheck, ctx: Context) -> HttpChecked:
    results: list[CheckResult] = []
    for item in spec.checks:
        ctx.check()
        ctx.show(item.title)
        results.append(_result(item, look(item), ctx.baseline))
        ctx.log(line(results[-1]))
    require(results)
    return HttpChecked(results=results)


def _result(item: HttpCheckItem, finding: Finding, baseline: Mapping[str, str]) -> CheckResult:
    return CheckResult(
        name=item.title,
        ok=finding.flaw is None,
        expected=item.expected,
        found=finding.found,
        required=item.required,
        was_broken=finding.flaw is not None and baseline.get(item.key) == finding.flaw,
        seconds=round(finding.seconds, 3),
    )


def _describe(spec: HttpCheck) -> str:
    if len(spec.checks) == 1:
        return f"check {spec.checks[0].title}"
    return f"check {len(spec.checks)} answers: {', '.join(item.title for item in spec.checks)}"


def _by_hand(spec: HttpCheck) -> Sequence[str]:
    return [curl(item) for item in spec.checks]


def curl(item: HttpExpectation) -> str:
    """What a person would type to ask the same."""
    method = [] if item.method == "GET" else ["-X", item.method]
    headers = [f"-H '{name}: {value}'" for name, value in item.headers.items()]
    return " ".join(["curl -i", *method, *headers, f"'{item.address}'"])


def _baseline(spec: HttpCheck, _ctx: Context) -> Mapping[str, str]:
    return failing(list(spec.checks))


STEP = StepKind(
    spec=HttpCheck,
    outputs=HttpChecked,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=_describe,
    run=_run,
    by_hand=_by_hand,
    baseline=_baseline,
)
