"""`runbook demo`, from the sources and from an installed wheel, in an empty directory."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.scenarios.conftest import Eventually, Place, Told

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, installed from a wheel into a virtual environment that has what it needs."""
    folder = tmp_path_factory.mktemp("installed")
    # With the build backend that is here, if it is: fetching one takes a network.
    here = ["--no-build-isolation"] if find_spec("hatchling") and find_spec("editables") else []
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *here]
    subprocess.run([*build, "--wheel-dir", str(folder), str(REPOSITORY)], check=True)
    (wheel,) = folder.glob("*.whl")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python*/site-packages")
    # What it needs comes from here; our sources do not, for .pth files are not followed twice.
    (packages / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = str(venv / "bin" / "python")
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    done = subprocess.run([python, *install], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (packages / "runbook" / "shipped" / "runbooks" / "quickstart").is_dir()
    return venv / "bin" / "runbook"


@pytest.fixture
def empty(tmp_path: Path, eventually: Eventually) -> Iterator[Place]:
    """An empty directory, where temporary files stay, too."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "empty").mkdir()
    place = Place(root=tmp_path / "empty", eventually=eventually)
    place.environ = {"TMPDIR": str(tmp_path / "tmp")}
    yield place
    for workspace in (tmp_path / "tmp").glob("runbook-demo-*"):
        Place(root=workspace, eventually=eventually, environ={"RUNBOOK_STATE_DIR": ""}).clean_up()


def typed_line(told: Told) -> str:
    """The last line of all that the demo has printed."""
    return told.text.rstrip().splitlines()[-1]


def test_the_demo_deploys_two_releases_and_leaves_nothing_behind_here(empty: Place) -> None:
    told = empty.runbook("demo")

    assert told.status == 0, told.text
    assert told.out.count("succeeded: deploy-") == 2
    assert list(empty.root.iterdir()) == []


def test_the_demo_works_from_an_installed_wheel_twice_in_a_row(
    installed: Path, empty: Place
) -> None:
    empty.program = [str(installed)]

    told = [empty.runbook("demo"), empty.runbook("demo")]

    assert [each.status for each in told] == [0, 0], told[0].text + told[1].text
    assert len(list(Path(empty.environ["TMPDIR"]).glob("runbook-demo-*"))) == 2
    assert list(empty.root.iterdir()) == []


@pytest.mark.parametrize("is_in_path", [True, False])
def test_the_line_that_a_broken_demo_prints_last_finishes_the_rollback(
    is_in_path: bool, installed: Path, empty: Place
) -> None:
    empty.program = [str(installed)]
    if is_in_path:
        empty.environ["PATH"] = f"{installed.parent}{os.pathsep}{os.environ['PATH']}"
        empty.program = ["runbook"]

    for _ in range(2):
        broken = empty.typed(" ".join([*empty.program, "demo", "--break"]))
        finished = empty.typed(typed_line(Told(status=0, out=broken.out, err="")))
        again = empty.typed(typed_line(Told(status=0, out=broken.out, err="")))

        assert broken.status == 0, broken.text
        assert "ROLLBACK FAILED" in broken.text
        assert finished.status == 3, finished.text
        assert "rolled back" in finished.text
        assert again.status in (0, 3), again.text
        assert list(empty.root.iterdir()) == []


def test_the_broken_demo_works_from_the_sources(empty: Place) -> None:
    broken = empty.runbook("demo", "--break")
    (stop,) = [line for line in broken.err.splitlines() if line.endswith("/stop.yaml")]

    finished = empty.typed(typed_line(Told(status=0, out=broken.out, err="")))
    stopped = empty.typed(stop.removeprefix("# "))

    assert broken.status == 0, broken.text
    assert finished.status == 3, finished.text
    assert stopped.status == 0, stopped.text
