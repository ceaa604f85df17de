"""What is secret in a document, and whether it stands where it would be seen."""

from collections.abc import Iterator, Sequence

from runbook.language.document import Document, Step
from runbook.language.expressions import Reference, references_in
from runbook.language.source import Node, Source

_ROOTS = ("secrets", "inputs", "vars")
"""What may make a resource secret; the first two, what may make a variable so."""
_ARGUMENT_LISTS = ("argv", "command", "probe", "shell")
"""Keys whose value is an argument list, which every user of the machine can read."""
_NO_TAKER = (
    "`{}` takes no secret: use it in the step that needs it, such as `environment` of a command"
)
_TOLD_ELSEWHERE = (*_ARGUMENT_LISTS, "script")


def is_secret(document: Document, reference: Reference) -> bool:
    """Whether what a reference gives is secret, or computed from a secret."""
    root, name = reference.parts[0], reference.parts[1]
    match root:
        case "secrets":
            return True
        case "inputs":
            declared = document.inputs.get(name)
            sensitive = declared.node.get("sensitive") if declared else None
            return sensitive is not None and sensitive.value is True
        case "vars" | "resources":
            is_var = root == "vars"
            declared = (document.vars if is_var else document.resources).get(name)
            roots = _ROOTS[:2] if is_var else _ROOTS
            return declared is not None and _holds_secret(document, declared.node, roots)
        case _:
            return False


def _holds_secret(document: Document, node: Node, roots: tuple[str, ...]) -> bool:
    """Whether anything that a node refers to, among these roots, is secret."""
    return any(
        is_secret(document, reference)
        for text in node.texts()
        for reference, _fragment in references_in(str(text.value))
        if reference.parts[0] in roots
    )


def refuse_in_argument_lists(document: Document, source: Source, node: Node) -> None:
    """Note every secret in an argument list."""
    hint = "pass it by `environment`, or let the program read a file"
    for key, item in _argument_lists(node):
        _refuse(document, source, item, f"`{key}`, an argument list", hint)


def refuse_misplaced(document: Document, step: Step, parameters: Node) -> None:
    """Note every secret where the kind takes none: it would be recorded, or refused at last."""
    if step.kind is None:
        return
    places = step.kind.secrets
    takers = " or ".join(f"`{'.'.join(place).replace('.*', '')}`" for place in places)
    hint = f"pass it by {takers}" if takers else _NO_TAKER.format(step.kind_name)
    for path, node in _texts_with_path(parameters, ()):
        is_place = any(_leads_to(place, path) for place in places)
        if not is_place and not any(key in _TOLD_ELSEWHERE for key in path):
            _refuse(document, step.source, node, f"`{path[0]}`", hint)


def _refuse(document: Document, source: Source, node: Node, where: str, hint: str) -> None:
    for text in node.texts():
        for reference, fragment in references_in(str(text.value)):
            if is_secret(document, reference):
                message = f"`{reference}` is secret and may not stand in {where}"
                source.error("RB403", message, source.part(text, fragment), hint)


def _texts_with_path(node: Node, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if isinstance(node.value, str):
        yield path, node
    for key, entry in node.entries.items():
        yield from _texts_with_path(entry.node, (*path, key))
    for item in node.items:
        yield from _texts_with_path(item, (*path, "*"))


def _leads_to(place: Sequence[str], path: Sequence[str]) -> bool:
    """Whether a place, in which `*` is any key or item, is that of a path."""
    if len(place) != len(path):
        return False
    return all(wanted in ("*", key) for wanted, key in zip(place, path, strict=True))


def _argument_lists(node: Node) -> Iterator[tuple[str, Node]]:
    for key, entry in node.entries.items():
        if key in _ARGUMENT_LISTS:
            yield key, entry.node
        else:
            yield from _argument_lists(entry.node)
    for item in node.items:
        yield from _argument_lists(item)
