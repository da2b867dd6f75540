"""What holds of any bundle: every array comes back bit for bit, or not at all."""

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.core.errors import BundleError
from parity.core.narrow import pack, unpack
from parity.core.store import TENSORS, Bundle, BundleWriter

DTYPES = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32",
          "uint16", "uint8", "bool"]  # fmt: skip
NARROW_TYPES = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)
layouts = st.sampled_from(["C", "F", "reversed", "broadcast"])


@st.composite
def arrays(draw):
    """Any dtype, shape and bit pattern, NaN of every payload included, in any memory layout."""
    dtype, shape = np.dtype(draw(st.sampled_from(DTYPES))), draw(shapes)
    count = int(np.prod(shape))
    if dtype.kind == "b":
        return draw(hnp.arrays(bool, shape))
    raw = draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize))
    return np.frombuffer(raw, dtype).reshape(shape)


def laid_out(array, layout):
    """The same values in another order in memory."""
    if layout == "F":
        return np.asfortranarray(array)
    if layout == "reversed":
        return np.ascontiguousarray(array[::-1])[::-1]
    return np.broadcast_to(array, (2, *array.shape)) if layout == "broadcast" else array


def stored(folder, *values, dtype=None):
    """A bundle that holds ``values``, and their names."""
    writer = BundleWriter({})
    names = [writer.add(value, dtype) for value in values]
    writer.write(folder)
    return Bundle.open(folder), names


@pytest.fixture(scope="module")
def place():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "b"


@settings(max_examples=150, deadline=None)
@given(st.lists(arrays(), min_size=1, max_size=3), layouts)
def test_every_array_comes_back_bit_for_bit(place, values, layout):
    values = [laid_out(value, layout) for value in values]
    bundle, names = stored(place, *values)
    bundle.check()
    for value, name in zip(values, names, strict=True):
        back = bundle.tensor(name)
        assert (back.dtype, back.shape) == (value.dtype, value.shape)
        assert back.tobytes() == value.tobytes()


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
def test_a_scalar_comes_back_without_dimensions(place, dtype):
    bundle, (name,) = stored(place, np.array(1.5, np.float32), dtype=dtype)
    assert bundle.tensor(name).shape == ()
    assert bundle.tensor(name) == 1.5


def test_bytes_in_the_other_order_come_back_as_the_same_numbers(place):
    bundle, (name,) = stored(place, np.array([1.5, -2.25], ">f4"))
    assert bundle.tensor(name).tolist() == [1.5, -2.25]


@settings(max_examples=150, deadline=None)
@given(arrays(), arrays())
def test_two_arrays_share_a_name_only_if_they_are_the_same(one, other):
    writer = BundleWriter({})
    same = (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    assert (writer.add(one) == writer.add(other)) is same
    assert writer.add(one) == writer.add(one.copy())


@pytest.mark.parametrize(("name", "quiet"), [("bfloat16", 1 << 6), ("float16", 1 << 9)])
def test_every_narrow_number_and_every_nan_is_kept(name, quiet):
    """Of a NaN, sign and payload too; a processor may make a signalling one quiet."""
    patterns = np.arange(2**16, dtype=np.uint16)
    values = patterns.view(NARROW_TYPES[name]).astype(np.float32)
    changed = pack(values, name).view(np.uint16) ^ patterns
    assert not changed[~np.isnan(values)].any()
    assert not (changed & ~np.uint16(quiet)).any()
    assert np.array_equal(unpack(pack(values, name), name).view(np.uint32), values.view(np.uint32))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(NARROW_TYPES)), hnp.arrays(np.uint16, shapes))
def test_narrow_arrays_come_back_as_float32(place, name, patterns):
    value = patterns.view(NARROW_TYPES[name]).astype(np.float32)
    bundle, (key,) = stored(place, value, dtype=name)
    back = bundle.tensor(key)
    assert (back.dtype, back.shape) == (np.float32, value.shape)
    assert back.tobytes() == value.tobytes()


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(NARROW_TYPES)), hnp.arrays(np.uint32, st.integers(1, 9)))
@example("float16", np.array([0x47800000], np.uint32))
@example("bfloat16", np.array([0x3F800000], np.uint32))
def test_what_is_no_narrow_number_is_refused(name, patterns):
    """A number that would overflow or lose bits; what is one is kept."""
    values = patterns.view(np.float32)
    with np.errstate(all="ignore"):
        narrow = values.astype(NARROW_TYPES[name]).astype(np.float32)
    if np.array_equal(narrow, values, equal_nan=True) and not np.isnan(values).any():
        assert np.array_equal(unpack(pack(values, name), name), values)
    elif not np.array_equal(narrow, values, equal_nan=True):
        with pytest.raises(ValueError, match=f"{name}'s"):
            pack(values, name)


@pytest.mark.parametrize("name", NARROW_TYPES)
def test_a_nan_becomes_no_infinity(name):
    """As it would, were the bits that carry it cut off."""
    values = np.array([0x7F800001, 0xFF800001, 0x7FC00000], np.uint32).view(np.float32)
    for value in values:
        try:
            kept = unpack(pack(np.array([value]), name), name)
        except ValueError:
            continue
        assert np.isnan(kept).all()


@settings(max_examples=150, deadline=None)
@given(arrays().filter(lambda value: value.size), st.data())
def test_no_damaged_byte_of_a_tensor_is_believed(place, value, data):
    _, (name,) = stored(place, value)
    path = place / TENSORS
    raw = bytearray(path.read_bytes())
    start = len(raw) - value.nbytes
    where = start + data.draw(st.integers(0, value.nbytes - 1))
    raw[where] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with pytest.raises(BundleError, match="damaged") as caught:
        Bundle.open(place).tensor(name)
    assert str(place) in str(caught.value)


@settings(max_examples=60, deadline=None)
@given(arrays(), st.data())
def test_no_shortened_or_lengthened_file_is_believed(place, value, data):
    _, (name,) = stored(place, value)
    path = place / TENSORS
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for changed in (raw[:cut], raw + data.draw(st.binary(min_size=1, max_size=9))):
        path.write_bytes(changed)
        with pytest.raises(BundleError, match="damaged"):
            Bundle.open(place).tensor(name)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 10**6))
def test_a_residual_brings_the_truth_back(place, shape, seed):
    """To float32's precision of what the two differ by; none is stored where they are equal."""
    rng = np.random.default_rng(seed)
    value = rng.standard_normal(shape).astype(np.float32)
    truth = value + rng.choice([0, 1e-6], shape) * rng.standard_normal(shape)
    writer = BundleWriter({})
    name = writer.add_residual(truth, value)
    assert (name is None) is np.array_equal(truth, value)
    if name is not None:
        writer.write(place)
        back = value.astype(np.float64) + Bundle.open(place).tensor(name)
        assert np.all(np.abs(back - truth) <= 2.0**-23 * np.abs(truth - value))
