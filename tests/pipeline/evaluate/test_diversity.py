import numpy as np

from pipeline.evaluate import diversity


def test_similarity_is_the_mean_over_pairs():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(9, 4))
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    items = np.array([[2, 5, 7], [3, 4, 0], [8, 0, 0]])
    pairs = [
        [units[a] @ units[b] for a, b in ((2, 5), (2, 7), (5, 7))],
        [units[3] @ units[4]],
    ]
    expected = np.mean([np.mean(row) for row in pairs])
    np.testing.assert_allclose(diversity.similarity(items, units), expected)
    assert diversity.similarity(np.array([[8, 0]]), units) == 0.0
