"""A dump as the trace of a free run: its tensors by point and firing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from parity.core.errors import ParityError
from parity.core.points import Firing, Point
from parity.core.trace import Array, Trace
from parity.msprobe.dump import Call, Dump, Entry
from parity.msprobe.names import Named, NameMap, name_modules
from parity.subjects import qwen2vl

PATCHES = "visual.patch_embed"
SIGNATURES = {
    "visual.rotary_pos_emb": ("x", "position_ids"),
    "language_model.rotary_emb": ("x", "position_ids"),
}
"""Arguments that the reference passes without a name, which a dump then has by number."""
PIXELS = {"image": "processor.pixel_values", "video": "processor.pixel_values_videos"}


@dataclass
class Imported:
    """A dump with canonical names."""

    dump: Dump
    named: Named
    calls: dict[str, list[Call]]
    """The calls of every known module, in order."""
    trace: Trace = field(default_factory=Trace)

    def shows(self, firing: Firing) -> bool:
        """Whether the dump has to have a firing: only results of modules, and what it does have.

        What the processor made, and arguments, may be known under no name.
        """
        result = bool(firing.point.module) and not firing.point.is_input
        return result or self.trace.get(firing.point.name, firing.index) is not None

    def first_argument(self, module: str, index: int) -> Array | None:
        """What a module was given first; ``None`` if the dump does not have it."""
        return self._argument(module, index, qwen2vl.FIRST)

    def arguments(self, point: Point, index: int) -> dict[str, Array]:
        """Those arguments of a firing that its result follows from, as far as they are dumped.

        Named as in a bundle: ``*`` is the first one, members of a tuple have a number each.
        """
        found: dict[str, Array] = {}
        for wanted in point.forced:
            for name in (wanted, f"{wanted}.0", f"{wanted}.1"):
                value = self._argument(point.module or "", index, name)
                if value is not None:
                    found[name] = value
        return found

    def _argument(self, module: str, index: int, name: str) -> Array | None:
        calls = self.calls.get(module, [])
        entry = _find(calls[index], module, name) if index < len(calls) else None
        return None if entry is None else self.dump.tensor(entry).value


def imported(
    dump: Dump, schedule: Sequence[Firing], names: NameMap, modalities: Sequence[str]
) -> Imported:
    """Name the calls of ``dump`` and read what is in ``schedule``.

    Args:
        dump: of the candidate.
        schedule: the firings of the case.
        names: the user's.
        modalities: of each call of the vision tower in a call of the model, in order.

    Raises:
        ParityError: no name is known, a call is missing in between, or a file is damaged.
    """
    points = list(dict.fromkeys(firing.point for firing in schedule))
    known = {point.module for point in points if point.module}
    named = name_modules((call.path for call in dump.calls), known, names)
    found = Imported(dump, named, calls_by_module(dump, named.modules))
    for point in points:
        if point.module:
            _read(point, found)
    prompts = [f.index for f in schedule if f.point.name == qwen2vl.EMBEDDING and f.step == 0]
    _read_ids(found, prompts)
    _read_pixels(found, modalities)
    return found


def calls_by_module(dump: Dump, modules: Mapping[str, str]) -> dict[str, list[Call]]:
    """The calls of every module, by its canonical name.

    Raises:
        ParityError: calls are not numbered from 0 on without a gap.
    """
    calls: dict[str, list[Call]] = defaultdict(list)
    for call in dump.calls:
        if call.path in modules:
            calls[modules[call.path]].append(call)
    for module, found in calls.items():
        found.sort(key=lambda call: call.index)
        if [call.index for call in found] != list(range(len(found))):
            numbers = ", ".join(str(call.index) for call in found[:8])
            raise ParityError(
                f"{dump.folder} has the calls {numbers} of {module}, and not each one from 0 on: "
                "dump a step as a whole, into an empty folder"
            )
    return calls


def _read(point: Point, found: Imported) -> None:
    """Record every firing of ``point``, up to the first that the dump does not have."""
    for call in found.calls.get(point.module or "", []):
        if point.is_input:
            entry = _find(call, point.module or "", point.argument)
        else:
            entry = call.outputs[point.member] if point.member < len(call.outputs) else None
        if entry is None:
            return
        tap = found.dump.tensor(entry)
        value = _canonical(point, tap.value) if point.is_input else tap.value
        found.trace.record(point.name, value, tap.dtype)


def _canonical(point: Point, array: Array) -> Array:
    """An argument in the form that is compared; as it is, if its shape has no such form."""
    try:
        return qwen2vl.canonical(point, array)
    except ValueError:
        return array


def _read_ids(found: Imported, prompts: Sequence[int]) -> None:
    """Record each prompt's token ids, which the embedding is given."""
    calls = found.calls.get(qwen2vl.EMBEDDING, [])
    for index in prompts:
        entry = (
            _find(calls[index], qwen2vl.EMBEDDING, qwen2vl.FIRST) if index < len(calls) else None
        )
        if entry is None:
            return
        ids = found.dump.tensor(entry).value.astype(np.int64)  # devices like int32
        found.trace.record("processor.input_ids", ids, "int64")


def _read_pixels(found: Imported, modalities: Sequence[str]) -> None:
    """Record the pixel values, which the patch embedding is given, unless they are rounded."""
    for call in found.calls.get(PATCHES, []):
        entry = _find(call, PATCHES, qwen2vl.FIRST)
        if entry is None or entry.dtype != "float32" or not modalities:
            return
        name = PIXELS[modalities[call.index % len(modalities)]]
        found.trace.record(name, found.dump.tensor(entry).value, entry.dtype)


def _find(call: Call, module: str, name: str) -> Entry | None:
    """An argument by its name, or by the place that the reference has it at; ``*`` is the first."""
    if name == qwen2vl.FIRST:
        return next(iter(call.arguments.values()), None)
    places = SIGNATURES.get(module, ())
    number = str(places.index(name)) if name in places else name
    return call.arguments.get(name, call.arguments.get(number))
