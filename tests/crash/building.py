"""A workspace as `runbook demo` makes it, but with a shop whose starts and changes are counted."""

import json
import shutil
import socket
import subprocess
from pathlib import Path

SHOP = Path(__file__).parent / "shop"


def count_effects(root: Path) -> int:
    """Give the demo's releases a shop whose effects can be counted; its port."""
    repository = root / "shop"
    for tag in ("v1", "v2", "v3"):
        _git(repository, "checkout", "--quiet", tag)
        for name in ("server.py", "migrate.py"):
            shutil.copy(SHOP / name, repository)
        release = json.loads((repository / "release.json").read_text())
        release = {"name": tag, "columns": release["columns"], "goes_bad": tag == "v3"}
        (repository / "release.json").write_text(json.dumps(release))
        _git(repository, "commit", "--quiet", "--all", "--message", f"{tag}, counted")
        _git(repository, "tag", "--force", tag)
    _git(repository, "checkout", "--quiet", "v1")
    shutil.copy(SHOP / "clear_cache.py", root / "ops")
    (root / "effects.log").touch()
    project = root / "runbooks" / "project.yaml"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    text = project.read_text().splitlines(keepends=True)
    # The demo has chosen a port of its own, which it does not tell.
    old = next(line for line in text if line.lstrip().startswith("port:")).split('"')[1]
    project.write_text("".join(text).replace(old, str(port)))
    return port


def _git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@invalid", "-c", "commit.gpgsign=no"]
    argv = ["git", "-C", str(repository), *identity, *arguments]
    subprocess.run(argv, check=True, capture_output=True)
