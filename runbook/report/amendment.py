"""How two plans of one run differ, in lines for people who are to say yes to it."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from difflib import unified_diff
from typing import Any

from runbook.core.plan import Plan, PlannedStep

_TOLD_OTHERWISE = {"steps", "on_failure", "source", "sources", "input_types"}
_OF_PLACE_ONLY = {"id", "place"}


def amendment_lines(before: Plan, after: Plan) -> list[str]:
    """What the second plan has that the first has not, and the other way round; none: nothing."""
    old, new = dict(_parts(before)), dict(_parts(after))
    lines = []
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) == new.get(name):
            continue
        lines.append(f"{name}:" if name in old and name in new else f"{name}{_fate(name, new)}:")
        was, is_now = (_yaml(side[name]) if name in side else [] for side in (old, new))
        lines += [f"  {line}" for line in [*unified_diff(was, is_now, n=1, lineterm="")][3:]]
    return lines


def _fate(name: str, new: Mapping[str, Any]) -> str:
    return " is new" if name in new else " is gone"


def _parts(plan: Plan, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in asdict(plan).items():
        if name not in _TOLD_OTHERWISE:
            yield f"{prefix}{name}", value
    for step in plan.steps:
        yield f"{prefix}step {step.id}", _told(step)
    if plan.on_failure:
        yield "on_failure", {"after": plan.on_failure.after, "with": plan.on_failure.inputs}
        yield from _parts(plan.on_failure.plan, f"{plan.on_failure.plan.runbook}: ")


def _told(step: PlannedStep) -> dict[str, Any]:
    return {name: value for name, value in asdict(step).items() if name not in _OF_PLACE_ONLY}


def _yaml(value: Any) -> list[str]:
    from yaml import safe_dump

    text: str = safe_dump(_plain(value), sort_keys=False, allow_unicode=True, width=1000)
    return text.splitlines()


def _plain(value: Any) -> Any:
    """The value in what YAML knows: no enums, no tuples."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value
