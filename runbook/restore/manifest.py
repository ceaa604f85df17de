"""The manifest: what a restore point holds, with all that checking and restoring it needs.

The steps' outputs carry these entries to where the restore point is sealed.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from runbook.tools.postgres_content import Content
from runbook.tools.postgres_properties import Properties
from runbook.tools.sqlite import Fingerprint

SCHEMA_VERSION = 1

HOW_TO_READ = (
    "This directory is a restore point of `runbook`; nothing in it needs runbook to be read. "
    "databases/NAME.sqlite is a plain SQLite database: stop what uses the live one, move the live "
    "one and its -wal, -shm and -journal files away, copy this file to its place, and give it the "
    "owner and mode that stand here. databases/NAME.dump is a PostgreSQL dump: `createdb NEW`, "
    "then `pg_restore --exit-on-error --dbname=NEW databases/NAME.dump`; owner, rights and "
    "settings of the database stand here, the server's roles in databases/NAME.globals.sql. "
    "volumes/NAME/files holds a directory's files as they were: "
    "copy them back by `cp -a files/. TARGET/`, then set modes and owners from "
    "volumes/NAME/inventory.jsonl, where each line is one entry as JSON (mode octal, times in "
    "nanoseconds since 1970, `path_base64` where a name is no UTF-8, empty path: the directory "
    "itself). buckets/NAME/objects.jsonl has one object of a bucket a line, with its headers, "
    "metadata and tags; its content is buckets/NAME/objects/SHA256, or, where there is a "
    "`version_id`, that version of it on the server. "
    "`commit` is the git commit that was checked out. "
    "`absent: true` means that there was nothing yet. manifest.json itself is checked "
    "by `sha256sum -c manifest.json.sha256`."
)

_CONFIG = ConfigDict(frozen=True, extra="forbid")


class Artefact(BaseModel):
    """A file of the restore point."""

    model_config = _CONFIG

    path: str
    """Relative to the restore point."""
    size_bytes: int
    """Its size."""
    sha256: str
    """Of its bytes, in hex."""


class DatabaseEntry(BaseModel):
    """A database as it was."""

    model_config = _CONFIG

    name: str
    """The project's name for it."""
    engine: str
    """What kind of database it is."""
    location: str
    """Where the live one lies."""
    absent: bool = False
    """There was none yet."""
    taken_at: str
    """UTC, ISO 8601."""
    warm: str | None = None
    """A copy restored beside the live database already; absent: none was made."""

    @property
    def artefacts(self) -> "list[Artefact]":
        """Its files that have a checksum."""
        raise TypeError(f"an entry of engine `{self.engine}` does not say what files it has")


class SqliteEntry(DatabaseEntry):
    """An SQLite database as it was."""

    engine: Literal["sqlite"] = "sqlite"
    """What kind of database it is."""
    artefact: Artefact | None = None
    """The copy; absent with the database."""
    fingerprint: Fingerprint | None = None
    """What it held; absent with the database."""
    mode: str = "0600"
    """Octal."""
    uid: int = 0
    """Owner of the file."""
    gid: int = 0
    """Group of the file."""

    @property
    def artefacts(self) -> list[Artefact]:
        """Its one file."""
        return [self.artefact] if self.artefact else []


class PostgresEntry(DatabaseEntry):
    """A PostgreSQL database as it was."""

    engine: Literal["postgres"] = "postgres"
    """What kind of database it is."""
    server_version: int = 0
    """The server's `server_version_num`, such as 160004."""
    dump: str = ""
    """Directory of the dump, relative to the restore point: `pg_restore` reads it."""
    dump_of_roles: str = ""
    """The server's roles and tablespaces as SQL, without passwords: `psql` reads it."""
    files: list[Artefact] = []
    """Every file of both."""
    content: Content | None = None
    """What it held, in the dump's own snapshot; absent with the database."""
    properties: Properties | None = None
    """What is in no dump; absent with the database."""
    extensions: dict[str, str] = {}
    """Its extensions, with their versions."""
    roles: list[str] = []
    """The roles that it needs."""
    subscriptions: list[str] = []
    """Replication that it received: no part of the dump, and to be set up anew after a restore."""

    @property
    def artefacts(self) -> list[Artefact]:
        """The dump's files."""
        return self.files


