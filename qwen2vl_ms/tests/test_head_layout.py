"""Rows of heads arrive where they belong, and come back."""

from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from qwen2vl_ms import head_layout
from qwen2vl_ms.head_layout import HeadLayout, heads_first, heads_last
from qwen2vl_ms.tests.tiny import start

HEADS, WIDTH = 6, 4


@pytest.fixture(autouse=True)
def frameworks() -> None:
    start()


def numbered(*shape: int) -> np.ndarray:
    """Every number is another one."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("group_rows", [2**17, 100, 20])
@pytest.mark.parametrize("ends", [(12,), (4, 12, 16), (20, 24)])
def test_parts_are_heads_of_segments(
    ends: tuple[int, ...], group_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head_layout, "GROUP_ROWS", group_rows)
    qkv = numbered(ends[-1], 3, HEADS, WIDTH)
    layout = HeadLayout.of(ends, HEADS)
    seen = dict.fromkeys(ends, 0)
    results = []
    for (first, end, count), rows in zip(layout.parts, layout.rows, strict=True):
        part = qkv.reshape(-1, WIDTH)[rows.asnumpy()].reshape(3, count, end - first, WIDTH)
        group = slice(seen[end], seen[end] + count)
        np.testing.assert_array_equal(part, qkv[first:end, :, group].transpose(1, 2, 0, 3))
        assert 3 * count * (end - first) <= max(group_rows, 3 * (end - first))
        seen[end] += count
        results.append(part[0].reshape(-1, WIDTH))  # queries stand for what attention returns
    assert set(seen.values()) == {HEADS}
    back = np.concatenate(results)[layout.back.asnumpy()]
    np.testing.assert_array_equal(back.reshape(-1, HEADS, WIDTH), qkv[:, 0])


@pytest.mark.parametrize("shape", [(1, 5, 3), (2, 4, 3), (3, 1, 2), (2, 5, 1)])
def test_heads_first_and_back(shape: tuple[int, int, int]) -> None:
    batch, length, heads = shape
    x = numbered(batch, length, heads * WIDTH)
    ours = heads_first(ms.Tensor(x), WIDTH)
    expected = x.reshape(batch, length, heads, WIDTH).transpose(0, 2, 1, 3)
    np.testing.assert_array_equal(ours.asnumpy(), expected)
    np.testing.assert_array_equal(heads_last(ours).asnumpy(), x)
