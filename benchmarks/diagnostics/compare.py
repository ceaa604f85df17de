"""What several tools say of the same twelve mistakes: `python -m benchmarks.diagnostics.compare`.

Each mistake stands in `mistakes.yaml`, once in the words of each tool. A tool that is not on PATH
is left out. Prints the table of docs/comparison.md.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SCHEMA = ROOT / "schemas" / "runbook.schema.json"
PROJECT = "project: shop\nresources: {db: {sqlite: {path: shop.db}}, code: {git: {path: .}}}\n"


def run(argv: list[str], folder: Path) -> tuple[int, str]:
    """Exit status and all that was said."""
    ended = subprocess.run(
        argv, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        timeout=120,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


def runbook(folder: Path, text: str) -> tuple[int, str]:
    """Ours."""
    (folder / "project.yaml").write_text(PROJECT)
    (folder / "deploy.yaml").write_text(text)
    return run([sys.executable, "-m", "runbook", "validate", "deploy.yaml"], folder)


def check_jsonschema(folder: Path, text: str) -> tuple[int, str]:
    """Our documents and our schema, as a general validator sees them."""
    (folder / "deploy.yaml").write_text(text)
    return run(["check-jsonschema", "--schemafile", str(SCHEMA), "deploy.yaml"], folder)


def actionlint(folder: Path, text: str) -> tuple[int, str]:
    """GitHub workflows."""
    (folder / "ci.yaml").write_text(text)
    return run(["actionlint", "-no-color", "-shellcheck=", "-pyflakes=", "ci.yaml"], folder)


def ansible(folder: Path, text: str) -> tuple[int, str]:
    """Playbooks: all that it says without touching a host."""
    (folder / "play.yaml").write_text(text)
    return run(["ansible-playbook", "--syntax-check", "-i", "localhost,", "play.yaml"], folder)


def task(folder: Path, text: str) -> tuple[int, str]:
    """Taskfiles, dry."""
    (folder / "Taskfile.yml").write_text(text)
    return run(["task", "--dry", "deploy"], folder)


TOOLS: dict[str, tuple[str, str, Callable[[Path, str], tuple[int, str]]]] = {
    "runbook": ("runbook", sys.executable, runbook),
    "check-jsonschema": ("runbook", "check-jsonschema", check_jsonschema),
    "actionlint": ("actionlint", "actionlint", actionlint),
    "Ansible": ("ansible", "ansible-playbook", ansible),
    "Task": ("task", "task", task),
}
"""By name: in whose words the mistake is written, the program, and how it is asked."""


def verdict(status: int, said: str, names: list[str]) -> str:
    """Whether the mistake was found, and whether its line and its culprit were named."""
    is_named = all(name in said for name in names)
    is_warned = "warning" in said.lower() and is_named
    if status == 0 and not is_warned:
        return "–"
    has_place = any(f":{line}" in said or f"line {line}" in said for line in range(1, 40))
    word = "found" if status else "warned"
    return f"{word}{', with line' if has_place else ''}{', named' if is_named else ''}"


def main() -> None:
    """Ask every tool about every mistake."""
    import yaml

    there = {name: tool for name, tool in TOOLS.items() if shutil.which(tool[1])}
    print(f"| mistake | {' | '.join(there)} |\n|---|{'---|' * len(there)}")
    for mistake in yaml.safe_load((HERE / "mistakes.yaml").read_text()):
        cells = []
        for language, _program, ask in there.values():
            text = mistake["files"].get(language)
            if text is None:
                cells.append("cannot be made")
                continue
            with tempfile.TemporaryDirectory() as folder:
                status, said = ask(Path(folder), text)
            if "-v" in sys.argv:
                print(f"\n### {mistake['name']}: {language}, {status}\n{said}", file=sys.stderr)
            cells.append(verdict(status, said, mistake["culprit"]))
        print(f"| {mistake['name']} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
