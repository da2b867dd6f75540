"""From logits to a token: pure functions on NumPy arrays.

    B rows, V vocabulary, L tokens of a row so far

Logits are float32 and stay so, since the reference computes in float32 too. The order is the
reference's: repetition penalty, and when sampling temperature, top-k, top-p, softmax, draw.

The first three give the reference's bits. Top-p compares a running sum of probabilities with a
threshold; exponentials differ in the last bit between libraries, so a token whose sum is within
1e-6 of the threshold may be judged differently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
import numpy.typing as npt

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.positions import Ints

if TYPE_CHECKING:
    from qwen2vl_ms.generation_config import GenerationConfig

Floats = npt.NDArray[np.float32]

MIN_TOKENS_TO_KEEP = 1


def repetition_penalty(
    logits: Floats, tokens: Ints, penalty: float, keep: npt.NDArray[np.bool_] | None = None
) -> Floats:
    """Make tokens that occurred less likely.

    Mirrors ``RepetitionPenaltyLogitsProcessor`` of transformers 5.23, which divides a positive
    logit and multiplies a negative one, and passes over padding before a prompt.

    Args:
        logits: float32 [B, V].
        tokens: int64 [B, L], prompt included.
        penalty: Over 1 discourages, under 1 encourages.
        keep: bool [B, L], false at padding; None for no padding.

    Returns:
        float32 [B, V].
    """
    penalty32 = np.float32(penalty)
    seen = np.zeros(logits.shape, bool)  # [B, V]
    for row, ids in enumerate(tokens):
        seen[row, ids if keep is None else ids[keep[row]]] = True
    penalised = np.where(logits < 0, logits * penalty32, logits / penalty32)
    return np.where(seen, penalised, logits)


def temperature(logits: Floats, value: float) -> Floats:
    """Divide the logits [B, V]. Mirrors ``TemperatureLogitsWarper`` of transformers 5.23."""
    return logits / np.float32(value)


def top_k(logits: Floats, k: int) -> Floats:
    """Keep the k greatest logits of each row, and those equal to the k-th; the rest is -inf.

    Mirrors ``TopKLogitsWarper`` of transformers 5.23.

    Args:
        logits: float32 [B, V].
        k: At least 1; more than V keeps all.

    Returns:
        float32 [B, V].
    """
    k = min(max(k, MIN_TOKENS_TO_KEEP), logits.shape[-1])
    least = np.partition(logits, -k, axis=-1)[:, -k, None]  # [B, 1]
    return np.where(logits < least, np.float32(-np.inf), logits)


def top_p(logits: Floats, p: float) -> Floats:
    """Keep the fewest tokens whose probabilities reach p, at least one; the rest is -inf.

    Mirrors ``TopPLogitsWarper`` of transformers 5.23: from the least likely on, tokens are
    removed while their summed probability is at most 1 - p. Of equal ones the first goes first;
    the reference removes as many of them, and its sort, which is not stable, decides which.

    Args:
        logits: float32 [B, V].
        p: From 0 to 1.

    Returns:
        float32 [B, V].
    """
    order = np.argsort(logits, axis=-1, kind="stable")  # [B, V], least likely first
    ordered = softmax(np.take_along_axis(logits, order, axis=-1))
    # Summed in double precision and rounded, as the reference's kernel does.
    reached = np.cumsum(ordered, axis=-1, dtype=np.float64).astype(np.float32)
    remove = reached <= np.float32(1 - p)  # [B, V], in that order
    remove[:, -MIN_TOKENS_TO_KEEP:] = False
    removed = np.zeros_like(remove)
    np.put_along_axis(removed, order, remove, axis=-1)
    return np.where(removed, np.float32(-np.inf), logits)


def softmax(logits: Floats) -> Floats:
    """Probabilities [B, V] of logits [B, V], float32; -inf gives 0."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def processed(
    logits: Floats,
    tokens: Ints,
    config: GenerationConfig,
    keep: npt.NDArray[np.bool_] | None = None,
) -> Floats:
    """All that ``config`` asks for, in the reference's order (``_get_logits_processor``).

    Args:
        logits: float32 [B, V].
        tokens: int64 [B, L], prompt included.
        config: Its `repetition_penalty`, and when it samples `temperature`, `top_k`, `top_p`.
        keep: bool [B, L], false at padding; None for no padding.

    Returns:
        float32 [B, V].
    """
    if config.repetition_penalty != 1:
        logits = repetition_penalty(logits, tokens, config.repetition_penalty, keep)
    if not config.do_sample:
        return logits
    if config.temperature != 1:
        logits = temperature(logits, config.temperature)
    if config.top_k:
        logits = top_k(logits, config.top_k)
    return top_p(logits, config.top_p) if config.top_p < 1 else logits


def likeliest(logits: Floats) -> Ints:
    """The greatest of each row [B, V]; the first of equal ones, as the reference: int64 [B]."""
    return logits.argmax(axis=-1).astype(np.int64)


def draw(logits: Floats, streams: Sequence[np.random.Generator]) -> Ints:
    """One token of each row, by its probability; one number is taken from each row's stream.

    Args:
        logits: float32 [B, V]; -inf is never drawn.
        streams: B sources of random numbers.

    Returns:
        int64 [B].
    """
    probabilities = softmax(logits)
    rows = zip(probabilities, streams, strict=True)
    return np.array([_drawn(row, stream.random()) for row, stream in rows], np.int64)


def _drawn(probabilities: Floats, uniform: float) -> int:
    """The index at which the summed probability [V] passes ``uniform``, from [0, 1)."""
    reached = np.cumsum(probabilities, dtype=np.float64)
    index = int(np.searchsorted(reached, uniform * reached[-1], side="right"))
    # Rounding may turn a number just under 1 into the whole sum.
    return min(index, int(np.flatnonzero(probabilities)[-1]))


def row_seeds(seed: int | Sequence[int] | None, rows: int) -> tuple[int, ...]:
    """A seed for each row: ``seed``, ``seed + 1``, ...; or those given; or fresh ones.

    A row's numbers depend on its own seed alone, so row 2 of a batch with seed 7 is drawn like a
    single row with seed 9.

    Raises:
        Qwen2VLError: Not whole numbers from 0, or not one for each row.
    """
    if seed is None:
        return tuple(int(n) for n in np.random.SeedSequence().generate_state(rows, np.uint64))
    if _is_seed(seed):
        return tuple(range(int(seed), int(seed) + rows))
    if not isinstance(seed, (list, tuple)) or not all(map(_is_seed, seed)):
        raise Qwen2VLError(f"seed is {seed!r}: it has to be a whole number from 0, or a list")
    if len(seed) != rows:
        raise Qwen2VLError(f"seed has {len(seed)} numbers for {rows} rows: give one for each")
    return tuple(int(one) for one in seed)


def _is_seed(value: Any) -> TypeGuard[int]:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return bool(whole and value >= 0)
