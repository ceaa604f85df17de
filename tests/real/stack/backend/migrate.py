"""Runs the migrations that have not run, statement by statement, as many tools do."""

import os
from pathlib import Path

import psycopg

with psycopg.connect(os.environ["DATABASE"], autocommit=True) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS schema_migrations (name text PRIMARY KEY)")
    done = {row[0] for row in connection.execute("SELECT name FROM schema_migrations").fetchall()}
    for file in sorted(Path("migrations").glob("*.sql")):
        if file.name in done:
            continue
        text = file.read_text().replace(":rows", os.environ.get("SEED_ROWS") or "1000")
        for statement in text.split(";;"):
            if statement.strip():
                connection.execute(statement)
        connection.execute("INSERT INTO schema_migrations VALUES (%s)", [file.name])
        print(f"ran {file.name}")
