"""Every reader of files from outside, each with sound files and the changes that suit them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from parity.core.errors import ParityError
from parity.reliability import samples
from parity.reliability.fuzzing import Reader
from parity.reliability.mutate import (
    changed_bytes,
    in_json,
    in_safetensors,
    in_sealed_json,
    in_toml,
    json_text,
)

CONFIG, INDEX = "config.json", "model.safetensors.index.json"
Read = Callable[[Path], object]


def readers() -> list[Reader]:
    """All of them."""
    return [*_bundles(), *_portable(), *_harness(), *_checkpoints(), *_port(), *_dumps()]


def _bundles() -> list[Reader]:
    """What the reference left behind."""
    from parity.core.generation import Generation
    from parity.core.store import MANIFEST, TENSORS, Bundle

    def read(folder: Path) -> object:
        bundle = Bundle.open(folder)
        bundle.check()
        return [bundle.tensor(name).sum() for name in bundle.used]

    files = samples.bundle()
    generated = {"a.json": samples.generation()}
    return [
        Reader(
            "reference's generation",
            generated,
            {"a.json": in_sealed_json},
            lambda folder: Generation.read(folder / "a.json").tokens,
        ),
        Reader("bundle's manifest.json", files, {MANIFEST: in_sealed_json}, read),
        Reader("bundle's safetensors", files, {TENSORS: in_safetensors}, read),
    ]


def _portable() -> list[Reader]:
    """A portable bundle as a folder and as a tar file."""
    from parity.core.archive import unpack, write_tar
    from parity.core.files import file_hash
    from parity.core.portable import Manifest, Record, Stored, open_manifest, read_record, verify
    from parity.core.portable_bundle import PortableBundle, TensorFiles, record_of
    from parity.core.store import Bundle

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for file, content in samples.bundle().items():
            (place / file).write_bytes(content)
        bundle = Bundle.open(place)
        record = json_text(record_of(bundle, bundle.points, {}))
        files = {"cases.toml": b"[a]\n", "records/a-fp32.json": record,
                 "tensors/a-fp32.safetensors": samples.bundle()["tensors.safetensors"]}  # fmt: skip
        folder = place / "portable"
        for file, content in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(content)
        stored = {file: Stored(file_hash(folder / file), len(content))
                  for file, content in files.items()}  # fmt: skip
        manifest = Manifest(("a",), ("fp32",), (Record("a", "fp32", 5),), stored, {"c": "0" * 64},
                            "tiny", {"rounding": 0.5}, {"parity": "1"})  # fmt: skip
        (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        write_tar(folder, manifest, place / "a.tar")
        files["manifest.json"] = manifest.to_json().encode()
        tar = {"a.tar": (place / "a.tar").read_bytes()}

    def read(folder: Path) -> object:
        found = open_manifest(folder)
        verify(folder, found)
        return [read_record(folder, found, one) for one in found.records]

    def read_one(folder: Path) -> object:
        found = PortableBundle(folder, _json(folder / "records/a-fp32.json"), TensorFiles(
            [folder / "tensors/a-fp32.safetensors"]))  # fmt: skip
        return [found.tensor(name).sum() for name in found.used]

    def extract(folder: Path) -> object:
        with tempfile.TemporaryDirectory(dir=folder) as into:
            return unpack(folder / "a.tar", Path(into))

    return [
        Reader("portable bundle's manifest.json", files, {"manifest.json": in_sealed_json}, read),
        Reader("portable bundle's record", files, {"records/a-fp32.json": in_json}, read_one),
        Reader("portable bundle's tar", tar, {"a.tar": changed_bytes}, extract),
    ]


def _json(path: Path) -> dict[str, object]:
    from parity.core.portable import json_object

    return json_object(path.read_bytes(), path)


def _harness() -> list[Reader]:
    """What a user writes or keeps: rows, history, gates, overrides, cases."""
    from parity.core.cases import load_cases
    from parity.core.overrides import load_overrides
    from parity.core.tolerance import load_gates
    from parity.history.database import History
    from parity.history.importing import import_all
    from parity.history.place import as_url
    from parity.report.html import render
    from parity.report.rows_io import read_json, to_json

    rows = {"rows.json": to_json(samples.result()).encode()}

    def recorded(folder: Path) -> object:
        (folder / "history.sqlite").unlink(missing_ok=True)
        history = History(as_url(folder / "history.sqlite"))
        if not import_all(history, [folder / "rows.json"], lambda line: None):
            raise ParityError("told as unreadable")
        return history.runs()

    return [
        Reader("rows.json", rows, {"rows.json": in_sealed_json},
               lambda folder: read_json(folder / "rows.json")),
        Reader("rows.json, shown as a page", rows, {"rows.json": in_sealed_json},
               lambda folder: render(read_json(folder / "rows.json"))),
        Reader("rows.json, into the history", rows, {"rows.json": in_sealed_json}, recorded),
        Reader("gates file", {"CPU-fp32.toml": samples.gates()}, {"CPU-fp32.toml": in_gates},
               lambda folder: load_gates("fp32", "CPU", folder)),
        Reader("overrides file", {"o.toml": samples.OVERRIDES}, {"o.toml": in_toml},
               lambda folder: load_overrides(folder / "o.toml")),
        Reader("cases.toml", samples.cases(), {"cases.toml": in_toml, "a.txt": changed_bytes},
               lambda folder: load_cases(folder / "cases.toml")),
    ]  # fmt: skip


def in_gates(data: bytes, chance: object) -> bytes:
    """A gates file changed; without its hash, so that what it says is looked at."""
    from random import Random

    assert isinstance(chance, Random)
    lines = [line for line in data.split(b"\n") if not line.startswith(b"sha256")]
    return in_toml(data if chance.randrange(4) == 0 else b"\n".join(lines), chance)


def _checkpoints() -> list[Reader]:
    """Weights: their index and shards, as the harness and as the port read them."""
    from parity.core.checkpoint import Checkpoint
    from qwen2vl_ms.checkpoint import STORED_AS, open_checkpoint
    from qwen2vl_ms.errors import Qwen2VLError

    def harness(folder: Path) -> object:
        found = Checkpoint(folder)
        return [found.read(name) for name in found.names]

    def port(folder: Path) -> object:
        found = open_checkpoint(folder)
        return [sum(piece.size for piece in file.slices(name))
                for name, file in found.items() if file.dtype(name) in STORED_AS]  # fmt: skip

    changes = {INDEX: in_json, "m-1.safetensors": in_safetensors, "m-2.safetensors": in_safetensors}
    return [
        Reader("checkpoint (harness)", samples.shards(), changes, harness),
        Reader("checkpoint (port)", samples.shards(), changes, port, (Qwen2VLError,)),
    ]


def _port() -> list[Reader]:
    """The other files of a checkpoint."""
    from parity.subjects.config import read_config
    from qwen2vl_ms.chat_template import ChatTemplate
    from qwen2vl_ms.config import Qwen2VLConfig
    from qwen2vl_ms.errors import Qwen2VLError
    from qwen2vl_ms.generation_config import GenerationConfig
    from qwen2vl_ms.image_processing import Qwen2VLImageProcessor
    from qwen2vl_ms.tokenization import Qwen2Tokenizer
    from qwen2vl_ms.video_processing import Qwen2VLVideoProcessor

    def reader(name: str, read: Read, *files: str, harness: bool = False) -> Reader:
        errors = (ParityError,) if harness else (Qwen2VLError,)
        return Reader(name, samples.tiny(*files), dict.fromkeys(files, in_json), read, errors)

    def talk(folder: Path) -> object:
        template = ChatTemplate.from_pretrained(folder)
        return template and template.render([{"role": "user", "content": "Hello"}])

    return [
        reader("config.json (port)", Qwen2VLConfig.from_pretrained, CONFIG),
        reader("config.json (harness)", read_config, CONFIG, harness=True),
        reader("generation_config.json", GenerationConfig.from_pretrained,
               "generation_config.json"),
        reader("preprocessor_config.json", Qwen2VLImageProcessor.from_pretrained,
               "preprocessor_config.json"),
        reader("video_preprocessor_config.json", Qwen2VLVideoProcessor.from_pretrained,
               "video_preprocessor_config.json", "preprocessor_config.json"),
        reader("tokenizer_config.json, tokenizer.json", Qwen2Tokenizer.from_pretrained,
               "tokenizer.json", "tokenizer_config.json"),
        reader("chat_template.json", talk, "chat_template.json"),
    ]  # fmt: skip


def _dumps() -> list[Reader]:
    """What other tools wrote: msprobe's dumps, the user's names for them, npu-smi's table."""
    from parity.device.npu_smi import read_npu_smi
    from parity.msprobe.dump import open_dump
    from parity.msprobe.names import name_modules, read_names

    def read(folder: Path) -> object:
        found = open_dump(folder)
        entries = [entry for call in found.calls
                   for entry in (*call.arguments.values(), *call.outputs) if entry]  # fmt: skip
        return [found.tensor(entry) for entry in entries if entry.file]

    def names(folder: Path) -> object:
        paths = ["backbone.vit.stages.0.fn", "backbone.vit.merger", "model.layers.0.mlp"]
        return name_modules(
            paths, ["visual.blocks.0", "visual.merger"], read_names(folder / "names.toml")
        )

    tensors = dict.fromkeys((name for name in samples.dump() if name.endswith(".npy")),
                            changed_bytes)  # fmt: skip
    return [
        Reader(
            "npu-smi's table",
            {"npu": samples.NPU_SMI},
            {"npu": changed_bytes},
            lambda folder: read_npu_smi((folder / "npu").read_text("utf-8", "replace")),
        ),
        Reader("msprobe's dump.json", samples.dump(), {"dump.json": in_json}, read),
        Reader("msprobe's .npy", samples.dump(), tensors, read),
        Reader(
            "msprobe's .pt", samples.torch_dump(), {"dump_tensor_data/out.pt": changed_bytes}, read
        ),
        Reader("names file", {"names.toml": samples.NAMES}, {"names.toml": in_toml}, names),
    ]
