"""One small model in both frameworks, whose dumps are a few kB: two blocks, one called twice.

A block takes a keyword argument and returns two tensors. Both models compute the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

Model: TypeAlias = tuple[Any, Sequence[Callable[[], Any]]]
"""A model, and what to call in each step of a dump."""
SCALE = 1.01
"""What the second block's update is multiplied by where it is to be wrong."""
WIDTH = 8
"""Of the toy."""


def toy_weights() -> dict[str, Any]:
    """Two linear layers in each of two blocks ``[WIDTH, WIDTH]``, and the input ``[4, WIDTH]``."""
    random = np.random.default_rng(0)
    names = [f"blocks.{block}.{layer}" for block in range(2) for layer in ("fc1", "fc2")]
    weights = {name: random.standard_normal((WIDTH, WIDTH), np.float32) for name in names}
    return {**weights, "input": random.standard_normal((4, WIDTH), np.float32)}


def mindspore_toy(scaled: bool) -> Model:
    """A model of two blocks, the second called twice, in MindSpore."""
    from mindspore import Parameter, Tensor, nn, ops

    weights = toy_weights()

    class Linear(nn.Cell):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.weight = Parameter(Tensor(weights[name]), name="weight")

        def construct(self, x: Any) -> Any:
            return ops.matmul(x, self.weight.T)

    class Block(nn.Cell):
        def __init__(self, index: int) -> None:
            super().__init__()
            self.fc1, self.fc2 = (Linear(f"blocks.{index}.{name}") for name in ("fc1", "fc2"))
            self.factor = SCALE if scaled and index else 1.0

        def construct(self, x: Any, scale: Any = None) -> Any:
            hidden = self.fc2(ops.relu(self.fc1(x))) * self.factor
            return x + hidden * scale, hidden

    class Toy(nn.Cell):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.CellList([Block(0), Block(1)])

        def construct(self, x: Any) -> Any:
            scale = Tensor(np.float32(0.5))
            for block in (self.blocks[0], self.blocks[1], self.blocks[1]):
                x, _ = block(x, scale=scale)
            return x

    model = Toy()
    return model, [lambda: model(Tensor(weights["input"])).asnumpy()]


def torch_toy() -> Model:
    """The same in PyTorch."""
    import torch
    from torch import nn

    weights = toy_weights()

    class Block(nn.Module):
        def __init__(self, index: int) -> None:
            super().__init__()
            for name in ("fc1", "fc2"):
                layer = nn.Linear(WIDTH, WIDTH, bias=False)
                layer.weight = nn.Parameter(torch.from_numpy(weights[f"blocks.{index}.{name}"]))
                setattr(self, name, layer)

        def forward(self, x: Any, scale: Any = None) -> Any:
            hidden = self.fc2(torch.relu(self.fc1(x)))
            return x + hidden * scale, hidden

    class Toy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList([Block(0), Block(1)])

        def forward(self, x: Any) -> Any:
            for block in (self.blocks[0], self.blocks[1], self.blocks[1]):
                x, _ = block(x, scale=torch.tensor(0.5))
            return x

    model = Toy()
    return model, [lambda: model(torch.from_numpy(weights["input"]))]
