"""What a PostgreSQL database holds, so that two can be told apart or found to be the same.

Definitions are compared by names and types, not by the text of their expressions: PostgreSQL may
write an expression otherwise after a dump and its restore.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from runbook.tools.migrations import is_of_migrations

if TYPE_CHECKING:
    from psycopg import Connection

FORM = 2
"""Of the fingerprint, as it is taken now. 1: depended on oids of roles and on columns' places."""
_STABLE_OUTPUT = {
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "search_path": "",
    "row_security": "off",
    "lc_monetary": "C",
    "xmloption": "content",
}
"""What the text of a value depends on."""
_OWN = """
  n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%%'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = '{catalogue}'::regclass
                  AND d.objid = {oid} AND d.deptype = 'e')
"""
_TABLES = f"""
  SELECT n.nspname, c.relname,
         ARRAY(SELECT a.attname::text FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               ORDER BY a.attname COLLATE "C")
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind = 'r' AND c.relpersistence = 'p'
    AND {_OWN.format(catalogue="pg_class", oid="c.oid")}
  ORDER BY 1, 2
"""
"""Columns by name: a restored table that inherits has them in another place."""
_SEQUENCES = "SELECT schemaname, sequencename, coalesce(last_value, 0) FROM pg_sequences"
_RIGHTS = """
  ARRAY(SELECT format('%s>%s:%s%s', g.grantor::regrole, g.grantee::regrole, g.privilege_type,
                      g.is_grantable) COLLATE "C"
        FROM aclexplode({acl}) g WHERE g.privilege_type <> 'MAINTAIN' ORDER BY 1)::text
"""
"""MAINTAIN is part of ALL since PostgreSQL 17: a dump of an older server gains it there."""
_RELATION_ACL = """coalesce(c.relacl, acldefault(
  CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))"""
_DEFINITIONS = {
    "relations": f"""
      SELECT n.nspname, c.relname, c.relkind::text, r.rolname, c.relrowsecurity,
             c.relforcerowsecurity, c.reloptions::text, c.relpersistence::text,
             {_RIGHTS.format(acl=_RELATION_ACL)}
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_roles r ON r.oid = c.relowner
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I')
        AND {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    "columns": f"""
      SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
             a.attidentity::text, a.attgenerated::text, a.atthasdef, l.collname
      FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_collation l ON l.oid = a.attcollation
      WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    "constraints": f"""
      SELECT n.nspname, k.conname, k.contype::text, k.convalidated, k.condeferrable,
             k.conrelid::regclass::text, k.confrelid::regclass::text
      FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
      WHERE k.contype <> 'n' AND (k.contype <> 'f' OR k.conparentid = 0)
        AND {_OWN.format(catalogue="pg_constraint", oid="k.oid")}""",
    "functions": f"""
      SELECT n.nspname, p.proname, pg_get_function_identity_arguments(p.oid), p.prokind::text,
             md5(p.prosrc), l.lanname, r.rolname, p.prosecdef, p.provolatile::text,
             p.proconfig::text, format_type(p.prorettype, NULL)
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      JOIN pg_language l ON l.oid = p.prolang JOIN pg_roles r ON r.oid = p.proowner
      WHERE {_OWN.format(catalogue="pg_proc", oid="p.oid")}""",
    "triggers": f"""
      SELECT n.nspname, c.relname, t.tgname, t.tgenabled::text, t.tgtype
      FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
      JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE NOT t.tgisinternal AND {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    "policies": "SELECT schemaname, tablename, policyname, permissive, roles::text, cmd"
    " FROM pg_policies",
    "types": f"""
      SELECT n.nspname, t.typname, t.typtype::text, r.rolname, t.typnotnull,
             format_type(t.typbasetype, t.typtypmod),
             (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e
              WHERE e.enumtypid = t.oid)
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
      JOIN pg_roles r ON r.oid = t.typowner
      WHERE t.typtype IN ('d', 'e', 'r') AND {_OWN.format(catalogue="pg_type", oid="t.oid")}""",
    "schemas": f"""
      SELECT n.nspname, r.rolname,
             {_RIGHTS.format(acl="coalesce(n.nspacl, acldefault('n', n.nspowner))")}
      FROM pg_namespace n
      JOIN pg_roles r ON r.oid = n.nspowner
      WHERE n.nspname <> 'public' AND {_OWN.format(catalogue="pg_namespace", oid="n.oid")}""",
    "extensions": "SELECT extname FROM pg_extension",
    "event triggers": "SELECT evtname, evtevent, evtenabled::text, evttags::text"
    " FROM pg_event_trigger",
    "publications": "SELECT pubname, puballtables, pubinsert, pubupdate, pubdelete"
    " FROM pg_publication",
    "comments": """
      SELECT c.classoid::regclass::text, md5(c.description), count(*) FROM pg_description c
      WHERE c.objoid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = c.classoid
                        AND d.objid = c.objoid AND d.deptype = 'e')
      GROUP BY 1, 2""",
}
"""Each gives rows that are the same exactly if the definitions are: by names, never by oids.

