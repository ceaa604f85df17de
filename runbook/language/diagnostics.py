"""Findings in a document: what they hold, how they are shown. What they mean: findings.py."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runbook.core.plan import JsonObject
from runbook.errors import DocumentInvalid

if TYPE_CHECKING:
    from runbook.language.source import Source

ERROR = "error"
WARNING = "warning"
MAX_SHOWN = 50
_TAB = 4


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """A stretch of text; lines and columns count from 1, in characters, the end excluded."""

    line: int
    column: int
    end_line: int
    end_column: int
    origin: "Source | None" = field(default=None, compare=False, repr=False)
    """The file that it lies in, where that is not the one whose tree it stands in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding, with its place."""

    code: str
    """Stable; explained in findings.py."""
    severity: str
    """`error` or `warning`."""
    message: str
    hint: str | None = None
    file: str
    line: int = 1
    """Counts from 1, as `column` does."""
    column: int = 1
    """In characters."""
    end_line: int = 1
    end_column: int = 1
    """One past the last character."""
    source_line: str = field(default="", compare=False)
    """The line of text, for showing it."""

    @property
    def is_error(self) -> bool:
        """Whether it keeps the runbook from running."""
        return self.severity == ERROR

    def to_json(self) -> JsonObject:
        """The finding as `--format json` has it."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "hint": self.hint,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "end_column": self.end_column,
        }


class InvalidRunbook(DocumentInvalid):
    """The runbook, or a file that it names, has errors; carries all of them and the warnings."""

    code = "RB507"

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = in_order(diagnostics)
        errors = [found for found in self.diagnostics if found.is_error]
        first = errors[0]
        super().__init__(
            f"{first.file}: {count(len(errors), 'error')}; the first: {first.message}",
            hint=first.hint,
            where=f"{first.file}:{first.line}:{first.column}",
        )


def count(number: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def in_order(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By file in order of appearance, then by place, without doubles."""
    found = list(dict.fromkeys(diagnostics))
    files = list(dict.fromkeys(diagnostic.file for diagnostic in found))
    return sorted(found, key=lambda d: (files.index(d.file), d.line, d.column, d.code, d.message))


def render(diagnostic: Diagnostic) -> str:
    """One finding as people read it: message, place, source line, carets, hint."""
    gutter = " " * len(str(diagnostic.line))
    lines = [
        f"{diagnostic.severity}[{diagnostic.code}]: {diagnostic.message}",
        f"{gutter}--> {diagnostic.file}:{diagnostic.line}:{diagnostic.column}",
    ]
    text = diagnostic.source_line
    if text.strip():
        before, marked = _split(diagnostic)
        carets = "^" * max(1, _width(marked, _width(before, 0)) - _width(before, 0))
        lines += [
            f"{gutter} |",
            f"{diagnostic.line} | {_shown(text)}",
            f"{gutter} | {' ' * _width(before, 0)}{carets}",
        ]
    if diagnostic.hint:
        lines.append(f"{gutter} = help: {diagnostic.hint}")
    return "\n".join(lines)


def render_all(diagnostics: Iterable[Diagnostic]) -> str:
    """All findings in order of place, with an empty line between them and a count at the end."""
    found = in_order(diagnostics)
    if not found:
        return ""
    blocks = [render(diagnostic) for diagnostic in found[:MAX_SHOWN]]
    if len(found) > MAX_SHOWN:
        blocks.append(f"… and {len(found) - MAX_SHOWN} more")
    errors = sum(diagnostic.is_error for diagnostic in found)
    warnings = len(found) - errors
    counts = [count(errors, "error")] if errors else []
    counts += [count(warnings, "warning")] if warnings else []
    blocks.append(f"{', '.join(counts)}; nothing was run")
    return "\n\n".join(blocks) + "\n"


def to_json(diagnostics: Iterable[Diagnostic]) -> list[JsonObject]:
    """All findings, in order of place, as JSON."""
    return [diagnostic.to_json() for diagnostic in in_order(diagnostics)]


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the nearest known word, or all of them where there are few."""
    from difflib import get_close_matches

    names = list(known)
    alike = [word for word in names if word.lower() == name.lower()]
    longer = [word for word in names if len(name) > 2 and word.startswith(name)]
    close = alike or longer[:1] or get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    if not names or len(names) > 20:
        return None
    return f"expected {one_of(names)}"


def one_of(names: Iterable[str]) -> str:
    """`a`, `b` or `c`."""
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def _split(diagnostic: Diagnostic) -> tuple[str, str]:
    """What stands before the carets, and what they mark, on the first line."""
    text = diagnostic.source_line
    start = diagnostic.column - 1
    is_one_line = diagnostic.end_line == diagnostic.line
    end = diagnostic.end_column - 1 if is_one_line else len(text.rstrip())
    return text[:start].ljust(start), text[start : max(start, end)]


def _shown(text: str) -> str:
    """The line with its tabs spread, as `_width` counts them."""
    shown = ""
    for character in text.rstrip():
        at = _width(shown, 0)
        shown += " " * (_TAB - at % _TAB) if character == "\t" else character
    return shown


def _width(text: str, start: int) -> int:
    """The terminal column after the text, which begins at column `start`."""
    column = start
    for character in text:
        if character == "\t":
            column += _TAB - column % _TAB
        elif unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Cf"):
            continue
        else:
            column += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return column
