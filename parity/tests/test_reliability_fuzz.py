"""Readers of files from outside take anything; what fuzzing found once stays mended."""

import json
import os
from random import Random

import pytest

from parity.core.checkpoint import Checkpoint
from parity.core.errors import BundleError, ParityError
from parity.core.files import read_text
from parity.core.generation import Generation
from parity.core.store import MANIFEST, Bundle, json_hash
from parity.reliability import samples, watching
from parity.reliability.fuzzing import Reader, fuzz_reader
from parity.reliability.mutate import changed_bytes, in_json, in_toml, mutated
from parity.reliability.readers import readers
from parity.reliability.watching import Hang, Watch, memory_bound, time_bound
from parity.report.rows_io import read_json, to_json
from parity.subjects.config import read_config
from qwen2vl_ms.chat_template import ChatTemplate
from qwen2vl_ms.checkpoint import open_checkpoint
from qwen2vl_ms.config import Qwen2VLConfig
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.generation_config import GenerationConfig
from qwen2vl_ms.image_processing import Qwen2VLImageProcessor
from qwen2vl_ms.tokenization import Qwen2Tokenizer

READERS = readers()


@pytest.mark.parametrize("reader", READERS, ids=[one.name for one in READERS])
def test_every_reader_reads_what_is_sound(reader, tmp_path):
    for name, content in reader.files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    reader.read(tmp_path)


@pytest.mark.parametrize("reader", READERS, ids=[one.name for one in READERS])
def test_every_reader_reads_or_refuses(reader, tmp_path):
    found = fuzz_reader(reader, 15, 1, tmp_path)
    assert found.findings == []
    assert found.inputs == found.read + found.refused == 15


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS, ids=[one.name for one in READERS])
def test_every_reader_reads_or_refuses_a_thousand(reader, tmp_path):
    found = fuzz_reader(reader, 500, 2, tmp_path)
    assert found.findings == []
    assert found.read > 0
    assert found.refused > 100 or reader.name == "npu-smi's table"  # which passes over other rows


def planted(tmp_path, read, count=60):
    """What fuzzing says of a reader with this fault."""
    reader = Reader("planted", {"a.json": b'{"a": [1, 2], "b": "c"}'}, {"a.json": in_json}, read)
    return fuzz_reader(reader, count, 0, tmp_path)


def test_a_reader_that_crashes_is_found(tmp_path):
    def read(folder):
        try:
            return json.loads((folder / "a.json").read_text())["a"][1]
        except ValueError as error:
            raise ParityError("damaged") from error

    (said,) = {text.split(";")[0] for text in planted(tmp_path, read).findings[:1]}
    assert "Error: " in said
    assert "test_reliability_fuzz.py" in said


def test_a_reader_that_hangs_or_takes_all_memory_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(watching, "CPU_SECONDS", 0.05)

    def hang(folder):
        while folder:
            pass

    assert "Hang" in planted(tmp_path / "hang", hang, 3).findings[0]
    found = planted(tmp_path / "memory", lambda folder: bytearray(2 << 30), 3)
    assert "MemoryError" in found.findings[0]


def test_a_reader_that_leaves_its_folder_is_found(tmp_path):
    def read(folder):
        assert (folder / "a.json").exists()
        return (folder / "../outside/secret.json").read_text()

    assert "outside of its folder" in planted(tmp_path, read, 3).findings[0]


def test_somebody_else_who_looks_around_is_no_finding(tmp_path):
    others = iter([True, False, True, False])

    def read(folder):
        if next(others, False):
            (folder / "../outside/secret.json").read_text()

    assert planted(tmp_path, read, 3).findings == []


def test_an_error_that_says_nothing_is_found(tmp_path):
    def read(folder):
        raise ParityError("")

    assert "says nothing" in planted(tmp_path, read, 3).findings[0]


