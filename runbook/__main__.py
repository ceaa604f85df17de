"""`runbook` and `python -m runbook`."""

import os
import sys


def main() -> None:
    """Run the program with this process's arguments, and leave with its exit status."""
    _open_closed_streams()
    from runbook.cli.boundary import run_program

    sys.exit(run_program(sys.argv[1:]))


def _open_closed_streams() -> None:
    """After `2>&-` a file of ours would get that number, and whatever is printed would go there."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, "r" if descriptor == 0 else "w"))


if __name__ == "__main__":
    main()
