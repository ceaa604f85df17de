"""No form of a secret gets past the redactor, and nothing else changes."""

import base64
import json
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

from hypothesis import assume, example, given
from hypothesis import strategies as st

from runbook.secret import MASK, Secret
from runbook.tools.redactor import Redactor

values = st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable())
others = st.text(max_size=30)
FORMS: dict[str, Callable[[str], str]] = {
    "raw": lambda value: value,
    "URL": quote,
    "URL, slashes too": lambda value: quote(value, safe=""),
    "form": quote_plus,
    "JSON": lambda value: json.dumps(value)[1:-1],
    "JSON in UTF-8": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "shell": shlex.quote,
}


@given(values, others, others, st.sampled_from(sorted(FORMS)))
@example("p'a ss/w+rd", "x", "y", "shell")
@example("ключ", "x", "y", "JSON")
def test_no_form_of_a_secret_is_left(value: str, before: str, after: str, form: str) -> None:
    written = FORMS[form](value)
    assume(written not in before + MASK + after)

    redacted = Redactor([Secret(value)]).text(before + written + after)

    assert written not in redacted
    assert MASK in redacted


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


@given(values, others)
def test_what_holds_no_secret_stays_as_it_is(value: str, text: str) -> None:
    redactor = Redactor([Secret(value)])
    assume(not any(form in text.encode("utf-8", "surrogatepass") for form in redactor.forms))

    assert redactor.text(text) == text


@given(st.lists(values, min_size=1, max_size=6), others)
def test_looking_for_shared_parts_first_finds_what_each_form_alone_finds(
    secrets: list[str], text: str
) -> None:
    redactor = Redactor(map(Secret, secrets))
    assume(not any(form in MASK.encode() for form in redactor.forms))
    data = (text + "".join(FORMS[name](secrets[0]) for name in FORMS) + text).encode()
    plain = data
    for form in redactor.forms:
        plain = plain.replace(form, MASK.encode())

    assert redactor.bytes(data) == plain


def test_each_line_of_a_key_is_a_secret_of_its_own() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END KEY-----\n"

    redacted = Redactor([Secret(key)]).text("found MIIEvQIBADANBg, and\nkqhkiG9w0BAQEF")

    assert redacted == f"found {MASK}, and\n{MASK}"


def test_a_secret_within_another_leaves_nothing_of_either() -> None:
    redactor = Redactor([Secret("hunter"), Secret("hunter2-and-more")])

    assert redactor.text("hunter2-and-more, hunter") == f"{MASK}, {MASK}"
