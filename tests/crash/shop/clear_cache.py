"""Stands for what a rollback does elsewhere; counted."""

from pathlib import Path

with (Path(__file__).parent.parent / "effects.log").open("a") as effects:
    effects.write("cache\n")
