"""Applies the migrations that the database lacks, each in one transaction. Sample, not product.

`--check`: exit 0 where none is lacking, 1 where one is.
"""

import os
import sqlite3
import sys
from pathlib import Path

MIGRATIONS = sorted((Path(__file__).parent / "migrations").glob("*.sql"))


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
    for number, migration in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(
            f"BEGIN IMMEDIATE;\n{migration.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;"
        )
        print(f"applied {migration.name}")


main()
