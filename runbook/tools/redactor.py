"""Redactor: takes secrets, in every form that they take, out of whatever is about to be written."""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from html.entities import codepoint2name
from itertools import groupby

from runbook.secret import MASK, Secret

_PLAIN = re.compile(rb"[A-Za-z0-9_]+")
"""No way of quoting changes these, so that they are looked for first: that is much faster."""
_BACKSLASHES = rb"\\{1,8}"
"""One, or more where what is quoted was quoted before."""
_ESCAPES = {
    "\0": b"0", "\a": b"a", "\b": b"b", "\t": b"t", "\n": b"n",
    "\v": b"v", "\f": b"f", "\r": b"r", "\x1b": b"e",
}  # fmt: skip
_PECULIAR = {
    " ": (rb"\+",),  # a form's
    "'": (rb"'\\{1,8}''", rb"""'"'"'""", b"''"),  # a shell's, and SQL's
    '"': (b'""',),  # CSV's
    "$": (rb"\$\$",),  # that of compose files
    "%": (b"%%",),  # printf's
    "\n": (rb"\r\n",),  # a terminal's
}
_LINE_BREAK = rb"(?:\r?\n[ \t]*|(?:\\{1,8}r)?\\{1,8}n)?"
_NARROWEST = 56
"""Characters of base64 text to a line, at least: it is broken at 60, 64 or 76."""
_BASE64 = bytes(97 if re.match(rb"[\w+/-]", bytes([byte])) else 32 for byte in range(256))
"""Makes every letter of base64 text an `a`, and a space of the rest: long words are soon found."""
_GOES_ON = re.compile(rb"[\w+/-]{%d}\r?\n\Z" % _NARROWEST)


@dataclass(frozen=True)
class _Form:
    """One way in which a secret is written down: as text, whatever quotes it, or as base64."""

    text: str = field(repr=False)
    is_base64: bool = False

    @cached_property
    def pattern(self) -> "re.Pattern[bytes]":
        """Finds it; made only once it may be there, since a key has many lines."""
        if self.is_base64:
            return re.compile(_LINE_BREAK.join(map(_base64_ways, self.text)))
        runs = groupby(self.text)
        return re.compile(b"".join(_ways(char, len([*run])) for char, run in runs))

    @cached_property
    def needle(self) -> bytes:
        """A part of it that is the same however it is quoted; empty: there is none."""
        return max(_PLAIN.findall(self.text.encode()), key=len, default=b"")

    @cached_property
    def halves(self) -> tuple[bytes, bytes]:
        """Two parts, of which a break between two lines leaves at least one as it is."""
        start = self.text[:_NARROWEST]
        middle = len(start) // 2
        first, second = _Form(start[:middle]), _Form(start[middle:])
        return first.needle, second.needle


class Redactor:
    """Replaces every form of every known secret.

    Its text and each line of it, quoted as shells, URLs, JSON, SQL, HTML and programming languages
    do, once or several times over; and base64 in its three alignments, in one line or wrapped.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._forms: dict[_Form, None] = {}
        self._shortest = _NARROWEST
        """Characters of the shortest form that is base64."""
        self.longest = 0
        """Bytes that a secret takes at most, wrapped as base64."""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret) -> None:
        """Know one more secret from now on."""
        value = secret.reveal()
        for piece in {value, *(line for line in value.splitlines() if len(line) >= 4)}:
            if piece:
                self._forms |= dict.fromkeys(_forms(piece))
        lengths = [len(form.text) for form in self._forms if form.is_base64]
        self._shortest = min([self._shortest, *lengths])
        self.longest = max(self.longest, 2 * len(value.encode()))

    def spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets stand, in order; those that overlap are one."""
        words = data.translate(_BASE64)
        has_base64, is_wrapped = b"a" * self._shortest in words, b"a" * _NARROWEST in words
        found = sorted(
            match.span()
            for form in self._forms
            if ((has_base64 or not form.is_base64) and form.needle in data)
            or (is_wrapped and form.is_base64 and any(half in data for half in form.halves))
            for match in form.pattern.finditer(data)
        )
        spans: list[tuple[int, int]] = []
        for span in found:
            if spans and span[0] < spans[-1][1]:
                start, end = spans.pop()
                spans.append((start, max(end, span[1])))
            else:
                spans.append(span)
        return spans

    def bytes(self, data: bytes) -> bytes:
        """The data without any secret."""
        parts, at = [], 0
        for start, end in self.spans(data):
            parts += [data[at:start], MASK.encode()]
            at = end
        return b"".join([*parts, data[at:]]) if parts else data

    def text(self, text: str) -> str:
        """The text without any secret."""
        return self.bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


