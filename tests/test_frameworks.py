"""What the suite says of models that are no torch modules. ``tox -e frameworks`` has all that they need."""

from pathlib import Path

import pytest
from looked_up import judged

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_the_example_in_numpy_conforms(pytester: pytest.Pytester) -> None:
    verdict, failed, missing, exit_code = judged(pytester, str(EXAMPLES / "numpy_vit.py"))
    assert (verdict.verdict, failed, missing, exit_code) == ("CONFORMS", set(), set(), 0)
