"""Reading dumps: those that the real msprobe made of a toy (`make_dumps`), and damaged ones."""

import io
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity.core.errors import ParityError
from parity.msprobe.dump import DATA, DUMP, MODULE_CALL, inside, open_dump, parse_dump
from parity.msprobe.make_toys import SCALE, toy_weights
from parity.msprobe.tensor_file import parse_tensor, read_tensor

DUMPS = Path(__file__).parent / "data" / "msprobe"
FRAMEWORKS = ("mindspore", "pytorch")


def toy_outputs():
    """What the toy's modules give, computed here: name and call to outputs."""
    weights, found = toy_weights(), {}
    x = weights["input"]
    for block, call in ((0, 0), (1, 0), (1, 1)):
        inner = x @ weights[f"blocks.{block}.fc1"].T
        hidden = np.maximum(inner, 0) @ weights[f"blocks.{block}.fc2"].T
        x = x + hidden * np.float32(0.5)
        found[f"blocks.{block}.fc1", call] = [inner]
        found[f"blocks.{block}.fc2", call] = [hidden]
        found[f"blocks.{block}", call] = [x, hidden]
    return found


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_real_dump_is_what_the_model_computes(framework):
    dump = open_dump(DUMPS / framework)
    expected = toy_outputs()
    assert dump.framework == framework
    assert dump.level == "L0"
    assert [(call.path, call.index) for call in dump.calls] == list(expected)
    for call in dump.calls:
        taps = [dump.tensor(entry) for entry in call.outputs]
        assert all(tap.dtype == "float32" for tap in taps)
        for tap, right in zip(taps, expected[call.path, call.index], strict=True):
            np.testing.assert_allclose(tap.value, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_arguments_are_known_by_number_and_by_name(framework):
    dump = open_dump(DUMPS / framework)
    block = dump.calls[2]
    assert list(block.arguments) == ["0", "scale"]
    np.testing.assert_array_equal(dump.tensor(block.arguments["0"]).value, toy_weights()["input"])
    assert dump.tensor(block.arguments["scale"]).value == 0.5


def test_a_wrong_block_is_in_its_dump():
    right, wrong = (open_dump(DUMPS / name) for name in ("mindspore", "scaled"))
    pairs = [
        [dump.tensor(dump.calls[number].outputs[1]).value for dump in (right, wrong)]
        for number in (2, 5)
    ]
    np.testing.assert_array_equal(*pairs[0])
    np.testing.assert_allclose(pairs[1][1], SCALE * pairs[1][0], rtol=1e-6)


def test_statistics_alone_are_refused_with_what_to_do():
    with pytest.raises(ParityError, match=r'statistics and no tensors.*"task": "tensor"'):
        open_dump(DUMPS / "statistics")


def copy(tmp_path, framework="mindspore", place="step0/rank0"):
    """A dump of the toy in a place of its own; the folder with its dump.json."""
    folder = tmp_path / place
    shutil.copytree(next((DUMPS / framework).glob("step0/*")), folder)
    return folder


def change(folder, edit):
    """Rewrite dump.json."""
    data = json.loads((folder / DUMP).read_text())
    edit(data)
    (folder / DUMP).write_text(json.dumps(data))


def test_steps_and_ranks_have_to_be_chosen(tmp_path):
    for place in ("step0/rank0", "step0/rank1", "step1/rank0"):
        copy(tmp_path, place=place)
    with pytest.raises(ParityError, match=r"3 dumps \(step0/rank0, .*--step or --rank"):
        open_dump(tmp_path)
    with pytest.raises(ParityError, match=r"2 dumps .*--rank"):
        open_dump(tmp_path, step=0)
    assert open_dump(tmp_path, step=0, rank=1).folder == tmp_path / "step0/rank1"
    assert open_dump(tmp_path / "step1").folder == tmp_path / "step1/rank0"
    with pytest.raises(ParityError, match="nothing of step7; it has step0/rank0"):
        open_dump(tmp_path, step=7)


def test_no_dump_is_said(tmp_path):
    with pytest.raises(ParityError, match=r"no dump\.json in"):
        open_dump(tmp_path)
    with pytest.raises(ParityError, match="is not a folder"):
        open_dump(tmp_path / "nothing")


def test_functions_are_counted_and_a_dump_of_functions_alone_is_refused(tmp_path):
    folder = copy(tmp_path)

    def add(data):
        data["data"]["Functional.relu.0.forward"] = {"input_args": [], "output": []}
        data["data"]["Cell.blocks.0.Block.backward.0"] = {"input": [], "output": []}

    change(folder, add)
    assert open_dump(folder).others == 2

    def only(data):
        data["data"] = {"Functional.relu.0.forward": {}}

    change(folder, only)
    with pytest.raises(ParityError, match=r"no module's forward pass.*L0"):
        open_dump(folder)


@pytest.mark.parametrize("path", ["a\ud800b", "a\x1b[2Jb", "a" * 2000, "a\nb"])
def test_names_that_cannot_be_shown_are_refused(tmp_path, path):
    folder = copy(tmp_path)

    def edit(data):
        call = data["data"].pop("Cell.blocks.0.Block.forward.0")
        data["data"][f"Cell.{path}.Block.forward.0"] = call

    change(folder, edit)
    with pytest.raises(ParityError, match="is no name of a call"):
        open_dump(folder)


@pytest.mark.parametrize(
    "name",
    ["../secret.npy", "/etc/passwd", "a/b.npy", "..", "a\0b.npy", "c:\\x.npy", "x" * 5000],
)
def test_a_file_name_cannot_lead_out(tmp_path, name):
    folder = copy(tmp_path)
    (tmp_path / "step0" / "secret.npy").write_bytes(b"secret")

    def edit(data):
        data["data"]["Cell.blocks.0.Block.forward.0"]["output"][0]["data_name"] = name

    change(folder, edit)
    dump = open_dump(folder)
    with pytest.raises(ParityError):
        dump.tensor(dump.calls[2].outputs[0])


def test_a_link_cannot_lead_out(tmp_path):
    folder = copy(tmp_path)
    secret = tmp_path / "secret.npy"
    np.save(secret, np.zeros(3))
    path = folder / DATA / "link.npy"
    path.symlink_to(secret)
    with pytest.raises(ParityError, match="do not trust"):
        inside(folder / DATA, "link.npy")
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ParityError):
        inside(folder / DATA, "link.npy")


