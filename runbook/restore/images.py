"""The way back of a stack's images: names of our own, and giving the services' names back.

By the project's label, never by its compose file. Nothing is ever built or pulled.
"""

import re
from typing import TYPE_CHECKING

from runbook.errors import Unfit
from runbook.kinds import Context
from runbook.resources import Compose
from runbook.restore.manifest import ImageEntry, StackImages
from runbook.tools import docker

if TYPE_CHECKING:
    from docker import DockerClient

_UNFIT_IN_TAG = re.compile(r"[^A-Za-z0-9_.-]")


def snapshot(stack: Compose, ctx: Context) -> StackImages:
    """Note which image each service runs, and keep it from being pruned."""
    tag = _UNFIT_IN_TAG.sub("-", f"rb-{ctx.operation}")[:128]
    found: dict[str, ImageEntry] = {}
    with docker.engine() as client:
        for container in docker.containers(client, stack.project):
            service, image = docker.service_of(container), str(container.attrs["Image"])
            reference = str(container.attrs["Config"]["Image"])
            if service in found or docker.image_id(client, image) is None:
                continue
            repository = _repository(reference) or f"{stack.project}-{service}"
            client.api.tag(image, repository, tag, force=True)
            found[service] = ImageEntry(
                service=service, reference=reference, id=image, kept_as=f"{repository}:{tag}"
            )
            ctx.log(f"{service}: {reference} is {image}, kept as `{repository}:{tag}`")
    images = sorted(found.values(), key=lambda entry: entry.service)
    return StackImages(name=stack.name, location=stack.project, images=images)


def missing(images: StackImages) -> list[str]:
    """Which of them are not here any more, for people."""
    with docker.engine() as client:
        return [
            f"image {entry.id} of service `{entry.service}` is gone"
            for entry in images.images
            if docker.image_id(client, entry.id) is None
        ]


def release(images: StackImages) -> list[str]:
    """Take away the names by which they were kept; those that the engine does not give up."""
    from docker.errors import APIError, ImageNotFound

    left = []
    with docker.engine() as client:
        for entry in images.images:
            try:
                client.images.remove(entry.kept_as)
            except ImageNotFound:
                continue
            except APIError as error:
                left.append(f"image `{entry.kept_as}`: {error.explanation or error}")
    return left


def restore(images: StackImages, ctx: Context) -> list[str]:
    """Let each service's name mean the image that it ran; the services that this changed.

    Raises:
        Unfit: one is gone; then nothing has been changed.
    """
    if gone := missing(images):
        raise Unfit(
            f"{len(gone)} images of the restore point are missing: {'; '.join(gone)}",
            hint="nothing was changed; `docker load` them, or roll back to another restore point",
        )
    changed = []
    with docker.engine() as client:
        for entry in images.images:
            if _moves(client, entry):
                changed.append(entry.service)
                ctx.log(f"{entry.service}: {entry.reference} is {entry.id} again")
    return changed


def _moves(client: "DockerClient", entry: ImageEntry) -> bool:
    repository = _repository(entry.reference)
    if repository is None or docker.image_id(client, entry.reference) == entry.id:
        return False
    tag = entry.reference.removeprefix(repository).lstrip(":") or "latest"
    client.api.tag(entry.id, repository, tag, force=True)
    return True


def _repository(reference: str) -> str | None:
    """The part before the tag; None: it names an image by its content, which never moves."""
    if "@" in reference or reference.startswith("sha256:"):
        return None
    head, slash, last = reference.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
