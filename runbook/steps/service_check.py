"""Check that services of a stack run, and that their own health tests pass."""

import time
from collections.abc import Mapping, Sequence

from pydantic import Field

from runbook.core.plan import Effect, Rerun
from runbook.errors import StepError
from runbook.kinds import Context, Outputs, Resource, Spec, StepKind
from runbook.resources import Compose
from runbook.steps._checks import CheckResult, line, require
from runbook.steps._waiting import flaw_of, key
from runbook.tools import docker


class ServiceCheck(Spec):
    """Check that services of a stack run, and that their own health tests pass.

    By the project's label. All are looked at, and all are reported. What was broken in the same
    way before the run changed anything is shown and not counted.

    Example:
        id: services
        uses: service_check
        with: {stack: stack, services: [postgres, backend], optional: [grafana]}
    """

    stack: Resource[Compose]
    """The stack."""
    services: list[str] = Field(min_length=1)
    """The services that must be well."""
    optional: list[str] = Field(default_factory=list)
    """Services that are only reported."""


class ServicesChecked(Outputs):
    """How the services are."""

    results: list[CheckResult]
    """Each service, in order."""


def _run(spec: ServiceCheck, ctx: Context) -> ServicesChecked:
    results = []
    for name, (flaw, seconds) in _look(spec).items():
        result = CheckResult(
            name=name,
            ok=flaw is None,
            expected="it to run, and its health test to pass",
            found=flaw or "it runs, and is well",
            required=name in spec.services,
            was_broken=flaw is not None and ctx.baseline.get(key(spec.stack, name)) == flaw,
            seconds=seconds,
        )
        results.append(result)
        ctx.log(line(result))
    require(results)
    return ServicesChecked(results=results)


def _look(spec: ServiceCheck) -> dict[str, tuple[str | None, float]]:
    """What is wrong with each service, None: nothing; and how long it took to tell."""
    found = {}
    with docker.engine() as client:
        for name in dict.fromkeys([*spec.services, *spec.optional]):
            began = time.monotonic()
            flaw = flaw_of(client, spec.stack, name)
            found[name] = flaw, round(time.monotonic() - began, 3)
    return found


def _baseline(spec: ServiceCheck, _ctx: Context) -> Mapping[str, str]:
    try:
        found = _look(spec)
    except StepError:
        return {}
    return {key(spec.stack, name): flaw for name, (flaw, _) in found.items() if flaw is not None}


def _by_hand(spec: ServiceCheck) -> Sequence[str]:
    return [f"docker compose --project-name {spec.stack.project} ps --all"]


STEP = StepKind(
    spec=ServiceCheck,
    outputs=ServicesChecked,
    effect=Effect.READS,
    rerun=Rerun.SAFE,
    describe=lambda spec: f"check {', '.join(spec.services)} of `{spec.stack.name}`",
    run=_run,
    by_hand=_by_hand,
    preflight=lambda _spec, _ctx: docker.missing_engine(),
    baseline=_baseline,
)
