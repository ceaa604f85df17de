"""The shop's migrations: the demo's, but each application of one is counted twice.

In the database, by a row in `applied`; and outside it, where no rollback undoes the count.
"""

import os
import sqlite3
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
MIGRATIONS = sorted((HERE / "migrations").glob("*.sql"))
LASTS_S = 0.03
"""So that kills find it in the middle."""


def main() -> None:
    path = Path(os.environ["DATABASE"])
    if "--check" in sys.argv and not path.exists():
        sys.exit(1)
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=10, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if "--check" in sys.argv:
        sys.exit(0 if version >= len(MIGRATIONS) else 1)
    count("migrate")
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        for statement in migration.read_text().split(";"):
            connection.execute(statement)
        connection.execute("CREATE TABLE IF NOT EXISTS applied(name TEXT)")
        connection.execute("INSERT INTO applied VALUES (?)", (migration.name,))
        connection.execute(f"PRAGMA user_version = {number}")
        time.sleep(LASTS_S)
        connection.execute("COMMIT")
        count(f"applied {migration.name}")


def count(effect: str) -> None:
    with (HERE.parent / "effects.log").open("a") as effects:
        effects.write(f"{effect}\n")


main()