What PostgreSQL names by itself, such as a partition's part of a foreign key, is left out.
"""
_EXPRESSIONS = (
    f"""SELECT n.nspname, c.relname, a.attname, pg_get_expr(e.adbin, e.adrelid)
        FROM pg_attrdef e JOIN pg_class c ON c.oid = e.adrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = e.adnum
        WHERE {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    f"""SELECT n.nspname, k.conrelid::regclass::text, k.conname, pg_get_constraintdef(k.oid)
        FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace
        WHERE {_OWN.format(catalogue="pg_constraint", oid="k.oid")}""",
    f"""SELECT n.nspname, c.relname, pg_get_indexdef(c.oid)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('i', 'I') AND {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    f"""SELECT n.nspname, c.relname, w.rulename, pg_get_ruledef(w.oid)
        FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    f"""SELECT n.nspname, c.relname, t.tgname, pg_get_triggerdef(t.oid)
        FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND {_OWN.format(catalogue="pg_class", oid="c.oid")}""",
    "SELECT schemaname, tablename, policyname, qual, with_check FROM pg_policies",
    "SELECT extname, extversion FROM pg_extension",
)
"""What stays the same in one database only: how PostgreSQL writes expressions."""


class TableContent(BaseModel):
    """What a table holds."""

    rows: int
    """How many."""
    digest: str
    """The sum of all rows' hashes: the same whatever their order."""


class Content(BaseModel):
    """What a database holds."""

    form: int = 1
    """Of the fingerprint; those of two forms have in common how many rows there are."""
    tables: dict[str, TableContent]
    """By table, schema and name."""
    sequences: dict[str, int]
    """How far each has counted; a dump may hold a later value, for they know no snapshot."""
    large_objects: TableContent
    """All large objects together."""
    definitions: dict[str, str]
    """Digests by sort of object."""

    def differences(self, restored: "Content") -> list[str]:
        """In what a restored one differs, in words; empty: in nothing."""
        if self.form != restored.form:
            return self._counted().differences(restored._counted())
        found = [
            f"{sort} differ"
            for sort, digest in self.definitions.items()
            if restored.definitions.get(sort) != digest
        ]
        for name in sorted(self.tables.keys() | restored.tables.keys()):
            ours, theirs = self.tables.get(name), restored.tables.get(name)
            if ours != theirs:
                found.append(f"table `{name}` holds {_shown(theirs)} in place of {_shown(ours)}")
        if self.large_objects != restored.large_objects:
            found.append("large objects differ")
        found += [
            f"sequence `{name}` stands at {restored.sequences.get(name)}, expected {value} or more"
            for name, value in self.sequences.items()
            if restored.sequences.get(name, -1) < value
        ]
        return found

    def _counted(self) -> "Content":
        """What every form tells."""
        tables = {
            name: TableContent(rows=table.rows, digest="") for name, table in self.tables.items()
        }
        return self.model_copy(update={"form": FORM, "tables": tables, "definitions": {}})


def _shown(table: TableContent | None) -> str:
    return "nothing" if table is None else f"{table.rows} rows ({table.digest})"


