"""A checkpoint's weights by module, rounded to a run's dtype and then exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parity.core.checkpoint import Checkpoint
from parity.core.errors import ParityError
from parity.core.numerics import Precision
from parity.core.rounding import rounded

PREFIXES = {
    "visual.": ("visual.", "model.visual."),
    "language_model.": ("model.", "model.language_model."),
}
"""How the two generations of checkpoints begin the names of a tower."""
EMBEDDING = "language_model.embed_tokens"


def canonical(stored: str) -> str:
    """The name of a stored tensor in transformers 5, without its leading ``model.``."""
    starts = [(old, start) for start, olds in PREFIXES.items() for old in olds]
    for old, start in sorted(starts, key=lambda pair: -len(pair[0])):  # "model." is in others
        if stored.startswith(old):
            return start + stored.removeprefix(old)
    return stored


class Weights:
    """Weights and biases by the canonical names of their modules; read when asked for."""

    def __init__(self, checkpoint: Path, precision: Precision, *, tied: bool = False) -> None:
        """Open the checkpoint.

        Args:
            checkpoint: Hugging Face checkpoint folder.
            precision: the dtype of its reference is what every number is rounded to, as both
                sides do when they load.
            tied: take the head from the embedding.

        Raises:
            ParityError: the folder holds no complete safetensors.
        """
        self.stored = Checkpoint(checkpoint)
        self.dtype = precision.format.name
        self.tied = tied

    def get(self, module: str, name: str) -> NDArray[np.float64] | None:
        """``weight`` or ``bias`` of a module, or ``None`` where it has none."""
        found = next((n for n in self._names(module, name) if n in self.stored.names), None)
        return None if found is None else rounded(self.stored.read(found), self.dtype)

    def __call__(self, module: str, name: str = "weight") -> NDArray[np.float64]:
        """The same of a module that has to have it.

        Raises:
            ParityError: the checkpoint has no such tensor.
        """
        array = self.get(module, name)
        if array is None:
            wanted = " or ".join(self._names(module, name))
            raise ParityError(f"{self.stored.folder} has no tensor {wanted}; is it complete?")
        return array

    def of(self, module: str) -> dict[str, NDArray[np.float64]]:
        """Every weight and bias of a module and of those inside it, by its whole name."""
        if module == "lm_head":
            return {"lm_head.weight": self(module)}
        names = [(canonical(stored), stored) for stored in self.stored.names]
        return {
            name: rounded(self.stored.read(stored), self.dtype)
            for name, stored in sorted(names)
            if name.startswith(f"{module}.") and name.endswith((".weight", ".bias"))
        }

    def _names(self, module: str, name: str) -> list[str]:
        """The names under which a checkpoint may have it."""
        if module == "lm_head" and self.tied:
            module = EMBEDDING
        for start, stored in PREFIXES.items():
            if module.startswith(start):
                rest = module.removeprefix(start)
                return [f"{prefix}{rest}.{name}" for prefix in stored]
        return [f"{module}.{name}"]
