"""Which requests go without a deadline: none that could be long."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import tests.support.serving_models as models
from serving.server.runtime import inline
from serving.server.runtime.bundle import Bundle

QUICK, LONG = 0.001, 0.1


def test_what_is_no_larger_than_a_quick_one_is_quick():
    quick = inline.Quick()
    assert not quick.knows(["y"], (2, 3))
    quick.learn(["y"], (2, 3), QUICK)
    assert quick.knows(["y"], (2, 3))
    assert quick.knows(["y"], (1, 3))
    for other in ((3, 3), (1, 4), (2,), (2, 3, 1)):
        assert not quick.knows(["y"], other)
    # Other outputs may cost more.
    assert not quick.knows(["y", "z"], (1, 1))


def test_a_long_run_takes_it_back():
    quick = inline.Quick()
    quick.learn(["y"], (9, 9), QUICK)
    quick.learn(["y"], (2, 3), LONG)
    assert not quick.knows(["y"], (2, 3))
    assert not quick.knows(["y"], (3, 3))
    quick.learn(["y"], (2, 3), QUICK)
    assert quick.knows(["y"], (2, 3))


@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(0, 9), st.integers(0, 9)), st.booleans()
        ),
        max_size=40,
    ),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_only_what_a_quick_run_bounds_is_known(runs, asked):
    quick = inline.Quick()
    for size, is_quick in runs:
        quick.learn(["y"], size, QUICK if is_quick else LONG)
    if quick.knows(["y"], asked):
        assert any(
            is_quick and asked[0] <= size[0] and asked[1] <= size[1]
            for size, is_quick in runs
        )


def test_what_is_remembered_is_bounded():
    quick = inline.Quick()
    for number in range(1000):
        quick.learn([number], (number, 1000 - number), QUICK)
        quick.learn(["y"], (number, 1000 - number), QUICK)
    assert len(quick._sizes) <= 64
    assert all(len(known) <= 8 for known in quick._sizes.values())


def test_long_strings_count():
    short, long = (
        inline.size_of([np.array([text], object)])
        for text in (b"a", b"a" * 10**6)
    )
    assert (short, long) == ((1, 1), (1, 10**6))


def test_signatures_with_loops_are_told_apart():
    def looping(name):
        bundle = Bundle(models.originals()[name])
        found = {
            one
            for one, definition in bundle.signature_defs.items()
            if definition.method_name and bundle.signature(one).quick is None
        }
        bundle.close()
        return found

    assert looping("affine") == {"slow"}
    assert looping("examples") == set()
