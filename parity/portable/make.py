"""Making a portable bundle out of captured references."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from parity.commit import commit_of
from parity.core.cases import Case
from parity.core.compact import DTYPE, ROUNDING
from parity.core.errors import ParityError
from parity.core.files import file_hash, replace_folder
from parity.core.numerics import precision
from parity.core.portable import (
    CHECKPOINT,
    MANIFEST,
    RECORDS,
    Manifest,
    Record,
    Stored,
    is_safe,
    open_manifest,
)
from parity.core.sampling import TILE
from parity.portable.cases import cases_text, write_cases
from parity.portable.copying import Copier, exact_points
from parity.portable.model import model_files
from parity.portable.plan import Demand, rows_that_fit
from parity.provenance import named, version, versions
from parity.references import References
from parity.settings import HERE, Settings

EXACT = (
    "pictures, texts, tokens, the reference's values and every module's inputs; end to end, the "
    "truths of what residual blocks add to and hand on, as captured"
)
ROUNDED = (
    f"all other truths, as residuals to the reference's values, to {DTYPE}: no element of a truth "
    "moves by more than 2^-8 of the reference's own error there, and no ratio by more than 2^-8 of "
    "one plus itself"
)
SAMPLED = (
    "truths of tensors with many rows are kept for some of their rows only, by tiles of "
    f"{TILE}: half evenly spread, half where the reference's own error is largest; what is kept is "
    "as exact as without sampling, and the other rows are not compared"
)


@dataclass(frozen=True)
class Order:
    """What a portable bundle is to hold."""

    settings: Settings
    """Which checkpoint, reference and dtypes."""
    references: References
    """Those of the settings, captured already."""
    cases: Sequence[Case]
    """Of the settings' cases file."""
    carry: bool = False
    """Whether the checkpoint's files travel too."""
    max_size: int | None = None
    """Largest size of all files in bytes; truths are sampled to keep to it."""

    @property
    def records(self) -> dict[Record, Case]:
        """Every record, dtypes that are held to one reference sharing it."""
        return {
            Record(case.name, precision(dtype).reference): case
            for dtype in self.settings.dtypes
            for case in self.cases
        }

    @property
    def root(self) -> Path:
        """The folder that the cases' files are in."""
        return self.settings.cases_file.parent

    @property
    def exact(self) -> frozenset[str]:
        """The points whose end-to-end truths stay as they are."""
        return exact_points(self.references.declared)

    def demand(self) -> Demand:
        """What it takes, at any number of rows."""
        demand = Demand()
        for record, case in self.records.items():
            demand.add(self.references.open(case, record.dtype), self.exact)
        demand.add_files(file for case in self.cases for file in case.files)
        demand.add_files(model_files(self.settings.checkpoint) if self.carry else ())
        demand.add_text(cases_text(self.cases, self.root))
        return demand


def make(
    order: Order, folder: Path, done: Callable[[Record], None] = lambda record: None
) -> tuple[Manifest, Counter[str]]:
    """Write a portable bundle to ``folder``.

    Args:
        order: what is to be in it.
        folder: where it is to stand; an older portable bundle there is replaced.
        done: called after each record.

    Returns:
        Its manifest, and the bytes of its parts.

    Raises:
        ParityError: it does not fit, something else stands there, or it cannot be written.
    """
    check_place(folder)
    most = rows_that_fit(order.demand(), order.max_size)
    with _staging(folder) as staging:
        copier = Copier(staging, order.exact, most)
        added = []
        for record, case in order.records.items():
            added.append(copier.add(record, order.references.open(case, record.dtype)))
            done(record)
        write_cases(order.cases, order.root, staging)
        if order.carry:
            _copy_checkpoint(order.settings.checkpoint, staging)
        manifest = _manifest(order, added, _exactness(copier), staging)
        (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return open_manifest(folder), _parts(copier, manifest)


def _manifest(
    order: Order, records: Sequence[Record], exactness: dict[str, object], folder: Path
) -> Manifest:
    """What the bundle in ``folder``, whole but for its manifest, says of itself."""
    checkpoint = order.settings.checkpoint
    return Manifest(
        cases=tuple(case.name for case in order.cases),
        dtypes=order.settings.dtypes,
        records=tuple(records),
        files=dict(_files(folder)),
        checkpoint={path.name: file_hash(path) for path in model_files(checkpoint)},
        checkpoint_name=checkpoint.resolve().name,
        exactness=exactness,
        made=_made(order.settings),
    )


def _exactness(copier: Copier) -> dict[str, object]:
    """What is kept how, in words, and the figures that a reader of the bundle needs."""
    found: dict[str, object] = {"exact": EXACT, "rounded": ROUNDED, "rounding": ROUNDING}
    if copier.sampled:
        found |= {"sampled": SAMPLED, "rows": copier.most, "kept": copier.sampled}
    return found


def _parts(copier: Copier, manifest: Manifest) -> Counter[str]:
    """Bytes by part; those of tensors are their contents'."""
    parts = Counter(copier.parts)
    for part, prefix in (("records", RECORDS), ("checkpoint", CHECKPOINT), ("cases", "cases")):
        parts[part] = sum(
            one.size for path, one in manifest.files.items() if path.startswith(prefix)
        )
    return parts


def check_place(folder: Path) -> None:
    """See that a portable bundle may be put at ``folder``.

    Raises:
        ParityError: something that is none stands there.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        open_manifest(folder)
    except ParityError as error:
        raise ParityError(
            f"{folder} is there and is no portable bundle; choose another place with -o"
        ) from error


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    """A folder to fill, which takes ``folder``'s place when the block ends well.

    Raises:
        ParityError: the place cannot be written.
    """
    folder = folder.absolute()
    staging = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        yield staging
        staging.chmod(0o755)
        replace_folder(staging, folder)
    except OSError as error:
        raise ParityError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)


def _copy_checkpoint(checkpoint: Path, staging: Path) -> None:
    place = staging / CHECKPOINT
    place.mkdir()
    for path in model_files(checkpoint):
        if not is_safe(path.name):
            raise ParityError(f"{path} cannot travel: its name is none on every system")
        shutil.copyfile(path, place / path.name)


def _files(folder: Path) -> Iterator[tuple[str, Stored]]:
    """Every file in ``folder``, by its path in it, in order."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        stored = Stored(file_hash(path), path.stat().st_size)
        yield path.relative_to(folder).as_posix(), stored


def _made(settings: Settings) -> dict[str, object]:
    """What made a bundle; no time, so that the same content has the same bytes."""
    code = commit_of(HERE / "portable" / "make.py")
    return {
        "parity": version("qwen2vl-ms") or "none",
        "commit": code.hash,
        "working tree": code.state,
        "versions": versions(),
        "reference": settings.reference,
        "cases file": named(settings.cases_file),
    }
