"""Expressions in text that a shell or an interpreter reads as code: what they give would be code.

That is `script`, and in any argument list the text after `bash -c`, `ssh HOST` and their like.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from runbook.language.document import Document
from runbook.language.expressions import OPENING, has_expression
from runbook.language.source import Node, Source

_SCRIPT = "script"


@dataclass(frozen=True, slots=True)
class _Program:
    """How a program is told that one of its arguments is code; options are given as patterns."""

    letters: str
    """Of the options after which code stands, or to which it is joined."""
    long: str = "(?!)"
    """The same ones, written out."""
    takes_value: str = "(?!)"
    """The options that the next word belongs to."""
    has_operands: bool = False
    """Whether other words may stand before such an option."""
    is_joined: bool = False
    """Whether all words that follow are code."""


_SHELL = _Program("c", "--command", r"[-+][A-Za-z]*[oO]|--(rcfile|init-file)")
_SU = _Program("c", "--(session-)?command", has_operands=True)
_PWSH = _Program(
    "c", "(?i:-command)", "(?i:-(executionpolicy|ep|ex|workingdirectory|wd))", is_joined=True
)
_PROGRAMS = {
    **dict.fromkeys(("sh", "ash", "bash", "dash", "ksh", "zsh", "fish"), _SHELL),
    **dict.fromkeys(("su", "runuser"), _SU),
    **dict.fromkeys(("pwsh", "powershell"), _PWSH),
    "python": _Program("c", takes_value="-[A-Za-z]*[WX]"),
    "perl": _Program("eE", takes_value="-[IM]"),
    "ruby": _Program("e", takes_value="-[rIC]"),
    "node": _Program("ep", "--(eval|print)", "-[rC]|--(require|import)"),
    "php": _Program("r", "--run", "-[dc]"),
    "env": _Program("S", "--split-string", "-[uC]|--(unset|chdir)"),
}
_SSH_TAKES_VALUE = "-[A-Za-z0-9]*[BbcDEeFIiJLlmOopPQRSWw]"


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
    """Each text that a program in an argument list reads as code, with what stands before it."""
    for position, word in enumerate(words):
        name, rest = _program(word), words[position + 1 :]
        if name == "ssh":
            yield from (("ssh HOST", code) for code in _after_host(rest))
        elif name in _PROGRAMS:
            yield from _after_option(_PROGRAMS[name], rest)


def _after_option(program: _Program, words: Sequence[Node]) -> Iterator[tuple[str, Node]]:
    option, at = "", 0
    while at < len(words):
        text = str(words[at].value)
        if text[:1] in ("-", "+"):
            joined = re.match(f"-[{program.letters}]|(?:{program.long})(?==)", text)
            if joined:
                yield joined[0], words[at]
            if re.fullmatch(f"-[A-Za-z]*[{program.letters}]|{program.long}", text):
                option = option or text
            at += 2 if re.fullmatch(program.takes_value, text) else 1
        elif option:
            yield from (
                (option, code) for code in words[at : None if program.is_joined else at + 1]
            )
            return
        elif program.has_operands:
            at += 1
        else:
            return


def _after_host(words: Sequence[Node]) -> Sequence[Node]:
    """What `ssh` sends to the shell of the other machine."""
    at = 0
    while at < len(words) and str(words[at].value).startswith("-"):
        at += 2 if re.fullmatch(_SSH_TAKES_VALUE, str(words[at].value)) else 1
    return words[at + 1 :]


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