def test_the_same_seed_draws_the_same_inputs(tmp_path):
    def inputs(seed, place):
        seen = []

        def read(folder):
            seen.append((folder / "a.json").read_bytes())

        sound = {"a.json": b'{"a": [1, 2]}'}
        fuzz_reader(Reader("r", sound, {"a.json": in_json}, read), 30, seed, tmp_path / place)
        return seen

    first, again, other = inputs(4, "first"), inputs(4, "again"), inputs(5, "other")
    assert first == again != other
    assert len(set(first)) > 15


def test_a_bound_lets_go_when_it_is_left():
    with time_bound():
        pass
    with pytest.raises(Hang), time_bound():
        os.kill(os.getpid(), 14)
    with memory_bound(64 << 20), pytest.raises(MemoryError):
        bytearray(1 << 30)
    assert len(bytearray(1 << 28)) == 1 << 28


def test_a_watch_sees_who_looks_and_who_writes(tmp_path):
    (tmp_path / "a").write_text("x")
    watch = Watch(tmp_path)
    assert not watch.touched()
    (tmp_path / "a").read_text()
    assert watch.touched()
    assert not watch.touched()
    (tmp_path / "b").write_text("x")
    assert watch.touched()
    watch.close()


def test_changes_keep_most_of_a_file():
    data = json.dumps({"a": list(range(50)), "b": {"c": "text" * 10}}).encode()
    for seed in range(40):
        chance = Random(seed)
        assert mutated(json.loads(data), chance) is not None or seed
        assert len(changed_bytes(data, chance)) < len(data) + 20_000
    changed = {in_toml(samples.CASES, Random(seed)) for seed in range(40)}
    assert len(changed) > 30


# What was found, each by its reader.


def sealed(folder, change):
    """A bundle whose manifest was changed by somebody who can make hashes."""
    for name, content in samples.bundle().items():
        (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    del manifest["sha256"]
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256": json_hash(manifest)}))
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(points=[]),
        lambda found: found.update(points={"a": {"value": "b"}}),
        lambda found: found["points"]["lm_head"][0].update(inputs=3),
        lambda found: found["points"]["lm_head"][0].update(local=["a"]),
        lambda found: found["points"]["lm_head"][0].update(weight_rounding="1"),
        lambda found: found["points"]["lm_head"][0].update(colour="red"),
        lambda found: found["points"]["lm_head"][0].pop("value"),
        lambda found: found["proofs"][0].update(holds="yes"),
        lambda found: found.update(proofs={}),
        lambda found: found.update(tokens=[[3]]),
        lambda found: found.update(tokens=[[[True]]]),
        lambda found: found.update(chunks=0),
        lambda found: found.update(key=None),
        lambda found: found.pop("provenance"),
    ],
)
def test_a_manifest_of_another_structure_is_refused_though_its_hash_fits(tmp_path, change):
    with pytest.raises(BundleError, match=r"manifest\.json is damaged: unexpected structure"):
        Bundle.open(sealed(tmp_path, change))
    Bundle.open(sealed(tmp_path, lambda found: None)).check()


def test_a_firing_that_names_no_tensor_is_seen_when_a_bundle_is_checked(tmp_path):
    folder = sealed(tmp_path, lambda f: f["points"]["lm_head"][0].update(value="f" * 32))
    with pytest.raises(BundleError, match="is not in it"):
        Bundle.open(folder).check()


def test_a_small_file_takes_little_memory(tmp_path):
    """The largest size that is read was reserved, whatever the file's own."""
    (tmp_path / "rows.json").write_text(to_json(samples.result()))
    with memory_bound(64 << 20):
        assert read_json(tmp_path / "rows.json").rows


def test_what_is_no_plain_file_or_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "large").write_text("x" * 11)
    with time_bound():
        for name, said in (("pipe", "regular"), ("zero", "regular"), ("large", "10 bytes")):
            with pytest.raises(OSError, match=said):
                read_text(tmp_path / name, 10)
        with pytest.raises(ParityError, match="no regular file"):
            read_json(tmp_path / "pipe")


def tiny(folder, name, **changes):
    """A checkpoint's file with some of its keys changed."""
    content = json.loads((samples.TINY / name).read_text()) | changes
    (folder / name).write_text(json.dumps(content))
    return folder


