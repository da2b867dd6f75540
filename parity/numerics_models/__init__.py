"""Models of what a device computes: the port on CPU, with the device's arithmetic in its place.

No Ascend device is at hand. What its documentation says of its numbers is imitated here, so that
the harness can be seen to tell it, and what a run on the device will look like can be predicted. A
model takes the place of operations of the port's numerics seam (``qwen2vl_ms.ops``,
``qwen2vl_ms.attention``) for the time of a block, as a planted fault does, and changes nothing
outside of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from parity.core.errors import ParityError
from parity.numerics_models.model import NumericsModel


@cache
def catalogue() -> dict[str, NumericsModel]:
    """Every model, by name: single properties of devices first, then whole devices."""
    from parity.numerics_models import accumulation, chips, flash, operands, saturation

    files = (operands, accumulation, saturation, flash, chips)
    return {model.name: model for file in files for model in file.MODELS}


def find(name: str) -> NumericsModel:
    """The model called ``name``.

    Raises:
        ParityError: there is none.
    """
    known = catalogue()
    if name not in known:
        raise ParityError(f"no numerics model is named {name!r}; there are: {', '.join(known)}")
    return known[name]


@contextmanager
def imitated(name: str | None, dtype: str) -> Iterator[None]:
    """Let the port compute as the model ``name`` says, for the time of the block.

    Args:
        name: of the model; ``None`` changes nothing.
        dtype: name of the precision that the port runs in.
    """
    if name is None or dtype not in find(name).dtypes:
        yield
        return
    with find(name).enter(dtype):
        yield