AnyDatabaseEntry = Annotated[SqliteEntry | PostgresEntry, Field(discriminator="engine")]
"""An entry of any engine; `engine` tells which."""


class VolumeEntry(BaseModel):
    """A directory as it was."""

    model_config = _CONFIG

    name: str
    """The project's name for it."""
    location: str
    """Where the live one lies."""
    absent: bool = False
    """There was none yet."""
    taken_at: str
    """UTC, ISO 8601."""
    level: str
    """`stopped`, `paused` or `live`."""
    method: str = ""
    """How it was copied: `reflink`, `copy`, or through the container `engine`: times to the second,
    and no attributes but capabilities."""
    inventory: Artefact | None = None
    """The list of its entries; absent with the directory."""
    tree_sha256: str = ""
    """One hash over all that a restore brings back."""
    files: str = ""
    """Directory of the files' contents, relative to the restore point."""
    file_count: int = 0
    """Regular files in it."""
    size_bytes: int = 0
    """Of these files together."""

    @property
    def is_coarse(self) -> bool:
        """Whether its inventory lacks what the container engine does not tell."""
        return self.method == "engine"


class CommitEntry(BaseModel):
    """What was checked out."""

    model_config = _CONFIG

    repository: str
    """The project's name for it."""
    location: str
    commit: str | None = None
    """Full sha; absent: there was none yet."""
    branch: str | None = None
    patch: Artefact | None = None
    """Stands, as null, in what earlier versions have sealed."""


class ImageEntry(BaseModel):
    """An image that a service ran."""

    model_config = _CONFIG

    service: str
    """The service."""
    reference: str
    """The name under which Compose looks it up."""
    id: str
    """What the engine knows it by."""
    kept_as: str
    """A name of our own, so that nobody prunes it."""


class StackImages(BaseModel):
    """The images of a stack as it ran."""

    model_config = _CONFIG

    name: str
    """The project's name for the stack."""
    location: str
    """Compose's project name."""
    images: list[ImageEntry] = []
    """One per service that had a container."""


class BucketEntry(BaseModel):
    """A bucket as it was."""

    model_config = _CONFIG

    name: str
    """The project's name for it."""
    location: str
    """Where the live one lies."""
    absent: bool = False
    """There was none yet."""
    taken_at: str
    """UTC, ISO 8601."""
    is_versioned: bool = False
    """Whether the server keeps the content, by versions; otherwise it lies here."""
    listing: Artefact | None = None
    """The list of its objects; absent with the bucket."""
    object_count: int = 0
    """Objects in it."""
    size_bytes: int = 0
    """Of these objects together."""


class Manifest(BaseModel):
    """All of a restore point."""

    model_config = _CONFIG

    schema_version: int = SCHEMA_VERSION
    id: str
    project: str
    run_id: str
    created_at: str
    """UTC, ISO 8601."""
    tool_version: str
    host: str
    verify: str
    """How it was verified when it was sealed: `checksum`, `read_back` or `restore`."""
    served: bool
    """Whether the project's processes or services were running."""
    processes: dict[str, bool] = {}
    """By process or service, whether it was running; empty where nobody looked."""
    databases: list[AnyDatabaseEntry] = []
    volumes: list[VolumeEntry] = []
    commits: list[CommitEntry] = []
    images: list[StackImages] = []
    buckets: list[BucketEntry] = []
    how_to_read: str = HOW_TO_READ

    def database(self, name: str) -> AnyDatabaseEntry | None:
        """The database of that name."""
        return next((entry for entry in self.databases if entry.name == name), None)

    def bucket(self, name: str) -> BucketEntry | None:
        """The bucket of that name."""
        return next((entry for entry in self.buckets if entry.name == name), None)

    def stack_images(self, name: str) -> StackImages | None:
        """The images of the stack of that name."""
        return next((entry for entry in self.images if entry.name == name), None)

    def volume(self, name: str) -> VolumeEntry | None:
        """The volume of that name."""
        return next((entry for entry in self.volumes if entry.name == name), None)

    @property
    def artefacts(self) -> list[Artefact]:
        """Every file that has a checksum here."""
        found: list[Artefact | None] = [a for entry in self.databases for a in entry.artefacts]
        found += [entry.inventory for entry in self.volumes]
        found += [entry.listing for entry in self.buckets]
        found += [entry.patch for entry in self.commits]
        return [artefact for artefact in found if artefact is not None]
