"""What has to hold of the reference before it may judge anything: found out at every capture.

A run without hooks is compared with the recorded one, bit by bit. Where they agree, hooks change
nothing and two runs agree. Where they do not, one more run without hooks tells which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from parity.adapters.torch_execution import Called
from parity.core.store import Proof

HOOKS = "reference: hooks change nothing"
RUNS = "reference: two runs agree"


def prove(hooked: Sequence[Called], run: Callable[[], Sequence[Called]]) -> list[Proof]:
    """Whether hooks change nothing, and whether runs repeat.

    Args:
        hooked: what the run under hooks returned, a result for each call.
        run: the same calls without hooks.
    """
    plain = run()
    changed = difference(hooked, plain)
    if changed is None:
        logits = sum(len(call.logits) for call in plain)
        same = f"tokens, and logits of {logits} forwards, are the same bits"
        return [Proof(HOOKS, True, same), Proof(RUNS, True, same)]
    repeated = difference(plain, run())
    if repeated is None:
        same = "two runs without hooks are the same bits"
        return [Proof(HOOKS, False, f"with and without hooks: {changed}"), Proof(RUNS, True, same)]
    unknown = "cannot be told, since two runs without hooks differ as well"
    return [Proof(HOOKS, False, unknown), Proof(RUNS, False, f"without hooks: {repeated}")]


def difference(first: Sequence[Called], second: Sequence[Called]) -> str | None:
    """The first thing in which two runs differ in any bit, in words; ``None`` for nothing."""
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if one.tokens != other.tokens:
            return f"call {number} chose the tokens {one.tokens} and then {other.tokens}"
        for forward, pair in enumerate(zip(one.logits, other.logits, strict=True)):
            if not torch.equal(*(_bits(logits) for logits in pair)):
                return f"call {number}, forward {forward}: {_told(*pair)}"
    return None


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes: a NaN is itself, and zeros of different sign differ."""
    return tensor.contiguous().view(torch.uint8)


def _told(first: torch.Tensor, second: torch.Tensor) -> str:
    if first.shape != second.shape:
        return f"logits of shape {tuple(first.shape)} and then {tuple(second.shape)}"
    apart = (first.double() - second.double()).abs()
    count = int((apart != 0).sum())  # NaN counts
    return f"{count} of {apart.numel()} logits differ, by up to {float(apart.max()):.3g}"
