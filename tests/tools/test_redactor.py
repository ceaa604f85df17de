"""No form of a secret gets past the redactor, and nothing else changes."""

import base64
import html
import json
import re
import shlex
import subprocess
from collections.abc import Callable
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from runbook.secret import MASK, Secret
from runbook.tools.redactor import RedactedStream, Redactor

values = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())
others = st.text(max_size=30)
FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda value: value,
    "URL": quote,
    "URL, slashes too": lambda value: quote(value, safe=""),
    "URL, lower case": lambda value: re.sub("%..", lambda hit: hit[0].lower(), quote(value)),
    "URL in a URL": lambda value: quote(quote(value)),
    "form": quote_plus,
    "JSON": lambda value: json.dumps(value)[1:-1],
    "JSON in UTF-8": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "JSON, as PHP writes it": lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
    "JSON for HTML, as Go writes it": lambda value: (
        json.dumps(value, ensure_ascii=False)[1:-1].replace("&", "\\u0026").replace("<", "\\u003c")
    ),
    "JSON in JSON": lambda value: json.dumps(json.dumps(value)),
    "shell": shlex.quote,
    "shell, double quotes": lambda value: value.replace("'", "'\"'\"'"),
    "SQL": lambda value: value.replace("'", "''"),
    "CSV": lambda value: value.replace('"', '""'),
    "Python": repr,
    "Python in ASCII": ascii,
    "Python, bytes": lambda value: repr(value.encode())[2:-1],
    "HTML": html.escape,
    "HTML, decimal": lambda value: html.escape(value).replace("&#x27;", "&#39;"),
    "HTML, ASCII": lambda value: (
        html.escape(value, quote=False).encode("ascii", "xmlcharrefreplace").decode()
    ),
    "compose file": lambda value: value.replace("$", "$$"),
}


@settings(deadline=None)
@given(values, others, others, st.sampled_from(sorted(FORMS)))
@example("p'a ss/w+rd", "x", "y", "shell")
@example("ключ", "x", "y", "JSON")
@example("\U0001f600 key", "x", "y", "JSON")
@example("\\'\"", "x", "y", "JSON in JSON")
def test_no_form_of_a_secret_is_left(value: str, before: str, after: str, form: str) -> None:
    written = FORMS[form](value)
    assume(written not in before + MASK + after)

    redacted = Redactor([Secret(value)]).text(before + written + after)

    assert written not in redacted
    assert MASK in redacted


