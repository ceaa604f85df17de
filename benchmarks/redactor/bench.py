"""What it costs to keep a hundred forms of secrets out of a log: redactor, beside its likes.

The same log goes, in turns and in one run, through the redactor, through one replacement a form,
and through one regular expression. The goal is 50 MB/s. Type `python -m benchmarks.redactor.bench`.
"""

import re
import statistics
import sys
import time
from collections.abc import Callable
from random import Random

from runbook.secret import Secret
from runbook.tools.redactor import Redactor

ROUNDS = 7
SIZE_BYTES = 8 * 1024 * 1024
FORMS = 100
LINE = b"2026-11-28T02:10:11Z INFO  request id=4f3a9c path=/api/items?page=3 status=200 took=12ms\n"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/='$ &"


def hundred_forms() -> Redactor:
    """A redactor that knows as many generated passwords as make a hundred forms."""
    random, redactor = Random(1), Redactor()
    while len(redactor.forms) < FORMS:
        redactor.add(Secret("".join(random.choices(LETTERS, k=24))))
    return redactor


def main() -> None:
    """Time the three in turns; print their medians and ratios."""
    redactor = hundred_forms()
    forms = redactor.forms
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
