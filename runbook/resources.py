"""The things that steps act on, named once per project: one model per resource type.

A resource is data. What is done to it stands in the step kinds, how in `tools/`. A step's parameter
names a resource; by the time the step runs, the engine has put the resource itself in its place.
"""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)

from runbook.field_rules import DURATION, POSITIVE_DURATION, exactly_one, rules
from runbook.secret import Secret
from runbook.units import parse_duration_s


def _resolve_path(value: Any, info: ValidationInfo) -> Any:
    context = info.context or {}
    base = context.get("bases", {}).get(info.field_name, context.get("base", ""))
    if not isinstance(value, str):
        return value
    # Without `..`: `runbooks/../data` would be no path any more once a checkout removes `runbooks`.
    return Path(os.path.normpath(Path(base, value).absolute()))


def _parse_duration(value: Any) -> Any:
    is_measure = isinstance(value, str | float | int)
    return parse_duration_s(value) if is_measure and not isinstance(value, bool) else value


AbsolutePath = Annotated[
    Path,
    BeforeValidator(_resolve_path),
    WithJsonSchema({"type": "string", "minLength": 1, "format": "path"}),
]
"""A path, relative to the file that names it; absolute once validated."""


Duration = Annotated[
    float, BeforeValidator(_parse_duration), Field(ge=0), WithJsonSchema({**DURATION})
]
"""Seconds; written `90s`, `10m`, `1h30m` or as a bare number of seconds."""
PositiveDuration = Annotated[
    float, BeforeValidator(_parse_duration), Field(gt=0), WithJsonSchema({**POSITIVE_DURATION})
]
"""The same, and more than nothing."""


def _as_whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


AS_WHOLE = BeforeValidator(_as_whole)
"""`3.0` is a whole number, as in JSON Schema. Bounds stand before it: the schema needs them."""
Whole = Annotated[int, AS_WHOLE]
"""A whole number."""
Natural = Annotated[int, Field(ge=0), AS_WHOLE]
"""A whole number from 0 on."""
Positive = Annotated[int, Field(ge=1), AS_WHOLE]
"""A whole number from 1 on."""
Port = Annotated[int, Field(ge=1, le=65535), AS_WHOLE]
"""A TCP port."""

PossiblySecret = Annotated[
    str | Secret,
    WithJsonSchema({"type": "string"}),
]
"""A string that may be a secret: never print it; `Secret.reveal` at the edge."""

MODEL_CONFIG = ConfigDict(
    frozen=True,
    extra="forbid",
    strict=True,
    arbitrary_types_allowed=True,
    defer_build=True,
)


class ResourceModel(BaseModel):
    """Base of all resource types."""

    model_config = MODEL_CONFIG

    name: str = Field(default="", exclude=True, json_schema_extra={"x-internal": True})
    """The name that the project gives it; set by the program."""


class Git(ResourceModel):
    """A git work tree."""

    path: AbsolutePath
    """Directory of the work tree."""
    remote: str = "origin"
    """The remote that revisions are fetched from; a work tree without it is used as it is."""


class Sqlite(ResourceModel):
    """An SQLite database file."""

    path: AbsolutePath
    """The file; need not exist before the first deploy."""


class Directory(ResourceModel):
    """A directory of files, such as uploads."""

    path: AbsolutePath
    """The directory; need not exist before the first deploy."""
    used_by: list[str] = Field(default_factory=list)
    """Names of the `process` resources that write to it."""


class ReadyCheck(BaseModel):
    """When a process counts as up."""

    model_config = MODEL_CONFIG

    get: str
    """URL that answers with a status below 400 once the process is ready."""
    timeout: PositiveDuration = 30.0
    """How long it may take."""


class Process(ResourceModel):
    """A local long-running process."""

    argv: list[str] = Field(min_length=1)
    """Program and arguments; no shell."""
    directory: AbsolutePath
    """Its working directory."""
    environment: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Variables that it gets besides `PATH`, `HOME`, `LANG` and `TZ`."""
    ready: ReadyCheck | None = None
    """Absent: it is ready once it has started."""
    stop_grace: Duration = 10.0
    """How long it may take to end after SIGTERM, before SIGKILL."""


class Http(ResourceModel):
    """A base address of a service."""

    url: str
    """Base URL, without a trailing slash."""


class Compose(ResourceModel):
    """A docker-compose stack."""

    project: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Compose's project name, which labels all that belongs to the stack."""
    files: list[AbsolutePath] = Field(min_length=1)
    """The compose files, in Compose's order: later ones win."""
    directory: AbsolutePath | None = None
    """What the files' relative paths are relative to; absent: the first file's directory."""
    env_files: list[AbsolutePath] = Field(default_factory=list)
    """Files of variables for the compose files; none given: `.env` in the directory, if any."""
    environment: dict[str, PossiblySecret] = Field(default_factory=dict)
    """Variables for the compose files; they win over those of `env_files`."""
    profiles: list[str] = Field(default_factory=list)
    """Compose profiles that are on."""


ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
"""A service of a stack, as `stack/postgres`: a `compose` resource's name, a slash, the service."""


class Postgres(ResourceModel):
    """A PostgreSQL database."""

    model_config = MODEL_CONFIG | rules(exactly_one("service", "host"))

    service: ServiceName | None = None
    """The service that its server runs as, such as `stack/postgres`."""
    host: str | None = None
    """Where a server that is no service of a stack listens."""
    port: Port = 5432
    """The server's port; of a service: the one inside its container."""
    database: str = Field(min_length=1, max_length=63)
    """The database's name; it need not exist before the first deploy."""
    user: str = Field(min_length=1)
    """Who connects: needs to own the database and may create databases."""
    password: PossiblySecret | None = None
    """The user's password; absent: the server asks for none."""


class Volume(ResourceModel):  # type: ignore[no-redef]  # `volume` is `name` in the file
    """A Docker volume."""

    volume: str = Field(min_length=1, alias="name")
    """The volume's full name, such as `shop_minio_data`; need not exist before the first deploy."""
    used_by: list[ServiceName] = Field(default_factory=list)
    """The services that write to it, such as `stack/minio`."""


class S3(ResourceModel):
    """A bucket of MinIO or any other S3 server."""

    model_config = MODEL_CONFIG | rules(exactly_one("service", "url"))

    service: ServiceName | None = None
    """The service that its server runs as, such as `stack/minio`."""
    port: Port = 9000
    """The port inside the service's container."""
    url: str | None = None
    """Where a server that is no service of a stack answers, such as `https://s3.example.org`."""
    region: str = "us-east-1"
    """The bucket's region."""
    bucket: str = Field(min_length=3, max_length=63)
    """The bucket's name; it need not exist before the first deploy."""
    access_key: PossiblySecret
    """Who asks."""
    secret_key: PossiblySecret
    """Its key."""


Database = Sqlite | Postgres
"""Whatever `backup_db` and `restore_db` can act on."""
FileTree = Directory | Volume
"""Whatever `snapshot_volume` and `restore_volume` can act on."""


RESOURCE_TYPES: dict[str, type[ResourceModel]] = {
    "git": Git,
    "sqlite": Sqlite,
    "directory": Directory,
    "process": Process,
    "http": Http,
    "compose": Compose,
    "postgres": Postgres,
    "volume": Volume,
    "s3": S3,
}
"""Every resource type by the word that the language has for it."""
