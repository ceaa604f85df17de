"""Expressions in text that a shell or an interpreter reads as code: what they give would be code.

That is `script`, and in any argument list the text after `bash -c` and its like.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from runbook.language.document import Document
from runbook.language.expressions import OPENING, has_expression
from runbook.language.source import Node, Source

_SCRIPT = "script"
_CODE_OPTIONS = {
    **dict.fromkeys(("sh", "ash", "bash", "dash", "ksh", "zsh", "fish", "python"), "c"),
    "perl": "eE",
    "ruby": "e",
    "node": "ep",
    "php": "r",
}
"""By program, the letters of the options after which code stands."""
_WITH_VALUE = re.compile(r"[-+][A-Za-z]*[oO]|--(rcfile|init-file)")
"""Options of shells that the next word belongs to."""


def check_code(document: Document) -> None:
    """Note every expression that would be read as code."""
    for declared in (*document.vars.values(), *document.resources.values()):
        _check_argument_lists(declared.source, declared.node)
    for step in document.steps:
        if step.parameters is None:
            continue
        script = step.parameters.get(_SCRIPT)
        if script and isinstance(script.value, str):
            hint = 'pass it by `environment` and write "$NAME" in the script'
            _refuse(step.source, script, f"`{_SCRIPT}`", hint)
        _check_argument_lists(step.source, step.parameters)


def _check_argument_lists(source: Source, node: Node) -> None:
    for words in _lists(node):
        for option, code in _code_in(words):
            hint = 'pass it by `environment`, or as one more argument, in a shell "$1"'
            _refuse(source, code, f"the text after `{option}`", hint)


def _lists(node: Node) -> Iterator[Sequence[Node]]:
    """Every list in it."""
    if node.items:
        yield node.items
    for below in [*node.items, *(entry.node for entry in node.entries.values())]:
        yield from _lists(below)


def _code_in(words: Sequence[Node]) -> Iterator[tuple[str, Node]]:
    """Each text that a program in an argument list reads as code, with the option before it."""
    for position, word in enumerate(words):
        letters = _CODE_OPTIONS.get(_program(word))
        options, at = [], position + 1
        while letters and at < len(words) and str(words[at].value)[:1] in ("-", "+"):
            options.append(str(words[at].value))
            at += 2 if _WITH_VALUE.fullmatch(options[-1]) else 1
        given = [each for each in options if re.fullmatch(f"-[A-Za-z]*[{letters}]|--eval", each)]
        if letters and given and at < len(words):
            yield given[0], words[at]


def _program(word: Node) -> str:
    """A program's name without its folder and its version."""
    name = PurePosixPath(word.value).name if isinstance(word.value, str) else ""
    return name.rstrip("0123456789.")


def _refuse(source: Source, node: Node, where: str, hint: str) -> None:
    text = str(node.value)
    if has_expression(text):
        start = text[text.index(OPENING) :].split("\n", 1)[0]
        message = f"an expression may not stand in {where}: its value would be read as code"
        source.error("RB404", message, source.part(node, start), hint)
