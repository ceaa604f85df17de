"""A plan as text and as JSON: what a run would do, step by step, and what a failure starts."""

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from runbook.core.plan import Json, JsonObject, PlannedStep
from runbook.units import format_duration, format_size

LATER = "known only later"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputView:
    """An input."""

    name: str
    type: str
    value: Json = None
    note: str | None = None
    """Why there is no value to show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanStepView:
    """A step that has not run."""

    id: str
    kind: str
    effect: str
    """`reads`, `changes` or `destroys`."""
    resource: str | None
    """What it brings up, stops for good, replaces or deletes."""
    line: str
    """What it would do."""
    commands: tuple[str, ...]
    """What a person would type instead."""
    parameters: JsonObject
    """As they are written."""
    later: tuple[str, ...]
    """Those of them that are known only later."""
    when: str | None
    is_wanted: bool | None
    """Whether `when` holds; None: known only later."""
    parallel_with: tuple[str, ...]
    attempts: int
    timeout_s: float | None
    """Absent: what its kind has."""
    continue_reason: str | None
    """Why its failure does not fail the run; absent: it does."""
    undoes: tuple[str, ...]
    is_finally: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """A plan that nobody has run."""

    runbook: str
    summary: str
    file: str
    environment: str
    is_protected: bool
    policy: tuple[str, ...]
    """What the environment demands."""
    lock: str
    resources: Mapping[str, str]
    """Type by name."""
    secrets: Mapping[str, str]
    """Where each comes from, by name."""
    inputs: tuple[InputView, ...]
    steps: tuple[PlanStepView, ...]
    is_rollback: bool = False
    after: str | None = None
    """The step after which a failure starts the rollback."""
    rollback: "PlanView | None" = None


def parallel_steps(steps: Sequence[PlannedStep]) -> dict[str, tuple[str, ...]]:
    """By each step's id those that may run at the same time."""
    before: dict[str, set[str]] = {}
    for step in steps:
        before[step.id] = {each for need in step.needs for each in (need, *before.get(need, ()))}
    return {
        step.id: tuple(
            other.id
            for other in steps
            if other.id != step.id and other.is_finally == step.is_finally
            if other.id not in before[step.id] and step.id not in before[other.id]
        )
        for step in steps
    }


def plan_document(view: PlanView) -> JsonObject:
    """A plan as JSON."""
    return asdict(view)


# --- text -----------------------------------------------------------------------------------


def plan_text(view: PlanView, *, has_commands: bool, width: int = 80) -> str:
    """A plan as text; with the commands that a person would type instead, if they are wanted."""
    lines = [*_title(view, width), "", *_facts(view, width), ""]
    lines += _steps(view, has_commands=has_commands, width=width)
    if view.rollback:
        lines += ["", f"A failure of a step after `{view.after}` starts the rollback:", ""]
        inputs = [*_inputs(view.rollback, width), ""] if view.rollback.inputs else []
        lines += [*_title(view.rollback, width), "", *inputs]
        lines += _steps(view.rollback, has_commands=has_commands, width=width)
    elif not view.is_rollback and any(step.effect != "reads" for step in view.steps):
        lines += ["", "There is no `on_failure`: a failure is not rolled back."]
    return "\n".join(lines) + "\n"


def _title(view: PlanView, width: int) -> list[str]:
    return textwrap.wrap(f"{view.runbook}: {view.summary}" if view.summary else view.runbook, width)


def _facts(view: PlanView, width: int) -> Iterator[str]:
    protected = " (protected)" if view.is_protected else ""
    rows = {
        "File": view.file,
        "Environment": f"{view.environment or 'none'}{protected}",
        "Policy": "; ".join(view.policy),
        "Lock": view.lock,
        "Resources": ", ".join(f"{name} ({kind})" for name, kind in view.resources.items()),
        "Secrets": ", ".join(f"{name} ({origin})" for name, origin in view.secrets.items()),
    }
    for label, text in rows.items():
        if text:
            yield from _wrapped(f"  {label:<13}", text, width)
    yield from _inputs(view, width)


def _inputs(view: PlanView, width: int) -> Iterator[str]:
    names = max((len(each.name) for each in view.inputs), default=0)
    for number, each in enumerate(view.inputs):
        label = f"  {'' if number else 'Inputs':<13}{each.name:<{names}}  "
        yield from _wrapped(label, each.note or _value(each), width)


def _value(each: InputView) -> str:
    match each.value:
        case int() | float() as number if each.type == "duration":
            return format_duration(number)
        case int() as number if each.type == "bytes":
            return format_size(number)
        case None:
            return "none"
        case value:
            return _written(value)


def _steps(view: PlanView, *, has_commands: bool, width: int) -> Iterator[str]:
    ids = max((len(step.id) for step in view.steps), default=0)
    kinds = max((len(step.kind) for step in view.steps), default=0)
    for number, step in enumerate(view.steps, start=1):
        effect = f"{step.effect} {step.resource}" if step.resource else step.effect
        yield f"{number:>3}  {step.id:<{ids}}  {step.kind:<{kinds}}  {effect}"
        for line in (step.line, *_notes(step)):
            yield from _wrapped(" " * 5, line, width)
        # What can be typed is never wrapped.
        commands = step.commands if has_commands and step.is_wanted is not False else ()
        yield from (f"       $ {command}" for command in commands)


def _notes(step: PlanStepView) -> Iterator[str]:
    """What is to be said of a step besides what it does."""
    for key, value in step.parameters.items() if step.later else ():
        yield f"{key}: {_written(value)}" + (f" ({LATER})" if key in step.later else "")
    if step.when:
        outcome = {True: "it holds", False: "it does not hold: skipped", None: LATER}[
            step.is_wanted
        ]
        yield f"only when {' '.join(step.when.split())} ({outcome})"
    if step.parallel_with:
        yield f"in parallel with {', '.join(step.parallel_with)}"
    if step.attempts > 1:
        yield f"up to {step.attempts} attempts"
    if step.timeout_s is not None:
        yield f"timeout {format_duration(step.timeout_s)}"
    if step.continue_reason:
        yield f"its failure does not fail the run: {step.continue_reason}"
    if step.undoes:
        yield f"undoes {', '.join(step.undoes)}"
    if step.is_finally:
        yield "at the end, however it ends"


def _written(value: Json) -> str:
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value, ensure_ascii=False)


def _wrapped(label: str, text: str, width: int) -> list[str]:
    """A labelled text, wrapped under itself."""
    return textwrap.wrap(
        text, max(width, len(label) + 20), initial_indent=label, subsequent_indent=" " * len(label),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