def test_a_shard_whose_name_no_file_can_have_is_refused(tmp_path):
    for name in ("\ud800.safetensors", "a\0.safetensors"):
        index = {"weight_map": {"a": name}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ParityError, match="download it again"):
            Checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["9" * 300 + ".safetensors", "\ud800.safetensors"])
def test_a_shard_whose_name_no_file_can_have_is_refused_by_the_port(tmp_path, name):
    index = {"weight_map": {"a": name}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(Qwen2VLError, match="download"):
        open_checkpoint(tmp_path)


def test_what_is_nested_too_deep_is_refused_by_the_port(tmp_path):
    for name in ("config.json", "model.safetensors.index.json"):
        (tmp_path / name).write_text("[" * 5000)
    with pytest.raises(Qwen2VLError, match="not valid JSON"):
        Qwen2VLConfig.from_pretrained(tmp_path)
    with pytest.raises(Qwen2VLError, match="not valid JSON"):
        open_checkpoint(tmp_path)


def test_a_number_beyond_any_float_is_refused_by_the_port(tmp_path):
    with pytest.raises(Qwen2VLError, match="rms_norm_eps"):
        Qwen2VLConfig.from_pretrained(tiny(tmp_path, "config.json", rms_norm_eps=10**400))


@pytest.mark.parametrize(
    "changes",
    [
        {"text_config": {"num_hidden_layers": 2, "rope_parameters": [3]}},
        {"rope_scaling": 3},
        {"rms_norm_eps": 10**400},
        {"hidden_size": float("inf")},
    ],
)
def test_a_config_of_another_structure_is_refused(tmp_path, changes):
    with pytest.raises(ParityError, match=r"config\.json"):
        read_config(tiny(tmp_path, "config.json", **changes))


@pytest.mark.parametrize(
    "changes",
    [{"image_processor_type": []}, {"image_mean": [10**400, 0, 0]}, {"rescale_factor": 10**400}],
)
def test_an_image_setting_of_another_kind_is_refused(tmp_path, changes):
    with pytest.raises(Qwen2VLError, match=r"preprocessor_config\.json"):
        Qwen2VLImageProcessor.from_pretrained(tiny(tmp_path, "preprocessor_config.json", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"tokenizer_class": {"a": 1}},
        {"added_tokens_decoder": [{}]},
        {"additional_special_tokens": 3},
    ],
)
def test_a_tokenizer_setting_of_another_kind_is_refused(tmp_path, changes):
    (tmp_path / "tokenizer.json").write_bytes((samples.TINY / "tokenizer.json").read_bytes())
    with pytest.raises(Qwen2VLError, match=r"tokenizer_config|tokenizer_class"):
        Qwen2Tokenizer.from_pretrained(tiny(tmp_path, "tokenizer_config.json", **changes))


@pytest.mark.parametrize(
    "template", [["a"], [{"name": "default"}, 3], [{"template": "a"}], "{{ %s }}" % ("9" * 5000)]
)
def test_a_template_of_another_kind_is_refused(tmp_path, template):
    with pytest.raises(Qwen2VLError, match=r"chat_template\.json"):
        ChatTemplate.from_pretrained(tiny(tmp_path, "chat_template.json", chat_template=template))


def test_a_generation_of_another_structure_is_refused_though_its_hash_fits(tmp_path):
    sound = json.loads(samples.generation())
    for rows in (3, [3], [[{}]], [[{**sound["rows"][0][0], "token": "3"}]],
                 [[{**sound["rows"][0][0], "noise": None}]]):  # fmt: skip
        content = {**sound, "rows": rows}
        del content["sha256"]
        (tmp_path / "a.json").write_text(json.dumps({**content, "sha256": json_hash(content)}))
        with pytest.raises(BundleError, match="unexpected structure"):
            Generation.read(tmp_path / "a.json")


def test_a_temperature_beyond_any_float_is_refused(tmp_path):
    with pytest.raises(Qwen2VLError, match="temperature"):
        GenerationConfig.from_pretrained(
            tiny(tmp_path, "generation_config.json", temperature=10**400)
        )
