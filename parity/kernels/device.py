"""What the ledger asks of a device; each framework has an adapter that answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from parity.core.errors import ParityError
from parity.core.trace import Array


class UnsupportedError(ParityError):
    """The device has no kernel for a primitive in this dtype."""


class Device(Protocol):
    """A device's own kernels, called as the port calls them."""

    def place(self, name: str) -> str:
        """Where the primitive ``name`` is computed, such as ``CPU``."""
        ...

    def dtype(self, name: str, hidden: str) -> str:
        """The dtype of what the port hands to a primitive, and takes from it.

        Args:
            name: of the primitive.
            hidden: dtype of the values between modules, or inside attention, by its full name.
        """
        ...

    def run(self, name: str, operands: Sequence[Any], hidden: str) -> Array:
        """Run a primitive.

        Args:
            name: of the primitive, one of `parity.kernels.primitives.TRUTHS`.
            operands: as its truth takes them; arrays hold values of `dtype` (a cast's, float32).
            hidden: as in `dtype`.

        Returns:
            Its result, values of `dtype` held as float32.

        Raises:
            UnsupportedError: the device has no such kernel.
        """
        ...