AS_BASH_SHOWS_THEM = r"""
while IFS= read -r -d '' value; do
  printf '%q\n' "$value"
  echo "${value@Q}"
  (set -x; : "$value" "--token=$value") 2>&1
  declare -p value
done
"""
ODD = ["it's", "a b&c", "tab\tand\nline two", "ünï'cödé $x", 'q"u`o\\te!', "bell\a\x1b[0m", "~a#*?"]


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_nothing_of_a_secret_is_left_of_what_bash_shows(locale: str) -> None:
    marked = [f"Xx9{odd}9xX" for odd in ODD]

    shown = subprocess.run(
        ["bash", "-c", AS_BASH_SHOWS_THEM],
        input="".join(f"{value}\0" for value in marked).encode(),
        env={"LC_ALL": locale, "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=True,
    ).stdout
    redacted = Redactor(map(Secret, marked)).bytes(shown)

    assert shown.count(b"Xx9") >= 5 * len(ODD)
    assert b"Xx9" not in redacted
    assert b"9xX" not in redacted


@settings(deadline=None)
@given(st.binary(max_size=9), st.text(min_size=8, max_size=40), st.binary(max_size=9))
def test_a_secret_inside_of_base64_is_not_left_whatever_stands_around_it(
    before: bytes, value: str, after: bytes
) -> None:
    assume("\n" not in value and "\r" not in value)
    secret = value.encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        encoded = encode(before + secret + after)

        redacted = Redactor([Secret(value)]).bytes(encoded)

        assert MASK.encode() in redacted
        kept = redacted.split(MASK.encode())
        # What is left decodes to less than four bytes of the secret, however it is aligned.
        for part in kept:
            for offset in range(4):
                text = part[offset : offset + (len(part) - offset) // 4 * 4]
                plain = base64.b64decode(text.replace(b"-", b"+").replace(b"_", b"/"))
                assert not any(
                    secret[i : i + 6] in plain and secret[i : i + 6] not in before + after
                    for i in range(len(secret) - 5)
                )


SECRET = "c4nary/secret+of~fourty?bytes,more=or*less"


@pytest.mark.parametrize("width", [60, 64, 76])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\n    ", "\\n"])
def test_base64_that_is_wrapped_after_other_text_shows_nothing(width: int, line_end: str) -> None:
    redactor, whole = Redactor([Secret(SECRET)]), len(base64.b64encode(SECRET.encode()))
    for offset in range(90):
        encoded = base64.b64encode(b"." * offset + SECRET.encode() + b"." * 50).decode()
        lines = [encoded[at : at + width] for at in range(0, len(encoded), width)]

        redacted = redactor.text(line_end.join(lines))

        left = len(line_end.join(lines)) - len(redacted.replace(MASK, ""))
        assert left >= whole - 4


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([SECRET, "\n", "x", "\r\n", "ю", "Q" * 60]), max_size=8),
    st.sampled_from([base64.b64encode, base64.encodebytes, lambda data: data]),
    st.lists(st.integers(0, 400), max_size=9),
    st.integers(0, 80),
)
def test_what_comes_in_pieces_shows_no_more_than_what_comes_at_once(
    texts: list[str], encode: Callable[[bytes], bytes], cuts: list[int], offset: int
) -> None:
    data = encode(b"-" * offset + "".join(texts).encode()) + b"\nend"
    stream = RedactedStream(redactor := Redactor([Secret(SECRET)]))
    borders = [0, *sorted(cuts), len(data)]

    pieces = [stream.feed(data[start:end]) for start, end in pairwise(borders)]

    assert b"".join([*pieces, stream.finish()]) == redactor.bytes(data)


def test_a_stream_gives_lines_at_once_and_does_not_hoard_base64() -> None:
    stream = RedactedStream(Redactor([Secret(SECRET)]))
    line = b"Q" * 76 + b"\n"

    given = [stream.feed(data) for data in (b"one\ntwo", b"\n", line, line * 99)]

    assert given[:3] == [b"one\n", b"two\n", b""]
    assert len(given[3]) >= 97 * len(line)
    assert b"".join([*given, stream.finish()]) == b"one\ntwo\n" + line * 100


def test_a_long_line_in_pieces_is_looked_through_once() -> None:
    looked_at: list[int] = []

    class Counting(Redactor):
        def spans(self, data: bytes) -> list[tuple[int, int]]:
            looked_at.append(len(data))
            return super().spans(data)

    stream = RedactedStream(Counting([Secret(SECRET)]))
    given = b"".join([*(stream.feed(b"." * 1000) for _ in range(50)), stream.finish()])

    assert given == b"." * 50_000
    assert sum(looked_at) == 50_000


@settings(deadline=None)
@given(values, others)
def test_what_holds_no_secret_stays_as_it_is(value: str, text: str) -> None:
    redactor = Redactor([Secret(value)])
    assume(not redactor.spans(text.encode("utf-8", "surrogatepass")))

    assert redactor.text(text) == text


@settings(deadline=None)
@given(st.text("abc/+'\" \\", min_size=1, max_size=8), st.text("xyz/+'\" \\", max_size=30))
def test_a_text_without_the_letters_of_a_secret_stays_as_it_is(value: str, text: str) -> None:
    assume(re.search("[abc]", value))

    assert Redactor([Secret(value)]).text(text) == text


def test_each_line_of_a_key_is_a_secret_of_its_own() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"

    redacted = Redactor([Secret(key)]).text("found MIIEvQIBADANBg, and\nkqhkiG9w0BAQEF")

    assert redacted == f"found {MASK}, and\n{MASK}"


def test_secrets_within_or_over_one_another_leave_nothing_of_either() -> None:
    redactor = Redactor([Secret("hunter"), Secret("hunter2-and-more"), Secret("more-2")])

    assert redactor.text("hunter2-and-more, hunter") == f"{MASK}, {MASK}"
    assert redactor.text("hunter2-and-more-2!") == f"{MASK}!"
