"""The reference pages say what the code says."""

from pathlib import Path

import pytest

from tests.generated.reference import reference_pages

PAGES = Path(__file__).parents[2] / "docs" / "reference"


def test_the_reference_pages_are_current(request: pytest.FixtureRequest) -> None:
    pages = reference_pages()

    if request.config.getoption("--generate"):
        PAGES.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            (PAGES / name).write_text(text, encoding="utf-8")
    found = {path.name: path.read_text(encoding="utf-8") for path in PAGES.iterdir()}

    assert found == pages, "run: make generate"
