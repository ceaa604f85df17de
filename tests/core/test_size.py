"""The core stays small enough to read in one sitting (docs/adr/0005)."""

import ast
from pathlib import Path

import runbook.core

CORE = Path(runbook.core.__file__).parent


def count_code_lines(path: Path) -> int:
    """Lines that hold code: neither blank, nor comment, docstring or import."""
    text = path.read_text(encoding="utf-8")
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Expr):
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if is_docstring or not isinstance(node, ast.Expr):
                prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), start=1)
    return sum(
        1
        for number, line in lines
        if line.strip() and not line.strip().startswith("#") and number not in prose
    )


def test_the_core_has_fewer_than_seven_hundred_lines_of_code() -> None:
    counts = {path.name: count_code_lines(path) for path in sorted(CORE.glob("*.py"))}

    assert sum(counts.values()) < 700, counts


def test_no_module_of_the_program_has_more_than_four_hundred_lines() -> None:
    package = CORE.parent

    too_long = {
        str(path.relative_to(package)): count
        for path in package.rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }

    assert not too_long
