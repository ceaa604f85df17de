"""What tells journals apart."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, time
from pathlib import Path
from runbook.engine.claim import journal_id
state_dir = Path(sys.argv[1])
print("ready", flush=True)
while not (state_dir / "go").exists():
    pass
print(journal_id(state_dir))
"""


def test_runs_that_begin_at_once_in_a_new_state_directory_have_one_journal(tmp_path: Path) -> None:
    found = set()
    for number in range(5):
        state_dir = tmp_path / str(number)
        state_dir.mkdir()
        began = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(state_dir)], stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for process in began:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        (state_dir / "go").touch()
        told = {process.communicate()[0] for process in began}
        assert [process.returncode for process in began] == [0] * 4
        assert len(told) == 1
        found |= told

    assert len(found) == 5
