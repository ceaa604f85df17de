"""What a runbook comes to in an environment: every value that stands, and where it was written."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from runbook.core.plan import Json
from runbook.language.document import Bundle, Declared
from runbook.language.expressions import has_expression
from runbook.language.source import Node, Source
from runbook.secret import MASK

_PASSWORDS = ("password", "access_key", "secret_key")
_OF_STEPS = ("when", "timeout", "retry", "with")


@dataclass(frozen=True, slots=True)
class EffectiveValue:
    """One value, by the keys that lead to it."""

    key: str
    """Dotted: `inputs.revision`, `resources.db.postgres.host`, `steps.watch.with.interval`."""
    value: Json
    """As it was written: expressions are not computed. To compare by, and not to show."""
    origin: str
    """`file:line`, or the variable that gives it."""

    @property
    def shown(self) -> Json:
        """The value without what may be a secret: passwords, and the arguments of a command."""
        words = self.key.split(".")
        if words[0] == "resources" and words[-1] in _PASSWORDS:
            is_literal = isinstance(self.value, str) and not has_expression(self.value)
            return MASK if is_literal else self.value
        if words[0] == "secrets" and words[-1] == "command" and isinstance(self.value, list):
            return [*self.value[:1], *([MASK] if self.value[1:] else [])]
        return self.value


def effective_values(bundle: Bundle, environ: Mapping[str, str]) -> Iterator[EffectiveValue]:
    """Every value of a runbook with all that is laid over it, in order."""
    document = bundle.main
    for name, declared in document.inputs.items():
        yield from _input(f"inputs.{name}", declared, environ)
    for section, named in (
        ("vars", document.vars),
        ("secrets", document.secrets),
        ("resources", document.resources),
    ):
        for name, declared in named.items():
            yield from _leaves(f"{section}.{name}", declared.source, declared.node)
    for step in document.steps:
        for key in _OF_STEPS:
            node = step.node.get(key)
            if node is not None:
                yield from _leaves(f"steps.{step.id}.{key}", step.source, node)
    sources = [document.source, *([document.project] if document.project else [])]
    for key in ("lock", "on_failure"):
        written = next(((each, node) for each in sources if (node := each.root.get(key))), None)
        if written:
            yield from _leaves(key, *written)
    layer = bundle.layers.environment
    for key in ("protected", "policy") if layer else ():
        node = layer.root.get(key) if layer else None
        if node and layer:
            yield from _leaves(key, layer, node)


def _input(key: str, declared: Declared, environ: Mapping[str, str]) -> Iterator[EffectiveValue]:
    variable = declared.node.text_of("env") or ""
    sensitive, default = declared.node.get("sensitive"), declared.node.get("default")
    if sensitive and sensitive.value is True:
        yield EffectiveValue(key, MASK, f"variable {variable}")
    elif environ.get(variable):
        yield EffectiveValue(key, environ[variable], f"variable {variable}")
    elif default:
        yield EffectiveValue(key, default.value, _place(declared.source, default))
    else:
        yield EffectiveValue(key, None, _place(declared.source, declared.node))


def _leaves(key: str, source: Source, node: Node) -> Iterator[EffectiveValue]:
    if node.entries:
        for name, entry in node.entries.items():
            yield from _leaves(f"{key}.{name}", source, entry.node)
    else:
        yield EffectiveValue(key, node.value, _place(source, node))


def _place(source: Source, node: Node) -> str:
    file = (node.span.origin or source).path
    return f"{os.path.relpath(file)}:{node.span.line}"
