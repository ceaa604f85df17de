"""What a run would do, as far as that can be told before it starts.

Computed from its plan alone: nothing is looked at, asked for or written, and no secret is fetched.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from runbook.core.machine import begin
from runbook.core.plan import SENSITIVE_INPUT, Json, JsonObject, Plan, PlannedSecret, PlannedStep
from runbook.core.state import RunState
from runbook.engine.scene import Evaluator, Scene
from runbook.errors import ParametersInvalid
from runbook.kinds import Spec
from runbook.registry import Registry
from runbook.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What one step would do."""

    line: str
    """What its kind says of it; of its kind in general, where a parameter is not known yet."""
    commands: tuple[str, ...]
    """What a person would type instead, a shell command each; none where it is not known yet."""
    later: tuple[str, ...]
    """The parameters that are known only once the run has begun."""
    is_wanted: bool | None
    """Whether its `when` holds; None: known only then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """One plan, with what is known of it beforehand."""

    scene: Scene
    state: RunState
    is_known: Callable[[Json], bool]

    def step(self, step: PlannedStep) -> Foreseen:
        """What a step would do."""
        kind = self.scene.registry.find(step.kind)
        later = tuple(key for key, value in step.params.items() if not self.is_known(value))
        spec = None if later else self._spec(step)
        if spec is not None:
            line = kind.describe(spec)
        else:
            line = (inspect.getdoc(kind.spec) or step.kind).partition("\n")[0].rstrip(".")
            line = line[:1].lower() + line[1:]
            later = later or tuple(step.params)
        return Foreseen(
            line=" ".join(line.split()),
            commands=tuple(kind.by_hand(spec)) if spec is not None and kind.by_hand else (),
            later=later,
            is_wanted=self._is_wanted(step),
        )

    def values(self, templates: JsonObject) -> JsonObject:
        """What these come to, those left out that are known only once the run has begun."""
        known = {name: value for name, value in templates.items() if self.is_known(value)}
        values: JsonObject = self.scene.evaluator.value(known, self.scene.scope(self.state))
        return values

    def _spec(self, step: PlannedStep) -> Spec | None:
        try:
            return self.scene.spec(step, self.state)
        except ParametersInvalid:
            return None  # it depends on a resource that is not known, or on what a secret is

    def _is_wanted(self, step: PlannedStep) -> bool | None:
        if step.when is not None and not self.is_known(f"${{{{ {step.when} }}}}"):
            return None
        try:
            return self.scene.is_wanted(step, self.state)
        except ParametersInvalid:
            return None


def foresee(
    plan: Plan, *, registry: Registry, evaluator: Evaluator, is_known: Callable[[Json], bool]
) -> Forecast:
    """The forecast of a plan, some of whose inputs may have no value yet."""
    known = replace(
        plan,
        vars={name: value for name, value in plan.vars.items() if is_known(value)},
        resources={name: each for name, each in plan.resources.items() if is_known(each.params)},
    )
    secrets = {name: _stand_in(name, source) for name, source in plan.secrets.items()}
    scene = Scene(plan=known, registry=registry, evaluator=evaluator, secrets=secrets)
    return Forecast(scene=scene, state=begin(plan), is_known=is_known)


def _stand_in(name: str, source: PlannedSecret) -> Secret:
    """What stands for a secret: the variable that would hold it, as a shell has it."""
    is_variable = source.provider == "env"
    return Secret(f"${source.reference if is_variable else name.removeprefix(SENSITIVE_INPUT)}")
