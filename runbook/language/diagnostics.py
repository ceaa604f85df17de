"""Findings in a document: what they hold, how they are shown. What they mean: findings.py."""

import re
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
MAX_FINDINGS = 500
"""In one file, about; who has more has another kind of file in hand."""
_MOST_COMPARED = 200
"""Known words among which a misspelt one is looked for."""
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
    """The line of text, for showing it; of a long one a piece."""
    source_column: int = field(default=1, compare=False)
    """Where that begins in the line."""
    is_cut: bool = field(default=False, compare=False)
    """Whether the line goes on behind it."""

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
        f"{gutter}--> {visible(diagnostic.file)}:{diagnostic.line}:{diagnostic.column}",
    ]
    if diagnostic.source_line.strip():
        text, before, marked = _shown(diagnostic)
        lines += [
            f"{gutter} |",
            f"{diagnostic.line} | {text}",
            f"{gutter} | {' ' * _width(before)}{'^' * max(1, _width(marked))}",
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

    names = sorted(known) if isinstance(known, set | frozenset) else list(known)
    alike = [word for word in names if word.lower() == name.lower()]
    longer = [word for word in names if len(name) > 2 and word.startswith(name)]
    near = names if len(names) <= _MOST_COMPARED else ()
    close = alike or longer[:1] or get_close_matches(name, near, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    if not names or len(names) > 20:
        return None
    return f"expected {one_of(names)}"


def one_of(names: Iterable[str]) -> str:
    """`a`, `b` or `c`."""
    quoted = [f"`{name}`" for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def visible(text: str) -> str:
    """A text with its characters that nobody sees, or that a terminal would obey, as escapes."""
    return _INVISIBLE.sub(_escape, text)


_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u0600-\u0605\u061c\u06dd\u070f\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b\u200c\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0"
    "\ufff9-\ufffb\U000e0000-\U000e007f]"
    "|(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d"  # which joins emoji to one
)


def _escape(found: re.Match[str]) -> str:
    number = ord(found.group())
    if number < 0xA0:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _shown(diagnostic: Diagnostic) -> tuple[str, str, str]:
    """The source line as a terminal shows it, what of it stands before the carets, and what they
    mark."""
    piece = diagnostic.source_line.rstrip()
    start = diagnostic.column - diagnostic.source_column
    is_one_line = diagnostic.end_line == diagnostic.line
    end = max(start, diagnostic.end_column - diagnostic.source_column) if is_one_line else None
    cut = "…" if diagnostic.source_column > 1 else ""
    before = _spread(cut + piece[:start].ljust(start))
    until = _spread(piece[start:end], _width(before))
    text = before.rstrip() if not piece[start:] else before + until
    if end is not None:
        text += _spread(piece[end:], _width(text))
    return text + "…" * diagnostic.is_cut, before, until


def _spread(text: str, column: int = 0) -> str:
    """Text that begins in a column of a terminal, its tabs and what is invisible written out."""
    spread = ""
    for part in re.split("(\t)", text):
        if part == "\t":
            shown = " " * (_TAB - column % _TAB)
        else:
            shown = visible(part)
        column += _width(shown)
        spread += shown
    return spread


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    width = 0
    for character in text:
        if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Cf"):
            continue
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
    return width
