import sqlite3
from pathlib import Path

import pytest

from runbook.errors import StepError, Unfit
from runbook.tools.sqlite import (
    Fingerprint,
    back_up,
    checkpoint,
    fingerprint_of,
    holders,
    integrity_problems,
    row_counts,
)


def database(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()
    return path


def fingerprint(path: Path, *statements: str) -> Fingerprint:
    return fingerprint_of(database(path, *statements))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES ('1')"),
        ("INSERT INTO t VALUES ('a')", "INSERT INTO t VALUES (x'61')"),
        ("INSERT INTO t VALUES (NULL)", "INSERT INTO t VALUES ('')"),
        ("INSERT INTO t VALUES (1)", "INSERT INTO t VALUES (1.0)"),
        (
            "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))",
            "INSERT INTO t VALUES (CAST(x'fe' AS TEXT))",
        ),
        ("INSERT INTO t VALUES (1), (2)", "INSERT INTO t VALUES (2), (1)"),
        ("PRAGMA user_version = 1", "PRAGMA user_version = 2"),
        ("CREATE TABLE u (a)", "CREATE VIEW u AS SELECT 1"),
    ],
)
def test_a_fingerprint_tells_apart(tmp_path: Path, one: str, other: str) -> None:
    create = "CREATE TABLE t (a BLOB)"

    first = fingerprint(tmp_path / "one.db", create, one)
    second = fingerprint(tmp_path / "other.db", create, other)

    assert first != second
    assert first.differences(second)


def test_a_fingerprint_does_not_depend_on_indexes_or_odd_names(tmp_path: Path) -> None:
    statements = [
        'CREATE TABLE "odd "" name" (rowid TEXT, _rowid_ TEXT, oid TEXT)',
        "INSERT INTO \"odd \"\" name\" VALUES ('b', 'c', 'd')",
        "CREATE TABLE keyed (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
        "INSERT INTO keyed VALUES ('z', 1), ('a', 2)",
    ]

    plain = fingerprint(tmp_path / "one.db", *statements)
    indexed = fingerprint(tmp_path / "two.db", *statements, "CREATE INDEX i ON keyed (v)")

    assert plain.tables == indexed.tables
    assert {name: table.rows for name, table in plain.tables.items()} == {
        'odd " name': 1,
        "keyed": 2,
    }


def test_a_copy_is_one_snapshot_whatever_is_written_meanwhile(tmp_path: Path) -> None:
    live = database(
        tmp_path / "live.db",
        "PRAGMA journal_mode = WAL",
        "CREATE TABLE t (a)",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000)"
        " INSERT INTO t SELECT zeroblob(1000) FROM n",
    )
    writer = sqlite3.connect(live)

    def write() -> None:
        writer.execute("INSERT INTO t VALUES ('meanwhile')")
        writer.commit()

    found = back_up(live, tmp_path / "copy.db", timeout_s=5, check=write)

    assert found.tables["t"].rows == 30000
    assert fingerprint_of(tmp_path / "copy.db") == found
    assert row_counts(live)["t"] > 30001
    assert sorted(p.name for p in tmp_path.iterdir() if "copy" in p.name) == ["copy.db"]
    writer.close()


def test_an_empty_file_is_an_empty_database(tmp_path: Path) -> None:
    (tmp_path / "live.db").touch()

    found = back_up(tmp_path / "live.db", tmp_path / "copy.db", timeout_s=5, check=lambda: None)

    assert found.tables == {}


def test_a_stop_between_pieces_ends_the_copy(tmp_path: Path) -> None:
    live = database(tmp_path / "live.db", "CREATE TABLE t (a)")

    def stop() -> None:
        raise StepError("stopped")

    with pytest.raises(StepError, match="stopped"):
        back_up(live, tmp_path / "copy.db", timeout_s=5, check=stop)


def test_a_checkpoint_with_another_user_is_an_error(tmp_path: Path) -> None:
    live = database(tmp_path / "l.db", "PRAGMA journal_mode = WAL", "CREATE TABLE t (a)")
    user = sqlite3.connect(live)
    user.execute("SELECT * FROM t").fetchall()

    with pytest.raises(StepError, match="open"):
        checkpoint(live, timeout_s=0.1)

    user.close()


def test_a_checkpoint_of_rubbish_touches_nothing(tmp_path: Path) -> None:
    live, log = tmp_path / "live.db", tmp_path / "live.db-wal"
    live.write_bytes(b"rubbish" * 1000)
    log.write_bytes(b"log")

    with pytest.raises(Unfit):
        checkpoint(live, timeout_s=0.1)

    assert (live.read_bytes(), log.read_bytes()) == (b"rubbish" * 1000, b"log")


def test_integrity_problems_are_named(tmp_path: Path) -> None:
    good = database(tmp_path / "good.db", "CREATE TABLE t (a)")
    bad = tmp_path / "bad.db"
    bad.write_bytes(good.read_bytes()[:4096])

    assert integrity_problems(good) == []
    assert integrity_problems(bad)


def test_nobody_holds_a_closed_database(tmp_path: Path) -> None:
    assert holders(database(tmp_path / "live.db", "CREATE TABLE t (a)")) == []
