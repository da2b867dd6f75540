"""What one run leaves behind: a row for every case, dtype, point and firing."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from parity.core.arithmetic import Arithmetic
from parity.core.detail import Detail
from parity.core.inputs_shown import InputsShown
from parity.core.nonfinite import NonFinite
from parity.core.sources import Source
from parity.core.standards import Standards

PYNATIVE, GRAPH = "pynative", "graph"
MODES = (PYNATIVE, GRAPH)
DUMPED = "dumped"
"""Nothing was executed: the values are those of a dump, and how it was made is not known."""


def ran_in(dtype: str, mode: str) -> str:
    """The dtype, and the mode where it is not the usual one: ``bf16``, ``bf16 graph``."""
    return dtype if mode == PYNATIVE else f"{dtype} {mode}"


class Verdict(str, Enum):
    """What became of a point. Only ``PASS`` passes."""

    PASS = "PASS"
    """Within the gate, on clean inputs and end to end."""
    GUILTY = "GUILTY"
    """Wrong on the reference's own inputs: the bug is in here."""
    VICTIM = "VICTIM"
    """Right on clean inputs, wrong end to end, because a point before it is guilty."""
    DRIFT = "DRIFT"
    """Right on clean inputs, nothing before it guilty, yet wrong end to end."""
    MISSING = "MISSING"
    """Declared, and the candidate did not produce it the declared number of times."""
    EXTRA = "EXTRA"
    """The candidate produced it more often than declared."""
    SHAPE = "SHAPE"
    """Shapes differ on clean inputs."""
    DTYPE = "DTYPE"
    """Dtypes differ, of floats or of what the processor hands on."""
    NONFINITE = "NONFINITE"
    """NaN or infinity on one side, and not the same on the other."""
    EMPTY = "EMPTY"
    """Nothing to compare."""
    UNSUPPORTED = "UNSUPPORTED"
    """The device cannot compute this."""
    ABSENT = "ABSENT"
    """Declared by the candidate as not ported yet: the reference's value stands in for it."""


class Between(str, Enum):
    """How what a block computes compiled compares with what it computes op by op."""

    BITS = "bit for bit"
    """The same bits from the same inputs."""
    ROUNDING = "within rounding"
    """Other bits, and both within the gate."""
    COMPILER = "compiler"
    """Wrong compiled and right op by op: what compiled code does differently is at fault."""
    PORT = "port"
    """Wrong in both: the port is at fault."""
    OP_BY_OP = "op by op"
    """Right compiled and over the gate op by op."""


class Kind(str, Enum):
    """How a point is compared."""

    DISCRETE = "discrete"
    """Integers and masks: equality, element by element."""
    EXACT = "exact"
    """Floats that both sides compute alike (pixel values): equality."""
    TABLE = "table"
    """Rotary cosines and sines: against the reference's own values, not against float64 angles."""
    FLOAT = "float"
    """Everything else: the candidate's error against float64, as a multiple of the reference's."""


@dataclass(frozen=True)
class Slice:
    """One figure of a comparison: the whole tensor, its worst token or its worst channel."""

    ratio: float
    """Candidate's relative error over ``floor``; 1 is as good as the reference itself."""
    error: float
    """``||candidate - truth|| / ||truth||`` of this slice."""
    floor: float
    """The larger of the reference's own relative error and the rounding noise of the dtype."""
    gate: float
    """Largest ratio that passes."""
    index: int | None = None
    """Which token (counted over batch and sequence together) or channel; ``None`` for the whole
    tensor."""

    @property
    def ok(self) -> bool:
        """Whether the ratio is within the gate (NaN is not)."""
        return bool(self.ratio <= self.gate)

    @property
    def used(self) -> float:
        """How much of the gate the ratio uses; what is not a number uses infinitely much."""
        if self.ratio != self.ratio:
            return float("inf")
        return self.ratio / self.gate if self.gate else float("inf")


@dataclass(frozen=True)
class Comparison:
    """A candidate tensor against the truth, next to the reference against the truth.

    The verdict is made of the four slices and of what is not finite; the rest explains it.
    """

    whole: Slice
    row: Slice | None
    """Worst token; ``None`` where the tensor has a single one."""
    column: Slice | None
    """Worst channel."""
    update: Slice | None
    """A block's output minus its input; ``None`` for a point that is not a residual block."""
    max_abs: float
    """Largest ``|candidate - reference|``; so much absolute tolerance is needed without any
    relative one."""
    max_index: tuple[int, ...]
    reference_value: float
    candidate_value: float
    nonfinite: int
    """Elements that are NaN or infinite on one side and not the same, sign included, on the
    other."""
    compared: int
    """Elements of which the figures are made: all but those that are NaN or infinite alike."""
    mean_relative: float
    """Mean of ``|candidate - truth| / (|truth| + 1e-7)``."""
    max_relative: float
    """The largest of these."""
    mean_ulp: float
    """Mean of ``|candidate - reference|`` in spacings of the dtype at the reference's value."""
    max_ulp: float
    cosine: float
    """Of candidate and truth; NaN where one of them is zero throughout."""
    rtol: float
    """Smallest relative tolerance with which ``torch.testing.assert_close`` passes, at its own
    absolute tolerance for the dtype."""
    saturated: int
    """Candidate's values at or beyond the dtype's largest number, 65504 in fp16."""
    reference_saturated: int
    standards: Standards
    candidate_nonfinite: NonFinite | None = None
    """What the candidate holds that is not finite; ``None`` for nothing, as below."""
    reference_nonfinite: NonFinite | None = None

    @property
    def slices(self) -> dict[str, Slice]:
        """The figures that exist, by name."""
        named = {
            "whole": self.whole, "row": self.row, "column": self.column, "update": self.update,
        }  # fmt: skip
        return {name: figure for name, figure in named.items() if figure is not None}

    @property
    def worst(self) -> tuple[str, Slice]:
        """Name and figure with the largest ratio in units of its gate."""
        return max(self.slices.items(), key=lambda item: item[1].used)

    @property
    def ok(self) -> bool:
        """Whether every figure is within its gate, and all or some is finite, the rest alike."""
        judged = self.compared > 0 and self.nonfinite == 0
        return judged and all(figure.ok for figure in self.slices.values())


