"""`runbook plan`: what a run would do; nothing is executed, asked, fetched or written."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click

from runbook.cli.driving import terminal_width
from runbook.cli.inputs import parse_assignments
from runbook.cli.options import HELP, Options, common_options, output_option, planning_options
from runbook.core.plan import (
    SENSITIVE_INPUT,
    JsonObject,
    OnFailure,
    Plan,
    PlannedSecret,
    PlannedStep,
    Policy,
)
from runbook.engine.forecast import Forecast, foresee
from runbook.engine.policy import describe
from runbook.errors import ExitStatus
from runbook.language.compile import compile_runbook
from runbook.language.expressions import Evaluator
from runbook.language.inputs import check_inputs, read_inputs
from runbook.language.known_values import foreseeable
from runbook.registry import Registry, discover
from runbook.report.plan import (
    LATER,
    InputView,
    PlanStepView,
    PlanView,
    parallel_steps,
    plan_document,
    plan_text,
)


@click.command("plan", context_settings=HELP)
@click.argument("path", type=click.Path(path_type=Path))
@planning_options
@click.option(
    "--by-hand", "has_commands", is_flag=True, help="Show what a person would type instead."
)
@output_option()
@common_options
@click.pass_obj
def plan(
    options: Options,
    /,
    *,
    path: Path,
    environment: str | None,
    assignments: tuple[str, ...],
    vars_files: tuple[Path, ...],
    has_commands: bool,
) -> ExitStatus:
    """Show what a run would do, step by step, and what a failure starts; nothing is executed.

    \b
    Examples:
      runbook plan runbooks/deploy.yaml --set revision=v2
      runbook plan runbooks/deploy.yaml --env prod --by-hand
    """
    given, registry = parse_assignments(assignments), discover()
    planned = compile_runbook(
        path,
        registry=registry,
        read=lambda declared: read_inputs(declared, given, options.environ, may_lack=True),
        environment=environment,
        vars_files=vars_files,
    )
    view = view_plan(planned, registry)
    if options.output == "json":
        options.answer_json("plan", plan_document(view))
    else:
        width = terminal_width(options)
        options.answer(plan_text(view, has_commands=has_commands, width=width))
    return ExitStatus.SUCCEEDED


def view_plan(plan: Plan, registry: Registry) -> PlanView:
    """What is shown of a plan, some of whose inputs may have no value yet."""
    forecast = _foresee(plan, registry)
    view = _view(plan, forecast, {})
    way_back = plan.on_failure
    if way_back is None:
        return view
    rollback = replace(way_back.plan, inputs=_rollback_inputs(way_back, forecast))
    return replace(
        view,
        after=way_back.after,
        rollback=_view(rollback, _foresee(rollback, registry), way_back.inputs, undone=forecast),
    )


def _foresee(plan: Plan, registry: Registry) -> Forecast:
    is_known = foreseeable(plan).has
    return foresee(plan, registry=registry, evaluator=Evaluator(), is_known=is_known)


def _rollback_inputs(way_back: OnFailure, undone: Forecast) -> JsonObject:
    """The inputs that a failure gives the rollback, as far as they are known beforehand."""
    values = undone.values(way_back.inputs)
    checked = check_inputs(way_back.plan.input_types, values, may_lack=True)
    later = way_back.inputs.keys() - values.keys()
    return {name: value for name, value in checked.items() if name not in later}


def _view(
    plan: Plan, forecast: Forecast, given: JsonObject, undone: Forecast | None = None
) -> PlanView:
    parallel = parallel_steps(plan.steps)
    return PlanView(
        runbook=plan.runbook,
        summary=plan.summary,
        file=os.path.relpath(plan.source),
        environment=plan.environment,
        is_protected=plan.is_protected,
        policy=tuple(_demands(plan.policy)),
        lock=plan.lock,
        resources={name: each.kind for name, each in plan.resources.items()},
        secrets={
            name: _origin(source)
            for name, source in plan.secrets.items()
            if not name.startswith(SENSITIVE_INPUT)
        },
        inputs=tuple(_inputs(plan, given)),
        steps=tuple(
            _step(step, undone if undone and step.from_undone else forecast, parallel[step.id])
            for step in plan.steps
        ),
        is_rollback=plan.undoes is not None,
    )


def _demands(policy: Policy) -> Iterator[str]:
    if policy.revisions is not None:
        yield f"revisions {', '.join(policy.revisions)}"
    if policy.window:
        yield f"starts {describe(policy.window)}"


def _inputs(plan: Plan, given: JsonObject) -> Iterator[InputView]:
    for name, declaration in plan.input_types.items():
        assert isinstance(declaration, dict)
        secret = plan.secrets.get(SENSITIVE_INPUT + name)
        note = None
        if secret:
            note = f"secret ({_origin(secret)})"
        elif name not in plan.inputs:
            note = f"{LATER}: {given[name]}" if name in given else f"not given: --set {name}=…"
        value = plan.inputs.get(name)
        yield InputView(name=name, type=str(declaration["type"]), value=value, note=note)


def _origin(secret: PlannedSecret) -> str:
    """Where a secret comes from; the arguments of a command are left out, as one may be secret."""
    match secret.provider:
        case "env":
            return f"${secret.reference}"
        case "file":
            return secret.reference
        case _:
            return f"printed by {secret.argv[0]}"


def _step(step: PlannedStep, forecast: Forecast, parallel_with: tuple[str, ...]) -> PlanStepView:
    kind = forecast.scene.registry.find(step.kind)
    foreseen = forecast.step(replace(step, from_undone=False))
    destroyed = step.params.get(kind.destroys) if kind.destroys else None
    return PlanStepView(
        id=step.id,
        kind=step.kind,
        effect=str(step.effect),
        resource=step.holds or (str(destroyed) if destroyed else None),
        line=foreseen.line,
        commands=foreseen.commands,
        parameters=step.params,
        later=foreseen.later,
        when=step.when,
        is_wanted=foreseen.is_wanted,
        parallel_with=parallel_with,
        attempts=step.retry.attempts,
        timeout_s=step.timeout_s if step.timeout_s != kind.timeout_s else None,
        continue_reason=step.continue_reason,
        undoes=step.undoes,
        is_finally=step.is_finally,
    )
