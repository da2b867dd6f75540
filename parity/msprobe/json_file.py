"""JSON files from outside, with bounds: on their size, and on how deep they nest."""

from __future__ import annotations

import json
from pathlib import Path

from parity.core.errors import ParityError

MAX_BYTES = 256 << 20
"""A dump of a thousand modules at level L0 is a few MB."""
MAX_DEPTH = 32
"""msprobe nests a dozen levels at most: call, arguments, members of a tuple, an entry's fields."""


def read_json(path: Path) -> dict[str, object]:
    """The JSON object in ``path``.

    Raises:
        ParityError: it is not a file, too large, too deep or not a JSON object.
    """
    try:
        if not path.is_file():
            raise ParityError(f"{path} is not a file; name the folder that msprobe dumped into")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ParityError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_json(content, path)


def parse_json(content: bytes, path: Path) -> dict[str, object]:
    """The JSON object that ``content``, of the file ``path``, is.

    Raises:
        ParityError: as `read_json`.
    """
    if len(content) > MAX_BYTES:
        raise ParityError(f"{path} is larger than {MAX_BYTES >> 20} MB; dump fewer modules at once")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ParityError(
            f"{path} is not JSON: {error}; was the dump interrupted? Dump again"
        ) from error
    if not isinstance(data, dict):
        raise ParityError(f"{path} holds no JSON object; is it msprobe's?")
    if deeper(data, MAX_DEPTH):
        raise ParityError(f"{path} nests deeper than {MAX_DEPTH} levels; is it msprobe's?")
    return data


def deeper(data: object, depth: int) -> bool:
    """Whether ``data`` nests deeper than ``depth`` levels."""
    level = [data]
    for _ in range(depth + 1):
        inner = [list(one.values()) if isinstance(one, dict) else one
                 for one in level if isinstance(one, (dict, list))]  # fmt: skip
        level = [item for items in inner for item in items]
        if not level:
            return False
    return True
