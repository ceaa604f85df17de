"""Redactor: takes secrets, in every form that they take, out of whatever is about to be written."""

import base64
import json
import shlex
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

from runbook.secret import MASK, Secret


class Redactor:
    """Replaces every form of every known secret.

    Forms: raw, each line of a multi-line value, URL-quoted, JSON-escaped, shell-quoted, and base64
    in its three alignments. Longest first, so that a secret inside another leaves nothing behind.
    """

    def __init__(self, secrets: Iterable[Secret] = ()) -> None:
        self._forms: tuple[bytes, ...] = ()
        self.longest = 0
        """Bytes of the longest form: how much a reader of chunks must carry over."""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: Secret) -> None:
        """Know one more secret from now on."""
        forms = {*self._forms, *_forms(secret.reveal())}
        self._forms = tuple(sorted(forms, key=lambda form: (-len(form), form)))
        self.longest = len(self._forms[0]) if self._forms else 0

    def bytes(self, data: bytes) -> bytes:
        """The data without any secret."""
        for form in self._forms:
            data = data.replace(form, MASK.encode())
        return data

    def text(self, text: str) -> str:
        """The text without any secret."""
        return self.bytes(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


def _forms(value: str) -> set[bytes]:
    pieces = {value, *(line for line in value.splitlines() if len(line) >= 4)}
    forms: set[bytes] = set()
    for piece in pieces:
        texts = {piece, quote(piece), quote(piece, safe=""), quote_plus(piece), shlex.quote(piece)}
        texts |= {json.dumps(piece)[1:-1], json.dumps(piece, ensure_ascii=False)[1:-1]}
        texts.add(piece.replace("'", "'\"'\"'"))
        forms |= {text.encode() for text in texts}
        forms |= _base64_forms(piece.encode())
    return {form for form in forms if form}


def _base64_forms(value: bytes) -> set[bytes]:
    """The part of the base64 text that is the same whatever stands before and after the value."""
    forms = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value)
        first = -(-offset * 8 // 6)  # sextets that hold bits of what stands before
        last = (offset + len(value)) * 8 // 6  # sextets wholly filled by the value
        core = encoded[first:last]
        if len(core) >= 6:
            forms |= {core, core.replace(b"+", b"-").replace(b"/", b"_")}
    return forms
