import numpy as np
import pytest

from pipeline.retrieval import quantiles


@pytest.mark.parametrize("span", [1, 1000, 5_000_000, 10**12])
@pytest.mark.parametrize("count", [1, 7, 5_000])
def test_values_are_those_of_the_sorted_whole(span, count):
    rng = np.random.default_rng(span + count)
    # Half of them in one place: bins are not evenly filled.
    values = np.where(rng.random(count) < 0.5, 17, rng.integers(0, span, count))
    blocks = np.array_split(values - 40, 3)
    found = quantiles.select(lambda: blocks, lambda n: np.arange(n))
    np.testing.assert_array_equal(found, np.sort(values) - 40)
    some = quantiles.select(lambda: blocks, lambda n: np.array([n - 1, 0]))
    assert some.tolist() == [values.max() - 40, values.min() - 40]


def test_no_values_have_no_order():
    found = quantiles.select(lambda: [np.zeros(0, np.int64)], np.arange)
    assert not len(found)
