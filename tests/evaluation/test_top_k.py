"""The highest scores of each row against a full stable sort."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from invlearn.evaluation.top_k import RUN, top_k
from invlearn.runtime.errors import ConfigError, DataError

INF = float("inf")


def sorted_stably(scores, k):
    """Items and scores by falling score, of equal ones the lowest item first."""
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return items.tolist(), np.take_along_axis(scores, items, axis=1).tolist()


@st.composite
def blocks(draw):
    """Rows from a few items to several runs of them, with many ties and masked items."""
    shape = draw(st.integers(1, 3)), draw(st.sampled_from([1, 5, RUN, 3 * RUN, 7 * RUN + 11]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kinds = {
        "ties": rng.integers(-2, 3, shape),
        "signed zeros": rng.choice([-0.0, 0.0, -1e-45, 1e-45], shape),
        "extremes": rng.choice([-3.4e38, -1.0, 3.4e38, INF], shape),
        "distinct": rng.permuted(np.tile(np.arange(shape[1]) - 30, (shape[0], 1)), axis=1),
        "rising": np.sort(rng.normal(size=shape), axis=1),
        "flat": np.zeros(shape),
    }
    scores = kinds[draw(st.sampled_from([*kinds]))].astype(np.float32)
    scores[rng.random(shape) < draw(st.sampled_from([0.0, 0.5, 0.99]))] = -INF
    return scores


@given(blocks(), st.sampled_from([1, 2, 6, 7, 20, 1000]))
def test_agrees_with_a_full_stable_sort(scores, k):
    items, highest = top_k(torch.from_numpy(scores), k)
    assert (items.tolist(), highest.tolist()) == sorted_stably(scores, k)
    assert (items.dtype, highest.dtype) == (torch.int64, torch.float32)


def test_of_equal_runs_the_first_is_looked_at():
    scores = torch.zeros(1, 5 * RUN + 3)
    scores[0, ::RUN] = 1.0
    assert top_k(scores, 3)[0].tolist() == [[0, RUN, 2 * RUN]]
    assert top_k(scores, 8)[0].tolist() == [[*range(0, 6 * RUN, RUN), 1, 2]]


def test_a_part_of_a_larger_block_will_do():
    scores = torch.randn(4, 10 * RUN, generator=torch.Generator().manual_seed(0))
    part = scores[1:3, 5 : 9 * RUN]
    assert [found.tolist() for found in top_k(part, 4)] == [*sorted_stably(part.numpy(), 4)]


def test_no_rows_no_lists():
    items, highest = top_k(torch.empty(0, 500), 4)
    assert items.shape == highest.shape == (0, 4)


@pytest.mark.parametrize("column", [0, 3 * RUN + 5, 10 * RUN + 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_nan_is_refused_wherever_it_stands(column, sign):
    scores = torch.zeros(2, 10 * RUN + 2)
    scores[1, column] = torch.tensor(float("nan")).copysign(torch.tensor(float(sign)))
    with pytest.raises(DataError, match="hold NaN"):
        top_k(scores, 2)


def test_what_cannot_be_ranked():
    with pytest.raises(ConfigError, match="length 0"):
        top_k(torch.zeros(1, 3), 0)
    with pytest.raises(DataError, match=r"float64; convert them to torch\.float32"):
        top_k(torch.zeros(1, 3, dtype=torch.float64), 2)
