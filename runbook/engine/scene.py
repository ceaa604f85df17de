"""What the expressions and steps of a run can see: its scope, its resources, its secrets, its past.

Built from a plan and a state each time that it is asked for: nothing is remembered beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pydantic import ValidationError

from runbook.core.plan import SENSITIVE_INPUT, Json, Plan, PlannedResource, PlannedStep
from runbook.core.state import RunState, Status, StepState, has_changed
from runbook.errors import ParametersInvalid, SecretMissing
from runbook.kinds import CompletedStep, PlanStep, Spec, UndoneRun
from runbook.misfits import in_plain_words
from runbook.registry import Registry
from runbook.resources import RESOURCE_TYPES, ResourceModel
from runbook.secret import Secret
from runbook.tools.secret_sources import fetch_secret

_UNBEGUN = StepState()


class Evaluator(Protocol):
    """What the engine needs of the expression language."""

    def value(self, template: Json, scope: Mapping[str, object]) -> Any:
        """The template with every expression replaced by its value; raises ParametersInvalid."""

    def truth(self, expression: str, scope: Mapping[str, object]) -> bool:
        """Whether a bare expression holds; raises ParametersInvalid."""


def fetch_secrets(
    plan: Plan, environ: Mapping[str, str], known: Mapping[str, Secret] | None = None
) -> dict[str, Secret]:
    """Every secret of a plan and of its rollback, from where it says.

    One that is not required, and not there, is left out. One that cannot be had now, and was had a
    moment ago, is what it was: `known`.

    Raises:
        SecretMissing: names all that cannot be had.
    """
    planned = dict(plan.secrets)
    if plan.on_failure:
        planned |= {k: v for k, v in plan.on_failure.plan.secrets.items() if k not in planned}
    found: dict[str, Secret] = {}
    missing: list[SecretMissing] = []
    for name, source in planned.items():
        try:
            secret = fetch_secret(name.removeprefix(SENSITIVE_INPUT), source, environ)
        except SecretMissing as error:
            secret = (known or {}).get(name)
            missing += [] if secret else [error]
        if secret is not None:
            found[name] = secret
    if missing:
        raise SecretMissing("; ".join(e.message for e in missing), hint=_ways_to_give(missing))
    return found


def _ways_to_give(missing: Sequence[SecretMissing]) -> str:
    """What to type before the same command, a line each; variables in one."""
    hints = dict.fromkeys(error.hint for error in missing if error.hint)
    exports = [hint.removeprefix("export ") for hint in hints if hint.startswith("export ")]
    ways = [f"export {' '.join(exports)}"] if exports else []
    ways += [hint for hint in hints if not hint.startswith("export ")]
    return "\n".join([*ways, "then run the same command again"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run's plan with all that its text may refer to."""

    plan: Plan
    registry: Registry
    evaluator: Evaluator
    secrets: Mapping[str, Secret]
    undone: "tuple[Scene, RunState] | None" = None
    """Rollbacks: the run that this one undoes."""
    _resources: dict[str, ResourceModel] = field(default_factory=dict)

    @property
    def known_secrets(self) -> Sequence[Secret]:
        """Its own and those of the run that it undoes, which may still be printed somewhere."""
        undone = self.undone[0].known_secrets if self.undone else ()
        return (*self.secrets.values(), *undone)

    def scope(self, state: RunState) -> dict[str, object]:
        """What an expression may name."""
        scope: dict[str, object] = {
            "inputs": self.plan.inputs | self._sensitive_inputs(),
            "env": {"name": self.plan.environment, "protected": self.plan.is_protected},
            "run": {
                "id": state.run_id,
                "trigger": str(state.trigger),
                "started_at": state.started_at.isoformat(),
            },
            "steps": {step.id: _describe(step, state) for step in self.plan.steps},
            "secrets": {k: v for k, v in self.secrets.items() if not k.startswith(SENSITIVE_INPUT)},
        }
        scope["vars"] = self.evaluator.value(dict(self.plan.vars), scope)
        scope["resources"] = {
            name: self.evaluator.value(dict(planned.params), scope)
            for name, planned in self.plan.resources.items()
        }
        return scope

    def resources(self, state: RunState) -> Mapping[str, ResourceModel]:
        """Every resource of the plan, validated; they depend on nothing that a step finds out."""
        if not self._resources and self.plan.resources:
            scope = self.scope(state)
            for name, planned in self.plan.resources.items():
                params = self.evaluator.value(dict(planned.params), scope)
                model = RESOURCE_TYPES[planned.kind]
                try:
                    resource = model.model_validate(params, context=_context(planned))
                except ValidationError as error:
                    raise ParametersInvalid(_first_error(f"resource `{name}`", error)) from None
                self._resources[name] = resource.model_copy(update={"name": name})
        return self._resources

    def spec(self, step: PlannedStep, state: RunState) -> Spec:
        """The step's parameters with all expressions resolved; raises ParametersInvalid."""
        if step.from_undone and self.undone:
            scene, undone_state = self.undone
            return scene.spec(_as_own(step), undone_state)
        params = self.evaluator.value(dict(step.params), self.scope(state))
        context = {**_context(step), "resources": self.resources(state)}
        try:
            spec: Spec = self.registry.find(step.kind).spec.model_validate(params, context=context)
        except ValidationError as error:
            raise ParametersInvalid(
                _first_error(f"step `{step.id}`", error), changed=False, is_retryable=False
            ) from None
        return spec

    def is_wanted(self, step: PlannedStep, state: RunState) -> bool:
        """Whether the step's `when` holds; raises ParametersInvalid."""
        if step.when is None:
            return True
        if step.from_undone and self.undone:
            scene, undone_state = self.undone
            return scene.is_wanted(_as_own(step), undone_state)
        return self.evaluator.truth(step.when, self.scope(state))

    def completed(self, state: RunState) -> Sequence[CompletedStep]:
        """The steps that have succeeded, in order of the plan."""
        return tuple(
            CompletedStep(
                id=step.id,
                kind=step.kind,
                outputs=state.steps[step.id].outputs,
                changed=has_changed(step, state.steps[step.id]),
            )
            for step in self.plan.steps
            if state.steps[step.id].status is Status.SUCCEEDED
        )

    def baseline(self, state: RunState) -> Mapping[str, str]:
        """Checks that failed before the run, or the run that it undoes, changed anything."""
        for step in self.completed(state):
            broken = step.outputs.get("broken")
            if step.kind == "preflight" and isinstance(broken, dict):
                return {key: str(how) for key, how in broken.items()}
        return self.undone[0].baseline(self.undone[1]) if self.undone else {}

    def undone_run(self) -> UndoneRun | None:
        """The undone run, as its rollback's steps may see it."""
        if self.undone is None:
            return None
        scene, state = self.undone
        failed = [s for s in scene.plan.steps if state.steps[s.id].failure is not None]
        return UndoneRun(
            run_id=state.run_id,
            completed=scene.completed(state),
            failed_step=failed[0].id if failed else None,
            failure=state.steps[failed[0].id].failure if failed else None,
        )

    def plan_steps(self, state: RunState) -> Sequence[PlanStep]:
        """Every step of the plan and of its rollback; a spec that cannot be known yet is absent."""
        found = [self._plan_step(step, state, is_rollback=False) for step in self.plan.steps]
        if self.plan.on_failure:
            back = Scene(
                plan=self.plan.on_failure.plan,
                registry=self.registry,
                evaluator=self.evaluator,
                secrets=self.secrets,
            )
            unbegun = RunState(steps={step.id: _UNBEGUN for step in back.plan.steps})
            own = [step for step in back.plan.steps if not step.from_undone]
            found += [back._plan_step(step, unbegun, is_rollback=True) for step in own]
        return found

    def _plan_step(self, step: PlannedStep, state: RunState, *, is_rollback: bool) -> PlanStep:
        try:
            spec = self.spec(step, state)
        except ParametersInvalid:
            spec = None
        kind = self.registry.find(step.kind)
        return PlanStep(id=step.id, kind=kind, spec=spec, is_rollback=is_rollback)

    def _sensitive_inputs(self) -> dict[str, Any]:
        return {
            name.removeprefix(SENSITIVE_INPUT): self.secrets.get(name)
            for name in self.plan.secrets
            if name.startswith(SENSITIVE_INPUT)
        }


def _describe(step: PlannedStep, state: RunState) -> dict[str, object]:
    now = state.steps[step.id]
    is_succeeded = now.status is Status.SUCCEEDED
    return {
        "status": str(now.status),
        "started": now.attempt > 0,
        "changed": has_changed(step, now),
        "outputs": now.outputs if is_succeeded else {},
    }


def _context(planned: PlannedResource | PlannedStep) -> dict[str, Any]:
    """Where relative paths start, as the types of resources and parameters ask for it."""
    return {"base": planned.base, "bases": planned.bases}


def _as_own(step: PlannedStep) -> PlannedStep:
    return replace(step, from_undone=False)


def _first_error(what: str, error: ValidationError) -> str:
    """One line; the value itself is left out, since it may be secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{what}: `{place}`: {in_plain_words(first)}"
