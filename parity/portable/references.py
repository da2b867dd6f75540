"""The reference's records out of a portable bundle: nothing is captured, PyTorch is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from parity.core.cases import Case
from parity.core.errors import BundleError
from parity.core.numerics import precision
from parity.core.portable import (
    RECORDS,
    TENSORS,
    Manifest,
    Record,
    damaged,
    inside,
    open_manifest,
    read_record,
)
from parity.core.portable_bundle import PortableBundle, TensorFiles
from parity.core.sampling import Masks
from parity.core.store import Bundle, json_hash
from parity.provenance import version
from parity.references import References


class PortableReferences(References):
    """The records of the portable bundle that the settings name."""

    @property
    def place(self) -> Path:
        """The bundle's folder."""
        assert self.settings.bundle is not None
        return self.settings.bundle

    @cached_property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return open_manifest(self.place)

    def open(self, case: Case, dtype: str) -> Bundle:
        """The record of ``dtype``'s reference on ``case``.

        Raises:
            BundleError: it is not in the bundle, damaged, or made for other points.
        """
        record = self._record(case, dtype)
        content = read_record(self.place, self.manifest, record)
        bundle = PortableBundle(self.place, content, self._tensors)
        if bundle.key.get("points") != json_hash([point.name for point in self.declared]):
            raise BundleError(
                f"{self.place} was made by a version of parity that looks at other points "
                f"({self.manifest.made.get('parity')}, commit {self.manifest.made.get('commit')}); "
                "make it again with this version"
            )
        tokens = bundle.tokens
        if len(tokens) != len(case.calls) or any(len(set(map(len, call))) != 1 for call in tokens):
            raise damaged(self.place, f"the tokens of {record.name} are not those of its calls")
        self.note(record.name, self.hash(case, dtype), bundle)
        return bundle

    def capture(self, wanted: Sequence[tuple[Case, str]]) -> None:
        """See that everything wanted is in the bundle; say what may differ here from its machine.

        Raises:
            BundleError: something is not.
        """
        for case, dtype in wanted:
            self._record(case, dtype)
        if note := pillow_note(self.manifest.made):
            self.say(note)

    @staticmethod
    def sampled(bundle: Bundle) -> Masks:
        """Of which rows a record has truths, where it was sampled."""
        return bundle.sampled if isinstance(bundle, PortableBundle) else {}

    def size(self, case: Case, dtype: str) -> int | None:
        """Bytes of a record's tensors."""
        return self._record(case, dtype).size

    def hash(self, case: Case, dtype: str) -> str:
        """The hash of a record, which holds those of all its tensors."""
        return self.manifest.files[f"{RECORDS}/{self._record(case, dtype).name}.json"].sha256

    @cached_property
    def shared_key(self) -> dict[str, object]:
        """The checkpoint's files, as the bundle has them; those here are checked to be the same."""
        return {"checkpoint": dict(self.manifest.checkpoint)}

    @property
    def origin(self) -> dict[str, object]:
        """The bundle and what made it."""
        made = {k: str(v) for k, v in self.manifest.made.items() if not isinstance(v, dict)}
        rows = self.manifest.exactness.get("rows")
        kept = "all" if rows is None else f"{rows} of each tensor at most"
        found = {"hash": self.manifest.sha256, **made, "rows with truths": kept}
        if note := pillow_note(self.manifest.made):
            found["note"] = note
        return {"portable bundle": found}

    @cached_property
    def _tensors(self) -> TensorFiles:
        names = sorted(name for name in self.manifest.files if name.startswith(f"{TENSORS}/"))
        return TensorFiles([inside(self.place, name) for name in names])

    def _record(self, case: Case, dtype: str) -> Record:
        """The record of a case and dtype.

        Raises:
            BundleError: there is none.
        """
        wanted = Record(case.name, precision(dtype).reference)
        found = next((one for one in self.manifest.records if one == wanted), None)
        if found is None:
            raise BundleError(
                f"{self.place} has no reference of {case.name} in {wanted.dtype}. It has the cases "
                f"{', '.join(self.manifest.cases)}, and dtypes "
                f"{', '.join(dict.fromkeys(one.dtype for one in self.manifest.records))}; make one "
                "with more in it where PyTorch is: `python -m parity bundle`"
            )
        return found


def pillow_note(made: Mapping[str, object]) -> str | None:
    """What to know if pictures are resized by another Pillow here than where a bundle was made.

    Args:
        made: what made the bundle, from its manifest.
    """
    versions = made.get("versions")
    there = versions.get("pillow") if isinstance(versions, dict) else None
    here = version("pillow")
    if not isinstance(there, str) or here is None or _major(there) == _major(here):
        return None
    return (
        f"the bundle was made with Pillow {there[:20]} and this is Pillow {here}: resizing may "
        "give other pixels, so that processor.pixel_values may differ without a fault of the port"
    )


def _major(text: str) -> str:
    return text.partition(".")[0]