class RedactedStream:
    """What comes in pieces, without any secret: whole lines, once no secret goes on behind them."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._pending = b""

    def feed(self, data: bytes) -> bytes:
        """What is certain by now."""
        self._pending += data
        return self._take(self._settled())

    def finish(self) -> bytes:
        """The rest: nothing follows."""
        return self._take(len(self._pending))

    def _take(self, end: int) -> bytes:
        taken, self._pending = self._pending[:end], self._pending[end:]
        return self._redactor.bytes(taken)

    def _settled(self) -> int:
        """Where the last line ends behind which no secret goes on, as in wrapped base64 it does."""
        data = self._pending
        end = data.rfind(b"\n") + 1
        reach = len(data) - self._redactor.longest
        while end > reach and _GOES_ON.search(data, max(end - _NARROWEST - 2, 0), end):
            end = data.rfind(b"\n", 0, end - 1) + 1
        if 0 < end <= reach:  # whatever has begun before is all there
            for start, to in reversed(self._redactor.spans(data)):
                end = data.rfind(b"\n", 0, start) + 1 if start < end < to else end
        return end


def _forms(piece: str) -> Iterator[_Form]:
    yield _Form(piece)
    value = piece.encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value).decode()
        first = -(-offset * 8 // 6)  # sextets that hold bits of what stands before
        last = (offset + len(value)) * 8 // 6  # sextets wholly filled by the value
        if last - first >= 6:
            yield _Form(encoded[first:last], is_base64=True)


@lru_cache(maxsize=512)
def _ways(char: str, count: int) -> bytes:
    """Matches so many of a character, in any of the ways in which it is written."""
    raw = char.encode()
    times = b"{%d}" % count if count > 1 else b""
    if _PLAIN.fullmatch(raw):
        return raw + times
    code = ord(char)
    utf16 = char.encode("utf-16-be")
    units = [utf16[at : at + 2] for at in range(0, len(utf16), 2)]
    ways = [
        rb"\\{0,8}" + re.escape(raw),
        b"".join(b"%%(?:25){0,3}%02x" % byte for byte in raw),
        b"".join(_BACKSLASHES + b"x%02x" % byte for byte in raw),
        b"".join(_BACKSLASHES + b"0?%03o" % byte for byte in raw),
        b"".join(_BACKSLASHES + b"u" + unit.hex().encode() for unit in units),
        _BACKSLASHES + b"u%08x" % code,
        _BACKSLASHES + rb"[ux]\{0*%x\}" % code,
        *((_BACKSLASHES + b"x%02x" % code,) if code < 256 else ()),
        b"&(?:amp;)*#(?:0*%d|x0*%x);" % (code, code),
        *_PECULIAR.get(char, ()),
    ]
    name = "apos" if char == "'" else codepoint2name.get(code)
    ways += [b"&(?:amp;)*%s;" % name.encode()] if name else []
    ways += [_BACKSLASHES + _ESCAPES[char]] if char in _ESCAPES else []
    if char == "\\":
        ways[0] = rb"\\{%d,%d}" % (count, 9 * count)
        return b"(?i:%s|%s)" % (ways[0], b"|".join(b"(?:%s)%s" % (w, times) for w in ways[1:]))
    return b"(?i:" + b"|".join(b"(?:%s)%s" % (way, times) for way in ways) + b")"


def _base64_ways(char: str) -> bytes:
    """Matches a character of base64 text, or its likes where they stand in URLs."""
    instead = {"+": b"-", "/": b"_"}
    return b"(?:%s|%s)" % (_ways(char, 1), instead[char]) if char in instead else char.encode()
