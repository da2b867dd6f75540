"""The tensor files of a dump: ``.npy`` from MindSpore, ``.pt`` from PyTorch.

Whatever a header claims is held against the size of the file before anything is allocated.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from parity.core.errors import ParityError
from parity.core.trace import Array, Tap
from parity.msprobe.torch_file import parse_torch

MAX_BYTES = 8 << 30
MAGIC = b"\x93NUMPY"
MAX_HEADER = 4096
MAX_DIMENSIONS = 32
HEADER = re.compile(
    r"\{'descr': '([<>|=]?[biufV]\d{1,2})', 'fortran_order': (True|False), "
    r"'shape': (\((?:\d{1,18}(?:, \d{1,18})*,?)?\)), \} *\n?"
)
"""As NumPy writes it, of an array of numbers; ``V2`` is what bfloat16 is saved as."""


def read_tensor(path: Path, dtype: str) -> Tap:
    """The values in ``path``, in native order, narrow floats widened to float32 (exact).

    Args:
        path: a ``.npy`` or ``.pt`` file.
        dtype: what the dump says the values are; MindSpore's bfloat16 is saved as float32.

    Raises:
        ParityError: it is missing, damaged, too large or holds no numbers.
    """
    try:
        if not path.is_file():
            raise ParityError(f"{path} is missing; the dump was copied in part, or interrupted")
        if path.stat().st_size > MAX_BYTES:
            raise ParityError(f"{path} is larger than {MAX_BYTES >> 30} GB; dump fewer tokens")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ParityError(f"cannot read {path.name}: {error}") from error
    return parse_tensor(content, path, dtype)


def parse_tensor(content: bytes, path: Path, dtype: str) -> Tap:
    """The values that ``content``, of the file ``path``, holds.

    Raises:
        ParityError: as `read_tensor`.
    """
    array = parse_torch(content, path) if path.suffix == ".pt" else parse_npy(content, path)
    if array.dtype.kind == "V":
        wide = array.reshape(-1).view(np.uint16).astype(np.uint32) << 16
        array = wide.view(np.float32).reshape(array.shape)
    narrow = array.dtype.kind == "f" and array.dtype.itemsize < 4
    return Tap(array.astype(np.float32) if narrow else array, dtype)


def parse_npy(content: bytes, path: Path) -> Array:
    """The array in a ``.npy`` file; mirrors ``numpy.lib.format``, without objects.

    Raises:
        ParityError: it is no such file, holds no numbers, or fewer bytes than it claims.
    """
    if content[:6] != MAGIC or len(content) < 12 or content[6] not in (1, 2, 3):
        raise _damaged(path, "it is not a NumPy file")
    start = 10 if content[6] == 1 else 12
    length = int.from_bytes(content[8:start], "little")
    if length > min(MAX_HEADER, len(content) - start):
        raise _damaged(path, f"its header claims {length} bytes")
    dtype, shape, fortran = _header(content[start : start + length], path)
    data = memoryview(content)[start + length :]
    if math.prod(shape) * dtype.itemsize != len(data):
        raise _damaged(path, f"its header claims {shape} of {dtype}, and it has {len(data)} bytes")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")
    return np.ascontiguousarray(array.astype(dtype.newbyteorder("="), copy=False)).reshape(shape)


def _header(text: bytes, path: Path) -> tuple[np.dtype[np.generic], tuple[int, ...], bool]:
    """Dtype, shape and whether the order is Fortran's."""
    match = HEADER.fullmatch(text.decode("latin1"))
    if match is None:
        raise _damaged(path, "its header does not tell of an array of numbers")
    try:
        dtype: np.dtype[np.generic] = np.dtype(match[1])
    except TypeError as error:
        raise _damaged(path, f"there is no dtype {match[1]!r}") from error
    shape = tuple(int(size) for size in re.findall(r"\d+", match[3]))
    if len(shape) > MAX_DIMENSIONS or (dtype.kind == "V" and dtype.itemsize != 2):
        raise _damaged(path, f"its header claims {len(shape)} dimensions of {dtype}")
    return dtype, shape, match[2] == "True"


def _damaged(path: Path, reason: str) -> ParityError:
    return ParityError(f"{path} is damaged: {reason}; dump again")
