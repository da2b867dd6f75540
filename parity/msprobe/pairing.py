"""Two dumps side by side: which call of the candidate's is which of the reference's."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from parity.core.trace import Tap
from parity.msprobe.dump import Call, Dump
from parity.msprobe.imported import calls_by_module
from parity.msprobe.names import DECODER, Named, NameMap, name_modules


@dataclass(frozen=True)
class Pair:
    """One call on both sides."""

    module: str
    """Canonical: as the reference's path, without a leading ``model.``."""
    reference: Call
    candidate: Call | None
    """``None`` where the candidate's dump does not have it."""

    @property
    def results(self) -> list[int]:
        """Which members of the result are tensors on both sides."""
        theirs = self.candidate.outputs if self.candidate else ()
        both = zip(self.reference.outputs, theirs, strict=False)
        return [member for member, (one, other) in enumerate(both) if one and other]


@dataclass(frozen=True)
class Paired:
    """Two dumps."""

    reference: Dump
    candidate: Dump
    named: Named
    pairs: Sequence[Pair]
    """A pair for every call of the reference, in the order in which they finished."""
    extra: Mapping[str, tuple[int, int]]
    """How often modules were called that the candidate called more often: reference, candidate."""

    def inputs(self, pair: Pair) -> Iterator[tuple[Tap, Tap]]:
        """The arguments of a call on both sides: by name, then what is left in order.

        Flat, since a convolution may be written as a product; of one size, or left out.
        """
        if pair.candidate is None:
            return
        ours, theirs = dict(pair.reference.arguments), dict(pair.candidate.arguments)
        same = [(ours.pop(name), theirs.pop(name)) for name in list(ours) if name in theirs]
        rest = zip(ours.values(), theirs.values(), strict=False)
        for one, other in [*same, *rest]:
            if math.prod(one.shape) == math.prod(other.shape):
                yield _flat(self.reference.tensor(one)), _flat(self.candidate.tensor(other))

    def result(self, pair: Pair, member: int) -> tuple[Tap, Tap]:
        """One of a pair's `results`, reference and candidate."""
        one = pair.reference.outputs[member]
        other = None if pair.candidate is None else pair.candidate.outputs[member]
        if one is None or other is None:
            raise KeyError(member)
        return self.reference.tensor(one), self.candidate.tensor(other)

    @property
    def compared(self) -> set[str]:
        """The modules of which a result is on both sides."""
        return {pair.module for pair in self.pairs if pair.results}


def pair_up(reference: Dump, candidate: Dump, names: NameMap) -> Paired:
    """Find the candidate's call for every call of the reference.

    Raises:
        ParityError: no module has the same name on both sides, two have, or calls are missing
            in between.
    """
    paths = {call.path: canonical(call.path) for call in reference.calls}
    ours = calls_by_module(reference, paths)
    named = name_modules((call.path for call in candidate.calls), set(ours), names)
    theirs = calls_by_module(candidate, named.modules)
    pairs = []
    for call in reference.calls:
        own = theirs.get(paths[call.path], [])
        found = own[call.index] if call.index < len(own) else None
        pairs.append(Pair(paths[call.path], call, found))
    counts = {module: (len(ours[module]), len(calls)) for module, calls in theirs.items()}
    extra = {module: count for module, count in counts.items() if count[1] > count[0]}
    return Paired(reference, candidate, named, pairs, extra)


def _flat(tap: Tap) -> Tap:
    return replace(tap, value=tap.value.reshape(-1))


def canonical(path: str) -> str:
    """The reference's path by the names of transformers 5, without a leading ``model.``."""
    if DECODER.match(path):
        return DECODER.sub("language_model.", path, count=1)
    return path.removeprefix("model.")


def around(module: str, known: set[str]) -> str | None:
    """The smallest module around ``module`` that is ``known``."""
    path = module.rpartition(".")[0]
    while path and path not in known:
        path = path.rpartition(".")[0]
    return path or None
