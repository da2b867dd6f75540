"""Rotary tables that are not the reference's, made again from its own position ids.

B batch, S tokens, N patches, f = hs / 2 frequencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from parity.core.rounding import rounded
from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis
from parity.subjects.ops import Float

TEXT, VISION = "language_model.rotary_emb.*", "visual.rotary_pos_emb.*"
VISION_THETA = 1e4
Angles: TypeAlias = NDArray[np.float32]
MakeAngles: TypeAlias = Callable[[NDArray[np.float32], Angles, NDArray[np.int64]], Angles]
"""From positions ``[3, B, S]``, frequencies ``[f]`` and the row of each to angles."""


def frequencies(theta: float, count: int) -> Angles:
    """``theta ** -(i / count)``, float32 ``[count]``, to a rounding step of the reference's."""
    exponents = (np.arange(count, dtype=np.float32) / np.float32(count)).astype(np.float64)
    return (np.float32(1) / (theta**exponents).astype(np.float32)).astype(np.float32)


def chunked(positions: NDArray[np.float32], inverse: Angles, rows: NDArray[np.int64]) -> Angles:
    """The right way: each frequency with its own row of the positions."""
    return np.asarray(np.moveaxis(positions[rows], 0, -1) * inverse)


def doubled(table: Float) -> Float:
    """The table twice, side by side: ``[..., f]`` to ``[..., hs]``."""
    return np.concatenate((table, table), axis=-1)


def paired(table: Float) -> Float:
    """Each entry twice in a row."""
    return np.repeat(table, 2, axis=-1)


def _finished(
    failure: Failure, angles: Angles, double: Callable[[Float], Float], swap: bool = False
) -> Answer:
    """The failing one of the two tables, in the dtype in which the reference has it."""
    cosine = failure.point.name.endswith(".cos") != swap
    table = double((np.cos if cosine else np.sin)(angles.astype(np.float64)))
    return rounded(table, failure.dtype.name)


def text(
    angles: MakeAngles = chunked,
    *,
    theta: float | None = None,
    order: tuple[int, ...] = (0, 1, 2),
    double: Callable[[Float], Float] = doubled,
    swap: bool = False,
) -> Callable[[Failure], Answer]:
    """The decoder's table made in another way."""

    def answer(failure: Failure) -> Answer:
        found = failure.value("language_model.position_ids", failure.index)
        if found is None:
            return None
        config = failure.run.config
        rows = np.repeat(np.arange(3), config.mrope_section)
        inverse = frequencies(theta or config.rope_theta, len(rows))
        made = angles(found.astype(np.float32)[list(order)], inverse, rows)
        return _finished(failure, made, double, swap)

    return answer


def _interleaved(
    positions: NDArray[np.float32], inverse: Angles, rows: NDArray[np.int64]
) -> Angles:
    return chunked(positions, inverse, np.arange(len(rows)) % 3)


def _cut_after_doubling(
    positions: NDArray[np.float32], inverse: Angles, rows: NDArray[np.int64]
) -> Angles:
    """Sections of twice their length cut the doubled table: angles of a whole head."""
    return chunked(positions, np.tile(inverse, 2), np.sort(np.tile(rows, 2)))


def _of_row(row: int) -> MakeAngles:
    return lambda positions, inverse, rows: chunked(positions, inverse, np.full_like(rows, row))


def _rounded_angles(dtype: str) -> MakeAngles:
    return lambda p, i, rows: rounded(chunked(p, i, rows), dtype).astype(np.float32)


def _rounded_frequencies(dtype: str) -> MakeAngles:
    return lambda p, i, rows: chunked(p, rounded(i, dtype).astype(np.float32), rows)


def _rounded_positions(dtype: str) -> MakeAngles:
    return lambda p, i, rows: chunked(rounded(p, dtype).astype(np.float32), i, rows)


def _off_by(offset: int) -> MakeAngles:
    return lambda p, i, rows: chunked(p + np.float32(offset), i, rows)


