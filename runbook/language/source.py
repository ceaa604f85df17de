"""Source files: their text, their tree of nodes with places, and what was found in them.

How the tree is made: reading.py.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from runbook.core.plan import Json
from runbook.language.diagnostics import ERROR, WARNING, Diagnostic, Span, visible

_SHOWN = 240
"""Characters of a line that a finding shows at most."""
_BEFORE = 80
"""How many of them stand before the place, in a line that is longer."""

HIDDEN = "[hidden]"
KEYS_OF_SECRETS = ("env", "file", "command", "timeout")
KEYS_OF_INPUTS = (
    *("type", "required", "choices", "pattern"),
    *("minimum", "maximum", "env", "help", "sensitive"),
)
"""But for `default`, which may hold what is secret."""
KNOWN_KEYS = frozenset({*KEYS_OF_SECRETS, *KEYS_OF_INPUTS, "default"})
_WORD = re.compile(r"""[^\s"'`{}\[\],:*&!$#|>]{4,}""")


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping with its value."""

    key: str
    key_span: Span
    node: "Node"
    is_refused: bool = False
    """Whether the key is no string, which has been said; what it means is unclear."""


@dataclass(slots=True, eq=False)
class Node:
    """A value with its place."""

    span: Span
    value: Json = None
    """As plain data; of a mapping or list, all that is in it."""
    text: str = ""
    """A scalar's source text, quotes and all."""
    entries: dict[str, Entry] = field(default_factory=dict)
    """A mapping's keys."""
    items: list["Node"] = field(default_factory=list)
    """A list's values."""
    weight: int = 1
    """How many nodes there are under it, aliases expanded; long text counts as more."""
    is_refused: bool = False
    """Whether what it means is unclear, which has been said: nothing more is said of it."""

    def get(self, key: str) -> "Node | None":
        """The value of a mapping's key, if it has it."""
        entry = self.entries.get(key)
        return entry.node if entry else None

    def at(self, path: Sequence[str | int]) -> "Node":
        """The value that a path of keys and indexes leads to; raises KeyError or IndexError."""
        node = self
        for part in path:
            node = node.items[part] if isinstance(part, int) else node.entries[part].node
        return node

    def mapping(self, key: str) -> dict[str, Entry]:
        """The keys of the mapping under a key; empty where there is none."""
        node = self.get(key)
        return node.entries if node else {}

    def text_of(self, key: str) -> str | None:
        """The string under a key; absent where there is none, or something else."""
        node = self.get(key)
        return node.value if node and isinstance(node.value, str) else None

    def texts(self) -> "Iterator[Node]":
        """Every string in it, in order."""
        if isinstance(self.value, str):
            yield self
        for node in [*self.items, *(entry.node for entry in self.entries.values())]:
            yield from node.texts()


@dataclass(slots=True, eq=False)
class Source:
    """One file: its text, its tree, and what was found wrong in it."""

    file: str
    """As the user named it."""
    path: Path
    text: str
    root: Node
    diagnostics: list[Diagnostic] = field(default_factory=list)
    masked: list[Span] = field(default_factory=list)
    """What must not be shown."""
    lines: list[str] = field(default_factory=list)
    digest: str = ""
    """sha256 of its bytes, in hex."""
    is_readable: bool = True
    """Whether the tree is whole; else nothing but `diagnostics` is of use."""
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the id of a step that was written out (a loop's, or a runbook used), the ids it became."""
    used: "tuple[Source, ...]" = ()
    """The runbooks that steps were taken from, and their projects."""
    _starts: list[int] = field(default_factory=list)

    def error(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        """Note an error at a place, in this file or in one that was laid over it."""
        at = span.origin or self
        self.diagnostics.append(at._finding(code, ERROR, message, span, hint))

    def warn(self, code: str, message: str, span: Span, hint: str | None = None) -> None:
        """Note a warning at a place, in this file or in one that was laid over it."""
        at = span.origin or self
        self.diagnostics.append(at._finding(code, WARNING, message, span, hint))

    def folder_of(self, node: Node) -> Path:
        """Where relative paths in a node of this tree start: beside the file that it lies in."""
        return (node.span.origin or self).path.absolute().parent.resolve()

    def mask(self, span: Span) -> None:
        """Show no more of a place, neither by what is found from now on nor by what has been."""
        at = span.origin or self
        at.masked.append(span)
        at.diagnostics = [at._without_masked(found) for found in at.diagnostics]

    def place_of(self, node: Node) -> str:
        """`file:line`, of a node of this tree."""
        return f"{(node.span.origin or self).file}:{node.span.line}"

    def _without_masked(self, found: Diagnostic) -> Diagnostic:
        """A finding that neither shows what is masked on its line nor quotes a word of it."""
        line, message, hint = found.source_line, found.message, found.hint
        for mask in self.masked:
            if not mask.line <= found.line <= mask.end_line:
                continue
            start, end = _columns(mask, found.line, self.lines[found.line - 1])
            first, last = (max(0, at + 1 - found.source_column) for at in (start, end))
            line = line[:first] + "*" * len(line[first:last]) + line[last:]
            for word in set(_WORD.findall(self.lines[found.line - 1][start:end])) - KNOWN_KEYS:
                message = message.replace(word, HIDDEN)
                hint = hint and hint.replace(word, HIDDEN)
        return replace(found, source_line=line, message=message, hint=hint)

    def _finding(
        self, code: str, severity: str, message: str, span: Span, hint: str | None
    ) -> Diagnostic:
        line = self.lines[span.line - 1] if 0 < span.line <= len(self.lines) else ""
        start = max(0, min(span.column - 1 - _BEFORE, len(line) - _SHOWN))
        piece = line[start : start + _SHOWN]
        found = Diagnostic(
            code=code,
            severity=severity,
            message=visible(message),
            hint=visible(hint) if hint else hint,
            file=self.file,
            line=span.line,
            column=span.column,
            end_line=span.end_line,
            end_column=span.end_column,
            source_line=piece,
            source_column=start + 1,
            is_cut=start + _SHOWN < len(line),
        )
        return self._without_masked(found)

    def _line_starts(self) -> list[int]:
        """Where each line begins in the text; kept, since it is asked for at every expression."""
        if len(self._starts) != len(self.lines) + 1:
            self._starts = [0, *accumulate(map(len, self.lines))]
        return self._starts

    def part(self, node: Node, fragment: str) -> Span:
        """Where in a scalar a piece of its text stands; the whole scalar where that is unclear."""
        if node.span.origin and node.span.origin is not self:
            return node.span.origin.part(node, fragment)
        starts = self._line_starts()
        span = node.span
        begin = starts[span.line - 1] + span.column - 1
        end = starts[span.end_line - 1] + span.end_column - 1
        at = self.text.find(fragment, begin, end)
        if not fragment or at < 0 or "\n" in fragment:
            return span
        line = bisect_right(starts, at)
        column = at - starts[line - 1] + 1
        return replace(
            span, line=line, column=column, end_line=line, end_column=column + len(fragment)
        )


def _columns(mask: Span, number: int, line: str) -> tuple[int, int]:
    """From where to where a line is masked."""
    start = mask.column - 1 if number == mask.line else 0
    return start, mask.end_column - 1 if number == mask.end_line else len(line.rstrip("\r\n"))
