"""`runbook` and `python -m runbook`."""

import sys


def main() -> None:
    """Run the program with this process's arguments, and leave with its exit status."""
    from runbook.cli.boundary import run_program

    sys.exit(run_program(sys.argv[1:]))


if __name__ == "__main__":
    main()
