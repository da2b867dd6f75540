"""Making a portable bundle out of captured references."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from parity.commit import commit_of
from parity.core.cases import Case
from parity.core.compact import DTYPE, ROUNDING, compact
from parity.core.errors import ParityError
from parity.core.files import file_hash, replace_folder
from parity.core.narrow import pack
from parity.core.numerics import precision
from parity.core.points import Point
from parity.core.portable import (
    CHECKPOINT,
    MANIFEST,
    RECORDS,
    TENSORS,
    Manifest,
    Record,
    Stored,
    is_safe,
    open_manifest,
)
from parity.core.portable_bundle import record_of
from parity.core.store import Bundle, ReferenceFiring, narrow_dtype, tensor_name
from parity.core.trace import Array
from parity.portable_cases import write_cases
from parity.portable_model import model_files
from parity.provenance import named, version, versions
from parity.references import References
from parity.settings import HERE, Settings

VALUES, INPUTS = "values", "inputs of modules"
TRUTHS, BLOCK_TRUTHS = "truths, rounded", "truths of residual blocks, exact"
EXACTNESS: dict[str, object] = {
    "exact": "pictures, texts, tokens, the reference's values and every module's inputs; end to "
    "end, the truths of what residual blocks add to and hand on, as captured",
    "rounded": f"all other truths, as residuals to the reference's values, to {DTYPE}: no element "
    "of a truth moves by more than 2^-8 of the reference's own error there, and no ratio by more "
    "than 2^-8 of one plus itself",
    "rounding": ROUNDING,
}


@dataclass
class Sizes:
    """What a portable bundle weighs, in bytes, by part."""

    parts: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(self.parts.values())


@dataclass
class Maker:
    """Writes the records of one portable bundle into its folder, each content once."""

    folder: Path
    exact: frozenset[str]
    """Points whose end-to-end truths stay as they were captured."""
    sizes: Sizes = field(default_factory=Sizes)
    written: set[str] = field(default_factory=set)
    """Names of the tensors that some record has brought."""

    def add(self, record: Record, bundle: Bundle) -> Record:
        """Write one record, and those of its tensors that no earlier one has.

        Returns:
            The record with its size.
        """
        from safetensors.numpy import save_file

        copy = _Copy(bundle, self.written, self.sizes, self.exact)
        points = {
            name: [copy.firing(name, firing) for firing in firings]
            for name, firings in bundle.points.items()
        }
        if copy.stored:
            path = self.folder / TENSORS / f"{record.name}.safetensors"
            path.parent.mkdir(exist_ok=True)
            save_file(copy.stored, path)
            self.written |= copy.stored.keys()
        text = json.dumps(record_of(bundle, points), sort_keys=True) + "\n"
        path = self.folder / RECORDS / f"{record.name}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return replace(record, size=sum(copy.used.values()))


@dataclass
class _Copy:
    """The tensors that one record brings."""

    bundle: Bundle
    written: set[str]
    sizes: Sizes
    exact: frozenset[str]
    stored: dict[str, Array] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    """Bytes of every tensor that the record names."""
    _rounded: dict[str, str] = field(default_factory=dict)

    def firing(self, point: str, firing: ReferenceFiring) -> ReferenceFiring:
        """The firing with its truths' new names; everything that it names is in ``stored``."""
        self._as_it_is(firing.value, VALUES)
        for name in firing.inputs.values():
            self._as_it_is(name, INPUTS)
        exact = point in self.exact
        return replace(
            firing,
            local=self._truth(firing.local),
            local_block=self._truth(firing.local_block),
            arrival=self._truth(firing.arrival),
            end_to_end=self._truth(firing.end_to_end, exact=exact),
        )

    def _truth(self, name: str | None, exact: bool = False) -> str | None:
        if name is None:
            return None
        if exact:
            return self._as_it_is(name, BLOCK_TRUTHS)
        if name not in self._rounded:
            packed = pack(compact(self.bundle.tensor(name)), DTYPE)
            self._rounded[name] = self._add(tensor_name(packed, DTYPE), packed, TRUTHS)
        return self._rounded[name]

    def _as_it_is(self, name: str, part: str) -> str:
        if name in self.used:
            return name
        array, narrow = self.bundle.tensor(name), narrow_dtype(name)
        return self._add(name, array if narrow is None else pack(array, narrow), part)

    def _add(self, name: str, stored: Array, part: str) -> str:
        self.used[name] = stored.nbytes
        if name not in self.stored and name not in self.written:
            self.stored[name] = stored
            self.sizes.parts[part] += stored.nbytes
        return name


def exact_points(declared: Sequence[Point]) -> frozenset[str]:
    """The points whose truths are subtracted from each other: residual blocks' ends.

    Both carry the error of everything before them, of which their difference is free. Rounded to
    a part of themselves, they would move the difference by more than its own error.
    """
    blocks = [point for point in declared if point.base]
    return frozenset(name for point in blocks for name in (point.name, str(point.base)))


def make(
    settings: Settings,
    references: References,
    cases: Sequence[Case],
    folder: Path,
    *,
    carry: bool = False,
    done: Callable[[Record], None] = lambda record: None,
) -> tuple[Manifest, Sizes]:
    """Write a portable bundle of ``cases`` in the settings' dtypes to ``folder``.

    Args:
        settings: which checkpoint, reference and dtypes.
        references: those of the settings, captured already.
        cases: of the settings' cases file.
        folder: where it is to stand; an older portable bundle there is replaced.
        carry: whether the checkpoint's files travel too.
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
    with _staging(folder) as staging:
        maker = Maker(staging, exact_points(references.declared))
        added = []
        for record, case in records.items():
            added.append(maker.add(record, references.open(case, record.dtype)))
            done(record)
        write_cases(cases, settings.cases_file.parent, staging)
        if carry:
            _copy_checkpoint(settings.checkpoint, staging)
        files = dict(_files(staging))
        manifest = Manifest(
            cases=tuple(case.name for case in cases),
            dtypes=settings.dtypes,
            records=tuple(added),
            files=files,
            checkpoint={path.name: file_hash(path) for path in model_files(settings.checkpoint)},
            checkpoint_name=settings.checkpoint.resolve().name,
            exactness=EXACTNESS,
            made=_made(settings),
        )
        (staging / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        for part, prefix in (("records", RECORDS), ("checkpoint", CHECKPOINT)):
            maker.sizes.parts[part] = _size(files, f"{prefix}/")
        maker.sizes.parts["cases"] = _size(files, "cases")
    return open_manifest(folder), maker.sizes


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


def _size(files: dict[str, Stored], prefix: str) -> int:
    return sum(one.size for path, one in files.items() if path.startswith(prefix))


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
