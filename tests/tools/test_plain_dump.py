"""What would act on more than one database is found in a plain dump, and nothing else is."""

import io

import pytest

from runbook.tools import plain_dump
from runbook.tools.plain_dump import forbidden_in

HARMLESS = r"""--
-- PostgreSQL database dump; DROP DATABASE shop;
\restrict abcDEF123
SET standard_conforming_strings = on;
SET client_encoding = 'UTF8';
/* nested /* \! ls */ DROP DATABASE shop; */
CREATE FUNCTION f() RETURNS void AS $_$ BEGIN; DROP DATABASE shop; \! ls
END $_$ LANGUAGE plpgsql;
COMMENT ON TABLE a IS 'it''s; DROP DATABASE shop; \! rm';
INSERT INTO a VALUES (E'it\'s; DROP DATABASE shop; \\', date'2020-01-01', "odd;""\! name", a$b$c);
INSERT INTO a VALUES (1 - 1, 4 / 2, ';'); -- DROP DATABASE shop;
COPY public.a (x, "FROM FILE") FROM stdin;
DROP DATABASE shop;
\! ls
\.5
\N	\\.
\.

GRANT SELECT ON TABLE a TO b;
ALTER DEFAULT PRIVILEGES FOR ROLE x GRANT SELECT ON TABLES TO y;
CREATE USER MAPPING FOR x SERVER y;
\unrestrict abcDEF123
"""
LINES = HARMLESS.count("\n")


def found(text: str) -> list[str]:
    return [str(each) for each in forbidden_in(io.BytesIO(text.encode()))]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_a_dump_of_one_database_holds_is_harmless(newline: str) -> None:
    assert found(HARMLESS.replace("\n", newline)) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("DROP DATABASE shop;", "acts on a whole database: `DROP DATABASE shop`"),
        ("drop/**/database\n shop", "acts on a whole database: `drop database shop`"),
        ("CREATE DATABASE shop", "acts on a whole database"),
        ("COMMENT ON DATABASE shop IS 'x';", "acts on a whole database"),
        ("GRANT ALL ON DATABASE shop TO x;", "acts on a whole database"),
        ("\\connect 'dbname=shop password=geheim'\n", "is a command to psql: `\\connect`"),
        ("SELECT 1 \\! ls", "is a command to psql: `\\!`"),
        ("\\restrict `ls`\n", "is a command to psql: `\\restrict`"),
        ("\\copy a from b", "is a command to psql"),
        ("COPY a FROM PROGRAM 'ls';", "takes rows from elsewhere"),
        ("COPY a TO '/tmp/x';", "takes rows from elsewhere"),
        ("ALTER ROLE x PASSWORD 'geheim';", "acts on the whole server: `ALTER ROLE x PASSWORD '."),
        ("GRANT x TO y;", "acts on the whole server"),
        ("ALTER SYSTEM SET work_mem = 1;", "acts on the whole server"),
        ("REASSIGN OWNED BY x TO y;", "acts on the whole server"),
        ("CREATE TABLESPACE x LOCATION '/x';", "acts on the whole server"),
        ("CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION y;", "replicates from another server"),
        ("PREPARE TRANSACTION 'x';", "leaves a transaction open"),
        ("SET standard_conforming_strings = 'off';", "makes strings ambiguous"),
        ("SET client_encoding = 'SJIS';", "has an encoding"),
        ("COPY a FROM stdin;\n1\n", "begins rows that have no end"),
        ("COPY a FROM stdin; DROP TABLE b;\n1\n\\.\n", "follows a COPY on its line"),
    ],
)
def test_what_acts_on_more_is_found_with_its_line(text: str, says: str) -> None:
    (first, *_) = found(HARMLESS + text)

    assert first.startswith(f"line {LINES + 1} {says}")
    assert "geheim" not in first


@pytest.mark.parametrize("chunk_bytes", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("ahead_bytes", [80, 200])
def test_it_does_not_matter_where_a_chunk_ends(
    monkeypatch: pytest.MonkeyPatch, chunk_bytes: int, ahead_bytes: int
) -> None:
    monkeypatch.setattr(plain_dump, "_CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(plain_dump, "_AHEAD_BYTES", ahead_bytes)

    assert found(HARMLESS) == []
    assert found(HARMLESS + "DROP DATABASE shop;") == [
        f"line {LINES + 1} acts on a whole database: `DROP DATABASE shop`"
    ]