def test_missing_truncated_and_mixed_up_files_are_named(tmp_path):
    folder = copy(tmp_path)
    dump = open_dump(folder)
    entry = dump.calls[0].outputs[0]
    path = folder / DATA / entry.file
    content = path.read_bytes()
    for length in (0, 5, 9, 40, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ParityError, match=path.name):
            dump.tensor(entry)
    np.save(path, np.zeros((2, 2), np.float32))
    with pytest.raises(ParityError, match=r"has shape \[2, 2\], and dump.json says \[4, 8\]"):
        dump.tensor(entry)
    path.unlink()
    with pytest.raises(ParityError, match="missing"):
        dump.tensor(entry)


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_claimed_size_is_not_believed():
    content = saved(np.zeros((4, 8), np.float32))
    assert b"(4, 8)" in content
    huge = content.replace(b"(4, 8), }          ", b"(99999999, 99999), }"[:19].ljust(19))
    assert huge != content
    with pytest.raises(ParityError, match="damaged"):
        parse_tensor(huge, Path("x.npy"), "float32")


def test_a_header_that_nearly_fits_is_refused_at_once():
    """No pattern may try every way to cut a long number."""
    content = saved(np.zeros((4, 8), np.float32))
    long = content.replace(b"(4, 8), }" + b" " * 40, b"(" + b"1" * 47 + b";")
    assert long != content
    begun = time.process_time()
    with pytest.raises(ParityError, match="does not tell of an array"):
        parse_tensor(long, Path("x.npy"), "float32")
    assert time.process_time() - begun < 0.1


def test_objects_are_not_unpickled():
    content = saved(np.array([print], dtype=object))
    with pytest.raises(ParityError, match="does not tell of an array of numbers"):
        parse_tensor(content, Path("x.npy"), "float32")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", "<f8", "<i8", ">i4", "u1", "?"])
