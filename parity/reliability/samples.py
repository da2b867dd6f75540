"""Small sound files of every kind that is read from outside, as real as they can be."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from parity.core.detail import Cells, Detail, Histogram, Profile, Side
from parity.core.nonfinite import NonFinite
from parity.core.rows import PYNATIVE, Comparison, Kind, Row, RunResult, Slice, Verdict
from parity.core.sources import Source
from parity.core.standards import Standards
from parity.core.store import MANIFEST, TENSORS, BundleWriter, Proof, ReferenceFiring
from parity.core.toml_text import toml_value
from parity.settings import FIXTURES

TINY = FIXTURES / "qwen2vl-tiny"
TENSOR_PROGRAM = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x00((X\x07\x00\x00\x00storageq\x01ctorch\n"
    b"FloatStorage\nq\x02X\x01\x00\x00\x000q\x03X\x03\x00\x00\x00cpuq\x04K\x06tq\x05QK\x00K\x02K\x03"
    b"\x86q\x06K\x03K\x01\x86q\x07\x89ccollections\nOrderedDict\nq\x08)Rq\ttq\nRq\x0b."
)
"""The pickle program of a float32 tensor ``[2, 3]``, as PyTorch 2.13 saves it."""


def tiny(*names: str) -> dict[str, bytes]:
    """Files of the embedded checkpoint."""
    return {name: (TINY / name).read_bytes() for name in names}


def bundle() -> dict[str, bytes]:
    """A captured bundle of two points."""
    values = np.linspace(-1, 1, 24, dtype=np.float32).reshape(2, 12)
    writer = BundleWriter({"case": "a", "dtype": "fp32"})
    writer.provenance = {"reference": {"torch": "2.13.0", "threads": 2}}
    writer.proofs = [Proof("it repeats", True, "2 runs")]
    writer.tokens = [[[3, 4]], [[5]]]
    for name in ("visual.blocks.0", "lm_head"):
        firing = ReferenceFiring(writer.add(values), "float32", weight_rounding=0.25)
        firing.local = writer.add_residual(values * np.float64(1 + 1e-9), values)
        firing.inputs = {"hidden_states": writer.add(values.copy())}
        writer.points[name] = [firing]
        values = values * 2
    with tempfile.TemporaryDirectory() as place:
        writer.write(Path(place) / "b")
        return {name: (Path(place) / "b" / name).read_bytes() for name in (MANIFEST, TENSORS)}


def result() -> RunResult:
    """A run with a passing and a failing row, and what the report shows of it."""
    whole = Slice(1.5, 1e-6, 1e-7, 8.0)
    figures = Comparison(
        whole=whole, row=Slice(2.0, 1e-6, 1e-7, 8.0, 3), column=whole, update=None, max_abs=1e-5,
        max_index=(0, 3), reference_value=0.5, candidate_value=float("nan"), nonfinite=0,
        compared=24, mean_relative=1e-7, max_relative=1e-3, mean_ulp=0.5, max_ulp=12.0, cosine=1.0,
        rtol=1e-6, saturated=0, reference_saturated=0,
        standards=Standards(True, 1.0, 1.0, 1.0, True, True),
        candidate_nonfinite=NonFinite(1, 0, 0, (0, 3)),
    )  # fmt: skip
    rows = [
        Row(case="a", dtype="fp32", mode=PYNATIVE, order=order, point=f"visual.blocks.{order}",
            stage="vision", kind=Kind.FLOAT, firing=0, verdict=verdict, message="as it is",
            cause=None, shape=(2, 12), candidate_shape=(2, 12), reference_dtype="float32",
            candidate_dtype="float32", excluded_rows=0, mismatches=None, local=figures,
            end_to_end=figures)
        for order, verdict in enumerate((Verdict.PASS, Verdict.GUILTY))
    ]  # fmt: skip
    side = Side("local", "here", Histogram("1", 0, (1, 2), (3, 4), 0, 0, 0, 0),
                Profile("token", 2, 1, (1.0, None), 0, 8.0), None,
                Cells("tokens", "ratio", 8.0, (None, 1.0)))  # fmt: skip
    detail = Detail("a", "fp32", PYNATIVE, "visual.blocks.1", 0, "block", sides=(side,))
    facts: dict[str, object] = {
        "when": "2026-01-02T03:04:05+00:00",
        "commit": "abc",
        "device": "CPU",
    }
    return RunResult(
        rows, facts, details=[detail], sources={"visual.blocks.1": Source("B", "b.py", 3)}
    )


def gates() -> bytes:
    """A gates file of two roles, with what it was measured from."""
    from parity.core.gates_file import Distribution, GatesFile, Margin, gates_text

    figures = {"whole": 3.0, "row": 4.0, "column": 5.5}
    roles = {"block": {**figures, "update": 6.0}, "rms_norm": figures}
    spread = Distribution(9, 1.0, 1.5, 2.0, 2.5, "a point", 3.0)
    margin = Margin("visual.blocks.0", "block", "a", "local", "row", 40.0, 2.0, 4.0, True)
    content = GatesFile(
        {"date": "2026-01-02", "seeds": 2}, {"local": roles, "end_to_end": roles},
        {"local": {"block": {"row": spread}}}, {"rms-eps": margin},
    )  # fmt: skip
    return gates_text(content).encode()


NPU_SMI = b"""\
+----------------------+---------------+---------------------------------------------+
| npu-smi 1.8.21                   Version: 20.2.2.spc001                            |
+----------------------+---------------+---------------------------------------------+
| NPU   Name           | Health        | Power(W)   Temp(C)                          |
| Chip                 | Bus-Id        | AICore(%)  Memory-Usage(MB)  HBM-Usage(MB)  |
+======================+===============+=============================================+
| 0     910A           | OK            | 68.6       36                               |
| 0                    | 0000:C1:00.0  | 0          591  / 14795      0    / 32768   |
+======================+===============+=============================================+
"""
OVERRIDES = b"""[[override]]
point = "visual.blocks.*.attn"
k = 40
reason = "softmax is less accurate there"
dtype = "fp16"
device = "Ascend"
case = "odd-video"
scope = "local"
figures = ["row"]
expires = 2999-12-31
"""
NAMES = b"""[names]
"backbone.vit" = "visual"
"backbone.vit.stages.*.fn" = "visual.blocks.*"
"""
CASES = b"""[picture]
about = "a picture and a text"
decode_steps = 2
[[picture.prompts]]
content = [{ image = "images/a.png" }, { text = "What is it?" }]

