"""Rotary frequencies bit for bit; tables and rotations against the reference's."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
import torch
from transformers.models.qwen2_vl import modeling_qwen2_vl as theirs

from qwen2vl_ms import Qwen2VLConfig, ops, rope
from qwen2vl_ms.positions import vision_position_ids
from qwen2vl_ms.tests.tiny import reference_config, start

PUBLISHED = [(1e6, 128), (1e4, 40)]  # text, vision: every published checkpoint
# The last whole vector ends elsewhere on other machines, so: sizes that fill vectors anywhere,
# and sizes that fill none.
WHOLE, SCALAR = (64, 128, 192, 256), (4, 8, 12)
BASES = [*(1e4, 1e5, 5e5, 1e6, 1e7), *(10 ** np.random.default_rng(0).uniform(1, 8, 200)).tolist()]


def reference_frequencies(theta: float, dim: int) -> np.ndarray:
    """The expression of ``compute_default_rope_parameters`` of transformers 5.23."""
    return (1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float) / dim))).numpy()


def bits(values: np.ndarray) -> np.ndarray:
    assert values.dtype == np.float32
    return values.view(np.int32)


@pytest.mark.parametrize(("theta", "dim"), PUBLISHED)
def test_published_frequencies_are_bit_identical(theta: float, dim: int) -> None:
    ours, reference = rope.inverse_frequencies(theta, dim), reference_frequencies(theta, dim)
    np.testing.assert_array_equal(bits(ours), bits(reference))


def wrong_part(dims: tuple[int, ...], frequencies: Any) -> float:
    """The part of all values, over many bases, that is not the reference's."""
    pairs = [(frequencies(b, d), reference_frequencies(b, d)) for b in BASES for d in dims]
    ours, reference = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return float((bits(ours) != bits(reference)).mean())


def numpy_frequencies(theta: float, dim: int) -> np.ndarray:
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    return np.float32(1) / np.power(np.float32(theta), exponents)


def test_frequencies_of_any_base_are_bit_identical_but_for_a_few() -> None:
    assert wrong_part(WHOLE, rope.inverse_frequencies) <= 1e-4
    assert wrong_part(SCALAR, rope.inverse_frequencies) <= 2e-3
    assert wrong_part(WHOLE, numpy_frequencies) > 5e-3  # what the pains are for


@pytest.fixture(scope="module")
def config() -> Qwen2VLConfig:
    start()
    return Qwen2VLConfig.from_dict(reference_config().to_dict())


def assert_same_table(ours: ms.Tensor, reference: torch.Tensor) -> None:
    """Within an ulp of 1: cosines of equal angles, rounded by another library."""
    np.testing.assert_allclose(ours.asnumpy(), reference.numpy(), rtol=0, atol=2.0**-23)


def test_text_tables(config: Qwen2VLConfig) -> None:
    positions = np.random.default_rng(0).integers(0, 4000, (3, 2, 50))
    reference = theirs.Qwen2VLRotaryEmbedding(reference_config().text_config)
    tables = reference(torch.zeros(1), torch.from_numpy(positions))
    ours = rope.Qwen2VLRotaryEmbedding(config.text_config)
    for table, expected in zip(ours(position_ids=positions), tables, strict=True):
        assert_same_table(table, expected)
    swapped = ours(position_ids=positions[[0, 2, 1]])
    with pytest.raises(AssertionError):
        assert_same_table(swapped[0], tables[0])


def test_vision_tables(config: Qwen2VLConfig) -> None:
    positions = vision_position_ids(np.array([[1, 8, 12], [2, 4, 6]]), 2)
    reference = theirs.Qwen2VLVisionRotaryEmbedding(reference_config().vision_config)
    tables = reference(torch.zeros(1), torch.from_numpy(positions))
    ours = rope.Qwen2VLVisionRotaryEmbedding(config.vision_config)
    for table, expected in zip(ours(position_ids=positions), tables, strict=True):
        assert_same_table(table, expected)
    swapped = ours(position_ids=positions[:, ::-1])
    with pytest.raises(AssertionError):
        assert_same_table(swapped[0], tables[0])


def test_the_rotation_is_bit_identical() -> None:
    start()
    rng = np.random.default_rng(0)
    x, cos, sin = (rng.standard_normal(s).astype(np.float32) for s in ((7, 3, 8), (7, 8), (7, 8)))

    def rotate(values: np.ndarray) -> np.ndarray:
        heads_first = (values.swapaxes(0, 1)[None], cos[None], sin[None])
        return ops.rotate(*map(ms.Tensor, heads_first)).asnumpy()[0].swapaxes(0, 1)

    ours = rotate(x)
    expected, _ = theirs.apply_rotary_pos_emb_vision(*map(torch.from_numpy, (x, x, cos, sin)))
    np.testing.assert_array_equal(bits(ours), bits(expected.numpy()))
    interleaved = x.reshape(7, 3, 4, 2).swapaxes(2, 3).reshape(x.shape)
    faulty = rotate(interleaved)
    assert not np.array_equal(faulty, expected.numpy())
