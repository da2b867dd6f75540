"""From the names of a dump's modules to canonical ones, by rule and by the user's file.

The rule: leading components are dropped until what is left is a known module (wrappers put them
there, as ``model.``); checkpoints' names of the decoder, ``model.layers``, stand for
``language_model.layers``. The file goes before the rule:

    [names]
    "backbone.vit" = "visual"                  # this module, and all that is inside it
    "backbone.vit.stages.*.fn" = "visual.blocks.*"   # * is one component, and is carried over
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.core.errors import ParityError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MAX_BYTES = 1 << 20
DECODER = re.compile(r"model\.(?=(?:embed_tokens|layers|norm|rotary_emb)(?:\.|$))")
_SHOWN = 8


@dataclass(frozen=True)
class NameMap:
    """The user's names: beginnings of paths, and what to put in their place."""

    entries: tuple[tuple[str, str], ...] = ()
    source: str = ""
    """Where they are from, for messages."""

    def change(self, path: str) -> tuple[str, str | None]:
        """``path`` with the longest beginning that the map knows replaced, and which that was."""
        for old, new in sorted(self.entries, key=lambda entry: -len(entry[0])):
            pattern = re.escape(old).replace(r"\*", r"([^.]+)")
            match = re.match(rf"{pattern}(?=\.|$)", path)
            if match:
                for part in match.groups():
                    new = new.replace("*", part, 1)
                return new + path[match.end() :], old
        return path, None


@dataclass(frozen=True)
class Named:
    """What became of a dump's names."""

    modules: Mapping[str, str]
    """Canonical name by path in the dump."""
    unmapped: Sequence[str]
    """Paths that no known module is behind: they are not compared."""


def read_names(path: Path) -> NameMap:
    """The map in a TOML file.

    Raises:
        ParityError: it is missing, too large, no TOML, or has an entry that can map nothing.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ParityError(f"cannot read {path}: {error.strerror or error}") from error
    return parse_names(content, path)


def parse_names(content: bytes, path: Path) -> NameMap:
    """The map that ``content``, of the file ``path``, is.

    Raises:
        ParityError: as `read_names`.
    """
    if len(content) > MAX_BYTES:
        raise ParityError(f"{path} is larger than {MAX_BYTES >> 20} MB; is it a file of names?")
    try:
        data = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ParityError(f"{path} is not TOML: {error}") from error
    names = data.get("names")
    if set(data) != {"names"} or not isinstance(names, dict) or not names:
        raise ParityError(f'{path} has to hold one table [names] with entries "theirs" = "ours"')
    for old, new in names.items():
        fine = isinstance(new, str) and old and new and old.count("*") >= new.count("*")
        if not fine:
            raise ParityError(
                f"{path}: {old[:200]!r} = {str(new)[:200]!r} is no pair of names in which every "
                "* on the right has one on the left"
            )
    return NameMap(tuple((old, str(new)) for old, new in names.items()), str(path))


def name_modules(paths: Iterable[str], known: Collection[str], names: NameMap) -> Named:
    """The canonical name of every path that has one.

    Raises:
        ParityError: nothing is mapped, an entry of the file maps nothing, or two paths are
            mapped to one module.
    """
    modules, unmapped, used = {}, [], set()
    for path in dict.fromkeys(paths):
        changed, entry = names.change(path)
        used.add(entry)
        found = by_rule(changed, known)
        if found is None:
            unmapped.append(path)
        else:
            modules[path] = found
    idle = [old for old, _ in names.entries if old not in used]
    if idle:
        raise ParityError(
            f"{names.source}: no module of the dump begins with {listed(idle)}; "
            f"it has {listed([*modules, *unmapped])}"
        )
    if not modules:
        raise ParityError(
            f"none of the {len(unmapped)} modules of the dump has a known name: it has "
            f"{listed(unmapped)}; known are {listed(sorted(known))}. Map them with --names FILE"
        )
    _check_unique(modules)
    return Named(modules, unmapped)


def by_rule(path: str, known: Collection[str]) -> str | None:
    """The known module at the end of ``path``, or ``None``."""
    rest = path
    while rest:
        if rest in known:
            return rest
        decoder = DECODER.sub("language_model.", rest, count=1) if DECODER.match(rest) else None
        if decoder in known:
            return decoder
        rest = rest.partition(".")[2]
    return None


def listed(names: Sequence[str]) -> str:
    """The first of ``names``, and how many there are."""
    shown = ", ".join(name[:200] for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, ... ({len(names)} in all)"


def _check_unique(modules: Mapping[str, str]) -> None:
    taken: dict[str, str] = {}
    for path, module in modules.items():
        if module in taken:
            raise ParityError(
                f"{taken[module]} and {path} of the dump are both {module}: map one of them to "
                "another name with --names FILE"
            )
        taken[module] = path
