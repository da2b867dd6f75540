"""Making a portable bundle out of captured references."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from parity.portable_cases import write_cases
from parity.portable_copy import Copier, exact_points
from parity.portable_model import model_files
from parity.portable_plan import Demand, rows_that_fit
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


def make(
    settings: Settings,
    references: References,
    cases: Sequence[Case],
    folder: Path,
    *,
    carry: bool = False,
    max_size: int | None = None,
    done: Callable[[Record], None] = lambda record: None,
) -> tuple[Manifest, Counter[str]]:
    """Write a portable bundle of ``cases`` in the settings' dtypes to ``folder``.

    Args:
        settings: which checkpoint, reference and dtypes.
        references: those of the settings, captured already.
        cases: of the settings' cases file.
        folder: where it is to stand; an older portable bundle there is replaced.
        carry: whether the checkpoint's files travel too.
        max_size: largest size of all files in bytes; truths are sampled to keep to it.
        done: called after each record.

    Raises:
        ParityError: something else stands there, or the place cannot be written.
    """
    check_place(folder)
    records = {
        Record(case.name, precision(dtype).reference): case
        for dtype in settings.dtypes
        for case in cases
    }
    exact = exact_points(references.declared)
    demand = Demand()
    for record, case in records.items():
        demand.add(references.open(case, record.dtype), exact)
    demand.add_files(file for case in cases for file in case.files)
    demand.add_files([settings.cases_file, *(model_files(settings.checkpoint) if carry else ())])
    most = rows_that_fit(demand, max_size)
    with _staging(folder) as staging:
        copier = Copier(staging, exact, most)
        added = []
        for record, case in records.items():
            added.append(copier.add(record, references.open(case, record.dtype)))
            done(record)
        write_cases(cases, settings.cases_file.parent, staging)
        if carry:
            _copy_checkpoint(settings.checkpoint, staging)
        manifest = Manifest(
            cases=tuple(case.name for case in cases),
            dtypes=settings.dtypes,
            records=tuple(added),
            files=dict(_files(staging)),
            checkpoint={path.name: file_hash(path) for path in model_files(settings.checkpoint)},
            checkpoint_name=settings.checkpoint.resolve().name,
            exactness=_exactness(copier),
            made=_made(settings),
        )
        (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return open_manifest(folder), _parts(copier, manifest)


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
    code = commit_of(HERE / "portable_make.py")
    return {
        "parity": version("qwen2vl-ms") or "none",
        "commit": code.hash,
        "working tree": code.state,
        "versions": versions(),
        "reference": settings.reference,
        "cases file": named(settings.cases_file),
    }
