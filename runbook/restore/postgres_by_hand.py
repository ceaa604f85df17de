"""What a person types to back up a PostgreSQL database, to restore it, and to end a switch."""

from shlex import quote

from runbook.resources import Postgres
from runbook.restore.databases import Phase


def program(database: Postgres, name: str) -> str:
    """How one of PostgreSQL's programs is started for its server."""
    if database.service:
        service = database.service.partition("/")[2]
        return f"docker compose exec -T {quote(service)} {name} --username={quote(database.user)}"
    port = f" --port={database.port}" if database.port != 5432 else ""
    return f"{name} --host={database.host}{port} --username={quote(database.user)}"


def identifier(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


def psql(database: Postgres, *statements: str) -> str:
    """A command that runs these in one transaction, in a database that stays."""
    maintenance = "template1" if database.database == "postgres" else "postgres"
    words = f"{program(database, 'psql')} --dbname={maintenance}"
    return f"{words} --command={quote('; '.join(statements))}"


def opening(database: Postgres) -> str:
    """Let everybody into the live database again."""
    return psql(database, f"{_alter(database.database)} ALLOW_CONNECTIONS true")


def switching(
    database: Postgres, staged: str, replaced: str | None, comment: str | None = None
) -> list[str]:
    """Put the staged database in the place of the live one, as a switch does."""
    name = database.database
    swap = [
        f"{_alter(staged)} RENAME TO {identifier(name)}",
        f"COMMENT ON DATABASE {identifier(name)} IS {literal(comment) if comment else 'NULL'}",
        f"{_alter(name)} ALLOW_CONNECTIONS true",
    ]
    if replaced is None:
        return [psql(database, *swap)]
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
    return [
        psql(database, f"{_alter(name)} ALLOW_CONNECTIONS false"),
        psql(database, f"{end}{literal(name)}"),
        psql(database, f"{_alter(name)} RENAME TO {identifier(replaced)}", *swap),
    ]


def backing_up(database: Postgres) -> list[str]:
    """Shell commands."""
    name = quote(database.database)
    dump = quote(f"{database.database}.dump")
    return [f"{program(database, 'pg_dump')} --format=custom {name} > {dump}"]


def restoring(database: Postgres, phase: Phase) -> list[str]:
    """Shell commands."""
    staged, replaced = f"{database.database}__restored", f"{database.database}__replaced"
    stage = [
        f"{program(database, 'createdb')} {quote(staged)}",
        f"{program(database, 'pg_restore')} --exit-on-error --dbname={quote(staged)} < DUMP",
    ]
    switch = switching(database, staged, replaced)
    return {"stage": stage, "switch": switch, "all": [*stage, *switch]}[phase]


def _alter(name: str) -> str:
    return f"ALTER DATABASE {identifier(name)}"
