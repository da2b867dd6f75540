"""Which stored tensor is which parameter, judged from names, shapes and dtypes alone.

Everything has to fit: all that is missing, unexpected, misshapen or of another kind is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from qwen2vl_ms.checkpoint import STORED_AS, SafetensorsFile
from qwen2vl_ms.naming import EMBEDDING, HEAD, PATCHES, Shape, parameter_name

Stored = Mapping[str, SafetensorsFile]


def match(stored: Stored, shapes: Mapping[str, Shape]) -> tuple[dict[str, str], list[str]]:
    """Find the stored tensor of each parameter.

    Args:
        stored: The file of each stored tensor, by its name.
        shapes: The model's parameters. Without a head its embedding is tied to it, and a head
            that is stored all the same has the embedding's shape.

    Returns:
        The stored name of each parameter, and one sentence for each thing that does not fit.
    """
    sources, problems = _sources(stored, {*shapes, HEAD})
    problems += [f"{name} is missing" for name in sorted(set(shapes) - set(sources))]
    problems += _misfits(stored, sources, shapes)
    return sources, problems


def _sources(stored: Stored, known: set[str]) -> tuple[dict[str, str], list[str]]:
    """The stored name of each parameter, and the tensors that are none, or one twice."""
    sources: dict[str, str] = {}
    problems = []
    for name in sorted(stored):
        try:
            parameter = parameter_name(name)
        except KeyError:
            parameter = name
        if parameter in sources:
            problems.append(f"{name} is there twice, the other is {sources[parameter]}")
        elif parameter is not None and parameter not in known:
            problems.append(f"{name} is unexpected")
        elif parameter is not None:
            sources[parameter] = name
    return sources, problems


def _misfits(
    stored: Stored, sources: Mapping[str, str], shapes: Mapping[str, Shape]
) -> Iterator[str]:
    """What has another shape than its parameter, or a dtype that is not loaded."""
    for name, source in sources.items():
        file = stored[source]
        shape = shapes[name if name in shapes else EMBEDDING]
        found = file.shape(source)
        if name == PATCHES and len(found) == 5:  # a Conv3d's [E, 3, 2, 14, 14], used as [E, 1176]
            found = (found[0], math.prod(found[1:]))
        if found != shape:
            yield f"{source} has shape {list(file.shape(source))}, the model's is {list(shape)}"
        if file.dtype(source) not in STORED_AS:
            yield f"{source} is {file.dtype(source)}: {', '.join(STORED_AS)} are supported"
