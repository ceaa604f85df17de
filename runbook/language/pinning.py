"""Which script files a plan pins: its steps run them as they were when the run began.

Pinned is what belongs to the runbook, so that a checkout between the start and a rollback does not
swap it: text files that an argument list names by a relative path, and that lie outside every git
work tree that the plan names. Of the work tree that the runbook itself lies in, what lies beside or
below the runbook belongs to it, too; the rest of it comes with the checkout, on purpose. See
docs/adr/0008-pinned-scripts.md.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from runbook.language.document import Document, Step
from runbook.language.effects import raw_parameters
from runbook.language.expressions import has_expression

_ENVIRONMENT = re.compile(r"^\.env|\.env$")
"""Files of variables hold passwords, declared or not, and a plan is recorded."""
MAX_SIZE_BYTES = 256 * 1024
"""What is larger is no script that somebody wrote."""


def pinned_files(document: Document, step: Step) -> Mapping[str, str]:
    """Text of the script files that a step's argument lists name, by absolute path."""
    fields = step.kind.pins if step.kind else ()
    if not fields:
        return {}
    parameters = raw_parameters(step)
    home = document.source.path.absolute().parent.resolve()
    base = _folder(step, "directory")
    directory = parameters.get("directory") or "."
    if not isinstance(directory, str) or has_expression(directory):
        return {}
    trees, secrets = list(_work_trees(document)), set(_secret_files(document))
    found = {}
    for name in (name for field in fields for name in parameters.get(field) or ()):
        if not isinstance(name, str) or has_expression(name) or Path(name).is_absolute():
            continue
        path = (base / directory / name).resolve()
        if path in secrets or _ENVIRONMENT.search(path.name):
            continue
        text = _text(path) if _is_of_the_runbook(path, home, trees) else None
        if text is not None:
            found[str(path)] = text
    return found


def _folder(step: Step, parameter: str) -> Path:
    """Where a parameter's relative path starts."""
    node = step.parameters.get(parameter) if step.parameters else None
    return step.source.folder_of(node or step.node)


def _secret_files(document: Document) -> Iterator[Path]:
    """The files that secrets come from: a plan is recorded, and no secret ever is."""
    for declared in document.secrets.values():
        file = declared.node.text_of("file")
        if file is not None:
            yield Path(declared.base, file).resolve()


def _work_trees(document: Document) -> Iterator[Path]:
    for name, declared in document.resources.items():
        node = declared.node.get("git") if document.resource_type(name) == "git" else None
        path = node.text_of("path") if node else None
        if node and path and not has_expression(path):
            yield Path(declared.source.folder_of(node.entries["path"].node), path).resolve()


def _is_of_the_runbook(path: Path, home: Path, trees: list[Path]) -> bool:
    holding = [tree for tree in trees if path.is_relative_to(tree)]
    is_beside = path.is_relative_to(home)
    return all(is_beside and home != tree and home.is_relative_to(tree) for tree in holding)


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > MAX_SIZE_BYTES:
            return None
        return path.read_bytes().decode()
    except (OSError, ValueError):
        return None
