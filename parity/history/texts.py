"""Names as every database takes them: no NUL, no half surrogate pair, short keys for long ones."""

from __future__ import annotations

import hashlib
import re


def stored(text: str) -> str:
    r"""``text`` with ``\``, NUL and lone surrogates written as ``\5c;``, ``\0;``, ``\d800;``."""
    return re.sub("[\\\\\0\ud800-\udfff]", lambda found: f"\\{ord(found[0]):x};", text)


def restored(text: str) -> str:
    """What ``stored`` was given."""
    return re.sub(r"\\([0-9a-f]+);", lambda found: chr(int(found[1], 16)), text)


def digest(parts: tuple[object, ...]) -> str:
    """A key of 32 characters: an index takes no names of ten thousand."""
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]
