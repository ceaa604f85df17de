"""What the steps of a document do, as far as their parameters tell."""

from collections.abc import Iterable, Mapping
from typing import Any

from runbook.core.plan import Effect, Rerun
from runbook.language.document import Document, Step


def effect_of(step: Step) -> Effect:
    """What a step does to the world, as far as its parameters are readable."""
    if step.kind is None:
        return Effect.CHANGES
    if isinstance(step.kind.effect, Effect):
        return step.kind.effect
    return step.kind.effect.of(raw_parameters(step))


def rerun_of(step: Step) -> Rerun:
    """Whether a step may repeat: as its kind or its author says, by default only after a look."""
    if step.kind and step.kind.rerun is not None:
        return step.kind.rerun
    said = step.node.text_of("rerun")
    if said in tuple(Rerun):
        return Rerun(said)
    given = raw_parameters(step)
    return Rerun.PROBE if "creates" in given or "probe" in given else Rerun.ASK


def raw_parameters(step: Step) -> Mapping[str, Any]:
    """What stands under `with`, as data."""
    value = step.parameters.value if step.parameters else {}
    return value if isinstance(value, dict) else {}


def resource_in(step: Step, field: str | None) -> str | None:
    """The resource that a parameter names; absent where there is none."""
    name = raw_parameters(step).get(field) if field else None
    return name if isinstance(name, str) else None


def after_step(document: Document) -> Step | None:
    """The step after which a failure is rolled back; by default the last before any change."""
    on_failure = document.root.get("on_failure")
    named = on_failure.text_of("after") if on_failure else None
    if named is not None:
        return document.by_id.get(document.planned_ids(named)[-1])
    return _before_first_change(step for step in document.steps if not step.is_finally)


def _before_first_change(steps: Iterable[Step]) -> Step | None:
    last = None
    for step in steps:
        if effect_of(step) is not Effect.READS:
            return last
        last = step
    return last
