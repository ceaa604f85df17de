"""Short-lived containers that mount a volume, through which the engine hands its files in and out.

The engine's archive call needs no process: the container is created and never started, unless a
script of ours is to run in it. Its image is one that is there; none is ever pulled.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from runbook.errors import StepError, Unfit
from runbook.tools import docker
from runbook.tools.inventory import Entry, EntryType
from runbook.tools.tar_stream import Member, pack

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

INSIDE = "runbook-volume"
"""Where in the container the volume lies, from its root."""

_HELPER_LABEL = "runbook.helper"
_SCRIPT = "runbook.sh"
_PROGRAMS = ("/bin/sh", "/bin/mv")
"""Where they are, the few others that a script needs are there too."""
_POLL_S = 0.02
_PATIENCE_S = 60.0


class Job(Protocol):
    """For what a helper is made: the part of a step's context that is of use here."""

    @property
    def project(self) -> str: ...
    @property
    def operation(self) -> str: ...
    def remaining_s(self) -> float: ...
    def check(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Helper:
    """A container that mounts a volume."""

    container: "Container"
    check: Callable[[], None]

    def read(self, path: str = "") -> Iterator[bytes]:
        """An archive of the volume, or of a path in it that is there."""
        chunks, _ = self.container.get_archive(f"/{INSIDE}/{path}".rstrip("/"))
        for chunk in chunks:
            self.check()
            yield chunk

    def has(self, path: str) -> bool:
        """Whether something stands at that path of the container."""
        return _has(self.container, path)

    def write(self, members: Iterable[Member]) -> None:
        """Have the engine unpack an archive at the container's root; raises StepError."""
        from docker.errors import APIError

        try:
            self.container.put_archive("/", self._checked(pack(members)))
        except APIError as error:
            raise StepError(
                f"the container engine cannot write the files: {error.explanation or error}",
                hint="mend what it says, such as by making room, then `runbook resume`",
            ) from error

    def _checked(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.check()
            yield chunk

    def run(self, script: bytes) -> None:
        """Run a shell script as root, in the volume's directory.

        Raises:
            StepError: it ended with another status than 0.
        """
        self.write([_file(_SCRIPT, script)])
        self.container.start()
        while True:
            self.container.reload()
            if self.container.status in ("exited", "dead"):
                break
            self.check()
            time.sleep(_POLL_S)
        code = self.container.attrs["State"]["ExitCode"]
        if code != 0:
            told = self.container.logs(tail=10).decode("utf-8", "replace")
            raise StepError(
                f"a helper container ended with exit code {code}",
                output_tail=tuple(told.splitlines()),
            )


def _file(name: str, content: bytes) -> Member:
    entry = Entry(
        path=name,
        type=EntryType.FILE,
        mode=0o600,
        uid=0,
        gid=0,
        mtime_ns=0,
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return Member(name=name, entry=entry, content=content)


# --- making and removing --------------------------------------------------------------------


@contextmanager
def helper(volume: str, ctx: Job, *, runs_script: bool) -> Iterator[Helper]:
    """A container that mounts a volume which is there; gone at the end.

    With `runs_script` it may write, and its image has a shell.

    Raises:
        Unfit: no image here is of use.
        StepError: the engine refuses.
    """
    with docker.engine(timeout_s=max(ctx.remaining_s(), _PATIENCE_S)) as client:
        container = _make(client, volume, ctx, runs_script=runs_script)
        try:
            yield Helper(container, ctx.check)
        finally:
            docker.remove_container(container)


def _make(client: "DockerClient", volume: str, ctx: Job, *, runs_script: bool) -> "Container":
    from docker.errors import ImageNotFound

    for image in _images(client, volume):
        try:
            container = _create(client, image, volume, ctx, is_read_only=not runs_script)
        except ImageNotFound:
            continue
        if not runs_script or all(_has(container, path) for path in _PROGRAMS):
            return container
        docker.remove_container(container)
    wanted = "with a shell is here" if runs_script else "is here"
    raise Unfit(
        f"volume `{volume}` can only be reached through a helper container, and no image {wanted}",
        hint="pull a small one, such as `docker pull busybox`,"
        " or run as root on the engine's own machine",
    )


def _images(client: "DockerClient", volume: str) -> Iterator[str]:
    """The images of the volume's users first, then the others, small ones first."""
    users = client.containers.list(all=True, ignore_removed=True, filters={"volume": volume})
    first = dict.fromkeys(str(user.attrs["Image"]) for user in users)
    yield from first
    others = sorted(client.api.images(), key=lambda image: int(image["Size"]))
    yield from (str(image["Id"]) for image in others if image["Id"] not in first)


def _create(
    client: "DockerClient", image: str, volume: str, ctx: Job, *, is_read_only: bool
) -> "Container":
    from docker.types import LogConfig, Mount

    return client.containers.create(
        image,
        entrypoint=["/bin/sh", f"/{_SCRIPT}"],
        command=[],
        user="0:0",
        working_dir="/",
        network_mode="none",
        security_opt=["label=disable"],  # SELinux: a volume may be labelled for one container
        healthcheck={"test": ["NONE"]},
        log_config=LogConfig(type="json-file"),
        labels={docker.OPERATION_LABEL: ctx.operation, _HELPER_LABEL: _owner(volume, ctx)},
        mounts=[Mount(f"/{INSIDE}", volume, type="volume", no_copy=True, read_only=is_read_only)],
    )


def _has(container: "Container", path: str) -> bool:
    from docker.errors import NotFound

    try:
        chunks, _ = container.get_archive(path)
    except NotFound:
        return False
    for _ in chunks:
        pass
    return True


def _owner(volume: str, ctx: Job) -> str:
    return f"{ctx.project}/{volume}"


def remove_leftovers(volume: str, ctx: Job) -> None:
    """Remove what killed steps of this project have left behind for this volume."""
    docker.remove_containers(f"{_HELPER_LABEL}={_owner(volume, ctx)}")
