"""By what name tools that migrate databases note there what has run."""

_WORDS = (
    "migration",  # Rails, Django, Knex, TypeORM, Prisma, Entity Framework, golang-migrate …
    "schema_history",  # Flyway
    "schema_version",
    "alembic_version",
    "db_version",  # goose
    "databasechangelog",  # Liquibase
    "sequelizemeta",
    "schema_info",  # Sequel
)


def is_of_migrations(table: str) -> bool:
    """Whether, by its name, a tool notes in that table which migrations have run."""
    return any(word in table.lower() for word in _WORDS)
