"""All that a rollback of the sample stack must bring back, read without any of our own code."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from minio import Minio

if TYPE_CHECKING:
    from tests.real.conftest import Project

HASH = "com.docker.compose.config-hash"
RELATIONS = """
    SELECT format('%I.%I', nspname, relname), relkind = 'S'
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm', 'S') AND nspname NOT IN ('pg_catalog', 'information_schema')
      AND nspname NOT LIKE 'pg_toast%'
"""
ROWS = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t"
POSITION = "SELECT last_value, is_called FROM {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a rollback must bring back. What it has set aside is not of it."""

    commit: str
    images: Mapping[str, str]
    """By service, the id of the image that it runs."""
    services: Mapping[str, str]
    """By service, Compose's hash of its configuration, and whether it runs."""
    schema: str
    """All definitions of all databases, roles, grants and settings, as PostgreSQL dumps them."""
    tables: Mapping[str, str]
    """By database and table, rows and a hash of all of them; by sequence, where it stands."""
    objects: Mapping[str, str]
    """By bucket and name, an object's metadata and a hash of its content."""
    files: Mapping[str, str]
    """By volume and path, type, mode, owner, time and a hash of the content.

    Left out: PostgreSQL's own files, MinIO's scratch, and Redis, of which nothing is backed up.
    """


def observe(project: "Project", *, commit: str, user: str, password: str) -> World:
    """The stack's world as it is now; PostgreSQL and MinIO must run."""
    containers = project.containers()
    services = {name: each for name, each in containers.items() if "-rb-" not in name}
    words = ["pg_dumpall", "-U", user, "--schema-only"]
    dumped = project.docker("exec", f"{project.project}-postgres-1", *words)
    storage = Minio(f"{address(services['minio'])}:9000", user, password, secure=False)
    return World(
        commit=commit,
        images={name: each["Image"] for name, each in services.items()},
        services={
            name: f"{each['Config']['Labels'][HASH]} {each['State']['Running']} "
            f"{each['HostConfig']['RestartPolicy']['Name']}"
            for name, each in services.items()
        },
        schema="\n".join(line for line in dumped.splitlines() if "restrict " not in line),
        tables=dict(_tables(address(services["postgres"]), user, password)),
        objects=dict(_objects(storage)),
        files=dict(_files(project)),
    )


def address(container: Mapping[str, Any]) -> str:
    """Of a container, on its stack's own network."""
    (network,) = container["NetworkSettings"]["Networks"].values()
    return str(network["IPAddress"])


def _tables(host: str, user: str, password: str) -> Iterator[tuple[str, str]]:
    def connect(database: str) -> "psycopg.Connection[Any]":
        return psycopg.connect(host=host, user=user, password=password, dbname=database)

    with connect("postgres") as server:
        listed = server.execute("SELECT datname FROM pg_database WHERE datallowconn").fetchall()
    for (database,) in listed:
        with connect(database) as connection:
            for name, is_sequence in connection.execute(RELATIONS).fetchall():
                query = (POSITION if is_sequence else ROWS).format(name)
                yield f"{database}.{name}", str(connection.execute(query.encode()).fetchone())


def _objects(storage: Minio) -> Iterator[tuple[str, str]]:
    for bucket in storage.list_buckets():
        for each in storage.list_objects(bucket.name, recursive=True):
            found = storage.stat_object(bucket.name, str(each.object_name))
            answer = storage.get_object(bucket.name, str(each.object_name))
            content = hashlib.sha256(answer.read()).hexdigest()
            answer.close()
            answer.release_conn()
            kept = {
                name: (found.metadata or {})[name]
                for name in found.metadata or {}
                if name.lower().startswith("x-amz-meta")
            }
            told = (found.etag, found.last_modified, found.content_type, kept, content)
            yield f"{bucket.name}/{each.object_name}", str(told)


def volume(project: "Project", name: str) -> Path:
    """Where the files of a volume of the stack lie."""
    words = ["volume", "inspect", "--format", "{{.Mountpoint}}"]
    return Path(project.docker(*words, f"{project.project}_{name}").strip())


def _files(project: "Project") -> Iterator[tuple[str, str]]:
    label = f"label=com.docker.compose.project={project.project}"
    listed = project.docker("volume", "ls", "--quiet", "--filter", label).split()
    named = [name.removeprefix(f"{project.project}_") for name in listed if "_" in name]
    for name in set(named) - {"db"}:
        root = volume(project, name)
        for folder, folders, files in os.walk(root):
            if ".minio.sys" in folders:
                folders.remove(".minio.sys")
            for path in (Path(folder), *(Path(folder) / file for file in files)):
                yield f"{name}/{path.relative_to(root)}", _of_file(path)


def _of_file(path: Path) -> str:
    found = path.lstat()
    content = ""
    if stat.S_ISREG(found.st_mode):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    elif stat.S_ISLNK(found.st_mode):
        content = str(path.readlink())
    owner = f"{found.st_uid}:{found.st_gid}"
    return f"{stat.filemode(found.st_mode)} {owner} {found.st_mtime_ns} {content}"
