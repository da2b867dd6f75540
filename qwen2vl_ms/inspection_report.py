"""An `Inspection` as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qwen2vl_ms.inspection import Inspection

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
NAMES = {
    "hub": "hub (visual.*, model.*)",
    "transformers 5": "transformers 5 (model.visual.*, model.language_model.*)",
    "either": "no name tells",
}
INDENT = "  "


def human(count: int) -> str:
    """Bytes with a unit, as ``4.1 GiB``."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{count} {UNITS[0]}"


def report(found: Inspection) -> str:
    """Everything of an inspection, a section a subject, the verdict last."""
    return "\n".join(_lines(found))


def _lines(found: Inspection) -> Iterator[str]:
    yield found.folder
    yield from _rows({"architecture": found.architecture or "unknown", **_tying(found)})
    if found.sizes:
        yield from _section("sizes", {name: f"{size:,}" for name, size in found.sizes.items()})
    if found.shards:
        yield from _section("parameters", _counts(found.parameters))
        yield from _section("stored", _stored(found))
        yield from _section("weight files", _files(found))
    if found.memory:
        yield from _section("memory", _memory(found))
    yield from _section(
        "beside the weights", {k: v or "missing" for k, v in found.companions.items()}
    )
    for title, sentences in (
        ("notes", found.notes),
        ("does not load", found.problems),
        ("cannot chat", found.chat_problems),
    ):
        if sentences:
            yield f"\n{title}"
            for sentence in sentences:
                yield f"{INDENT}- {sentence}".replace("\n", f"\n{INDENT}")
    if found.loads:
        yield f"\nloads{'' if found.chat_problems else ', and can chat'}"


def _tying(found: Inspection) -> dict[str, str]:
    if found.tied is None:
        return {}
    return {"head": "tied to the embedding" if found.tied else "its own"}


def _counts(parameters: Mapping[str, int]) -> dict[str, str]:
    """Every part; "other" only when there is something."""
    shown = {part: n for part, n in parameters.items() if n or part != "other"}
    return {part: f"{n:,}" for part, n in {**shown, "all": sum(shown.values())}.items()}


def _stored(found: Inspection) -> dict[str, str]:
    dtypes = ", ".join(f"{dtype} ({numbers:,} numbers)" for dtype, numbers in found.dtypes.items())
    return {"names": NAMES.get(found.naming, found.naming), "dtype": dtypes}


def _files(found: Inspection) -> dict[str, str]:
    rows = {s.file: f"{human(s.bytes)}, {s.tensors} tensors" for s in found.shards}
    total = human(sum(s.bytes for s in found.shards))
    return rows if len(rows) == 1 else {**rows, "all": total}


def _memory(found: Inspection) -> dict[str, str]:
    return {
        name: f"weights {human(m.weights)}, cache {human(m.cache_per_token)} a token "
        f"(on CPU {human(m.weights_on_cpu)}, {human(m.cache_per_token_on_cpu)})"
        for name, m in found.memory.items()
    }


def _section(title: str, rows: Mapping[str, str]) -> Iterator[str]:
    yield f"\n{title}"
    yield from _rows(rows)


def _rows(rows: Mapping[str, str]) -> Iterator[str]:
    width = max(map(len, rows), default=0)
    for name, value in rows.items():
        yield f"{INDENT}{name:{width}}  {value}"
