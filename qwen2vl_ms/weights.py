"""Strict loading: fills a model's parameters from a checkpoint, a slice at a time.

Peak memory is the model plus one slice of one tensor: a tensor is read, widened, rounded and
stored in slices of a million numbers, and its array becomes the parameter's data without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mindspore as ms
import ml_dtypes
import numpy as np
import numpy.typing as npt
from mindspore import Parameter, Tensor

from qwen2vl_ms.checkpoint import SafetensorsFile, open_checkpoint
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.matching import Stored, match
from qwen2vl_ms.naming import EMBEDDING, HEAD

if TYPE_CHECKING:
    from qwen2vl_ms.model import Qwen2VLForConditionalGeneration

NUMPY_DTYPES: Mapping[Any, npt.DTypeLike] = {
    ms.float32: np.float32,
    ms.float16: np.float16,
    ms.bfloat16: ml_dtypes.bfloat16,
}
FLOAT16_MAX = float(np.finfo(np.float16).max)
Advance = Callable[[int], None]


def load_weights(
    model: Qwen2VLForConditionalGeneration, folder: str | Path, progress: bool = False
) -> None:
    """Fill every parameter of a model from a checkpoint folder.

    Values are rounded to nearest, ties to even as in PyTorch, to the dtype that the model's policy
    gives the parameter (``model.policy.weight_dtype``), and kept in the parameter's own dtype: on
    CPU a parameter is float32 and holds rounded values. NaN and infinity load as they are stored;
    nothing looks for them.

    Args:
        model: Built from the checkpoint's configuration.
        folder: Holds safetensors in float32, float16 or bfloat16, in one file or sharded.
        progress: Show a bar over the bytes on standard error. It stays away where that is no
            terminal, unless FORCE_COLOR is set.

    Raises:
        Qwen2VLError: One error that lists all that does not fit, and the model is unchanged; or a
            value is too large for float16, or a file changed meanwhile, and the model is partly
            loaded.
    """
    stored = open_checkpoint(folder)
    parameters = dict(model.parameters_and_names())
    sources, problems = match(stored, {n: tuple(p.shape) for n, p in parameters.items()})
    if not problems and HEAD not in parameters:  # tied: the head is the embedding
        problems += _head_differs(stored, sources)
    if problems:
        listed = "".join(f"\n  - {problem}" for problem in problems)
        raise Qwen2VLError(f"the weights in {folder} do not fit its configuration:{listed}")
    total = sum(stored[sources[name]].bytes(sources[name]) for name in parameters)
    with _bar(total, progress) as advance:
        for name, parameter in parameters.items():
            rounded_to = NUMPY_DTYPES[model.policy.weight_dtype(name)]
            _fill(parameter, stored[sources[name]], sources[name], rounded_to)
            advance(stored[sources[name]].bytes(sources[name]))


def _fill(
    parameter: Parameter, file: SafetensorsFile, source: str, rounded_to: npt.DTypeLike
) -> None:
    """Give a parameter the values of one stored tensor, rounded."""
    values = np.empty(math.prod(parameter.shape), NUMPY_DTYPES[parameter.dtype])
    begin = 0
    for piece in file.slices(source):
        end = begin + piece.size
        values[begin:end] = round_values(piece, rounded_to, f"{source} of {file.path}")
        begin = end
    # from_numpy shares the array's memory, where Tensor(values) would copy it.
    parameter.set_data(Tensor.from_numpy(values.reshape(parameter.shape)))


def round_values(
    values: npt.NDArray[np.float32], dtype: npt.DTypeLike, name: str
) -> npt.NDArray[Any]:
    """Round to a narrower dtype: to nearest, ties to even, as ``torch.Tensor.to`` does.

    Args:
        values: float32, any shape.
        dtype: float32, float16 or ``ml_dtypes.bfloat16``.
        name: What the values are, for the error.

    Returns:
        The values in that dtype.

    Raises:
        Qwen2VLError: A finite value is too large for float16, whose greatest is 65504. (bfloat16
            has float32's range.)
    """
    with np.errstate(over="ignore"):  # told below, once and by name
        narrow = values.astype(dtype, copy=False)
    if narrow.dtype == np.float16:
        lost = np.isinf(narrow) & np.isfinite(values)
        if lost.any():
            raise Qwen2VLError(
                f"{name} holds {values[lost][0]:.6g}, and float16 ends at {FLOAT16_MAX:.0f}: this "
                "checkpoint does not fit float16; load it in bfloat16 or float32"
            )
    return narrow


def _head_differs(stored: Stored, sources: Mapping[str, str]) -> Iterator[str]:
    """With tied embeddings a stored head has to equal the embedding."""
    if HEAD not in sources:
        return
    head, embedding = (stored[sources[n]].slices(sources[n]) for n in (HEAD, EMBEDDING))
    if not all(np.array_equal(a, b) for a, b in zip(head, embedding, strict=True)):
        yield f"{HEAD} differs from {sources[EMBEDDING]}, and tie_word_embeddings is true"


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Advance]:
    """A progress bar over bytes, which is told how many more were read."""
    if not shown:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("loading weights"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bar = Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
    with bar:
        task = bar.add_task("", total=total)
        yield lambda read: bar.advance(task, read)
