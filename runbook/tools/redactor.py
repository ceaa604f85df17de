"""Redactor: takes secrets, in every form that they take, out of whatever is about to be written."""

import base64
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from runbook.secret import MASK, Secret

_SAME_IN_EVERY_FORM = re.compile(rb"[A-Za-z0-9_]+")
"""No way of quoting changes these."""


class Redactor:
    """Replaces every form of every known secret.

    Forms: raw, each line of a multi-line value, URL-quoted, JSON-escaped, shell-quoted, and base64
    in its three alignments. Longest first, so that a secret inside another leaves nothing behind.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._needles: dict[bytes, bytes] = {}
        """By each form a part of it, shared with its likes: looked for first, which is faster."""
        self.longest = 0
        """Bytes of the longest form: how much a reader of chunks must carry over."""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret) -> None:
        """Know one more secret from now on."""
        for forms in _families(secret.reveal()):
            needle = _shared_part(forms)
            self._needles |= {form: needle or form for form in forms}
        self.longest = max(map(len, self._needles), default=0)

    @property
    def forms(self) -> tuple[bytes, ...]:
        """Everything that is looked for, longest first."""
        return tuple(sorted(self._needles, key=lambda form: (-len(form), form)))

    def bytes(self, data: bytes) -> bytes:
        """The data without any secret."""
        found = {needle for needle in set(self._needles.values()) if needle in data}
        if not found:
            return data
        for form in self.forms:
            if self._needles[form] in found:
                data = data.replace(form, MASK.encode())
        return data

    def text(self, text: str) -> str:
        """The text without any secret."""
        return self.bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _families(value: str) -> Iterator[set[bytes]]:
    """The forms of a value, those together that differ in how they quote it."""
    for piece in {value, *(line for line in value.splitlines() if len(line) >= 4)}:
        texts = {piece, quote(piece), quote(piece, safe=""), quote_plus(piece), shlex.quote(piece)}
        texts |= {json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1]}
        texts.add(piece.replace("'", "'\"'\"'"))
        yield {text.encode() for text in texts if text}
        yield from _base64_families(piece.encode())


def _base64_families(value: bytes) -> Iterator[set[bytes]]:
    """The part of the base64 text that is the same whatever stands before and after the value."""
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value)
        first = -(-offset * 8 // 6)  # sextets that hold bits of what stands before
        last = (offset + len(value)) * 8 // 6  # sextets wholly filled by the value
        core = encoded[first:last]
        if len(core) >= 6:
            yield {core, core.replace(b"+", b"-").replace(b"/", b"_")}


def _shared_part(forms: set[bytes]) -> bytes:
    """The longest run of plain letters that stands in every one of them; empty: there is none."""
    runs = _SAME_IN_EVERY_FORM.findall(min(forms, key=len))
    shared = [run for run in runs if all(run in form for form in forms)]
    return max(shared, key=len, default=b"")