def _of_text() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, answer: Callable[[Failure], Answer]) -> Hypothesis:
        return Hypothesis(f"mrope-{name}", sentence, (TEXT,), answer)

    yield one("interleaved", "M-RoPE sections interleaved instead of chunked", text(_interleaved))
    yield one("cut-after-doubling", "M-RoPE sections cut the table after it was doubled",
              text(_cut_after_doubling, double=lambda table: table))  # fmt: skip
    for order in permutations(range(3)):
        if order != (0, 1, 2):
            named = ", ".join(("time", "height", "width")[i] for i in order)
            yield one("order-" + "".join("thw"[i] for i in order),
                      f"M-RoPE sections taken in the order {named}", text(order=order))  # fmt: skip
    for row, axis in enumerate(("time", "height", "width")):
        yield one(f"one-row-{axis}", f"plain 1-D RoPE of the {axis} positions", text(_of_row(row)))
    yield from _alike("mrope", TEXT, text)
    yield one("theta-vision", "the vision tower's theta (10000)", text(theta=VISION_THETA))


def _alike(
    prefix: str, where: str, make: Callable[..., Callable[[Failure], Answer]]
) -> Iterator[Hypothesis]:
    """What can go wrong with either tower's tables."""

    def one(name: str, sentence: str, answer: Callable[[Failure], Answer]) -> Hypothesis:
        return Hypothesis(f"{prefix}-{name}", sentence, (where,), answer)

    yield one("paired", "tables for even and odd pairs, not for halves", make(double=paired))
    yield one("cos-sin-swapped", "cosine and sine swapped", make(swap=True))
    for dtype in ("bfloat16", "float16"):
        yield one(f"angles-{dtype}", f"angles computed in {dtype}", make(_rounded_angles(dtype)))
        yield one(f"frequencies-{dtype}", f"inv_freq rounded to {dtype}",
                  make(_rounded_frequencies(dtype)))  # fmt: skip
        yield one(f"positions-{dtype}", f"positions rounded to {dtype}",
                  make(_rounded_positions(dtype)))  # fmt: skip
    for offset in (-1, 1):
        yield one(f"offset{offset:+d}", f"positions off by {offset:+d}", make(_off_by(offset)))


def vision(
    angles: MakeAngles = chunked,
    *,
    theta: float = VISION_THETA,
    order: tuple[int, ...] = (0, 1),
    double: Callable[[Float], Float] = doubled,
    swap: bool = False,
    whole: bool = False,
) -> Callable[[Failure], Answer]:
    """The vision tower's table made in another way; ``whole``: frequencies of a whole head."""

    def answer(failure: Failure) -> Answer:
        found = failure.value("visual.position_ids", failure.index)
        if found is None:
            return None
        half = failure.run.config.vision_head_dim // 4
        base = frequencies(theta, 2 * half)[:half] if whole else frequencies(theta, half)
        positions = found.T.astype(np.float32)[list(order)]
        made = angles(positions, np.tile(base, 2), np.repeat([0, 1], half))
        return _finished(failure, made, double, swap)

    return answer


def _interleaved_axes(
    positions: NDArray[np.float32], inverse: Angles, rows: NDArray[np.int64]
) -> Angles:
    return chunked(positions, np.repeat(inverse[: len(rows) // 2], 2), np.arange(len(rows)) % 2)


def _of_theta(failure: Failure) -> Answer:
    return vision(theta=failure.run.config.rope_theta)(failure)


def _of_vision() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, answer: Callable[[Failure], Answer]) -> Hypothesis:
        return Hypothesis(f"vision-rope-{name}", sentence, (VISION,), answer)

    yield one("hw-swapped", "height and width halves swapped in the vision rotary tables",
              vision(order=(1, 0)))  # fmt: skip
    yield one("interleaved", "height and width interleaved in the vision rotary tables",
              vision(_interleaved_axes))  # fmt: skip
    yield one("theta-text", "the decoder's theta in the vision tower", _of_theta)
    yield one("whole-head", "vision frequencies of a whole head instead of half of one",
              vision(whole=True))  # fmt: skip
    yield one("height-only", "height positions used for both halves", vision(order=(0, 0)))
    yield one("width-only", "width positions used for both halves", vision(order=(1, 1)))
    yield from _alike("vision-rope", VISION, vision)


HYPOTHESES = (*_of_text(), *_of_vision())
