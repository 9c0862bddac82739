"""A hundred files of all sorts; `python -m tests.fuzzing.table_files` tries many."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzzing.table_files import check, draw
from tests.helpers.spark import needs_spark, start_spark_for_tests


@pytest.mark.slow
@settings(
    max_examples=100,
    database=None,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(st.integers(0, 2**63))
def test_all_commands_give_the_scores_of_the_frame_or_fit_refuses(number):
    outcome = check(draw(np.random.default_rng(number)), export=number % 20 == 0)
    assert outcome.startswith(("the same scores", "refused: "))


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    session = start_spark_for_tests(tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


class TestWithSpark:
    pytestmark = needs_spark

    @pytest.mark.parametrize("number", range(8))
    def test_spark_gives_the_scores_of_the_frame(self, spark, number):
        outcome = check(draw(np.random.default_rng([3, number])), spark=spark)
        assert outcome.startswith(("the same scores", "refused: "))
