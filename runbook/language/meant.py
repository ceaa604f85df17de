"""Which runbook is meant, where a path leads to none."""

from difflib import get_close_matches
from pathlib import Path

from runbook.language.diagnostics import one_of

PROJECT_FILE = "project.yaml"
_MOST_LISTED = 10


def runbooks_meant(path: Path) -> str | None:
    """A hint that names the file of the nearest name, or all that are near where they are few."""
    places = dict.fromkeys((path if path.is_dir() else path.parent, Path("runbooks")))
    found = [file for place in places for file in sorted(place.glob("*.yaml"))]
    found = [file for file in found if file.name != PROJECT_FILE]
    close = get_close_matches(path.stem, [file.stem for file in found], n=1)
    for file in found:
        if file.stem in close:
            return f"did you mean `{file}`?"
    if not found or len(found) > _MOST_LISTED:
        return None
    return f"expected {one_of(map(str, found))}"
