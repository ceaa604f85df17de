"""Names in expressions: whether each exists, may stand there, and gives no secret away.

Whether an output that exists is surely set by then: unset.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from runbook.language.diagnostics import MAX_FINDINGS, Span, did_you_mean, one_of
from runbook.language.document import Declared, Document, Step
from runbook.language.expressions import (
    LoneName,
    Reference,
    Unclosed,
    expressions_in,
    has_expression,
    references,
)
from runbook.language.sandbox import ExpressionInvalid
from runbook.language.secrecy import is_secret, refuse_in_argument_lists, refuse_misplaced
from runbook.language.source import Node, Source

_MEMBERS = {
    "env": ("name", "protected"),
    "run": ("id", "started_at", "trigger"),
    "failure": ("step", "reason", "message"),
}
STEP_MEMBERS = ("outputs", "status", "started", "changed")
_WORDS = {
    "inputs": "input",
    "vars": "variable",
    "steps": "step",
    "secrets": "secret",
    "resources": "resource",
}
"""What a member of each is called."""
_WITHOUT_PARTS = ("inputs", "env", "run", "failure", "secrets")
_CONSTANTS = {"null": "none", "yes": "true", "on": "true", "no": "false", "off": "false"}
_IN_VARS = ("inputs", "env", "secrets")
_IN_PROJECT = ("env", "vars", "secrets")
_IN_RESOURCES = ("inputs", "vars", "env", "secrets")
_IN_STEPS = ("inputs", "vars", "env", "run", "steps", "secrets", "resources")
_IN_WHEN = ("inputs", "vars", "env", "run", "steps", "resources")
_IN_ON_FAILURE = (*_IN_WHEN, "failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """One reference, at its place."""

    reference: Reference
    source: Source
    span: Span
    step: Step | None = None
    """The step whose text holds it."""
    is_when: bool = False
    is_on_failure: bool = False


@dataclass(slots=True, eq=False)
class Names:
    """Checks every name in a document, and keeps the uses of steps for further checks."""

    document: Document
    uses: list[Use] = field(default_factory=list)
    used_inputs: set[str] = field(default_factory=set)

    def check(self) -> None:
        """Note every name that does not exist or may not stand where it stands."""
        for declared in self.document.vars.values():
            self._values(declared, declared.node, _IN_VARS)
        for declared in self.document.resources.values():
            self._values(declared, declared.node, _IN_RESOURCES)
        for step in self.document.steps:
            self._step(step)
        outputs = self.document.root.get("outputs")
        for node in outputs.texts() if outputs else ():
            self._text(self.document.source, node, _IN_STEPS)
        on_failure = self.document.root.get("on_failure")
        given = on_failure.get("with") if on_failure else None
        for node in given.texts() if given else ():
            self._text(self.document.source, node, _IN_ON_FAILURE, is_on_failure=True)
        for key in ("summary", "lock", "name"):
            self._refuse(self.document.root.get(key), key)
        for key in ("inputs", "secrets"):
            for name, declared in getattr(self.document, key).items():
                for node in declared.node.texts():
                    self._refuse(node, f"{key}.{name}", declared.source)

    def _values(self, declared: Declared, node: Node, roots: tuple[str, ...]) -> None:
        is_project = declared.source is not self.document.source
        allowed = tuple(root for root in roots if root in _IN_PROJECT) if is_project else roots
        self._refuse_in_keys(declared.source, node)
        for text in node.texts():
            self._text(declared.source, text, allowed)
        refuse_in_argument_lists(self.document, declared.source, node)

    def _step(self, step: Step) -> None:
        for key in ("name", "guidance", "irreversible"):
            self._refuse(step.node.get(key), key)
        on_error = step.node.get("on_error")
        self._refuse(on_error.get("continue") if on_error else None, "on_error")
        parameters = step.parameters
        if parameters:
            self._refuse_in_keys(step.source, parameters)
        for node in parameters.texts() if parameters else ():
            self._text(step.source, node, _IN_STEPS, step)
        if parameters:
            refuse_in_argument_lists(self.document, step.source, parameters)
            refuse_misplaced(self.document, step, parameters)
        when = step.node.get("when")
        if when is not None and isinstance(when.value, str):
            self._when(step, when, when.value)

    def _when(self, step: Step, node: Node, text: str) -> None:
        if has_expression(text):
            bare = text.replace("${{", "").replace("}}", "").strip()
            message = "`when` is a bare expression, without `${{ }}`"
            step.source.error("RB305", message, node.span, f"write `when: {bare}`")
            return
        self._expression(step.source, node, text.strip(), text, _IN_WHEN, step, is_when=True)

    def _text(
        self,
        source: Source,
        node: Node,
        roots: tuple[str, ...],
        step: Step | None = None,
        *,
        is_on_failure: bool = False,
    ) -> None:
        try:
            found = expressions_in(str(node.value))
        except Unclosed as error:
            span = source.part(node, error.fragment)
            is_open_inside = "}}" in error.fragment
            hint = "close the quote or bracket that is open inside it"
            source.error("RB304", str(error), span, hint if is_open_inside else "write `${{ … }}`")
            return
        for expression in found:
            self._expression(
                source,
                node,
                expression.text,
                expression.fragment,
                roots,
                step,
                is_on_failure=is_on_failure,
            )

    def _expression(
        self,
        source: Source,
        node: Node,
        text: str,
        fragment: str,
        roots: tuple[str, ...],
        step: Step | None,
        *,
        is_when: bool = False,
        is_on_failure: bool = False,
    ) -> None:
        if len(source.diagnostics) > MAX_FINDINGS:
            return
        try:
            found = references(text)
        except ExpressionInvalid as error:
            hint = self._lone(error.name) if isinstance(error, LoneName) else error.hint
            said = f"`{text}`: {error}" if text else str(error)
            source.error("RB303", said, source.part(node, fragment), hint)
            return
        for reference in found:
            span = _place(source, node, fragment, text, reference)
            if self._is_left_out(reference):
                continue
            flaw = self._flaw(reference, roots, step, is_when=is_when)
            if flaw:
                source.error(*flaw[:2], span, flaw[2])
                continue
            if reference.parts[0] == "inputs":
                self.used_inputs.add(reference.parts[1])
            self.uses.append(
                Use(
                    reference=reference,
                    source=source,
                    span=span,
                    step=step,
                    is_when=is_when,
                    is_on_failure=is_on_failure,
                )
            )

    def _flaw(
        self, reference: Reference, roots: tuple[str, ...], step: Step | None, *, is_when: bool
    ) -> tuple[str, str, str | None] | None:
        """Code, message and hint of what is wrong with a reference, if anything is."""
        root, name = reference.parts[0], reference.parts[1]
        if root == "secrets" and root not in roots:
            where = "in `when`" if is_when else "here"
            return "RB403", f"a secret may not stand {where}", _secret_hint(is_when=is_when)
        if root not in roots:
            hint = self._full_name(root, roots) or did_you_mean(root, roots)
            return "RB301", f"there is no `{root}` here", hint
        if "secrets" not in roots and is_secret(self.document, reference):
            where = "in `when`" if is_when else "here"
            message = f"`{reference}` is secret and may not stand {where}"
            return "RB403", message, _secret_hint(is_when=is_when)
        known = self._known(root)
        if name not in known:
            what = _WORDS.get(root)
            message = f"there is no {what} `{name}`" if what else f"`{root}` has no `{name}`"
            hint = _name_hint(root, name, known)
            if root == "steps" and name in self.document.source.copies:
                hint = f"it was written out as {one_of(self.document.planned_ids(name))}"
            return "RB301", message, hint
        if root in _WITHOUT_PARTS and reference.parts[2:] and not reference.parts[2].isdigit():
            return "RB301", f"`{root}.{name}` has no parts", f"write `{root}.{name}`"
        if root == "steps":
            return self._step_flaw(reference, step)
        if root == "resources":
            return self._resource_flaw(reference)
        return None

    def _is_left_out(self, reference: Reference) -> bool:
        """Whether it is of a step that could not be written out, which is noted there."""
        root, name = reference.parts[:2]
        return root == "steps" and self.document.source.copies.get(name) == ()

    def _lone(self, name: str) -> str:
        """What to write for a name that stands alone."""
        if name in _IN_ON_FAILURE or name in _IN_STEPS:
            return f"name what is used of it: `{name}.…`"
        other = _CONSTANTS.get(name.lower())
        quoted = f"quote it if it is text: '{name}'"
        return self._full_name(name, _IN_STEPS) or (f"write `{other}`" if other else quoted)

    def _full_name(self, name: str, roots: Iterable[str]) -> str | None:
        """The name of an input, step or the like, where its own name alone was written."""
        for root in roots:
            if root in _WORDS and name in self._known(root):
                return f"write `{root}.{name}`"
        return None

    def _known(self, root: str) -> Iterable[str]:
        match root:
            case "inputs":
                return self.document.inputs
            case "vars":
                return self.document.vars
            case "secrets":
                return self.document.secrets
            case "resources":
                return self.document.resources
            case "steps":
                return self.document.by_id
            case _:
                return _MEMBERS[root]

    def _step_flaw(
        self, reference: Reference, step: Step | None
    ) -> tuple[str, str, str | None] | None:
        target = self.document.by_id[reference.parts[1]]
        member = reference.parts[2] if len(reference.parts) > 2 else ""
        outputs = target.kind.outputs if target.kind else None
        if member not in STEP_MEMBERS:
            is_output = outputs is not None and member in outputs
            meant = f"write `steps.{target.id}.outputs.{member}`" if is_output else None
            hint = meant or did_you_mean(member, STEP_MEMBERS)
            return "RB301", f"`{reference}` is nothing to be used", hint
        if member == "outputs":
            name = reference.parts[3] if len(reference.parts) > 3 else ""
            if not name:
                return "RB301", f"`{reference}` cannot stand alone", did_you_mean("", outputs or ())
            if outputs is not None and name not in outputs:
                message = f"step `{target.id}` ({target.kind_name}) has no output `{name}`"
                return "RB302", message, did_you_mean(name, outputs) or "it has none"
        if step is None or target in step.before() or (step.is_finally and not target.is_finally):
            return None
        if target is step:
            return "RB306", f"step `{target.id}` refers to itself", None
        message = f"step `{target.id}` is not surely over before {step.label} starts"
        return "RB306", message, "refer to steps that stand before this one, outside other branches"

    def _resource_flaw(self, reference: Reference) -> tuple[str, str, str | None] | None:
        word = self.document.resource_type(reference.parts[1])
        fields = self.document.resource_fields[word] if word else ()
        if not word or (len(reference.parts) > 2 and reference.parts[2] in fields):
            return None
        name = reference.parts[2] if len(reference.parts) > 2 else ""
        message = f"resource `{reference.parts[1]}` has no `{name}`"
        return "RB301", message, did_you_mean(name, fields)

    def _refuse(self, node: Node | None, key: str, source: Source | None = None) -> None:
        if node is not None and isinstance(node.value, str) and has_expression(node.value):
            message = f"an expression may not stand in `{key}`"
            holds_secret = "secrets." in node.value
            hint = "expressions stand in `with`, `vars` and `resources`; bare in `when`"
            if holds_secret:
                hint = "leave the secret out: this is shown, and recorded"
            source = source or self.document.source
            source.error("RB403" if holds_secret else "RB305", message, node.span, hint)

    def _refuse_in_keys(self, source: Source, node: Node) -> None:
        for key, entry in node.entries.items():
            if has_expression(key):
                message = "an expression may not stand in a key"
                source.error("RB305", message, entry.key_span, "write the key out")
            self._refuse_in_keys(source, entry.node)
        for item in node.items:
            self._refuse_in_keys(source, item)


def _secret_hint(*, is_when: bool) -> str:
    """What to do with a secret that stands where none may."""
    if is_when:
        return "let a command look at it, and compare that step's outputs"
    return "use it in a step that takes secrets: `runbook steps KIND` shows which parameters do"


def _name_hint(root: str, name: str, known: Iterable[str]) -> str | None:
    hint = did_you_mean(name, known)
    if hint and hint.startswith("did you mean"):
        return hint
    if root == "env":
        return f"declare an input that has `env: {name}`, and use that"
    if root in ("vars", "secrets", "resources"):
        way = f"add it under `{root}` in project.yaml"
        return f"{hint}, or {way}" if hint else way
    return hint


def _place(source: Source, node: Node, fragment: str, text: str, reference: Reference) -> Span:
    """Where a reference stands; the whole expression where that cannot be told."""
    whole = source.part(node, fragment)
    dotted = str(reference)
    at = fragment.find(text) + reference.offset
    if whole == node.span and fragment not in node.text:
        return whole
    start = source.part(node, fragment) if fragment in node.text else whole
    if not fragment[at:].startswith(dotted) or start.line != start.end_line:
        return whole
    column = start.column + at
    return replace(start, column=column, end_column=column + len(dotted))
