"""Text to nodes: places, types by YAML 1.2 core, and what is refused."""

import os
import time
from pathlib import Path

import pytest

from runbook.core.plan import Json
from runbook.language.checking import validate
from runbook.language.compile import compile_runbook
from runbook.language.diagnostics import InvalidRunbook
from runbook.language.inputs import declared_defaults
from runbook.language.reading import parse_source
from runbook.language.source import Source
from runbook.registry import Registry


def parse(text: str | bytes) -> Source:
    data = text.encode() if isinstance(text, str) else text
    return parse_source(data, Path("runbook.yaml"), "runbook.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("22:22", "22:22"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("10", 10),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("1.10", 1.1),
        ("010", 10),
        ("-007", -7),
        ("1e3", 1000.0),
        ("'10'", "10"),
        ('"a\\tb"', "a\tb"),
        ("0", 0),
    ],
)
def test_a_scalar_is_read_as_yaml_1_2_core_reads_it(text: str, value: Json) -> None:
    source = parse(f"key: {text}\n")

    assert source.diagnostics == []
    assert source.root.value == {"key": value}


@pytest.mark.parametrize("text", [".inf", ".NaN", "1e999", "9" * 400])
def test_what_json_cannot_hold_must_be_quoted(text: str) -> None:
    source = parse(f"key: {text}\n")

    assert [found.code for found in source.diagnostics] == ["RB104"]


def test_every_scalar_knows_its_text_and_place() -> None:
    source = parse("日本: [a, {語: 'b c'}]\r\nnext: 1.10\r\n")

    node = source.root.at(["日本", 1, "語"])
    number = source.root.at(["next"])

    assert (node.text, node.span.line, node.span.column, node.span.end_column) == (
        "'b c'",
        1,
        13,
        18,
    )
    assert (number.text, number.span.line, number.span.column) == ("1.10", 2, 7)


def test_a_byte_order_mark_moves_no_column() -> None:
    source = parse(b"\xef\xbb\xbfa: .inf\n")

    assert (source.diagnostics[0].line, source.diagnostics[0].column) == (1, 4)


def test_plain_aliases_are_allowed() -> None:
    source = parse("a: &x {b: 1}\nc: *x\n")

    assert source.root.value == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize("text", ["[" * 500_000, "- " * 400_000, "{a: " * 200_000, "{? " * 200_000])
def test_deep_nesting_is_refused_at_once(text: str) -> None:
    began = time.process_time()

    source = parse(text)

    assert source.diagnostics[0].code in ("RB103", "RB108")
    assert time.process_time() - began < 1


def test_a_large_file_is_refused_without_reading_it(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: 1\n" * 2_000_000)
    began = time.process_time()

    with pytest.raises(InvalidRunbook) as raised:
        compile_runbook(path, registry=registry, read=declared_defaults)

    (found,) = raised.value.diagnostics
    assert found.code == "RB108"
    assert "`uses: runbook`" in (found.hint or "")
    assert time.process_time() - began < 1


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_a_finding(
    name: str, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(InvalidRunbook) as raised:
        compile_runbook(tmp_path / name, registry=registry, read=declared_defaults)

    assert [found.code for found in raised.value.diagnostics] == ["RB100"]


@pytest.mark.parametrize(
    ("named", "hint"),
    [
        ("deploy", "did you mean `runbooks/deploy.yaml`?"),
        ("depoy.yaml", "did you mean `runbooks/deploy.yaml`?"),
        ("runbooks/undeploy.yml", "did you mean `runbooks/deploy.yaml`?"),
        ("other.yaml", "expected `runbooks/back.yaml` or `runbooks/deploy.yaml`"),
        ("runbooks", "expected `runbooks/back.yaml` or `runbooks/deploy.yaml`"),
        ("runbooks/project.yaml", "expected `runbooks/back.yaml` or `runbooks/deploy.yaml`"),
    ],
)
def test_where_no_runbook_is_those_that_are_near_are_named(
    named: str, hint: str, tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runbooks").mkdir()
    for name in ("deploy", "back", "project"):
        (tmp_path / "runbooks" / f"{name}.yaml").write_text("project: shop\n")
    monkeypatch.chdir(tmp_path)

    (found,) = validate(Path(named), registry=registry)

    assert found.hint == hint


def test_a_missing_runbook_comes_before_its_environment(tmp_path: Path, registry: Registry) -> None:
    found = validate(tmp_path / "nope.yaml", registry=registry, environment="prod")

    assert [each.code for each in found] == ["RB100"]


def test_a_named_pipe_is_refused_where_it_would_be_waited_for(
    tmp_path: Path, registry: Registry
) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")

    (found,) = validate(tmp_path / "pipe.yaml", registry=registry)

    assert "named pipe" in found.message


def test_a_quoted_merge_key_is_a_key_like_any_other() -> None:
    source = parse("a: {'<<': x, b: y}")

    assert source.root.value == {"a": {"<<": "x", "b": "y"}}
    assert not source.diagnostics


def test_what_is_merged_counts_as_there_and_is_said_once() -> None:
    source = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}")

    assert source.root.value == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}
    assert [found.code for found in source.diagnostics] == ["RB107"]