[film]
max_pixels = 3136
[[film.prompts]]
content = [{ video = "images", fps = 2.0 }, { text_file = "a.txt" }]
[[film.again]]
content = [{ video = "images" }]
"""


def generation() -> bytes:
    """The reference's greedy generation of two tokens."""
    from parity.core.generation import Generation, ReferenceStep

    steps = [ReferenceStep(token, 2.5, 0.01, (token, token + 1)) for token in (3, 4)]
    with tempfile.TemporaryDirectory() as place:
        Generation({"case": "a"}, [steps], {"torch": "2.13.0"}).write(Path(place) / "a.json")
        return (Path(place) / "a.json").read_bytes()


def cases() -> dict[str, bytes]:
    """A cases file with the files that it names."""
    return {"cases.toml": CASES, "images/a.png": b"\x89PNG", "a.txt": "Text äö".encode()}


def shards() -> dict[str, bytes]:
    """A checkpoint of two shards in three dtypes, with its index."""
    from safetensors.numpy import save

    first = save({"a.weight": np.ones((3, 4), np.float32), "a.bias": np.zeros(3, np.float16)})
    second = save({"b.weight": np.arange(6, dtype=np.uint16).reshape(2, 3)})
    second = second.replace(b'"U16"', b'"BF16"')
    second = (int.from_bytes(second[:8], "little") + 1).to_bytes(8, "little") + second[8:]
    names = {"a.weight": "m-1.safetensors", "a.bias": "m-1.safetensors",
             "b.weight": "m-2.safetensors"}  # fmt: skip
    index = json.dumps({"metadata": {"total_size": 66}, "weight_map": names}).encode()
    return {"model.safetensors.index.json": index, "m-1.safetensors": first,
            "m-2.safetensors": second}  # fmt: skip


def dump() -> dict[str, bytes]:
    """A dump of msprobe's, of one module with its tensors."""
    tensor = {"type": "mindspore.Tensor", "dtype": "Float32", "shape": [2, 3]}
    call = {
        "input_args": [{**tensor, "data_name": "in.npy"}],
        "input_kwargs": {"scale": {**tensor, "shape": [], "data_name": "scale.npy"}},
        "output": [{**tensor, "data_name": "out.npy"}],
    }
    data = {"task": "tensor", "level": "L0", "framework": "mindspore", "dump_data_dir": "x",
            "data": {"Cell.visual.blocks.0.Block.forward.0": call}}  # fmt: skip
    arrays = {"in": np.ones((2, 3), np.float32), "out": np.zeros((2, 3), np.float32),
              "scale": np.float32(2.0)}  # fmt: skip
    files = {f"dump_tensor_data/{name}.npy": npy(array) for name, array in arrays.items()}
    return {"dump.json": json.dumps(data).encode(), **files}


def torch_dump() -> dict[str, bytes]:
    """The same of PyTorch, whose tensors are what ``torch.save`` writes."""
    tensor = {"type": "torch.Tensor", "dtype": "torch.float32", "shape": [2, 3],
              "data_name": "out.pt"}  # fmt: skip
    data = {"task": "tensor", "level": "L0", "framework": "pytorch", "dump_data_dir": "x",
            "data": {"Module.lm_head.Linear.forward.0": {"output": [tensor]}}}  # fmt: skip
    numbers = np.arange(6, dtype="<f4").tobytes()
    parts = {"data.pkl": TENSOR_PROGRAM, "byteorder": b"little", "data/0": numbers}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(f"out/{name}", content)
    return {"dump.json": json.dumps(data).encode(), "dump_tensor_data/out.pt": file.getvalue()}


def npy(array: object) -> bytes:
    """An array as NumPy saves it."""
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=False)
    return file.getvalue()


def text(table: dict[str, object]) -> bytes:
    """A table as TOML."""
    return "\n".join(f"{name} = {toml_value(value)}" for name, value in table.items()).encode()
