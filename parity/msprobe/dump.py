"""A dump of msprobe as it is on disk: which modules were called, with which tensors, where.

msprobe writes ``DUMP/stepN/rankM`` (``procPID`` where there are no ranks) with ``dump.json`` and,
with task ``tensor``, ``dump_tensor_data/``, a file a tensor. A call at level L0 is named
``Cell.PATH.CLASS.forward.N`` (``Module`` in PyTorch), and calls are in the order in which they
finished. Mirrors ``core/dump/data_dump`` of mindstudio-probe 26.2.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from parity.core.errors import ParityError
from parity.core.examine import brackets
from parity.core.numerics import PRECISIONS
from parity.core.trace import Tap
from parity.msprobe.json_file import parse_json, read_json
from parity.msprobe.tensor_file import read_tensor

DUMP, DATA = "dump.json", "dump_tensor_data"
MODULE_CALL = re.compile(r"(?:Cell|Module)\.(.+)\.([^.]+)\.forward\.(\d{1,9})")
OTHER_CALL = re.compile(r".+\.(?:forward|backward|parameters_grad)(?:\.\d{1,9})?")
MAX_DIMENSIONS = 32
MAX_NAME = 1000
"""Characters of a call's name; no file could be named after a longer one."""
_SHOWN = 5


@dataclass(frozen=True)
class Entry:
    """One tensor of a call, as ``dump.json`` tells of it."""

    dtype: str
    """As PyTorch spells it: ``float32``."""
    shape: tuple[int, ...]
    file: str | None
    """Name of its file in ``dump_tensor_data``; ``None`` where only statistics were dumped."""


@dataclass(frozen=True)
class Call:
    """One call of a module."""

    path: str
    """Where the module is in the model: ``model.visual.blocks.0``."""
    index: int
    """The how many-th call of this module it is, from 0."""
    arguments: Mapping[str, Entry]
    """Positional ones by their number, the others by name; members of a tuple as ``NAME.0``."""
    outputs: tuple[Entry | None, ...]
    """``None`` for a member that is no tensor."""


@dataclass
class Dump:
    """What one process dumped in one step."""

    folder: Path
    framework: str
    """``mindspore`` or ``pytorch``, as msprobe spells it."""
    level: str
    calls: list[Call]
    """In the order in which they finished."""
    others: int = 0
    """Calls of functions, and backward passes: they are not looked at."""

    @property
    def dtype(self) -> str:
        """What most of the results are, by the name of a precision: ``bf16``.

        Raises:
            ParityError: it is none that is known.
        """
        counts = Counter(entry.dtype for call in self.calls for entry in call.outputs if entry)
        names = {one.format.name: name for name, one in PRECISIONS.items() if name == one.reference}
        known = [(number, dtype) for dtype, number in counts.items() if dtype in names]
        if not known:
            raise ParityError(f"{self.folder} holds no results in {', '.join(names)}")
        return names[max(known)[1]]

    def tensor(self, entry: Entry) -> Tap:
        """The values of ``entry``, and its dtype.

        Raises:
            ParityError: its file is missing, damaged, outside the dump or of another shape.
        """
        name = entry.file
        if name is None:
            raise ParityError(
                f"{self.folder} holds statistics and no tensors; dump again with "
                '"task": "tensor" in msprobe\'s config.json'
            )
        tap = read_tensor(inside(self.folder / DATA, name), entry.dtype)
        if tap.value.shape != entry.shape:
            raise ParityError(
                f"{self.folder / DATA / name} has shape {brackets(tap.value.shape)}, and "
                f"{DUMP} says {brackets(entry.shape)}; dump again into an empty folder"
            )
        return tap


def open_dump(folder: Path, step: int | None = None, rank: int | None = None) -> Dump:
    """Read the dump in ``folder``: what is there, and no tensor yet.

    Args:
        folder: what was given to msprobe as ``dump_path``, or a folder in it.
        step: which ``stepN``, if there are several.
        rank: which ``rankN``, if there are several.

    Raises:
        ParityError: there is none, there are several, or it is not one that can be compared.
    """
    found = choose(folder, step, rank)
    return dump_of(read_json(found / DUMP), found)


def parse_dump(content: bytes, folder: Path) -> Dump:
    """The dump in ``folder`` whose ``dump.json`` holds ``content``.

    Raises:
        ParityError: it is not one that can be compared.
    """
    return dump_of(parse_json(content, folder / DUMP), folder)


def choose(folder: Path, step: int | None, rank: int | None) -> Path:
    """The one folder at or below ``folder`` with a ``dump.json``, of that step and rank.

    Raises:
        ParityError: there is none, or more than one.
    """
    if not folder.is_dir():
        raise ParityError(f"{folder} is not a folder; name what msprobe calls dump_path")
    levels = ("", "*/", "*/*/", "*/*/*/")  # msprobe may put a folder of the mode before stepN
    every = sorted(path.parent for level in levels for path in folder.glob(f"{level}{DUMP}"))
    wanted = [part for part, number in (("step", step), ("rank", rank)) if number is not None]
    names = {f"{part}{number}" for part, number in (("step", step), ("rank", rank))} - {
        "stepNone", "rankNone",
    }  # fmt: skip
    fitting = [one for one in every if names <= set(one.resolve().parts)]
    listed = ", ".join(str(one.relative_to(folder)) for one in every[:_SHOWN])
    if not every:
        raise ParityError(f"there is no {DUMP} in {folder} nor three levels below it")
    if not fitting:
        raise ParityError(f"{folder} has nothing of {' and '.join(sorted(names))}; it has {listed}")
    if len(fitting) > 1:
        left = [f"--{one}" for one in ("step", "rank") if one not in wanted] or ["the folder"]
        raise ParityError(
            f"{folder} holds {len(fitting)} dumps ({listed}): choose one by {' or '.join(left)}, "
            "or name its own folder"
        )
    return fitting[0]


