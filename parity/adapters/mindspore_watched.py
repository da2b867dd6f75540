"""The candidate, looked at as other tools look: what every module is given, and one plain forward.

The harness needs neither; the methods that the self-test compares it with do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from parity.adapters.mindspore_candidate import MindSporeCandidate
from parity.adapters.mindspore_recording import Recording, hooked, locate
from parity.adapters.mindspore_values import as_array
from parity.core.points import Point
from parity.core.rows import Kind
from parity.core.trace import Array, Trace

LAST_HIDDEN_STATE = "language_model.norm"


class WatchedCandidate(MindSporeCandidate):
    """A candidate whose free run records the arguments of every module too."""

    @property
    def recording(self) -> type[Recording]:
        """The hooks of the free run."""
        return Watching

    def last_hidden_state(self, input_ids: Array, attention_mask: Array) -> Array:
        """The final norm's output ``[B, S, H]`` of one forward on text alone, nothing cached.

        Args:
            input_ids: int64 ``[B, S]``.
            attention_mask: int64 ``[B, S]``, 0 at what is not attended to.
        """
        trace = Trace()
        norm = Point(LAST_HIDDEN_STATE, "text", Kind.FLOAT, LAST_HIDDEN_STATE)
        with hooked(self.model, Recording([norm], trace), True):
            self.model(input_ids=input_ids, attention_mask=attention_mask)
        return trace.taps[LAST_HIDDEN_STATE][0].value


class Watching(Recording):
    """Hooks that record points, and what the modules around them are given."""

    def substitute(self, name: str, cell: Any, args: Any, kwargs: Any) -> Any:
        """The module's own arguments, after recording those that the reference's record has."""
        wanted = next((p.forced for p in self.groups[name] if p.forced), ())
        index = sum(1 for module, _ in self.trace.arguments if module == name)
        found = self.trace.arguments.setdefault((name, index), {})
        for argument in wanted:
            holder, key = locate(cell, list(args), dict(kwargs), argument)
            found.update(_arrays(argument, holder[key]))
        return args, kwargs


def _arrays(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    """An argument by name, members of a tuple with a number each, as bundles name them."""
    if isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from _arrays(f"{name}.{index}", item)
    elif value is not None:
        yield name, np.asarray(as_array(value))
