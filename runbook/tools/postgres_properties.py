"""What belongs to a PostgreSQL database and is in no dump of it: owner, rights, settings, comment.

`pg_dump --create` has them under the database's own name only, and `TEMPLATE` copies none of them.
"""

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

_LISTS = {
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
}
"""Settings that are lists of names (variable_is_guc_list_quote in PostgreSQL's dumputils.c)."""
_PRIVILEGES = {"CONNECT": "CONNECT", "CREATE": "CREATE", "TEMPORARY": "TEMPORARY"}
_PROVIDERS = {"c": "libc", "i": "icu", "b": "builtin"}


class Setting(BaseModel):
    """A setting of the database."""

    role: str | None
    """For this role only; none: for everybody."""
    name: str
    """The setting's name."""
    value: str
    """Its value, as it is stored."""


class Grant(BaseModel):
    """A right on the database."""

    grantee: str | None
    """Absent: everybody."""
    privilege: str
    """`CONNECT`, `CREATE` or `TEMPORARY`."""
    is_grantable: bool
    """Whether the grantee may grant it in turn."""


class Properties(BaseModel):
    """All that is in no dump."""

    owner: str
    """The role that owns it."""
    encoding: str
    """Such as `UTF8`."""
    provider: str
    """`libc`, `icu` or `builtin`."""
    collate: str
    """libc's locale for order."""
    ctype: str
    """libc's locale for characters."""
    locale: str | None
    """Of another provider than libc."""
    icu_rules: str | None = None
    """What its order of text adds to the locale's."""
    tablespace: str
    """Where its files lie."""
    connection_limit: int
    """-1: none."""
    comment: str | None
    """What its comment says."""
    grants: list[Grant] | None
    """Absent: what every new database has."""
    settings: list[Setting]
    """Its settings, in their order."""


def properties_of(connection: "Connection[Any]", database: str) -> Properties:
    """The properties of a database that is there."""
    version = connection.info.server_version
    locale = "datlocale" if version >= 170000 else "daticulocale" if version >= 150000 else "NULL"
    rules = "daticurules" if version >= 160000 else "NULL"
    provider = "datlocprovider::text" if version >= 150000 else "'c'"
    row = connection.execute(
        f"""SELECT r.rolname, pg_encoding_to_char(d.encoding), {provider}, d.datcollate,
                   d.datctype, {locale}, t.spcname, d.datconnlimit,
                   shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL, {rules}
            FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba
            JOIN pg_tablespace t ON t.oid = d.dattablespace
            WHERE d.datname = %s""",
        [database],
    ).fetchone()
    assert row is not None
    return Properties(
        owner=row[0],
        encoding=row[1],
        provider=_PROVIDERS[row[2]],
        collate=row[3],
        ctype=row[4],
        locale=row[5],
        icu_rules=row[10],
        tablespace=row[6],
        connection_limit=row[7],
        comment=row[8],
        grants=_grants(connection, database) if row[9] else None,
        settings=_settings(connection, database),
    )


def _grants(connection: "Connection[Any]", database: str) -> list[Grant]:
    rows = connection.execute(
        """SELECT r.rolname, a.privilege_type, a.is_grantable
           FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
           WHERE d.datname = %s AND (a.grantee = 0 OR r.rolname IS NOT NULL)
           ORDER BY r.rolname NULLS FIRST, a.privilege_type""",
        [database],
    ).fetchall()
    return [Grant(grantee=row[0], privilege=row[1], is_grantable=row[2]) for row in rows]


def _settings(connection: "Connection[Any]", database: str) -> list[Setting]:
    rows = connection.execute(
        """SELECT r.rolname, c.text FROM pg_db_role_setting s
           CROSS JOIN unnest(s.setconfig) WITH ORDINALITY AS c (text, place)
           JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole
           WHERE d.datname = %s ORDER BY r.rolname NULLS FIRST, c.place""",
        [database],
    ).fetchall()
    parts = [(row[0], *str(row[1]).split("=", 1)) for row in rows]
    return [Setting(role=role, name=name, value=value) for role, name, value in parts]


