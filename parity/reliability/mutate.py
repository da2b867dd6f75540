"""Changing real files so that they stay nearly real: what a reader meets is not noise.

All of it draws from a ``random.Random``, so that the same draws make the same file.
"""

from __future__ import annotations

import copy
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from parity.core.store import json_hash
from parity.core.toml_text import toml_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

DEEP = 3000
"""Levels of nesting, more than any recursion takes."""
OUTSIDE = ("../outside/secret.safetensors", "../outside/secret.json", "../outside", "..", "/",
           "../../etc/passwd", "x/../../outside/secret.json")  # fmt: skip
"""Names that lead out of a folder; ``fuzzing`` lays what they name beside it, and watches it."""
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 10**18, 10**400, 0.5, 1e308,
    -0.0, math.nan, math.inf, "", "a", "0", "a" * 5000, "\0", "\ud800", "é\n", "NaN", "Infinity",
    *OUTSIDE, [], {}, [[]], [None], [0] * 300, {"": None}, {"a": {"a": {}}},
)  # fmt: skip
"""Values that readers tend not to expect."""
Json = Any
Change = Callable[[bytes, Random], bytes]


def mutated(data: Json, chance: Random) -> Json:
    """Plain data with one to four changes of its values, keys or structure."""
    found = copy.deepcopy(data)
    for _ in range(1 + chance.randrange(4)):
        places = list(_places(found))
        if not places:
            return chance.choice(ODD)
        _change(*chance.choice(places), places, chance)
    return found


def _places(data: Json) -> Iterator[tuple[Any, Any]]:
    """Every container of a tree with each key or index in it, the outermost first."""
    waiting = [data]
    while waiting:
        node = waiting.pop(0)
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            yield node, key
            if isinstance(node[key], dict | list) and node[key]:
                waiting.append(node[key])


def _change(node: Any, key: Any, places: Sequence[tuple[Any, Any]], chance: Random) -> None:
    """Change one value where it is."""
    kind = chance.randrange(8)
    if key not in node if isinstance(node, dict) else key >= len(node):
        return  # an earlier change took it away
    if kind == 0:
        del node[key]
    elif kind == 1:
        other, name = chance.choice(places)
        there = name in other if isinstance(other, dict) else name < len(other)
        node[key] = copy.deepcopy(other[name]) if there else None
    elif kind == 2 and isinstance(node, dict):
        node[str(chance.choice(ODD))] = node.pop(key)
    elif kind == 3:
        node[key] = [node[key]]
    elif kind == 4 and isinstance(node[key], int | float):
        node[key] = _near(node[key], chance)
    elif kind == 5 and isinstance(node[key], str):
        node[key] = _respelt(node[key], chance)
    else:
        node[key] = copy.deepcopy(chance.choice(ODD))


def _near(value: int | float, chance: Random) -> int | float:
    """A number that is not far, or of the other sign."""
    return chance.choice((value + 1, value - 1, -value, value * 2, value // 2, value * 10**6))


def _respelt(text: str, chance: Random) -> str:
    """A text with something else in it."""
    place = chance.randrange(len(text) + 1)
    cut = place + chance.randrange(4)
    return text[:place] + str(chance.choice(ODD))[:400] + text[cut:]


def changed_bytes(data: bytes, chance: Random) -> bytes:
    """Bytes with one to three flipped, cut out, doubled, or put in."""
    for _ in range(1 + chance.randrange(3)):
        place = chance.randrange(len(data) + 1)
        end = min(len(data), place + 1 + chance.randrange(16))
        kind = chance.randrange(5)
        if kind == 0:
            flipped = bytes(one ^ 1 << chance.randrange(8) for one in data[place : place + 1])
            data = data[:place] + flipped + data[place + 1 :]
        elif kind == 1:
            data = data[:place] + data[end:]
        elif kind == 2:
            data = data[:end] + data[place:]
        elif kind == 3:
            data = data[:place] + chance.choice(BITS) + data[end:]
        else:
            data = data[:place]
    return data


BITS = (b"\0", b"\xff" * 8, b"\xff\xfe", b"{", b"}", b"[" * DEEP, b"]", b'"', b",", b"\n", b"=",
        b"1e999", b"NaN", b"../", b"9" * 5000, b"\x80", b"[[", b"'''", b"\\u0000")  # fmt: skip
"""What is put into bytes."""


def json_text(data: Json) -> bytes:
    """Plain data as JSON, as it comes."""
    return json.dumps(data).encode()


def in_json(data: bytes, chance: Random) -> bytes:
    """A JSON file changed in its structure, or, one time in four, in its bytes."""
    if chance.randrange(4) == 0:
        return changed_bytes(data, chance)
    return json_text(mutated(json.loads(data), chance))


def in_sealed_json(data: bytes, chance: Random) -> bytes:
    """The same of a file that holds a hash of itself, which fits again in most of them."""
    if chance.randrange(4) == 0:
        return changed_bytes(data, chance)
    found = mutated(json.loads(data), chance)
    if isinstance(found, dict) and chance.randrange(8):
        found.pop("sha256", None)
        found["sha256"] = json_hash(found)
    return json_text(found)


def in_toml(data: bytes, chance: Random) -> bytes:
    """A TOML file changed in its structure, in a line, or in its bytes."""
    kind = chance.randrange(4)
    if kind == 0:
        return changed_bytes(data, chance)
    if kind == 1:
        lines = data.split(b"\n")
        place = chance.randrange(len(lines))
        lines[place : place + 1] = [changed_bytes(lines[place], chance)] * chance.randrange(3)
        return b"\n".join(lines)
    found = mutated(tomllib.loads(data.decode()), chance)
    entries = found.items() if isinstance(found, dict) else [("a", found)]
    lines_of = (f"{toml_value(str(name))} = {toml_value(value)}" for name, value in entries)
    return "\n".join(lines_of).encode("utf-8", "surrogatepass")


def in_safetensors(data: bytes, chance: Random) -> bytes:
    """A safetensors file changed in its header's structure, its length, or its bytes."""
    size = int.from_bytes(data[:8], "little")
    if chance.randrange(3) == 0:
        return changed_bytes(data, chance)
    header = json_text(mutated(json.loads(data[8 : 8 + size]), chance))
    header += b" " * (-len(header) % 8)
    odd = (0, len(header) - 1, len(header) + 8, 2**31, 2**40, 2**64 - 1)
    length = chance.choice(odd) if chance.randrange(6) == 0 else len(header)
    return length.to_bytes(8, "little") + header + data[8 + size :]
