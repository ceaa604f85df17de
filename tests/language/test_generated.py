"""Documents made from the schemas that editors use: the program says of their shape the same."""

import random
from pathlib import Path

from tests.language.generated import NAMES, tried

COUNT = 300


def test_the_schema_and_the_program_agree_on_documents_that_have_all_that_there_is(
    tmp_path: Path,
) -> None:
    seed = random.randrange(10**9)

    trial = tried(seed, COUNT, tmp_path)

    assert trial.disagreements == [], f"seed {seed}"
    assert trial.unmade == [], f"seed {seed}"
    for name in NAMES:
        for verdict in ("compiles", "unfit"):
            assert trial.outcomes[f"{name} {verdict}"] >= 5, f"seed {seed}: {trial.outcomes}"
