"""command: what it runs, what it yields, and how doubt is settled."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from runbook.core.plan import Effect
from runbook.errors import CommandFailed
from runbook.facts import EffectFrom
from runbook.kinds import Done, HalfDone, NotDone, Result, Unknown
from runbook.language.checking import validate
from runbook.registry import discover
from runbook.secret import Secret
from runbook.steps.command import STEP, RunCommand


def command(base: object = "", **fields: Any) -> RunCommand:
    return RunCommand.model_validate(fields, context={"base": str(base)})


def run(spec: RunCommand, context: Any) -> Any:
    outcome = STEP.run(spec, context)
    assert isinstance(outcome, Result)
    return outcome


@pytest.mark.parametrize(
    ("shape", "stdout"),
    [("none", None), ("text", "[1]\n"), ("lines", ["[1]"]), ("json", [1])],
)
def test_what_it_prints_has_the_shape_that_was_asked_for(
    make_context: Any, shape: str, stdout: object
) -> None:
    outcome = run(command(argv=["echo", "[1]"], output=shape), make_context())

    assert outcome.changed
    assert (outcome.outputs.exit_code, outcome.outputs.stdout) == (0, stdout)


def test_a_script_stops_at_its_first_failure_and_says_how(make_context: Any) -> None:
    script = "echo begin\nfalse | true\necho lost >&2\n"

    with pytest.raises(CommandFailed) as caught:
        run(command(script=script), make_context())

    assert caught.value.message == "`script: echo begin` ended with exit code 1, expected 0"
    assert caught.value.output_tail == ("begin",)


def test_it_runs_beside_the_file_that_names_it_with_its_variables(
    make_context: Any, tmp_path: Any
) -> None:
    secret = Secret("hunter2")
    spec = command(
        tmp_path, script="pwd; printf %s ${#TOKEN}", environment={"TOKEN": secret}, output="lines"
    )

    outcome = run(spec, make_context())

    assert outcome.outputs.stdout == [str(tmp_path), "7"]
    assert STEP.by_hand is not None
    assert "hunter2" not in repr((spec, STEP.describe(spec), STEP.by_hand(spec)))


def test_text_that_is_no_json_fails(make_context: Any) -> None:
    with pytest.raises(CommandFailed, match="printed no JSON"):
        run(command(argv=["echo", "{"], output="json"), make_context())


def test_a_reading_command_changes_nothing(make_context: Any) -> None:
    raw = {"argv": ["true"], "effect": "reads"}

    assert isinstance(STEP.effect, EffectFrom)
    assert STEP.effect.of(raw) is Effect.READS
    assert not run(command(**raw), make_context()).changed
    with pytest.raises(CommandFailed) as caught:
        run(command(argv=["false"], effect="reads"), make_context())
    assert not caught.value.changed


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({}, Unknown),
        ({"probe": ["true"]}, Done),
        ({"probe": ["false"]}, NotDone),
        ({"probe": ["sh", "-c", "exit 2"]}, Unknown),
        ({"creates": "there"}, Done),
        ({"creates": "absent"}, NotDone),
        ({"creates": "there", "probe": ["false"]}, NotDone),
        ({"creates": "there", "output": "text"}, Unknown),
    ],
)
def test_doubt_is_settled_by_what_the_author_gave(
    make_context: Any, tmp_path: Any, fields: dict[str, Any], verdict: type
) -> None:
    (tmp_path / "there").touch()
    assert STEP.probe is not None

    found = STEP.probe(command(tmp_path, argv=["true"], **fields), make_context())

    assert isinstance(found, verdict)


@pytest.mark.parametrize("fields", [{}, {"argv": ["a"], "script": "b"}, {"argv": []}])
def test_there_is_exactly_one_command(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        command(**fields)


def test_a_migration_that_finds_nothing_to_do_has_changed_nothing(
    shop: Any, make_context: Any
) -> None:
    shop.fill()
    reader = sqlite3.connect(shop.db.path)  # keeps what is new in the log
    reader.execute("SELECT 1 FROM orders").fetchall()

    def migrate(statement: str) -> Any:
        context = make_context(step_id=statement, resources={"db": shop.db})
        program = f"import sqlite3; c = sqlite3.connect({str(shop.db.path)!r})"
        argv = ["python3", "-c", f"{program}; c.execute({statement!r}); c.commit()"]
        return run(command(argv=argv, changes="db"), context)

    assert not migrate("SELECT 1").changed
    assert not migrate("INSERT INTO orders (item) VALUES ('by a client meanwhile')").changed
    assert migrate("ALTER TABLE orders ADD COLUMN colour").changed
    assert migrate("CREATE TABLE knex_migrations (name)").changed
    assert migrate("INSERT INTO knex_migrations VALUES ('0001')").changed
    assert migrate("PRAGMA user_version = 7").changed
    reader.close()


def test_a_migration_that_failed_half_way_has_changed_what_its_retry_only_ends(
    shop: Any, make_context: Any
) -> None:
    shop.fill()
    context = make_context(resources={"db": shop.db})
    program = f"import sqlite3, sys; c = sqlite3.connect({str(shop.db.path)!r})"
    argv = ["python3", "-c", f"{program}; c.execute('CREATE TABLE IF NOT EXISTS new (n)'); %s"]

    with pytest.raises(CommandFailed) as caught:
        run(command(argv=[*argv[:2], argv[2] % "sys.exit(1)"], changes="db"), context)
    retried = run(command(argv=[*argv[:2], argv[2] % ""], changes="db"), context)

    assert caught.value.changed
    assert retried.changed


def test_half_a_migration_that_touched_only_rows_has_changed_something(
    shop: Any, make_context: Any
) -> None:
    shop.fill()
    context = make_context(resources={"db": shop.db})
    program = f"import sqlite3, sys; c = sqlite3.connect({str(shop.db.path)!r})"
    half = f"{program}; c.execute('DELETE FROM orders WHERE id < 5'); c.commit(); sys.exit(1)"
    spec = command(argv=["python3", "-c", half], changes="db", probe=["false"])

    with pytest.raises(CommandFailed) as caught:
        run(spec, context)
    found = STEP.probe and STEP.probe(spec, context)

    assert caught.value.changed
    assert isinstance(found, HalfDone)


def test_where_the_database_cannot_be_read_before_it_counts_as_changed(
    shop: Any, make_context: Any
) -> None:
    shop.db.path.write_bytes(b"rubbish" * 1000)
    context = make_context(resources={"db": shop.db})

    assert run(command(argv=["rm", str(shop.db.path)], changes="db"), context).changed
    assert run(command(argv=["true"], changes="db"), context).changed


@pytest.mark.parametrize(
    ("said", "codes"), [("", ["RB307"]), (", output: none", ["RB307"]), (", output: text", [])]
)
def test_what_it_prints_can_be_used_only_where_it_is_asked_for(
    said: str, codes: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "deploy.yaml"
    file.write_text(
        "runbook: v1\nname: deploy\nsteps:\n"
        f"  - {{id: look, uses: command, with: {{argv: [date], effect: reads{said}}}}}\n"
        "  - {id: keep, uses: set, with: {value: '${{ steps.look.outputs.stdout }}'}}\n"
    )

    assert [found.code for found in validate(file, registry=discover())] == codes
