"""The real ground: a Docker engine, Compose, images of PostgreSQL, MinIO, Redis, Python; an editor.

`python -m tests.real.ground` sets up what is missing, and is done at once where nothing is. Nothing
comes from an image registry: base images are made by debootstrap, MinIO by `go install`. What is
built carries the digest of its recipe, so that it is built anew exactly if the recipe changes.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
CACHE = Path(
    os.environ.get("RUNBOOK_TEST_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "runbook-test"
)
"""Outside of every checkout: a fresh clone builds nothing that this machine has built before."""
RECIPE_LABEL = "runbook.recipe"
MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
VERSITYGW = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
EDITOR = "yaml-language-server@1.25.0"
OLDEST_COMPOSE = (2, 20)
_ENGINE_PATIENCE_S = 180.0
_ENGINE_PIDS = {
    Path("/run/docker.pid"): "dockerd",
    Path("/run/docker/containerd/containerd.pid"): "containerd",
}


_started: "list[subprocess.Popen[bytes]]" = []
"""Engines that outlive us: Python complains of a child that it forgets."""


class GroundMissing(Exception):
    """This machine has no real ground, and none can be set up."""


# --- running things -------------------------------------------------------------------------


def run(*argv: str, environ: dict[str, str] | None = None, patience_s: float | None = None) -> str:
    """What a command prints; raises GroundMissing with its last lines if it fails."""
    try:
        ended = subprocess.run(
            argv,
            env={**os.environ, **(environ or {})},
            capture_output=True,
            check=False,
            timeout=patience_s,
        )
    except OSError as error:
        raise GroundMissing(f"`{argv[0]}` cannot be run: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise GroundMissing(f"`{' '.join(argv[:6])}` did not end in {patience_s:g} s") from error
    if ended.returncode != 0:
        tail = (ended.stderr or ended.stdout).decode("utf-8", "replace").strip()[-2000:]
        raise GroundMissing(f"`{' '.join(argv[:6])}` ended with {ended.returncode}: {tail}")
    return ended.stdout.decode("utf-8", "replace")


def succeeds(*argv: str) -> bool:
    """Whether a command is there and ends with 0 within a minute."""
    with suppress(GroundMissing):
        run(*argv, patience_s=60.0)
        return True
    return False


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two set-ups at once do not meet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- packages and the engine ----------------------------------------------------------------


def install_packages() -> None:
    """The engine, what it needs, and what makes base images; Compose and buildx from trixie."""
    programs = ("dockerd", "iptables", "debootstrap")
    if not all(map(shutil.which, programs)):
        _apt("docker.io", "iptables", "debootstrap")
    if compose_version() < OLDEST_COMPOSE or not succeeds("docker", "buildx", "version"):
        _add_trixie()
        _apt("docker-compose/trixie", "docker-buildx/trixie")


def _apt(*packages: str) -> None:
    if os.geteuid() != 0:
        raise GroundMissing(f"only root can install: {', '.join(packages)}")
    if shutil.which("apt-get") is None:
        raise GroundMissing(f"there is no apt-get to install: {', '.join(packages)}")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    run("apt-get", "update", "-qq", environ=quiet)
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, environ=quiet)


def compose_version() -> tuple[int, ...]:
    """Of Compose v2; (0,) where there is none."""
    with suppress(GroundMissing, ValueError):
        text = run("docker", "compose", "version", "--short").strip().lstrip("v")
        return tuple(int(part) for part in text.split("-")[0].split("+")[0].split(".")[:2])
    return (0,)


def mirror() -> str:
    """The mirror that this machine has its own packages from."""
    for file in (Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")):
        for line in file.read_text().splitlines() if file.is_file() else ():
            words = line.split()
            is_deb822 = words[:1] == ["URIs:"]
            found = words[1] if is_deb822 else next((w for w in words if "://" in w), "")
            if (is_deb822 or words[:1] == ["deb"]) and found.rstrip("/").endswith("debian"):
                return found
    raise GroundMissing("no Debian mirror is configured on this machine")


def _add_trixie() -> None:
    sources = Path("/etc/apt/sources.list.d/runbook-test-trixie.list")
    sources.write_text(f"deb {mirror()} trixie main\n")
    pin = "Package: *\nPin: release n=trixie\nPin-Priority: 50\n"
    Path("/etc/apt/preferences.d/runbook-test-trixie").write_text(pin)


def start_engine() -> None:
    """Start a Docker engine where none answers; one that answers is left alone."""
    if succeeds("docker", "info"):
        return
    if os.geteuid() != 0:
        raise GroundMissing("no Docker engine answers, and only root can start one")
    if not _comes_up() and not _comes_up(
        *("--data-root", str(CACHE / "engine")),
        *("--exec-root", "/run/runbook-test-engine"),
        *("--pidfile", "/run/runbook-test-engine.pid"),
    ):
        tail = (CACHE / "dockerd.log").read_text(errors="replace")[-2000:]
        raise GroundMissing(f"the Docker engine does not start: {tail}")


def _comes_up(*options: str) -> bool:
    """Whether an engine started like that answers: at once when it does or when it has given up."""
    for file, program in _ENGINE_PIDS.items():
        forget_killed(file, program)
    with (CACHE / "dockerd.log").open("ab") as log:
        started = subprocess.Popen(
            ["dockerd", *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    until = time.monotonic() + _ENGINE_PATIENCE_S
    while started.poll() is None and time.monotonic() < until:
        if succeeds("docker", "info"):
            _started.append(started)
            return True
        time.sleep(0.1)
    started.kill()
    started.wait()
    return False


def forget_killed(pid_file: Path, program: str) -> None:
    """Remove the pid file of a program that was killed: another process may have its number by now,
    and an engine does not start beside it."""
    with suppress(OSError):
        if Path(f"/proc/{pid_file.read_text().strip()}/comm").read_text().strip() == program:
            return
    pid_file.unlink(missing_ok=True)


# --- images ---------------------------------------------------------------------------------


def digest(*parts: object) -> str:
    """Of a recipe: texts, and every file of a folder."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")):
                found.update(f"{file.relative_to(part)}\0".encode())
                found.update(file.read_bytes() if file.is_file() else b"")
        else:
            found.update(f"{part}\0".encode())
    return found.hexdigest()[:16]