def dump_of(data: Mapping[str, object], folder: Path) -> Dump:
    """What ``dump.json`` says.

    Raises:
        ParityError: it is not what msprobe writes, or holds no module's tensors.
    """
    entries = data.get("data")
    if not isinstance(entries, dict):
        raise _strange(folder, "it has no table `data`")
    calls, others = [], 0
    for name, content in entries.items():
        match = MODULE_CALL.fullmatch(name)
        named = name.isprintable() and len(name) <= MAX_NAME
        if not named or (match is None and not OTHER_CALL.fullmatch(name)):
            raise _strange(folder, f"{name[:200]!r} is no name of a call")
        if match is None:
            others += 1
        else:
            calls.append(_call(match[1], int(match[3]), content, folder))
    level, framework = str(data.get("level"))[:20], str(data.get("framework"))[:20]
    if not calls:
        raise ParityError(
            f"{folder / DUMP} holds no module's forward pass (level {level!r}); dump with "
            '"level": "L0" and give the model to debugger.start(model)'
        )
    tensors = [entry for call in calls for entry in (*call.arguments.values(), *call.outputs)]
    if not any(entry.file for entry in tensors if entry):
        raise ParityError(
            f"{folder} holds statistics and no tensors (task {str(data.get('task'))[:20]!r}); dump "
            'again with "task": "tensor" in msprobe\'s config.json'
        )
    if not any(entry for call in calls for entry in call.outputs):
        raise ParityError(
            f"{folder} holds no module's result: the model stopped before a module was done, or "
            '"data_mode" leaves results out; dump again'
        )
    return Dump(folder, framework, level, list(map(_with_files, calls)), others)


def _with_files(call: Call) -> Call:
    """A call with those tensors alone that have a file: of the others there are statistics."""
    arguments = {name: entry for name, entry in call.arguments.items() if entry.file}
    outputs = tuple(entry if entry and entry.file else None for entry in call.outputs)
    return Call(call.path, call.index, arguments, outputs)


def inside(folder: Path, name: str) -> Path:
    """The file ``name`` in ``folder``.

    Raises:
        ParityError: ``name`` leads out of the folder.
    """
    plain = Path(name).name == name and "\0" not in name and "\\" not in name
    path = folder / name
    try:
        at_home = plain and path.resolve().parent == folder.resolve()
    except (OSError, RuntimeError, ValueError):  # a loop of links, or a name no file can have
        at_home = False
    if not at_home:
        raise ParityError(
            f"{folder.parent / DUMP} names the file {name[:200]!r}, which is not one in {folder}; "
            "do not trust this dump"
        )
    return path


def _call(path: str, index: int, content: object, folder: Path) -> Call:
    if not isinstance(content, dict):
        raise _strange(folder, f"{path[:200]!r} has no table of tensors")
    positional = content.get("input_args") or []
    named = content.get("input_kwargs") or {}
    outputs = content.get("output") or []
    if not (isinstance(positional, list) and isinstance(named, dict) and isinstance(outputs, list)):
        raise _strange(folder, f"the arguments or outputs of {path[:200]!r} are not lists")
    given = {**{str(number): one for number, one in enumerate(positional)}, **named}
    arguments = {
        name: entry
        for argument, value in given.items()
        for name, entry in _flat(argument, value, folder)
    }
    members = [dict(_flat("", value, folder)).get("") for value in outputs]
    return Call(path, index, arguments, tuple(members))


def _flat(name: str, value: object, folder: Path) -> Iterator[tuple[str, Entry]]:
    """The tensors in an argument, by its name and their numbers in it."""
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _flat(f"{name}.{number}", item, folder)
    elif isinstance(value, dict) and "shape" in value and "dtype" in value:
        yield name, _entry(value, folder)


def _entry(value: Mapping[str, object], folder: Path) -> Entry:
    shape, file = value["shape"], value.get("data_name")
    sizes = shape if isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS else [None]
    if not all(type(size) is int and size >= 0 for size in sizes):
        raise _strange(folder, f"a tensor has the shape {str(shape)[:200]}")
    if not (file is None or isinstance(file, str)):
        raise _strange(folder, f"a tensor has the file name {str(file)[:200]}")
    dtype = str(value["dtype"])[:40].lower().removeprefix("torch.")
    return Entry(dtype, tuple(size for size in sizes if isinstance(size, int)), file or None)


def _strange(folder: Path, reason: str) -> ParityError:
    return ParityError(f"{folder / DUMP} is not a dump that msprobe wrote: {reason}; dump again")
