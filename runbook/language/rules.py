"""Rules that a runbook must keep, beyond its shape and its names: each check is one function."""

from collections.abc import Callable, Iterable, Iterator, Sequence

from runbook.core.plan import Effect, Rerun
from runbook.facts import KindFacts
from runbook.language.diagnostics import did_you_mean, one_of
from runbook.language.document import Document, Step
from runbook.language.effects import after_step, effect_of, raw_parameters, rerun_of, resource_in
from runbook.language.expressions import has_expression
from runbook.language.injection import check_code
from runbook.language.source import Node
from runbook.language.subrunbooks import KIND
from runbook.language.trees import implies

RESTORE_POINT_LOADER = "load_restore_point"
"""The kind after which a rollback has something to restore from."""


def check_rules(document: Document, undone: Document | None) -> None:
    """Note every rule that a document breaks."""
    for check in _CHECKS:
        check(document)
    check_undoes(document, undone)
    check_destroys(document, undone)


def _check_ids(document: Document) -> None:
    for step in document.steps:
        node = step.node.get("id")
        first = document.by_id.get(step.id)
        if node and first and first is not step:
            line = first.node.span.line
            message = f"duplicate step id `{step.id}`, first on line {line}"
            if node is first.node.get("id"):
                message = f"an alias repeats step `{step.id}`, its id included"
            step.source.error("RB308", message, node.span, "give each step an id of its own")


def _check_resources(document: Document) -> None:
    for step in document.steps:
        for use in step.kind.resources if step.kind and step.parameters else ():
            for node in _at(step.parameters, use.path):
                _check_resource(document, step, node, use.types)


def _at(node: Node | None, path: Sequence[str]) -> Iterator[Node]:
    """Every string that a path of keys leads to."""
    if node is None:
        return
    if not path:
        if isinstance(node.value, str):
            yield node
    elif path[0] == "*":
        for item in [*node.items, *(entry.node for entry in node.entries.values())]:
            yield from _at(item, path[1:])
    else:
        yield from _at(node.get(path[0]), path[1:])


def _check_resource(document: Document, step: Step, node: Node, types: Sequence[str]) -> None:
    name = str(node.value)
    expected = one_of(types)
    if has_expression(name):
        message = "a resource is named as it is, not by an expression"
        step.source.error("RB305", message, node.span)
    elif name not in document.resources:
        fitting = [n for n in document.resources if document.resource_type(n) in types]
        near = did_you_mean(name, fitting or document.resources)
        hint = near or "name one under `resources`" + (f", of type {expected}" if types else "")
        step.source.error("RB311", f"there is no resource `{name}`", node.span, hint)
    else:
        found = document.resource_type(name)
        if found and types and found not in types:
            message = f"resource `{name}` is a `{found}`, expected {expected}"
            step.source.error("RB312", message, node.span)


def _check_repeating(document: Document) -> None:
    for step in document.steps:
        if step.kind is None:
            continue
        _check_retry(step, step.kind)
        rerun = step.node.entries.get("rerun")
        if rerun and step.kind.rerun is not None:
            message = f"`rerun` is not yours to say for `{step.kind_name}`: it is"
            hint = "remove it"
            step.source.error("RB406", f"{message} `{step.kind.rerun}`", rerun.key_span, hint)
        if rerun and rerun.node.value == "probe" and step.kind.rerun is None:
            given = raw_parameters(step)
            if "probe" not in given and "creates" not in given:
                message = "`rerun: probe` needs something to look at"
                hint = "give `creates` or `probe` under `with`"
                step.source.error("RB406", message, rerun.node.span, hint)


def _check_retry(step: Step, kind: KindFacts) -> None:
    retry = step.node.entries.get("retry")
    if retry is None:
        return
    why, hint = kind.retry_forbidden, "remove it"
    if not why and rerun_of(step) is Rerun.ASK:
        why = "it is not said to be safe to repeat"
        if kind.rerun is None:
            hint = "say `rerun: safe` if it may run again after a failure, else remove `retry`"
    if why:
        message = f"{step.label} must not have `retry`: {why}"
        step.source.error("RB402", message, retry.key_span, hint)


