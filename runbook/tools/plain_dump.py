"""A plain SQL dump, read as psql reads it, for what would act on more than the database it is for.

A guard against accidents, not against malice: what functions do when they run is not looked at. It
reads a stream in a window, so that a dump may be of any size.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

_CHUNK_BYTES = 1 << 20
_AHEAD_BYTES = 1 << 12
"""More than whatever is looked at in one piece: a statement's first words, a tag, a command."""
_KEPT_BYTES = 1 << 20
"""Of a statement that is looked at closely."""
_SHOWN_BYTES = 60
_AT_MOST = 5

_LOOK = rb"""(?:
  (?:ALTER|CREATE|DROP)\b(?!\s+(?:FUNCTION|INDEX|SEQUENCE|TABLE|UNIQUE|VIEW)\s)
  | (?:COMMENT|COPY|GRANT|PREPARE|REASSIGN|REVOKE|SECURITY|SET)\b
)"""
"""How a statement begins that is looked at closely."""
_PIECES = rb"""[^'"$\\;/-]++ | (?<!e)'[^']*+' | "[^"]*+" | -(?=[^-]) | /(?=[^*])"""
_WITHIN = re.compile(rb"(?:%b)*+" % _PIECES, re.I | re.X)
"""Up to a `;`, comment, psql command, dollar, or string that takes a closer look."""
_ACROSS = re.compile(
    rb"(?:%b | --[^\n]*+\n | ;(?=\s*+[a-z]++[^a-z])(?!\s*+%b))*+" % (_PIECES, _LOOK), re.I | re.X
)
"""The same, across statements that need no look."""
_CLOSE_LOOK = re.compile(_LOOK, re.I | re.X)
_ESCAPED = re.compile(rb"(?:[^'\\]++|\\[\s\S]|'')*+")
_TAG = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_OF_NAMES = re.compile(rb"[A-Za-z0-9_$\x80-\xff]")
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_QUOTED = re.compile(rb"'[^']*'|\"[^\"]*\"")
_STRING = re.compile(rb"'[^']*'")
"""May be a password."""
_COMMAND = re.compile(rb"\\[A-Za-z!?.;]*")
_ALLOWED_COMMAND = re.compile(rb"\\(?:\.|(?:un)?restrict +[A-Za-z0-9]+)\s*")
_DATA_FOLLOW = re.compile(rb"COPY\b.* FROM STDIN\b", re.I)
_WHOLE_DATABASE = "acts on a whole database"
_WHOLE_SERVER = "acts on the whole server"
_RULES = tuple(
    (re.compile(pattern, re.I), why)
    for pattern, why in (
        (rb"(?:CREATE|DROP|ALTER) DATABASE\b", _WHOLE_DATABASE),
        (rb"COMMENT ON DATABASE\b|SECURITY LABEL .*ON DATABASE\b", _WHOLE_DATABASE),
        (rb"(?:GRANT|REVOKE) .*ON DATABASE\b", _WHOLE_DATABASE),
        (rb"(?:CREATE|DROP|ALTER) (?:ROLE|GROUP|TABLESPACE|USER(?! MAPPING))\b", _WHOLE_SERVER),
        (rb"ALTER SYSTEM\b|(?:REASSIGN|DROP) OWNED\b", _WHOLE_SERVER),
        (rb"COMMENT ON (?:ROLE|TABLESPACE)\b|SECURITY LABEL .*ON ROLE\b", _WHOLE_SERVER),
        (rb"(?:GRANT|REVOKE) (?!.*\bON\b)", _WHOLE_SERVER),
        (rb"(?:GRANT|REVOKE) .*ON (?:TABLESPACE|PARAMETER)\b", _WHOLE_SERVER),
        (rb"(?:CREATE|ALTER|DROP) SUBSCRIPTION\b", "replicates from another server"),
        (rb"PREPARE TRANSACTION\b", "leaves a transaction open"),
        (rb"COPY\b(?!.* FROM STDIN\b)", "takes rows from elsewhere, or brings them there"),
        (rb"SET .*standard_conforming_strings\b.*\boff\b", "makes strings ambiguous"),
        (
            rb"SET .*client_encoding\b.*\b(?:SJIS|SHIFT|BIG5|GBK|UHC|GB18030|JOHAB)",
            "has an encoding in which a letter may look like a quote",
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Forbidden:
    """What must not be run."""

    line: int
    text: str
    """Its beginning."""
    why: str

    def __str__(self) -> str:
        return f"line {self.line} {self.why}: `{self.text}`"


def forbidden_in(file: BinaryIO, *, check: Callable[[], None] = lambda: None) -> list[Forbidden]:
    """The first few things in a dump that would act on more than the database it is loaded into."""
    return _Scanner(file, check).scan()


class _Scanner:
    def __init__(self, file: BinaryIO, check: Callable[[], None]) -> None:
        self._file, self._check = file, check
        self._window, self._at, self._is_over = b"", 0, False
        self._lines, self._counted = 1, 0
        self._statement: bytearray | None = None
        """What is looked at closely, as far as it is read; None: nothing is."""
        self._has_begun, self._line = False, 1
        self._found: list[Forbidden] = []

    # --- the window -----------------------------------------------------------------------

    def _fill(self) -> bool:
        """Read on, and forget what is behind; whether there was more."""
        self._check()
        chunk = self._file.read(_CHUNK_BYTES)
        self._is_over = not chunk
        self._count_lines()
        kept = max(0, self._at - 2)
        self._window = self._window[kept:] + chunk
        self._at -= kept
        self._counted -= kept
        return bool(chunk)

    def _count_lines(self) -> int:
        self._lines += self._window.count(b"\n", self._counted, self._at)
        self._counted = self._at
        return self._lines

    def _sees_enough(self) -> bool:
        return self._is_over or len(self._window) - self._at >= _AHEAD_BYTES

    def _skip_past(self, end: bytes) -> bool:
        """Whether there is such an end."""
        while (found := self._window.find(end, self._at)) < 0:
            self._at = max(self._at, len(self._window) - len(end) + 1)
            if not self._fill():
                self._at = len(self._window)
                return False
        self._at = found + len(end)
        return True

    # --- statements -----------------------------------------------------------------------

    def scan(self) -> list[Forbidden]:
        while len(self._found) < _AT_MOST:
            if not self._sees_enough():
                self._fill()
                continue
            is_dull = self._has_begun and self._statement is None
            found = (_ACROSS if is_dull else _WITHIN).match(self._window, self._at)
            assert found is not None
            is_cut = found.end() == len(self._window) and not self._is_over
            if is_cut and len(found[0].lstrip()) < _AHEAD_BYTES:
                self._fill()
                continue
            self._read(found[0])
            self._at = found.end()
            if self._at < len(self._window):
                self._look_closer()
            elif self._is_over:
                self._end_statement()
                break
        return self._found

    def _read(self, piece: bytes) -> None:
        if not self._has_begun and (text := piece.lstrip()):
            self._has_begun = True
            if _CLOSE_LOOK.match(text):
                self._at += len(piece) - len(text)
                self._line = self._count_lines()
                self._statement = bytearray(text)
        elif self._statement is not None and len(self._statement) < _KEPT_BYTES:
            self._statement += piece

    def _look_closer(self) -> None:
        if not self._sees_enough():
            return
        match self._window[self._at : self._at + 1]:
            case b";":
                self._at += 1
                self._end_statement()
            case b"'":
                self._skip_string()
            case b'"':
                self._at += 1
                self._skip_past(b'"')
                self._read(b'""')
            case b"$":
                self._skip_dollars()
            case b"\\":
                self._command()
            case _:
                self._skip_comment()

    def _end_statement(self) -> None:
        statement, self._statement, self._has_begun = self._statement, None, False
        if statement is None:
            return
        words = b" ".join(bytes(statement).split())
        # What a SET says may stand in quotes.
        bare = words if words[:4].upper() == b"SET " else _QUOTED.sub(b"''", words)
        for rule, why in _RULES:
            if rule.match(bare):
                self._find(self._line, _STRING.sub(b"'...'", words), why)
                return
        if _DATA_FOLLOW.match(bare):
            self._skip_data()

    def _find(self, line: int, text: bytes, why: str) -> None:
        shown = text[:_SHOWN_BYTES].decode("utf-8", "replace")
        self._found.append(Forbidden(line, shown, why))

    def _skip_data(self) -> None:
        """Past the rows that follow a COPY, which end in a line of `\\.`."""
        line = self._count_lines()
        begin = self._at
        self._skip_past(b"\n")
        if rest := self._window[begin : self._at].strip():
            self._find(line, rest, "follows a COPY on its line")
        self._at -= 1
        while self._skip_past(b"\n\\."):
            if not self._sees_enough():
                self._fill()
            after = self._window[self._at : self._at + 2]
            if after[:1] in (b"", b"\n") or after == b"\r\n":
                return
        self._find(line, b"COPY", "begins rows that have no end")

    # --- what may hide a semicolon ------------------------------------------------------------

    def _skip_string(self) -> None:
        before = self._window[max(0, self._at - 2) : self._at]
        is_escaped = before[-1:] in (b"e", b"E") and not _OF_NAMES.match(before[:-1])
        self._at += 1
        if not is_escaped:
            self._skip_past(b"'")
        else:
            self._at = self._end_of(_ESCAPED)
        self._read(b"''")

    def _end_of(self, inside: re.Pattern[bytes]) -> int:
        """Past a string with escapes, whose quote may be followed by another one."""
        while True:
            found = inside.match(self._window, self._at)
            assert found is not None
            self._at = found.end()
            if self._is_over or len(self._window) - self._at >= 2:
                return min(self._at + 1, len(self._window))
            self._fill()

    def _skip_dollars(self) -> None:
        tag = _TAG.match(self._window, self._at)
        before = self._window[max(0, self._at - 1) : self._at]
        if tag is None or _OF_NAMES.match(before):
            self._at += 1
            self._read(b"$")
            return
        self._at = tag.end()
        self._skip_past(tag[0])
        self._read(b"''")

    def _skip_comment(self) -> None:
        begin = self._window[self._at : self._at + 2]
        self._at += len(begin)
        if begin == b"--":
            self._skip_past(b"\n")
        elif begin == b"/*":
            depth = 1
            while depth and (edge := self._next_edge()):
                depth += 1 if edge == b"/*" else -1
        self._read(b" ")

    def _next_edge(self) -> bytes:
        while (found := _COMMENT_EDGE.search(self._window, self._at)) is None:
            self._at = max(self._at, len(self._window) - 1)
            if not self._fill():
                self._at = len(self._window)
                return b""
        self._at = found.end()
        return found[0]

    def _command(self) -> None:
        """One of psql's own, which reach to the end of the line."""
        line, begin = self._count_lines(), self._at
        end = self._window.find(b"\n", begin)
        text = self._window[begin : end if end >= 0 else len(self._window)]
        self._skip_past(b"\n")
        if not _ALLOWED_COMMAND.fullmatch(text):
            found = _COMMAND.match(text)
            self._find(line, found[0] if found else text, "is a command to psql")
