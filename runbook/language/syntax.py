"""What libyaml cannot read, in words that say what to type next.

It stops where it cannot go on, which is often far from the mistake, and speaks of tokens and
simple keys. Here the place is where the mistake most likely is.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from runbook.language.diagnostics import Span

_QUOTE_IT = "quote the value"
_QUOTE_WHOLE = "wrap the whole value in single quotes"
_NO_SPACE = re.compile(r"\s*(?:- +)*([A-Za-z_][\w-]*):(?![\s/\\])(\S+)")
"""A key and a value with no space between them."""
_UNINDENTED = ("did not find expected key", "did not find expected '-' indicator")


class Flaw(NamedTuple):
    """What is wrong, where, and what to do."""

    message: str
    span: Span
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """A character of the text; both count from 0, as libyaml does."""

    line: int
    column: int
    text: str
    """The whole line."""

    @property
    def character(self) -> str:
        """Empty at the end of the line."""
        return self.text[self.column : self.column + 1].strip("\r\n")

    def span(self, width: int = 1) -> Span:
        line, column = self.line + 1, self.column + 1
        return Span(line=line, column=column, end_line=line, end_column=column + width)


def explain(error: Any, lines: Sequence[str], quoted: Span | None) -> Flaw:
    """A syntax error in plain words.

    Args:
        error: what PyYAML raised, with its marks.
        lines: the text's lines with their ends.
        quoted: the last quoted text before it, where that goes over several lines.
    """
    problem, context = str(error.problem), str(error.context or "")
    at = _place(error.problem_mark or error.context_mark, lines)
    began = _place(error.context_mark, lines) if error.context_mark else at
    found = (
        _no_break_space(at, began)
        or _stray_character(problem, context, at, began)
        or _unclosed(problem, context, at, began, quoted)
        or _colon(problem, at, lines)
    )
    if found:
        return found
    if problem in _UNINDENTED:
        hint = "mend the indentation: what belongs together begins in the same column"
        return Flaw("this line does not fit to those above it", at.span(), hint)
    if problem.startswith("block sequence entries are not allowed"):
        return Flaw("a list cannot begin here", at.span(), "begin it on a line of its own")
    said = f"not valid YAML: {problem} {context}".strip()
    return Flaw(said, at.span(), _QUOTE_WHOLE if "${{" in at.text else None)


def _place(mark: Any, lines: Sequence[str]) -> _Place:
    line = min(mark.line, len(lines) - 1) if mark else 0
    text = lines[line]
    column = mark.column if mark and mark.line == line else len(text.rstrip("\r\n"))
    return _Place(line, column, text)


def _no_break_space(at: _Place, began: _Place) -> Flaw | None:
    for place in (began, at):
        column = place.text.find("\xa0")
        if column >= 0:
            span = _Place(place.line, column, place.text).span()
            message = "a no-break space (U+00A0) stands where a space belongs"
            return Flaw(message, span, "type a plain space there")
    return None


def _stray_character(problem: str, context: str, at: _Place, began: _Place) -> Flaw | None:
    character = at.character
    if "\t" in at.text[: at.column + 1] and not at.text[: at.column].strip():
        return Flaw("a tab cannot indent", at.span(), "indent with spaces, not tabs")
    if character == "\t":
        return Flaw("a tab stands where a space belongs", at.span(), "type a plain space there")
    if "cannot start any token" in problem:
        hint = _QUOTE_WHOLE if "${{" in at.text else _QUOTE_IT
        return Flaw(f"a value cannot begin with `{character}`", at.span(), hint)
    if "unknown escape character" in problem:
        escape = at.text[at.column : at.column + 2]
        hint = "use single quotes: in them a backslash is only that"
        return Flaw(f"`{escape}` means nothing in double quotes", at.span(len(escape)), hint)
    if "scanning an alias" in context or "scanning an anchor" in context:
        word = "an alias" if "alias" in context else "an anchor"
        message = f"`{began.character}` begins {word}, and no name follows"
        return Flaw(message, began.span(), _QUOTE_IT)
    return None


def _unclosed(
    problem: str, context: str, at: _Place, began: _Place, quoted: Span | None
) -> Flaw | None:
    if "scanning a quoted scalar" in context:
        hint = f"end the text with `{began.character}`"
        return Flaw("this quote is not closed", began.span(), hint)
    if quoted and quoted.end_line == at.line + 1:
        quote = _Place(quoted.line - 1, quoted.column - 1, "").span()
        message = f"the quote that opens here closes only on line {quoted.end_line}"
        return Flaw(message, quote, "close it where its text ends")
    if "parsing a flow" not in context or "did not find expected ','" not in problem:
        return None
    closing = "}" if began.character == "{" else "]"
    if at.line != began.line:
        message = f"`{began.character}` is not closed"
        return Flaw(message, began.span(), f"add the missing `{closing}`")
    if "${{" in at.text:
        message = "`${{ … }}` must be quoted inside `{ }` and `[ ]`"
        return Flaw(message, at.span(), _QUOTE_WHOLE)
    hint = f"close it with `{closing}`, or quote the value"
    message = f"expected `,` or `{closing}`: `{began.character}` is still open"
    return Flaw(message, at.span(), hint)


def _colon(problem: str, at: _Place, lines: Sequence[str]) -> Flaw | None:
    if "mapping values are not allowed" not in problem and "expected ':'" not in problem:
        return None
    if "${{" in at.text:
        return Flaw("a value cannot hold `: ` without quotes", at.span(), _QUOTE_WHOLE)
    for line in range(at.line, max(at.line - 2, -1), -1):
        joined = _NO_SPACE.match(lines[line])
        if joined and not joined[2].startswith(":"):
            key, value = joined.groups()
            place = _Place(line, joined.start(1), lines[line])
            message = f"there is no space after `{key}:`"
            return Flaw(message, place.span(len(key) + 1), f"write `{key}: {value}`")
    if "expected ':'" in problem:
        return Flaw("expected `key: value`", at.span(), "this line, or the one above, has no `: `")
    message = "a value cannot hold `: ` without quotes, nor have keys under it"
    return Flaw(message, at.span(), "quote the value if it holds `: `, or mend the indentation")