def _check_finally(document: Document) -> None:
    for step in document.steps:
        uses = step.node.get("uses")
        if step.is_finally and step.kind_name == KIND and uses:
            step.source.error("RB405", "a finally step uses no runbook", uses.span)
        if not step.is_finally or not step.kind or not uses:
            continue
        if rerun_of(step) is not Rerun.SAFE:
            message = f"a finally step must be safe to repeat; `{step.kind_name}` is not"
            hint = "say `rerun: safe` if it is" if step.kind.rerun is None else None
            step.source.error("RB405", message, uses.span, hint)


def _check_after(document: Document) -> None:
    entry = document.root.entries.get("on_failure")
    if entry is None:
        return
    if document.undone_file:
        message = "a rollback has no `on_failure`: it never starts another rollback"
        document.source.error("RB409", message, entry.key_span, "remove it")
        return
    named = entry.node.get("after")
    if named and isinstance(named.value, str):
        main = [step.id for step in document.steps if step.id and not step.is_finally]
        meant = document.planned_ids(named.value)
        if meant[-1] not in main:
            hint = did_you_mean(named.value, main)
            document.source.error("RB309", f"there is no step `{named.value}`", named.span, hint)
            return
        over = {step.id for step in document.by_id[meant[-1]].before()}
        if not over.issuperset(meant[:-1]):
            message = f"`{named.value}` became steps that run at the same time: none is the last"
            hint = "name a step that stands after them"
            document.source.error("RB309", message, named.span, hint)
    elif named is None and document.steps and after_step(document) is None:
        message = "the first step changes something already, so nothing tells when to roll back"
        hint = "begin with a step that only reads, such as `preflight`, or say `after`"
        document.source.error("RB309", message, entry.key_span, hint)


_CHECKS: tuple[Callable[[Document], None], ...] = (
    _check_ids,
    _check_resources,
    _check_repeating,
    _check_finally,
    _check_after,
    check_code,
)


# --- rollbacks ------------------------------------------------------------------------------


def check_undoes(document: Document, undone: Document | None) -> None:
    """`undoes` stands in rollbacks only, and names steps of the runbook that is undone."""
    for step in document.steps:
        entry = step.node.entries.get("undoes")
        if entry is None:
            continue
        if "for" not in document.root.entries:
            message = "`undoes` stands in rollbacks only"
            hint = "say which runbook this one undoes: `for: deploy.yaml`"
            step.source.error("RB310", message, entry.key_span, hint)
            continue
        for node in step.undoes if undone else ():
            if undone and not set(undone.planned_ids(str(node.value))) <= set(undone.by_id):
                message = f"runbook `{undone.name}` has no step `{node.value}`"
                near = did_you_mean(str(node.value), undone.by_id)
                step.source.error("RB310", message, node.span, near)


def check_destroys(document: Document, undone: Document | None) -> None:
    """What a step destroys has been backed up before, or need not be."""
    saved_by_undone = _backed_up(undone.steps, None) if undone else set()
    for step in document.steps:
        name = resource_in(step, step.kind.destroys) if step.kind else None
        if not name or effect_of(step) is not Effect.DESTROYS or step.node.get("irreversible"):
            continue
        before = list(step.before())
        is_loaded = any(earlier.kind_name == RESTORE_POINT_LOADER for earlier in before)
        if is_loaded or name in _backed_up(before, step.when) or name in saved_by_undone:
            continue
        uses = step.node.get("uses")
        message = f"{step.label} destroys `{name}`, which nothing before it has backed up"
        hint = "back it up before, or say why that is not needed: `irreversible: …`"
        step.source.error("RB401", message, uses.span if uses else step.node.span, hint)


def _backed_up(steps: Iterable[Step], when: str | None) -> set[str]:
    """The resources that steps have surely backed up where a condition holds."""
    sure = (s for s in steps if s.kind and not s.continues and implies(when, s.when))
    named = (resource_in(step, step.kind.backs_up) for step in sure if step.kind)
    return {name for name in named if name}
