"""Whatever is in a file: it is answered by findings, soon, and by nothing else."""

import json
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook.errors import InputError
from runbook.language.compile import compile_runbook
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.inputs import declared_defaults
from runbook.registry import Registry

WORDS = st.sampled_from(
    [
        "runbook:",
        "v1",
        "name",
        "deploy",
        "steps",
        "-",
        "id",
        "uses",
        "with",
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        '"',
        "'",
        "|",
        ">",
        "&",
        "*",
        "!",
        "%",
        "@",
        "#",
        "\n",
        "\t",
        "${{",
        "}}\n",
        "",
        "",
        "",
        "inputs.",
        "steps.a.outputs",
        "http_check",
        "parallel",
        "when",
        "finally",
        "on_failure",
        "runbook",
        "for",
        "a",
        "b",
        "010",
        "no",
        "1.10\n",
        "",
        "",
        "",
        "type",
        "string",
        "default",
        "secrets",
        "env",
        "resources",
        "sqlite",
        "path",
        "&",
        "&a",
        "*a",
        "<<",
        "<<:",
        "?",
        "---",
        "...",
    ]
)
RUBBISH = st.one_of(
    st.text(max_size=300),
    st.binary(max_size=300),
    st.lists(WORDS, max_size=60).map(" ".join),
    st.lists(WORDS, max_size=40).map(lambda words: "runbook: v1\nname: a\n" + " ".join(words)),
)
SHAPES: st.SearchStrategy[object] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
KEYS = ["inputs", "vars", "secrets", "resources", "steps", "on_failure", "finally", "for", "lock"]


@settings(max_examples=300, deadline=None)
@given(text=RUBBISH)
def test_rubbish_is_answered_by_findings_and_nothing_else(
    text: str | bytes, tmp_path_factory: pytest.TempPathFactory, registry: Registry
) -> None:
    path = tmp_path_factory.getbasetemp() / "rubbish.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)

    began_s = time.process_time()
    with pytest.raises(InvalidRunbook) as raised:
        compile_runbook(path, registry=registry, read=declared_defaults)

    assert raised.value.diagnostics
    assert time.process_time() - began_s < 1


STEP_KEYS = [
    "with",
    "when",
    "timeout",
    "retry",
    "on_error",
    "undoes",
    "rerun",
    "irreversible",
    "name",
]
KINDS = ["backup_db", "checkout", "command", "confirm", "http_check", "process_up", "restore_db"]


@settings(max_examples=300, deadline=None)
@given(
    top=st.dictionaries(st.sampled_from(KEYS), SHAPES, max_size=6),
    steps=st.lists(
        st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(STEP_KEYS), SHAPES)),
        max_size=3,
    ),
)
def test_rubbish_in_the_right_shape_is_answered_by_findings_too(
    top: dict[str, object],
    steps: list[tuple[str, dict[str, object]]],
    tmp_path_factory: pytest.TempPathFactory,
    registry: Registry,
) -> None:
    listed = [{"id": f"s{n}", "uses": kind, **rest} for n, (kind, rest) in enumerate(steps)]
    document = {"runbook": "v1", "name": "a", "steps": listed, **top}
    path = tmp_path_factory.getbasetemp() / "shaped.yaml"
    path.write_text(json.dumps(document), encoding="utf-8")

    began_s = time.process_time()
    try:
        compile_runbook(path, registry=registry, read=declared_defaults)
    except (InvalidRunbook, InputError) as error:
        assert error.message
    assert time.process_time() - began_s < 1


@pytest.mark.slow
def test_ten_thousand_mutated_runbooks_are_answered_by_findings_and_as_the_schema_does() -> None:
    seed = random.randrange(10**9)

    ended = subprocess.run(
        [sys.executable, "-m", "tests.language.rubbish", str(seed), "10000"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, f"seed {seed}: {ended.stderr[-3000:]}"
    told = json.loads(ended.stdout)
    assert sum(told["outcomes"].values()) == 10_000
    assert told["outcomes"].keys() == {"valid", "invalid"}, f"seed {seed}: {told['outcomes']}"
    assert min(told["outcomes"].values()) > 100
    assert told["slowest_s"] < 1, f"seed {seed}"
    assert told["peak_bytes"] < 200e6
    assert told["disagreements"] == [], f"seed {seed}"
