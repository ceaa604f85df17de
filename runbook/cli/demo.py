"""`runbook demo`: the main job on a throw-away workspace, through the program's own commands.

Nothing of the interpreter knows of it: it makes files, and runs `runbook` as a person would.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from runbook.cli.options import HELP
from runbook.errors import Unfit
from runbook.settings import invocation, shipped

RELEASES: dict[str, dict[str, object]] = {
    "v1": {"name": "v1", "columns": "id, name"},
    "v2": {"name": "v2", "columns": "id, name, price_cents"},
    "v3": {"name": "v3", "columns": "id, name, currency", "goes_bad_after_s": 1.5},
}
"""Each is one commit and one migration of the sample shop; v3 goes bad."""

WATCH = ["--set", "monitoring_duration=4s", "--set", "monitoring_interval=250ms"]
FAULT = "no answer within 2 s (a fault that this demo has put there; it strikes once)\n"


@click.command("demo", context_settings=HELP)
@click.option("--break", "is_bad", is_flag=True, help="Deploy a release that goes bad.")
def demo(*, is_bad: bool) -> None:
    """Deploy a sample shop, here and now: no container, no database server."""
    workspace = make_workspace(Path(tempfile.mkdtemp(prefix="runbook-demo-")), is_bad=is_bad)
    deploy = ["run", str(workspace / "runbooks/deploy.yaml")]
    say(f"workspace  {workspace}")
    say("first release", "of all: nothing is there yet")
    run(workspace, [*deploy, "--set", "revision=v1", "--set", "monitoring_duration=500ms",
                    "--set", "monitoring_interval=100ms"], expected=0)  # fmt: skip
    if is_bad:
        call = invocation(os.environ, str(workspace / "state"))
        say("a release that goes bad", "after a second and a half; to stop the shop in the end:")
        click.echo(f"# {call} run {workspace / 'runbooks/stop.yaml'}", err=True)
        run(workspace, [*deploy, "--set", "revision=v3", *WATCH], expected=4)
        return
    say("second release")
    run(workspace, [*deploy, "--set", "revision=v2", *WATCH], expected=0)
    say("the shop is stopped again", "for this was a demo; next: runbook demo --break")
    run(workspace, ["run", str(workspace / "runbooks/stop.yaml")], expected=0)


def say(what: str, more: str = "") -> None:
    """A line of the demo's own, apart from what the commands print."""
    click.secho(f"\n# {what}" + (f" {more}" if more else ""), bold=True, err=True)


def run(workspace: Path, arguments: list[str], *, expected: int) -> None:
    """Run `runbook` as a person would; its end is the demo's own, but for the expected one."""
    program = Path(sys.argv[0])
    is_script = program.name != "__main__.py" and os.access(program, os.X_OK)
    start = [str(program)] if is_script else [sys.executable, "-m", "runbook"]
    state = ["--state-dir", str(workspace / "state")]
    click.secho(f"$ runbook {' '.join(arguments)}", dim=True, err=True)
    status = subprocess.run([*start, *state, *arguments], check=False).returncode
    if status != expected:
        sys.exit(status or 1)


def make_workspace(workspace: Path, *, is_bad: bool) -> Path:
    """A folder with the shop's repository, its runbooks on a free port, and its uploads."""
    quickstart = shipped("runbooks/quickstart")
    uploads = workspace / "data" / "uploads"
    uploads.mkdir(parents=True)
    for number in range(20):
        (uploads / f"picture-{number:02}.txt").write_text(f"picture {number}\n")
    shutil.copytree(quickstart / "ops", workspace / "ops")
    if is_bad:
        (workspace / "ops" / "fault").write_text(FAULT)
    _copy_runbooks(quickstart, workspace / "runbooks")
    _make_repository(quickstart / "shop", workspace / "shop")
    return workspace


def _copy_runbooks(source: Path, target: Path) -> None:
    target.mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for runbook in source.glob("*.yaml"):
        text = runbook.read_text(encoding="utf-8").replace("8080", str(port))
        (target / runbook.name).write_text(text, encoding="utf-8")


def _make_repository(source: Path, repository: Path) -> None:
    shutil.copytree(source, repository, ignore=shutil.ignore_patterns("00[23]*", "__pycache__"))
    (repository / ".gitignore").write_text("__pycache__/\n")
    _git(repository, "init", "--quiet", "--initial-branch=main")
    for number, (tag, release) in enumerate(RELEASES.items(), start=1):
        for migration in (source / "migrations").glob(f"{number:03}_*.sql"):
            shutil.copy(migration, repository / "migrations")
        (repository / "release.json").write_text(json.dumps(release))
        _git(repository, "add", "--all")
        _git(repository, "commit", "--quiet", "--message", f"release {tag}")
        _git(repository, "tag", tag)
    _git(repository, "checkout", "--quiet", "v1")


def _git(repository: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Demo", "-c", "user.email=demo@invalid", "-c", "commit.gpgsign=no"]
    try:
        subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True)
    except FileNotFoundError:
        raise Unfit("the demo needs `git`, which is not installed") from None
