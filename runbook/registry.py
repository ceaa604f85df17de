"""Which step kinds there are: found by the names of their modules, loaded when first asked for.

Knows neither pydantic nor any kind: `validate` must not pay for them.
"""

import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runbook.core.plan import Effect, JsonObject, Rerun
from runbook.facts import EffectFrom, KindFacts, ResourceUse

if TYPE_CHECKING:
    from runbook.kinds import StepKind

STEPS_PACKAGE = "runbook.steps"
"""Named, not imported: the steps know the kinds' interface, not the other way round."""
FACTS_FILE = "kinds.json"


@dataclass(frozen=True, slots=True)
class Registry:
    """The step kinds that there are, loaded when first asked for."""

    names: tuple[str, ...]
    """Every kind's name, sorted."""
    _load: Callable[[str], "StepKind[Any, Any]"] = field(repr=False)
    _shipped: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """Facts that need no loading, as JSON."""

    def find(self, name: str) -> "StepKind[Any, Any]":
        """The kind of that name; raises KeyError."""
        if name not in self.names:
            raise KeyError(name)
        return self._load(name)

    def facts(self, name: str) -> KindFacts:
        """What compiling must know of the kind of that name; raises KeyError."""
        if name in self.names and name in self._shipped:
            return parse_facts(self._shipped[name])
        # A kind that `make generate` has not seen yet.
        from runbook.introspection import facts_of

        return facts_of(self.find(name))


def discover() -> Registry:
    """The kinds in `runbook/steps/`: every module whose name does not begin with `_`."""
    modules = pkgutil.iter_modules(import_module(STEPS_PACKAGE).__path__)
    names = tuple(sorted(m.name for m in modules if not m.name.startswith("_")))
    try:
        return Registry(names, _load_step, load_shipped(FACTS_FILE))
    except FileNotFoundError:
        return Registry(names, _load_step)


@cache
def _load_step(name: str) -> "StepKind[Any, Any]":
    kind: StepKind[Any, Any] = import_module(f"{STEPS_PACKAGE}.{name}").STEP
    return kind


def load_shipped(file: str) -> JsonObject:
    """A file of `schemas/`, of the installed package or its checkout; raises FileNotFoundError."""
    package = Path(__file__).parent
    for folder in (package / "shipped" / "schemas", package.parent / "schemas"):
        if (folder / file).is_file():
            loaded: JsonObject = json.loads((folder / file).read_text(encoding="utf-8"))
            return loaded
    raise FileNotFoundError(file)


def parse_facts(facts: Mapping[str, Any]) -> KindFacts:
    """The facts that stand in JSON as `dataclasses.asdict` writes them."""
    effect = facts["effect"]
    if isinstance(effect, str):
        parsed: Effect | EffectFrom = Effect(effect)
    else:
        parsed = EffectFrom(effect["field"], Effect(effect["default"]))
    uses = (ResourceUse(path=tuple(u["path"]), types=tuple(u["types"])) for u in facts["resources"])
    read = {
        "effect": parsed,
        "rerun": Rerun(facts["rerun"]) if facts["rerun"] else None,
        "pins": tuple(facts["pins"]),
        "outputs": tuple(facts["outputs"]),
        "resources": tuple(uses),
        "secrets": tuple(tuple(path) for path in facts["secrets"]),
    }
    return KindFacts(**{**facts, **read})
