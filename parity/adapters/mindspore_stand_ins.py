"""The reference's values in place of cells that are not ported yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

import mindspore as ms
from mindspore import Tensor, nn

from parity.core.errors import ParityError
from parity.core.points import Point
from parity.core.store import Bundle


class StandIn:
    """Takes the place of a cell's ``construct``: hands on what the reference computed."""

    def __init__(self, path: str, results: Sequence[Point], bundle: Bundle) -> None:
        self.path, self.results, self.bundle = path, results, bundle
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The reference's result of this call, whatever the arguments are.

        Raises:
            ParityError: the reference did not call it so often.
        """
        values = tuple(self._value(point) for point in self.results)
        self.calls += 1
        if (cache := kwargs.get("cache")) is not None:
            cache.length += values[0].shape[1]  # what the port counts its positions by
        return values[0] if self.results[0].port == "output" else values

    def _value(self, point: Point) -> Tensor:
        firing = self.bundle.get(point.name, self.calls)
        if firing is None:
            raise ParityError(
                f"{self.path} is not ported, and was called {self.calls + 1} times; the reference "
                f"called it {self.calls} times, so there is no value to stand in"
            )
        return Tensor(self.bundle.tensor(firing.value), dtype=getattr(ms, firing.dtype))


def declared_holes(cells: Mapping[str, nn.Cell]) -> list[str]:
    """The cells that say of themselves that they are not ported."""
    return [path for path, cell in cells.items() if getattr(cell, "not_ported", False)]


def leave_out(cell: nn.Cell, path: str) -> None:
    """Make ``cell`` a placeholder: declared as not ported, and never executed."""

    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise NotImplementedError(f"{path} was left out, and nothing stands in for it")

    cell.not_ported = True
    cell.construct = refuse


@contextmanager
def standing_in(
    cells: Mapping[str, nn.Cell], results: Mapping[str, Sequence[Point]], bundle: Bundle
) -> Iterator[None]:
    """Let the reference's values stand in for the cells of ``results``, for one execution."""
    before = {path: vars(cells[path]).get("construct") for path in results}
    try:
        for path, points in results.items():
            cells[path].construct = StandIn(path, points, bundle)
        yield
    finally:
        for path, construct in before.items():
            if construct is None:
                vars(cells[path]).pop("construct", None)
            else:
                cells[path].construct = construct