def extensions_of(connection: "Connection[Any]") -> dict[str, str]:
    """The extensions of the connection's database, with their versions."""
    query = "SELECT extname, extversion FROM pg_extension ORDER BY extname"
    return {row[0]: row[1] for row in connection.execute(query).fetchall()}


def roles_of(connection: "Connection[Any]") -> list[str]:
    """The roles that own something in the connection's database, or have a right or a setting."""
    query = """SELECT DISTINCT r.rolname FROM pg_roles r
               LEFT JOIN pg_shdepend s ON s.refobjid = r.oid
                 AND s.refclassid = 'pg_authid'::regclass
               LEFT JOIN pg_db_role_setting c ON c.setrole = r.oid
               JOIN pg_database d ON d.datname = current_database()
               WHERE s.dbid = d.oid OR c.setdatabase = d.oid OR r.oid = d.datdba
                 OR (s.classid = 'pg_database'::regclass AND s.objid = d.oid)
               ORDER BY 1"""
    return [row[0] for row in connection.execute(query).fetchall()]


def subscriptions_of(connection: "Connection[Any]") -> list[str]:
    """The logical replication that the connection's database receives."""
    query = """SELECT subname FROM pg_subscription
               WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
    return [row[0] for row in connection.execute(query).fetchall()]


def creating(database: str, wanted: Properties, version: int) -> "Composed":
    """`CREATE DATABASE`, empty, with all that can be said at once."""
    from psycopg.sql import SQL, Composed, Identifier, Literal

    parts: list[Any] = [
        SQL("CREATE DATABASE {} TEMPLATE template0").format(Identifier(database)),
        SQL("OWNER {}").format(Identifier(wanted.owner)),
        SQL("ENCODING {}").format(Literal(wanted.encoding)),
        SQL("LC_COLLATE {} LC_CTYPE {}").format(Literal(wanted.collate), Literal(wanted.ctype)),
    ]
    if wanted.tablespace != "pg_default":  # to name that one takes a right of its own
        parts.append(SQL("TABLESPACE {}").format(Identifier(wanted.tablespace)))
    if version >= 150000:
        parts.append(SQL("LOCALE_PROVIDER {}").format(Identifier(wanted.provider)))
    if wanted.provider == "icu":
        parts.append(SQL("ICU_LOCALE {}").format(Literal(wanted.locale)))
    if wanted.icu_rules is not None:
        parts.append(SQL("ICU_RULES {}").format(Literal(wanted.icu_rules)))
    if wanted.provider == "builtin":
        parts.append(SQL("BUILTIN_LOCALE {}").format(Literal(wanted.locale)))
    return Composed(parts).join(" ")


def replay(connection: "Connection[Any]", database: str, wanted: Properties) -> None:
    """Give a new database the rights and settings of that other one; not yet its comment."""
    from psycopg.sql import SQL, Identifier, Literal

    name = Identifier(database)
    # Not when it is created: a restore takes several connections.
    limit = SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    connection.execute(limit.format(name, Literal(wanted.connection_limit)))
    if wanted.grants is not None:
        owner = Identifier(wanted.owner)
        connection.execute(SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(name, owner))
        for grant in wanted.grants:
            whom = Identifier(grant.grantee) if grant.grantee else SQL("PUBLIC")
            option = SQL(" WITH GRANT OPTION" if grant.is_grantable else "")
            statement = SQL("GRANT {} ON DATABASE {} TO {}{}")
            right = SQL(_PRIVILEGES[grant.privilege])
            connection.execute(statement.format(right, name, whom, option))
    for setting in wanted.settings:
        where = SQL("ALTER DATABASE {} SET {}").format(name, Identifier(setting.name))
        if setting.role is not None:
            statement = SQL("ALTER ROLE {} IN DATABASE {} SET {}")
            where = statement.format(Identifier(setting.role), name, Identifier(setting.name))
        if setting.name in _LISTS:
            # Its value is kept as it is written only by taking it from a session.
            connection.execute("SELECT set_config(%s, %s, false)", [setting.name, setting.value])
            connection.execute(SQL("{} FROM CURRENT").format(where))
        else:
            connection.execute(SQL("{} TO {}").format(where, Literal(setting.value)))
