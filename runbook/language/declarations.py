"""Declarations that must fit: inputs with their own bounds, a way back with its runbook."""

from runbook.core.plan import Json, JsonObject
from runbook.language.diagnostics import did_you_mean
from runbook.language.document import Bundle, Declared, Document
from runbook.language.expressions import has_expression
from runbook.language.hints import type_hint
from runbook.language.inputs import NUMBER_TYPES, check_value
from runbook.language.patterns import PatternInvalid, compiled
from runbook.language.shape import shown
from runbook.language.source import Node, Source


def check_declarations(document: Document) -> None:
    """Note every input whose declaration contradicts itself."""
    for name, declared in document.inputs.items():
        declaration = declared.node.value
        if isinstance(declaration, dict):
            _check_input(name, declared, declaration)


def _check_input(name: str, declared: Declared, declaration: JsonObject) -> None:
    source, node = declared.source, declared.node
    pattern = node.get("pattern")
    if pattern and isinstance(pattern.value, str):
        try:
            compiled(pattern.value)
        except PatternInvalid as error:
            source.error("RB407", str(error), pattern.span)
            return
    if declaration.get("sensitive", False) is not False:
        _check_sensitive(name, declared)
        return
    has_bounds = declaration.get("type") in NUMBER_TYPES
    keys = [key for key in ("minimum", "maximum") if has_bounds and key in declaration]
    bounds: JsonObject = {key: declaration[key] for key in keys}
    for key, value in bounds.items():
        bare = {"type": declaration.get("type")}
        _check_default(declared, key, bare, value)
    _check_bounds(declared, bounds)
    if "default" in declaration:
        _check_default(declared, "default", declaration, declaration["default"])


def _check_bounds(declared: Declared, bounds: JsonObject) -> None:
    least, entry = bounds.get("minimum"), declared.node.entries.get("maximum")
    kind = str(declared.node.text_of("type"))
    if not entry or not isinstance(least, str | int | float):
        return
    try:
        check_value({"type": kind}, least)
        check_value({"type": kind}, entry.node.value)
    except ValueError:
        return  # which has been reported
    try:
        check_value({"type": kind, "minimum": least}, entry.node.value)
    except ValueError:
        message = "`maximum` is less than `minimum`"
        declared.source.error("RB407", message, entry.key_span, "no value fits both")


def _check_default(declared: Declared, key: str, declaration: JsonObject, value: Json) -> None:
    node = declared.node.get(key)
    if node is None or not isinstance(value, str | int | float) or node.text == "":
        return
    if node.is_refused or (isinstance(value, str) and has_expression(value)):
        return
    try:
        check_value(declaration, value)
    except ValueError as error:
        what = f"input `{declared.entry.key}`" if node.span.origin else f"`{key}`"
        message = f"{what}: {_as_written(declared.source, error, node)}"
        declared.source.error("RB407", message, node.span, _default_hint(declaration, node))


def _as_written(source: Source, error: ValueError, node: Node) -> str:
    """The message, with the value as it stands in the file in place of what was read."""
    expected, _, found = str(error).partition(", found ")
    return f"{expected}, found {shown(source, node) or found}" if found else expected


def _default_hint(declaration: JsonObject, node: Node) -> str | None:
    words = {"integer": "integer", "number": "number", "boolean": "boolean"}
    kind = str(declaration.get("type"))
    if kind in ("string", "choice", "path", "url"):
        return f"quote it: '{node.text}'" if not isinstance(node.value, str) else None
    if kind == "boolean" and isinstance(node.value, str) and node.text[:1] in ("'", '"'):
        return "remove the quotes"
    return type_hint([words[kind]], (), node, "") if kind in words else None


def _check_sensitive(name: str, declared: Declared) -> None:
    source, node = declared.source, declared.node
    default = node.entries.get("default")
    if default:
        message = f"a sensitive input has no default in `{name}`"
        if default.key_span.origin:
            message = f"input `{name}` is sensitive, and never stands in a file"
        source.error("RB408", message, default.key_span, "give it by its variable: `env: NAME`")
    if "env" not in node.entries:
        message = f"sensitive input `{name}` needs `env`: it is never given by --set"
        source.error("RB408", message, declared.entry.key_span, "add `env: NAME`")


# --- the way back ---------------------------------------------------------------------------


def check_bundle(bundle: Bundle) -> None:
    """Note where a runbook and its rollback do not fit together."""
    main, rollback = bundle.main, bundle.rollback
    on_failure = main.root.get("on_failure")
    named = on_failure.get("runbook") if on_failure else None
    if rollback and named and rollback.source.path.resolve() == main.source.path.resolve():
        hint = "name the runbook that undoes this one"
        main.source.error("RB314", "a runbook is not its own rollback", named.span, hint)
        return
    if rollback is None or on_failure is None or main.undone_file:
        return
    _check_for(main, rollback)
    given = on_failure.entries.get("with")
    entries = given.node.entries if given else {}
    place = given or on_failure.entries["runbook"]
    for name, entry in entries.items():
        declared = rollback.inputs.get(name)
        if declared is None:
            message = f"runbook `{rollback.name}` has no input `{name}`"
            hint = did_you_mean(name, rollback.inputs) or "it has none"
            main.source.error("RB410", message, entry.key_span, hint)
        else:
            _check_given(main, entry.node, declared)
    if given is None and set(on_failure.entries) - {"runbook", "after"}:
        return  # most likely a misspelt `with`, which has been reported
    for name, declared in rollback.inputs.items():
        is_given = name in entries or "default" in declared.node.entries
        required, sensitive = declared.node.get("required"), declared.node.get("sensitive")
        is_waived = (required and required.value is False) or (sensitive and sensitive.value)
        if not is_given and not is_waived:
            message = f"`with` does not give the input `{name}` of runbook `{rollback.name}`"
            main.source.error("RB410", message, place.key_span, f"add `{name}: …`")


def _check_for(main: Document, rollback: Document) -> None:
    named = rollback.undone_file
    if named is None:
        first = next(iter(rollback.root.entries.values()), None)
        message = "a rollback says which runbook it undoes"
        span = first.key_span if first else rollback.root.span
        rollback.source.error("RB314", message, span, f"add `for: {main.source.path.name}`")
        return
    path = rollback.source.path.parent / str(named.value)
    if "\0" not in str(path) and path.resolve() != main.source.path.resolve():
        message = f"`for` names another runbook than `{main.source.path.name}`, which starts it"
        rollback.source.error("RB314", message, named.span, f"write `{main.source.path.name}`")


def _check_given(main: Document, node: Node, declared: Declared) -> None:
    declaration, value = declared.node.value, node.value
    if not isinstance(declaration, dict) or (isinstance(value, str) and has_expression(value)):
        return
    try:
        check_value(declaration, value)
    except ValueError as error:
        said = f"`{declared.entry.key}`: {_as_written(main.source, error, node)}"
        main.source.error("RB410", said, node.span)
