"""No number that JSON cannot hold comes in: by `--set`, by a variable or out of an expression."""

import pytest

from runbook.core.plan import JsonObject
from runbook.errors import InputError, ParametersInvalid
from runbook.language.expressions import Evaluator
from runbook.language.inputs import read_inputs


@pytest.mark.parametrize("text", ["1e400", "9" * 400, "9" * 300 + "e99"])
def test_an_input_that_is_too_large_for_a_number_is_refused(text: str) -> None:
    declared: JsonObject = {"n": {"type": "number", "env": "N"}}

    with pytest.raises(InputError):
        read_inputs(declared, {"n": text}, {})
    with pytest.raises(InputError):
        read_inputs(declared, {}, {"N": text})


@pytest.mark.parametrize("text", ["1e400", "9e200 * 9e200", "'1e400' | float", "'nan' | float"])
def test_an_expression_gives_no_number_that_is_too_large(text: str) -> None:
    with pytest.raises(ParametersInvalid):
        Evaluator().value("${{ " + text + " }}", {})