def content_of(
    connection: "Connection[Any]", *, check: Callable[[], None] = lambda: None
) -> Content:
    """All of it, within the connection's transaction."""
    for name, value in _STABLE_OUTPUT.items():
        connection.execute("SELECT set_config(%s, %s, true)", [name, value])
    tables = {}
    for schema, table, columns in connection.execute(_TABLES).fetchall():
        check()
        tables[f"{schema}.{table}"] = _table_content(connection, schema, table, columns)
    return Content(
        form=FORM,
        tables=tables,
        sequences=sequences_of(connection),
        large_objects=_large_objects(connection),
        definitions={
            sort: _digest(connection.execute(query).fetchall())
            for sort, query in _DEFINITIONS.items()
        },
    )


def sequences_of(connection: "Connection[Any]") -> dict[str, int]:
    """How far each sequence has counted, right now: they know no snapshot."""
    rows = connection.execute(_SEQUENCES).fetchall()
    return {f"{row[0]}.{row[1]}": int(row[2]) for row in rows}


def _table_content(
    connection: "Connection[Any]", schema: str, table: str, columns: Sequence[str]
) -> TableContent:
    from psycopg.sql import SQL, Identifier

    # Each column by the table's alias and its name: an alias alone may be a column's name.
    row_of = SQL(", ").join(Identifier("r", column) for column in columns)
    query = SQL(
        "SELECT count(*), coalesce(sum(hashtextextended(ROW({})::text, 0)::numeric), 0)::text"
        " FROM ONLY {} AS r"
    ).format(row_of, Identifier(schema, table))
    row = connection.execute(query).fetchone()
    assert row is not None
    return TableContent(rows=int(row[0]), digest=str(row[1]))


def _large_objects(connection: "Connection[Any]") -> TableContent:
    row = connection.execute("SELECT count(*) FROM pg_largeobject_metadata").fetchone()
    is_readable = connection.execute(
        "SELECT has_table_privilege('pg_catalog.pg_largeobject', 'SELECT')"
    ).fetchone()
    digest = "0"
    if row and row[0] and is_readable and is_readable[0]:
        found = connection.execute(
            "SELECT sum(hashtextextended(loid || '/' || pageno || '/' || encode(data, 'hex'), 0)"
            "::numeric)::text FROM pg_largeobject"
        ).fetchone()
        digest = str(found[0]) if found else "0"
    return TableContent(rows=int(row[0]) if row else 0, digest=digest)


def schema_digest(connection: "Connection[Any]") -> str:
    """Of all definitions, and of the tables in which migrations are noted."""
    for name, value in _STABLE_OUTPUT.items():
        connection.execute("SELECT set_config(%s, %s, true)", [name, value])
    queries = (*_DEFINITIONS.values(), *_EXPRESSIONS)
    found = [_digest(connection.execute(query).fetchall()) for query in queries]
    for schema, table, columns in connection.execute(_TABLES).fetchall():
        if is_of_migrations(table):
            content = _table_content(connection, schema, table, columns)
            found.append(f"{schema}.{table}: {content}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def row_counts(connection: "Connection[Any]") -> dict[str, int]:
    """Exact, by table."""
    from psycopg import sql

    counts = {}
    for schema, table, _ in connection.execute(_TABLES).fetchall():
        query = sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(schema, table))
        row = connection.execute(query).fetchone()
        counts[f"{schema}.{table}"] = int(row[0]) if row else 0
    return counts


def rewritten(
    connection: "Connection[Any]", then: Mapping[str, TableContent], *, budget_s: float
) -> tuple[list[str], int]:
    """Which of these tables hold other rows than then, and how many there was no time to read."""
    import psycopg

    until = time.monotonic() + budget_s
    found: list[str] = []
    names = {f"{row[0]}.{row[1]}": row for row in connection.execute(_TABLES).fetchall()}
    left = sorted(then.keys() & names.keys(), key=lambda name: then[name].rows)
    while left and (left_ms := int((until - time.monotonic()) * 1000)) > 0:
        try:
            with connection.transaction():
                for name, value in {**_STABLE_OUTPUT, "statement_timeout": str(left_ms)}.items():
                    connection.execute("SELECT set_config(%s, %s, true)", [name, value])
                if _table_content(connection, *names[left[0]]) != then[left[0]]:
                    found.append(left[0])
        except psycopg.errors.QueryCanceled:
            break
        del left[0]
    return found, len(left)


def _digest(rows: Sequence[Any]) -> str:
    text = "\n".join(sorted(repr(tuple(row)) for row in rows))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