@dataclass(frozen=True)
class Row:
    """The outcome of one point in one case and dtype, at one firing."""

    case: str
    dtype: str
    """The candidate's precision, such as ``bf16`` or ``ascend-mixed``."""
    mode: str
    """How the candidate executed: ``pynative``, or ``graph`` where its blocks were compiled."""
    order: int
    """Execution order within the case, from 0."""
    point: str
    """Canonical (Hugging Face) name, such as ``visual.blocks.3.attn``."""
    stage: str
    """``preprocessing``, ``positions``, ``vision``, ``text`` or ``decoding``."""
    kind: Kind
    firing: int
    """0 is the prompt; k is the k-th time the module ran in this case (a decoding step, say)."""
    verdict: Verdict
    message: str
    """One or two sentences for a person: what differs, by how much, at which index."""
    cause: str | None = None
    """For a victim: the guilty point before it. For what is absent: the module not ported yet."""
    shape: tuple[int, ...] = ()
    candidate_shape: tuple[int, ...] | None = None
    reference_dtype: str = ""
    candidate_dtype: str = ""
    excluded_rows: int = 0
    """Tokens left out of the comparison because they are padding."""
    mismatches: int | None = None
    """Elements that differ on clean inputs, for discrete and exact points; what the processor
    hands on has no clean inputs, and is counted end to end."""
    local: Comparison | None = None
    """On the reference's own inputs."""
    end_to_end: Comparison | None = None
    """After everything before it, as a user would see it."""
    suggestions: tuple[str, ...] = ()
    """What to try: the hypotheses that fit what is wrong, the best first, each one a sentence."""
    kernel: str | None = None
    """Which primitive's inaccuracy, measured on this device, explains a local ratio over a gate."""
    arithmetic: Arithmetic | None = None
    """What it was really computed in, where its errors show that it is not what was declared."""
    override: str | None = None
    """The written reason of the override whose gate was used."""
    between: Between | None = None
    """Where a run has both modes: how they compare here. What follows is what that takes."""
    local_bits: str | None = None
    """Hash of the candidate's value on clean inputs, a block run as a whole: equal hashes, equal
    bits."""
    end_bits: str | None = None
    """Hash of its value end to end."""
    block_ratio: float | None = None
    """The worst ratio on clean inputs, a block run as a whole."""
    block_gate: float | None = None

    @property
    def ran_in(self) -> str:
        """The dtype, and the mode where it is not the usual one."""
        return ran_in(self.dtype, self.mode)


@dataclass
class RunResult:
    """Everything a report is made from."""

    rows: list[Row]
    provenance: dict[str, object] = field(default_factory=dict)
    not_compared: list[str] = field(default_factory=list)
    """What the run was asked for and did not compare, each with its reason."""
    invalid: list[str] = field(default_factory=list)
    """Proofs of the run itself that failed: nothing it says can be trusted."""
    ledger: dict[str, object] = field(default_factory=dict)
    """What was compared, in counts: names to numbers, texts, and lists and dicts of them."""
    kernels: list[dict[str, object]] = field(default_factory=list)
    """The operator ledger: one flat row a primitive, dtype and kind of module."""
    details: list[Detail] = field(default_factory=list)
    """What is known beyond their figures about the rows that matter most."""
    inputs: dict[str, InputsShown] = field(default_factory=dict)
    """By case, what those rows' model was given."""
    sources: dict[str, Source] = field(default_factory=dict)
    """By point, where its numbers are made: of what fails, and of what there are details of."""

    @property
    def counts(self) -> dict[str, int]:
        """How many rows have each verdict, every verdict present."""
        tally = {verdict.value: 0 for verdict in Verdict}
        for row in self.rows:
            tally[row.verdict.value] += 1
        return tally

    @property
    def first_failure(self) -> Row | None:
        """The first row in run order that is itself at fault, or else the first that fails."""
        neither = (Verdict.PASS, Verdict.ABSENT)
        failed = [row for row in self.rows if row.verdict not in neither]
        blamed = [row for row in failed if row.verdict is not Verdict.VICTIM]
        return next(iter(blamed or failed), None)

    @property
    def passed(self) -> bool:
        """Whether something was compared, everything passed and nothing was left out."""
        complete = self.compared_something and not self.not_compared and not self.invalid
        return complete and self.first_failure is None

    @property
    def holes(self) -> list[str]:
        """The modules that are not ported yet, in run order."""
        absent = [row for row in self.rows if row.verdict is Verdict.ABSENT]
        return list(dict.fromkeys(row.cause or row.point for row in absent))

    @property
    def compared_something(self) -> bool:
        """Whether there are rows, and, if modules are not ported, one of the model that is."""
        if not self.holes:
            return bool(self.rows)
        model = [row for row in self.rows if row.stage != "preprocessing"]
        return any(row.verdict is not Verdict.ABSENT for row in model)
