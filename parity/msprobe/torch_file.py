"""The ``.pt`` file of one tensor, read without PyTorch and without unpickling.

``torch.save`` writes a zip archive: the numbers as they are in ``data/0``, and in ``data.pkl`` a
pickle program that puts them together. Nothing of that program is executed: its instructions are
read one by one, only those that a tensor's has are known, and what would be a call is a record of
the name and its arguments. Mirrors ``torch/serialization.py`` and ``torch/_utils.py``, 2.13.
"""

from __future__ import annotations

import io
import math
import pickletools
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from parity.core.errors import ParityError
from parity.core.trace import Array

DTYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "V2",
    "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1",
    "ByteStorage": "u1", "BoolStorage": "b1",
}  # fmt: skip
"""NumPy's dtypes for PyTorch's storages."""
REBUILD, PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
MAX_PROGRAM = 1 << 16
MAX_DIMENSIONS = 32
MARK = object()
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, EOFError,
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
)  # fmt: skip
"""What a damaged archive, or a program that is not a tensor's, may raise while it is read."""


@dataclass(frozen=True)
class Named:
    """A name of something in Python, that is never looked up."""

    name: str


@dataclass(frozen=True)
class Called:
    """What calling ``name`` would give."""

    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Stored:
    """A reference to numbers in the archive."""

    description: Any


@dataclass
class _Machine:
    """The stack of a pickle program, and what it remembers."""

    stack: list[Any] = field(default_factory=list)
    memory: dict[int, Any] = field(default_factory=dict)

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def tuple_of(self, count: int) -> None:
        """Join the last ``count`` values."""
        start = len(self.stack) - count
        if start < 0:
            raise IndexError("too few values")
        self.stack[start:] = [tuple(self.stack[start:])]

    def tuple_from_mark(self) -> None:
        """Join what is above the last mark."""
        at = max(index for index, value in enumerate(self.stack) if value is MARK)
        self.stack[at:] = [tuple(self.stack[at + 1 :])]

    def call(self) -> None:
        """Note a call."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, Named) or not isinstance(arguments, tuple):
            raise TypeError("a call of what is no name")
        self.push(Called(function.name, arguments))


OPCODES: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, argument: None,
    "FRAME": lambda machine, argument: None,
    "STOP": lambda machine, argument: None,
    "MARK": lambda machine, argument: machine.push(MARK),
    "GLOBAL": lambda machine, argument: machine.push(Named(argument)),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    "TUPLE": lambda machine, argument: machine.tuple_from_mark(),
    "TUPLE1": lambda machine, argument: machine.tuple_of(1),
    "TUPLE2": lambda machine, argument: machine.tuple_of(2),
    "TUPLE3": lambda machine, argument: machine.tuple_of(3),
    "BINPERSID": lambda machine, argument: machine.push(Stored(machine.stack.pop())),
    "REDUCE": lambda machine, argument: machine.call(),
    "BINPUT": lambda machine, argument: machine.memory.update({argument: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, argument: machine.memory.update({argument: machine.stack[-1]}),
    "BINGET": lambda machine, argument: machine.push(machine.memory[argument]),
    "LONG_BINGET": lambda machine, argument: machine.push(machine.memory[argument]),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"),
        lambda machine, argument: machine.push(argument),
    ),
}  # fmt: skip
"""What each instruction of a tensor's program does; no other is known."""


def parse_torch(content: bytes, path: Path) -> Array:
    """The tensor in a ``.pt`` file; bfloat16 as ``V2``.

    Raises:
        ParityError: it is not what ``torch.save`` writes for one tensor, or is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            program = _member(archive, "data.pkl", MAX_PROGRAM)
            storage, offset, shape, strides = _tensor(_run(program))
            kind, key, count = storage[1].name, storage[2], storage[4]
            dtype = np.dtype(DTYPES[kind.removeprefix("torch ")])
            numbers = np.frombuffer(_member(archive, f"data/{key}", len(content)), dtype)
            little = _byteorder(archive) == b"little"
    except UNREADABLE as error:
        raise _damaged(path, "it is not what torch.save writes for one tensor") from error
    if not little or len(numbers) != count:
        raise _damaged(path, f"it holds {len(numbers)} numbers in place of {count}")
    return _view(numbers, offset, shape, strides, path)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """A file of the archive, which is not compressed and has at most ``most`` bytes."""
    found = [one for one in archive.infolist() if one.filename.partition("/")[2] == name]
    if len(found) != 1 or found[0].compress_type != zipfile.ZIP_STORED or found[0].file_size > most:
        raise ValueError(name)
    return archive.read(found[0])


def _byteorder(archive: zipfile.ZipFile) -> bytes:
    """``little`` where the archive does not say."""
    names = [one.filename.partition("/")[2] for one in archive.infolist()]
    return _member(archive, "byteorder", 8) if "byteorder" in names else b"little"


def _run(program: bytes) -> Any:
    """What the program leaves."""
    if b"\\" in program:  # of an escaped name, which pickletools would only warn of
        raise ValueError("an escaped name")
    machine = _Machine()
    for opcode, argument, _ in pickletools.genops(program):
        OPCODES[opcode.name](machine, argument)
    (result,) = machine.stack
    return result


def _tensor(result: Any) -> tuple[Any, int, tuple[int, ...], tuple[int, ...]]:
    """Storage, offset, shape and strides of what the program leaves."""
    if result.name == PARAMETER:
        result = result.arguments[0]
    if result.name != REBUILD:
        raise ValueError(result.name)
    storage, offset, shape, strides = result.arguments[:4]
    numbers = (offset, storage.description[4], *shape, *strides)
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise ValueError("no place in memory")
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise ValueError("no shape")
    return storage.description, offset, shape, strides


def _view(
    numbers: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], path: Path
) -> Array:
    """A copy of what of the storage the tensor is; no more than the storage holds."""
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    size = math.prod(shape)
    if size and (last >= len(numbers) or size > len(numbers)):
        raise _damaged(path, f"a tensor of {shape} does not fit in its {len(numbers)} numbers")
    if not size:
        return np.zeros(shape, numbers.dtype)
    bytes_ = tuple(step * numbers.itemsize for step in strides)
    return np.array(as_strided(numbers[offset:], shape, bytes_))


def _damaged(path: Path, reason: str) -> ParityError:
    return ParityError(f"{path} is damaged: {reason}; dump again")
