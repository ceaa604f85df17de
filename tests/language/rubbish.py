"""Mutated runbooks, as many as are asked for: `python -m tests.language.rubbish SEED COUNT`.

Prints, as JSON, what became of them. A process of its own, so that its memory can be told.
"""

import json
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import jsonschema

from runbook.errors import RunbookError
from runbook.language.checking import validate
from runbook.language.reading import read_source
from runbook.registry import discover

ROOT = Path(__file__).parents[2]
SAMPLES = [
    *sorted((ROOT / "runbooks").rglob("*.yaml")),
    *sorted((ROOT / "tests/language/errors").rglob("*.yaml")),
]
PIECES = [
    *("${{", "}}", "${{ inputs.x }}", "${{ steps.a.outputs.b }}", "*a", "&a", "<<: *a", "!!x/y"),
    *("\t", "\0", "\u2028", "\ufeff", "é", "漢", "\U0001f469\u200d\U0001f467", "\r", "---\n"),
    *(": ", "- ", "? ", "| ", "> ", "# ", "0x1F", "1e999", "-0", "2026-01-01", "9" * 400),
    *("{", "}", "[", "]", "'", '"', ",", "\\", "%", "@", "`", "yes", "no", "null", "~", "010"),
    *("1.10", "a" * 5000, "for_each", "uses: runbook", "parallel", "finally", "on_failure"),
    *("secrets", "with", "when: true", "retry", "id: a"),
]
SHAPE = {"RB201", "RB202", "RB203", "RB205"}
"""What the program says of a shape; it and the schema that editors use must agree."""


def _peak_bytes() -> int:
    """Of this program alone: `ru_maxrss` would count whoever has started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def mutated(text: str, dice: random.Random) -> bytes:
    """A text with a few things wrong with it."""
    for _ in range(dice.choice([1, 1, 2, 4])):
        lines = text.splitlines(keepends=True) or [""]
        at, line = dice.randrange(len(text) + 1), dice.randrange(len(lines))
        match dice.randrange(8):
            case 0:
                text = text[:at] + dice.choice(PIECES) + text[at:]
            case 1:
                text = text[:at] + text[at + dice.randint(1, 30) :]
            case 2:
                text = "".join(lines[:line] + lines[line + 1 :])
            case 3:
                text = "".join([*lines, lines[line]])
            case 4:
                indented = " " * dice.randint(0, 9) + lines[line].lstrip()
                text = "".join([*lines[:line], indented, *lines[line + 1 :]])
            case 5:
                dice.shuffle(lines)
                text = "".join(lines)
            case 6:
                word = dice.choice(text.split() or [""])
                text = text.replace(word, dice.choice(PIECES), 1)
            case _:
                other = dice.choice(SAMPLES).read_text("utf-8", "replace")
                text = text[:at] + other[dice.randrange(len(other) + 1) :][:400] + text[at:]
    raw = text.encode("utf-8", "surrogatepass")
    if dice.random() < 0.1:
        at = dice.randrange(len(raw) + 1)
        raw = raw[:at] + dice.randbytes(dice.randint(1, 9)) + raw[at:]
    return raw


def main(seed: int, count: int) -> None:
    """Validate them all, in a folder that holds what the samples name."""
    dice, registry = random.Random(seed), discover()
    schema = json.loads((ROOT / "schemas" / "runbook.schema.json").read_text())
    editor = jsonschema.Draft202012Validator(schema)
    outcomes: Counter[str] = Counter()
    slowest_s, disagreements = 0.0, []
    texts = [path.read_text("utf-8", "replace") for path in SAMPLES]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "runbooks", folder, dirs_exist_ok=True)
        path = Path(folder, "rubbish.yaml")
        for number in range(count):
            path.write_bytes(mutated(dice.choice(texts[: dice.choice([8, len(texts)])]), dice))
            began_s = time.process_time()
            try:
                found = validate(path, registry=registry)
            except RunbookError as error:
                outcomes[error.code] += 1
                continue
            slowest_s = max(slowest_s, time.process_time() - began_s)
            codes = {each.code for each in found if each.is_error}
            outcomes["invalid" if codes else "valid"] += 1
            source = read_source(path)
            if number % 10 == 0 and source.is_readable and isinstance(source.root.value, dict):
                is_fit = editor.is_valid(source.root.value)
                if (is_fit and codes & SHAPE) or not (is_fit or codes):
                    disagreements.append(path.read_text("utf-8", "replace"))
    peak_bytes = _peak_bytes()
    told = {"outcomes": outcomes, "slowest_s": slowest_s, "peak_bytes": peak_bytes}
    print(json.dumps({**told, "disagreements": disagreements[:5]}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