@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (2, 3)])
def test_every_dtype_is_read_as_numpy_reads_it(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    for one in (array, np.asfortranarray(array)):
        found = parse_tensor(saved(one), Path("x.npy"), "any").value
        np.testing.assert_array_equal(found, one)
        assert found.shape == one.shape
        assert found.dtype == (np.float32 if dtype == "<f2" else array.dtype.newbyteorder("="))


def test_bfloat16_is_read_from_two_bytes_and_from_float32():
    import ml_dtypes

    array = np.array([[1.5, -2.0, 3.0e38, np.inf]], ml_dtypes.bfloat16)
    for content in (saved(array.view("V2")), saved(array.astype(np.float32))):
        tap = parse_tensor(content, Path("x.npy"), "bfloat16")
        np.testing.assert_array_equal(tap.value, array.astype(np.float32))
        assert tap.dtype == "bfloat16"


@pytest.mark.parametrize(
    "name", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool"]
)
def test_a_torch_file_is_read_without_torch(tmp_path, name):
    torch = pytest.importorskip("torch")
    tensor = (torch.arange(24).reshape(2, 3, 4) % 5 - 1).to(getattr(torch, name))
    for one in (tensor, tensor[:, 1:, ::2], tensor.transpose(0, 2), tensor[0, 0, 0], tensor[:0]):
        path = tmp_path / "x.pt"
        torch.save(one, path)
        tap = read_tensor(path, name)
        wide = one.float() if name in ("float16", "bfloat16") else one
        np.testing.assert_array_equal(tap.value, wide.numpy())
        assert tap.value.shape == tuple(one.shape)


def test_a_torch_file_of_anything_else_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "x.pt"
    for thing in ({"a": torch.zeros(2)}, [1, 2], "text", torch.nn.Linear(2, 2)):
        torch.save(thing, path)
        with pytest.raises(ParityError, match=r"not what torch.save writes for one tensor"):
            read_tensor(path, "float32")


def test_a_torch_file_executes_nothing(tmp_path):
    """The same program with another function in it is refused, and the function not called."""
    source = next((DUMPS / "pytorch").rglob("*.output.0.pt"))
    content = source.read_bytes()
    assert content.count(b"torch._utils\n_rebuild_tensor_v2") == 1
    evil = content.replace(b"torch._utils\n_rebuild_tensor_v2", b"os\nsystem                   ")
    path = tmp_path / "x.pt"
    path.write_bytes(evil)
    with pytest.raises(ParityError, match="damaged"):
        read_tensor(path, "float32")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_flipped_bytes_never_crash_a_tensor_file(framework, data):
    content = bytearray(next((DUMPS / framework).rglob("*.forward.0.output.0.*")).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content), 900) - 1))
        content[at] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    suffix = ".pt" if framework == "pytorch" else ".npy"
    try:
        tap = parse_tensor(content, Path(f"x{suffix}"), "float32")
    except ParityError:
        return
    assert tap.value.nbytes <= 4 * len(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {"dtype": JSON, "shape": st.lists(st.integers(-1, 9), max_size=4) | JSON},
    optional={"data_name": st.text(max_size=8) | JSON},
)
CALL = st.fixed_dictionaries(
    {}, optional={"input_args": st.lists(TENSOR | JSON, max_size=3) | JSON,
                  "input_kwargs": st.dictionaries(st.text(max_size=4), TENSOR, max_size=2) | JSON,
                  "output": st.lists(TENSOR, max_size=3) | JSON},
)  # fmt: skip
NAMES = st.sampled_from(["Cell.a.b.C.forward.0", "Module.a.C.forward.1", "x"]) | st.from_regex(
    MODULE_CALL, fullmatch=True
)


@settings(max_examples=60, deadline=None)
@given(data=st.fixed_dictionaries({"data": st.dictionaries(NAMES, CALL | JSON, max_size=3)}) | JSON)
def test_any_json_is_a_dump_or_an_error(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    try:
        dump = parse_dump(json.dumps(data).encode(), folder)
        for call in dump.calls:
            for entry in [*call.arguments.values(), *filter(None, call.outputs)]:
                dump.tensor(entry)
    except ParityError:
        return
    raise AssertionError("there is no tensor to read")


def test_deep_json_is_refused():
    for content in (b"[" * 100_000, b'{"data": ' * 40 + b"1" + b"}" * 40):
        with pytest.raises(ParityError, match=r"is not JSON|nests deeper"):
            parse_dump(content, Path("x"))