def is_built(image: str, recipe: str) -> bool:
    """Whether an image was made by that recipe."""
    shown = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
    with suppress(GroundMissing):
        return run("docker", "image", "inspect", "--format", shown, image).strip() == recipe
    return False


def make_base(suite: str, image: str) -> None:
    """A minimal Debian of that suite."""
    recipe = digest("debootstrap minbase", suite)
    if is_built(image, recipe):
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        root = Path(made) / "root"
        run("debootstrap", "--variant=minbase", suite, str(root), mirror())
        archive = Path(made) / "root.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(root, arcname=".", filter=_without_caches)
        run("docker", "import", "--change", f"LABEL {RECIPE_LABEL}={recipe}", str(archive), image)


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    is_cache = entry.name.startswith(("./var/cache/apt/archives/", "./dev/"))
    return None if is_cache else entry


def build(image: str, folder: str, base: str, **arguments: str) -> None:
    """An image of a folder with a Dockerfile, on a base."""
    recipe = digest(IMAGES / folder, base, sorted(arguments.items()))
    if is_built(image, recipe):
        return
    words = [f"--build-arg={name}={value}" for name, value in {"BASE": base, **arguments}.items()]
    label = f"--label={RECIPE_LABEL}={recipe}"
    run("docker", "build", "--quiet", label, *words, "--tag", image, str(IMAGES / folder))


def install_go(module: str) -> Path:
    """A program of the Go module proxy, in the cache."""
    name = module.partition("@")[0].rsplit("/", 1)[-1]
    version = module.partition("@")[2]
    place = CACHE / "bin" / f"{name}-{version}"
    if not place.exists():
        if shutil.which("go") is None:
            _apt("golang-go")
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            environ = {"GOBIN": made, "CGO_ENABLED": "0", "GOFLAGS": "-trimpath"}
            run("go", "install", "-ldflags=-s -w", module, environ=environ)
            place.parent.mkdir(exist_ok=True)
            shutil.move(Path(made) / name, place)
    return place


def install_editor() -> Path:
    """The language server that editors use for YAML, in the cache."""
    place = CACHE / EDITOR.replace("@", "-")
    server = place / "node_modules" / EDITOR.partition("@")[0] / "bin" / EDITOR.partition("@")[0]
    if not server.exists():
        if shutil.which("npm") is None:
            _apt("nodejs", "npm")
        with tempfile.TemporaryDirectory(dir=CACHE) as made:
            run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", made, EDITOR)
            shutil.copytree(made, place, symlinks=True, dirs_exist_ok=True)
    return server


def build_minio(image: str, base: str) -> None:
    """MinIO's server on a base."""
    recipe = digest(IMAGES / "minio", base, MINIO)
    if is_built(image, recipe):
        return
    program = install_go(MINIO)
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        shutil.copytree(IMAGES / "minio", made, dirs_exist_ok=True)
        shutil.copy(program, Path(made) / "minio")
        run(
            *("docker", "build", "--quiet", f"--label={RECIPE_LABEL}={recipe}"),
            *(f"--build-arg=BASE={base}", "--tag", image, made),
        )


def _bookworm() -> None:
    make_base("bookworm", "runbook-test/base:bookworm")
    build("runbook-test/python:1", "python", "runbook-test/base:bookworm")
    build("runbook-test/redis:1", "redis", "runbook-test/base:bookworm")
    build("runbook-test/postgres:15", "postgres", "runbook-test/base:bookworm", VERSION="15")


def _trixie() -> None:
    make_base("trixie", "runbook-test/base:trixie")
    build("runbook-test/postgres:17", "postgres", "runbook-test/base:trixie", VERSION="17")


def _minio() -> None:
    build_minio("runbook-test/minio:1", "runbook-test/base:bookworm")


def _s3() -> None:
    install_go(MINIO)
    install_go(VERSITYGW)


def _editor() -> None:
    install_editor()


def set_up(tell: Callable[[str], None] = lambda _line: None) -> None:
    """Everything, in no time where it is there already; raises GroundMissing."""
    began = time.monotonic()

    def timed(name: str, work: Callable[[], None]) -> None:
        start = time.monotonic()
        work()
        if time.monotonic() - start > 1.0:
            tell(f"{name}: {time.monotonic() - start:.0f} s")

    with one_at_a_time():
        timed("packages", install_packages)
        timed("engine", start_engine)
        parts = {"bookworm": _bookworm, "trixie": _trixie, "s3 servers": _s3}
        with ThreadPoolExecutor(len(parts)) as pool:
            for done in [pool.submit(timed, name, work) for name, work in parts.items()]:
                done.result()
        timed("minio", _minio)
        timed("editor", _editor)
    tell(f"the real ground is there ({time.monotonic() - began:.1f} s)")


if __name__ == "__main__":
    try:
        set_up(lambda line: print(line, file=sys.stderr, flush=True))
    except GroundMissing as missing:
        if os.environ.get("CI", "").lower() not in ("", "false", "0"):
            sys.exit(f"no real ground: {missing}")
        print(f"no real ground, its tests will be skipped: {missing}", file=sys.stderr)
