"""Intervals and tests against scipy, tables, and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from unlearning.report.statistics import (
    bootstrap_interval,
    critical_difference,
    equivalence,
    friedman,
    holm,
    paired_test,
    ranks,
)

RANDOM = np.random.default_rng(5)


def test_a_bootstrap_interval_is_in_the_range_of_the_values() -> None:
    low, high = bootstrap_interval([1.0, 1.0, 0.96])
    assert 0.96 <= low < high <= 1.0  # Student's interval goes beyond 1
    assert bootstrap_interval([0.5, 0.5]) == (0.5, 0.5)
    assert all(map(math.isnan, bootstrap_interval([0.5])))


def test_a_bootstrap_interval_of_many_values_is_students() -> None:
    values = RANDOM.normal(3, 1, 60)
    expected = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert bootstrap_interval(values) == pytest.approx(expected, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "least"), [(5, 0.88), (10, 0.93), (20, 0.93)])
def test_a_bootstrap_interval_holds_the_mean_as_often_as_it_says(n: int, least: float) -> None:
    draws = RANDOM.normal(size=(1500, n))
    holds = [low <= 0 <= high for low, high in map(bootstrap_interval, draws)]
    assert least <= np.mean(holds) <= 0.97


def test_the_paired_test_is_that_of_scipy() -> None:
    first, second = RANDOM.normal(size=(2, 7))
    found, expected = paired_test(first - second), stats.ttest_rel(first, second)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.mean / found.error == pytest.approx(expected.statistic)


@pytest.mark.parametrize("same", [[0.0, 0.0, 0.0], [0.1, 0.1, 0.1], [0.3, 0.1 + 0.2]])
def test_equal_differences_have_no_p(same: list[float]) -> None:
    """With a standard error of 0 two of them would be certain."""
    found = paired_test(same)
    assert (found.n, found.error) == (len(same), 0)
    assert found.mean == pytest.approx(same[0])
    assert math.isnan(found.p)
    assert math.isnan(equivalence(same, 0.2))


def test_one_difference_has_no_p() -> None:
    assert math.isnan(paired_test([0.1]).p)
    assert math.isnan(equivalence([0.1], 0.2))


def test_equivalence_is_two_one_sided_tests_of_scipy() -> None:
    for mean in (0.0, 0.04, -0.2):
        values = RANDOM.normal(mean, 0.05, 8)
        above = stats.ttest_1samp(values, -0.1, alternative="greater").pvalue
        below = stats.ttest_1samp(values, 0.1, alternative="less").pvalue
        assert equivalence(values, 0.1) == pytest.approx(max(above, below))


def test_a_retrained_model_passes_and_a_biased_one_does_not() -> None:
    """Gaps of the size of noise pass a margin of four standard errors; a bias of the margin passes once in twenty."""
    noise = RANDOM.normal(0, 0.01, (400, 5))
    assert np.mean([equivalence(gaps, 0.03) < 0.05 for gaps in noise]) > 0.95
    assert np.mean([equivalence(gaps + 0.03, 0.03) < 0.05 for gaps in noise]) == pytest.approx(0.05, abs=0.035)


def test_holm_by_hand() -> None:
    assert holm([0.03, 0.01, 0.02, 0.5]) == pytest.approx([0.06, 0.04, 0.06, 0.5])  # 4 x .01, 3 x .02, 2 x .03, 1 x .5
    assert holm([0.9, 0.6]) == [1, 1]


def test_ranks_and_friedman_are_those_of_scipy() -> None:
    costs = RANDOM.integers(0, 5, (9, 4)).astype(float)  # with ties
    assert ranks(costs) == pytest.approx(stats.rankdata(costs, axis=1))
    assert friedman(costs) == pytest.approx(stats.friedmanchisquare(*costs.T).pvalue)
    assert friedman(np.ones((3, 3))) == 1


@pytest.mark.parametrize(("methods", "quantile"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_critical_differences_are_those_of_the_table(methods: int, quantile: float) -> None:
    """Demsar (2006), table 5, for two-tailed Nemenyi tests at .05."""
    expected = quantile * math.sqrt(methods * (methods + 1) / (6 * 14))
    assert critical_difference(methods, 14) == pytest.approx(expected, rel=1e-3)
