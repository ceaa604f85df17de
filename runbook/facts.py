"""What compiling a runbook must know of a step kind: plain facts, without the kind's own code."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from runbook.core.plan import Effect, Rerun


@dataclass(frozen=True, slots=True)
class EffectFrom:
    """An effect that the author of a step says."""

    field: str
    """The parameter that says it, by a word of Effect."""
    default: Effect
    """Where it is absent, or unfit."""

    def of(self, parameters: Mapping[str, object]) -> Effect:
        """The effect of a step with these parameters, as they stand in the file."""
        said = parameters.get(self.field)
        return next((effect for effect in Effect if effect == said), self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceUse:
    """A parameter that names a resource."""

    path: tuple[str, ...]
    """Keys that lead to it from `with`; `*` is every item of a list, or every value of a map."""
    types: tuple[str, ...]
    """The resource types that will do, by the language's words for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFacts:
    """A step kind, as far as compiling goes; see StepKind for what each means."""

    effect: Effect | EffectFrom
    rerun: Rerun | None = None
    holds: str | None = None
    backs_up: str | None = None
    destroys: str | None = None
    pins: tuple[str, ...] = ()
    timeout_s: float
    retry_forbidden: str | None = None
    outputs: tuple[str, ...] = ()
    """Names of its outputs."""
    asked_for: Mapping[str, str] = field(default_factory=dict)
    """The parameter that an output is there for, where it is neither absent nor `none`."""
    resources: tuple[ResourceUse, ...] = ()
    secrets: tuple[tuple[str, ...], ...] = ()
    """Where a secret may stand: keys that lead there from `with`, as in ResourceUse."""
    has_rules: bool = False
    """Whether its type refuses parameters that its schema allows."""
