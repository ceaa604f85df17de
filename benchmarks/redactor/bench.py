"""What it costs to keep a hundred forms of secrets out of a log: redactor, beside its likes.

The same log goes, in turns and in one run, through the redactor, through one replacement a form,
and through one regular expression. The goal is 50 MB/s. Type `python -m benchmarks.redactor.bench`.
"""

import base64
import html
import json
import re
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from random import Random
from urllib.parse import quote, quote_plus

from runbook.secret import Secret
from runbook.tools.redactor import Redactor

ROUNDS = 7
SIZE_BYTES = 8 * 1024 * 1024
SECRETS = 13
LINE = b"2026-11-28T02:10:11Z INFO  request id=4f3a9c path=/api/items?page=3 status=200 took=12ms\n"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/='$ &"


def spellings(value: str) -> set[bytes]:
    """The commonest of the forms of a password: a plain search would look for each by itself."""
    texts = {value, quote(value), quote(value, safe=""), quote_plus(value), shlex.quote(value)}
    texts |= {json.dumps(value)[1:-1], json.dumps(value)[1:-1].replace("/", "\\/")}
    texts |= {value.replace("'", "''"), value.replace("'", "'\"'\"'"), html.escape(value)}
    texts |= {quote(value).lower(), value.replace("$", "$$"), value.replace("&", "\\u0026")}
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + value.encode()).decode()[offset + 1 : -2]
        texts |= {encoded, encoded.replace("+", "-").replace("/", "_")}
    return {text.encode() for text in texts}


def main() -> None:
    """Time the three in turns; print their medians and ratios."""
    random = Random(1)
    passwords = ["".join(random.choices(LETTERS, k=24)) for _ in range(SECRETS)]
    redactor = Redactor(map(Secret, passwords))
    forms = sorted({form for password in passwords for form in spellings(password)})
    log = LINE * (SIZE_BYTES // len(LINE))
    pattern = re.compile(b"|".join(map(re.escape, forms)))

    def one_by_one() -> None:
        data = log
        for form in forms:
            data = data.replace(form, b"[secret]")

    ways: dict[str, Callable[[], object]] = {
        "redactor": lambda: redactor.bytes(log),
        "one replacement a form": one_by_one,
        "one regular expression": lambda: pattern.sub(b"[secret]", log),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.process_time()
            way()
            took[name].append(time.process_time() - started)
    base = statistics.median(took["redactor"])
    sys.stdout.write(f"{len(forms)} forms, {len(log) / 1e6:.1f} MB, CPU medians of {ROUNDS}\n")
    for name, times in took.items():
        median = statistics.median(times)
        rate = len(log) / median / 1e6
        sys.stdout.write(f"{name:<24} {rate:7.1f} MB/s  {median / base:6.2f}\n")


if __name__ == "__main__":
    main()
