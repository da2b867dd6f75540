"""The self-test's place in the README, and the files in docs/ that it is made from."""

from __future__ import annotations

from pathlib import Path

from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.selftest.csv_table import to_csv
from parity.selftest.result import SelfTest, to_json
from parity.selftest.table import MEANING, full, provenance, summary
from parity.settings import HERE

ROOT = HERE.parent
README, DOCS = ROOT / "README.md", ROOT / "docs"
RECORD = DOCS / "selftest.json"
BEGIN = "<!-- selftest: made by `python -m parity selftest --readme` -->"
END = "<!-- selftest: end -->"


def files(result: SelfTest) -> dict[str, str]:
    """The report's files by name."""
    return {"selftest.json": to_json(result), "selftest.csv": to_csv(result),
            "selftest.md": full(result)}  # fmt: skip


def write(folder: Path, texts: dict[str, str]) -> None:
    """Write ``texts`` into ``folder``, each in one step.

    Raises:
        ParityError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ParityError(f"cannot write {folder}: {error.strerror}") from error
    for name, text in texts.items():
        with temporary_beside(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write_documents(result: SelfTest) -> None:
    """Replace the README's block, and the full table and the record in docs/.

    Raises:
        ParityError: the README has no place for it, or a file cannot be written.
    """
    text = replaced(README.read_text(encoding="utf-8"), block(result))
    found = files(result)
    write(DOCS, {name: found[name] for name in ("selftest.json", "selftest.md")})
    write(ROOT, {README.name: text})


def block(result: SelfTest) -> str:
    """What stands between the two markers."""
    return "\n\n".join([summary(result), MEANING, provenance(result)])


def replaced(text: str, inner: str) -> str:
    """``text`` with ``inner`` between the markers.

    Raises:
        ParityError: they are not there once, in this order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in after:
        raise ParityError(f"{README} needs the lines {BEGIN!r} and {END!r} once, in this order")
    return f"{before}{BEGIN}\n{inner}\n{END}{after}"


def current(text: str) -> str:
    """What stands between the markers now."""
    return text.partition(BEGIN)[2].partition(END)[0].strip("\n")
