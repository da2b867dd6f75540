"""The image processor against the reference's Pillow back end, bit for bit."""

from __future__ import annotations

import contextlib
import json
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as reference

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.image_processing import (
    Qwen2VLImageProcessor,
    normalize,
    patchify,
    rescale,
    resize,
    smart_resize,
)
from qwen2vl_ms.image_reading import read_image


def fixed(examples: int) -> settings:
    """The same examples on every run; a deadline would measure the machine's load."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"]
MODES += ["I;16", "I;16B", "RGBX", "RGBa"]
FILES = [".png", ".jpg", ".gif", ".webp", ".bmp"]


def noise(seed: int, *shape: int) -> np.ndarray:
    """Smooth shading with noise on it: resizing filters respond to both."""
    rng = np.random.default_rng(seed)
    slope = np.linspace(0, 200, shape[1])[None, :, None]
    return (slope + rng.integers(0, 56, shape)).astype(np.uint8)


def pillow_image(seed: int, height: int, width: int, mode: str) -> Image.Image:
    rgba = Image.fromarray(noise(seed, height, width, 4), "RGBA")
    if mode == "P" and seed % 2:
        image = rgba.convert("RGB").quantize(16)
        image.info["transparency"] = 3
        return image
    if mode in {"I", "F", "I;16", "I;16B"}:
        grey = noise(seed, height, width, 1)[..., 0].astype(np.int32) * 2 - 20
        if mode.startswith("I;16"):
            packed = grey.clip(0).astype("<u2" if mode == "I;16" else ">u2")
            return Image.frombytes(mode, (width, height), packed.tobytes())
        return Image.fromarray(grey.astype(np.int32 if mode == "I" else np.float32))
    if mode in {"LAB", "RGBX", "RGBa", "PA"}:
        size = len(Image.new(mode, (1, 1)).tobytes())
        data = noise(seed, height, width, size).tobytes()
        return Image.frombytes(mode, (width, height), data)
    return (rgba if mode in {"RGBA", "LA"} else rgba.convert("RGB")).convert(mode)


@st.composite
def images(draw: st.DrawFn) -> tuple[str, tuple]:
    """How to make one image; made in the test, since a file needs a folder."""
    seed = draw(st.integers(0, 10**6))
    long = draw(st.integers(1, 200))
    short = draw(st.integers(max(1, -(-long // 200)), 120))
    height, width = draw(st.sampled_from([(long, short), (short, long)]))
    kind = draw(st.sampled_from(["pillow", "array", "file"]))
    if kind == "pillow":
        return kind, (seed, height, width, draw(st.sampled_from(MODES)))
    if kind == "file":
        return kind, (seed, height, width, draw(st.sampled_from(FILES)), draw(st.integers(1, 8)))
    channels = draw(st.sampled_from([1, 3, 4]))
    dtype = draw(st.sampled_from([np.uint8, np.int64, np.uint16]))
    return kind, (seed, height, width, channels, draw(st.booleans()), dtype)


def make(kind: str, recipe: tuple, folder: Path) -> Image.Image | np.ndarray | str:
    if kind == "pillow":
        return pillow_image(*recipe)
    seed, height, width, *rest = recipe
    if kind == "array":
        channels, first, dtype = rest
        array = noise(seed, height, width, channels).astype(dtype)
        return np.moveaxis(array, -1, 0) if first else array
    suffix, orientation = rest
    image = pillow_image(seed, height, width, "RGBA")
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / f"image{suffix}"
    keeps_alpha = suffix in {".png", ".webp"}
    options = {} if suffix in {".gif", ".bmp"} else {"exif": exif}
    (image if keeps_alpha else image.convert("RGB")).save(path, **options)
    return str(path)


def assert_same(ours: dict, theirs: dict) -> None:
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        expected = np.asarray(expected)
        assert ours[name].dtype == expected.dtype, name
        assert ours[name].shape == expected.shape, name
        if expected.dtype == np.float32:  # bits, so that -0.0 is not 0.0
            assert np.array_equal(ours[name].view(np.uint32), expected.view(np.uint32)), name
        else:
            assert np.array_equal(ours[name], expected), name


@fixed(300)
@given(
    batch=st.lists(images(), min_size=1, max_size=3),
    least=st.integers(1, 20_000),
    more=st.integers(0, 60_000),
)
def test_any_images_equal_the_reference(batch, least, more, tmp_path):
    budget = {"min_pixels": least, "max_pixels": least + more}
    made = []
    for index, (kind, recipe) in enumerate(batch):
        (tmp_path / str(index)).mkdir(exist_ok=True)
        made.append(make(kind, recipe, tmp_path / str(index)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the reference leaves files open
        theirs = reference.Qwen2VLImageProcessorPil(**budget)(made, return_tensors="np")
    assert_same(Qwen2VLImageProcessor(**budget)(made), theirs)


@fixed(60)
@given(
    seed=st.integers(0, 10**6),
    tokens=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    resample=st.integers(0, 5),
    factor=st.sampled_from([1 / 255, 0.00392156862745098, 1 / 127.5, 0.0031, 1.0]),
    steps=st.tuples(*[st.booleans()] * 3),
    mean=st.lists(st.floats(-1, 1, width=32), min_size=3, max_size=3),
    std=st.lists(st.floats(0.01, 2), min_size=3, max_size=3),
    layout=st.sampled_from([(14, 2, 2), (7, 2, 2), (14, 1, 2), (14, 3, 1), (4, 2, 3)]),
)
def test_any_settings_equal_the_reference(seed, tokens, resample, factor, steps, mean, std, layout):
    patch, temporal, merge = layout
    settings_ = {
        "patch_size": patch,
        "temporal_patch_size": temporal,
        "merge_size": merge,
        "resample": resample,
        "rescale_factor": factor,
        "image_mean": mean,
        "image_std": std,
        **dict(zip(["do_resize", "do_rescale", "do_normalize"], steps, strict=True)),
    }
    side = patch * merge
    image = noise(seed, tokens[0] * side, tokens[1] * side, 3)
    theirs = reference.Qwen2VLImageProcessorPil(**settings_)(image, return_tensors="np")
    assert_same(Qwen2VLImageProcessor(**settings_)(image), theirs)


@fixed(500)
@given(
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    factor=st.sampled_from([14, 28, 56]),
    least=st.integers(1, 10**6),
    more=st.integers(0, 10**7),
)
def test_smart_resize_equals_the_reference(height, width, factor, least, more):
    arguments = {"factor": factor, "min_pixels": least, "max_pixels": least + more}
    if max(height, width) > 200 * min(height, width):
        with pytest.raises(ValueError, match="aspect ratio"):
            reference.smart_resize(height, width, **arguments)
        with pytest.raises(Qwen2VLError, match=f"{height} x {width} pixels.*at most 200 times"):
            smart_resize(height, width, **arguments)
        return
    expected = reference.smart_resize(height, width, **arguments)
    assert smart_resize(height, width, **arguments) == expected


def test_nested_lists_and_stacks_are_lists_of_images():
    one, two, three = (noise(seed, 40, 70, 3) for seed in range(3))
    ours = Qwen2VLImageProcessor()
    theirs = reference.Qwen2VLImageProcessorPil()
    for batch in (one, [one, two], [[one], [two, three]], np.stack([one, two])):
        assert_same(ours(batch), theirs(batch, return_tensors="np"))


def test_a_call_may_override_the_budget():
    image = noise(0, 300, 200, 3)
    ours = Qwen2VLImageProcessor()(image, max_pixels=20_000)
    size = {"shortest_edge": 56 * 56, "longest_edge": 20_000}
    theirs = reference.Qwen2VLImageProcessorPil()(image, size=size, return_tensors="np")
    assert_same(ours, theirs)
    assert_same(Qwen2VLImageProcessor()(image, size=size), theirs)


@pytest.mark.parametrize(
    "contents",
    [
        {},
        {"min_pixels": 3136, "max_pixels": 9000},
        {"size": {"shortest_edge": 3136, "longest_edge": 9000}},
        {"size": {"min_pixels": 1, "max_pixels": 2}, "min_pixels": 3136, "max_pixels": 9000},
        {"size": {"shortest_edge": 1, "longest_edge": 9000}, "min_pixels": 3136},
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.2, 0.3], "resample": 2},
        {"do_pad": None, "crop_size": None, "data_format": "channels_first", "device": None},
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_files_mean_what_they_mean_to_the_reference(tmp_path, contents, nested):
    contents = contents | {"image_processor_type": "Qwen2VLImageProcessor"}
    if nested:  # the section of processor_config.json wins over the older file
        (tmp_path / "preprocessor_config.json").write_text('{"patch_size": 28}')
        section = {"image_processor": contents, "processor_class": "Qwen2VLProcessor"}
        (tmp_path / "processor_config.json").write_text(json.dumps(section))
    else:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(contents))
    image = noise(1, 150, 90, 3)
    theirs = reference.Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
    ours = Qwen2VLImageProcessor.from_pretrained(tmp_path)
    assert_same(ours(image), theirs(image, return_tensors="np"))
    assert ours.size == dict(theirs.size)


def test_settings_saved_by_the_reference_load(tmp_path):
    reference.Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=9000).save_pretrained(tmp_path)
    loaded = Qwen2VLImageProcessor.from_pretrained(tmp_path)
    assert loaded == Qwen2VLImageProcessor(
        min_pixels=784,
        max_pixels=9000,
        image_mean=list(loaded.image_mean),
        image_std=list(loaded.image_std),
    )


# Twins that must fail: the comparison sees what it is there to see.


def test_the_comparison_sees_one_bit():
    ours = Qwen2VLImageProcessor()(noise(0, 56, 56, 3))
    changed = {name: value.copy() for name, value in ours.items()}
    changed["pixel_values"].view(np.uint32)[5, 7] ^= 1
    with pytest.raises(AssertionError):
        assert_same(ours, changed)


@pytest.mark.parametrize("fault", ["raster", "mean", "filter", "bounds", "transposed"])
def test_a_seeded_fault_is_seen(fault):
    image = noise(3, 80, 130, 3)
    right = Qwen2VLImageProcessor(max_pixels=20_000)
    expected = right(image)
    wrong = {
        "raster": lambda: raster_patches(image, right),
        "mean": lambda: Qwen2VLImageProcessor(max_pixels=20_000, image_mean=[0.5] * 3)(image),
        "filter": lambda: right(image, resample=2),
        "bounds": lambda: right(image, max_pixels=10**6, min_pixels=40_000),
        "transposed": lambda: right(np.ascontiguousarray(image.swapaxes(0, 1))),
    }[fault]()
    with pytest.raises(AssertionError):
        assert_same(wrong, expected)


def raster_patches(image, processor):
    size = smart_resize(*image.shape[:2], 28, processor.min_pixels, processor.max_pixels)
    pixels = resize(np.moveaxis(image, -1, 0), size, 3)
    values = normalize(rescale(pixels, 1 / 255), processor.image_mean, processor.image_std)
    patches, grid = patchify(values[None], 14, 2, 1)
    return {"pixel_values": patches, "image_grid_thw": np.array([grid])}


# Bad input: one clear message that names the thing and the fix.


def refused(images, *words, **settings_):
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLImageProcessor(**settings_)(images)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_an_image_that_is_a_line_is_refused():
    line = np.zeros((2, 402, 3), np.uint8)
    refused([noise(0, 30, 30, 3), line], "image 1", "2 x 402", "200 times", "crop it")


@pytest.mark.parametrize("shape", [(0, 5, 3), (3, 7, 0), (5, 0, 3)])
def test_an_empty_image_is_refused(shape):
    refused(np.zeros(shape, np.uint8), "image 0", "is empty", "give an image with pixels")


def test_no_image_at_all_is_refused():
    refused([], "no images", "at least one")


def test_a_missing_file_is_named(tmp_path):
    refused(str(tmp_path / "no.png"), "image 0", "no.png", "no such file", "local file")
    refused(tmp_path / "no.png", "no.png")
    refused("https://example.org/a.png", "example.org", "nothing is downloaded")
    refused("data:image/png;base64," + "A" * 5000, "images encoded as text are not read")


@pytest.mark.parametrize("suffix", FILES)
def test_a_damaged_file_is_named(tmp_path, suffix):
    path = tmp_path / f"damaged{suffix}"
    pillow_image(0, 60, 60, "RGB").save(path)
    path.write_bytes(path.read_bytes()[:150])
    refused(path, f"damaged{suffix}", "cannot be decoded", "replace the file")


@fixed(150)
@given(suffix=st.sampled_from(FILES), at=st.floats(0, 1), data=st.binary(min_size=1, max_size=8))
def test_a_damaged_file_never_raises_anything_else(tmp_path, suffix, at, data):
    path = tmp_path / f"damaged{suffix}"
    pillow_image(0, 40, 40, "RGB").save(path)
    whole = path.read_bytes()
    start = int(at * (len(whole) - 1))
    path.write_bytes(whole[:start] + data + whole[start + len(data) :])
    with contextlib.suppress(Qwen2VLError):  # any other exception fails the test
        assert read_image(path).dtype == np.uint8


def test_a_text_file_is_no_image(tmp_path):
    (tmp_path / "notes.png").write_text("not pixels")
    refused(tmp_path / "notes.png", "notes.png", "cannot be decoded")


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that claims a size it has no data for."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(99))))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("side", [9_500, 20_000])  # Pillow warns of the first, refuses the second
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    (tmp_path / "bomb.png").write_bytes(png_header(side, side))
    refused(
        tmp_path / "bomb.png", "bomb.png", "pixels", str(Image.MAX_IMAGE_PIXELS), "scale it down"
    )


def test_an_open_image_over_the_limit_is_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 899)
    refused(pillow_image(0, 30, 30, "L"), "30 x 30", "899", "MAX_IMAGE_PIXELS")
    refused(noise(0, 30, 30, 3), "30 x 30", "899")


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((9, 9, 3), np.float32), ["float32", "integers from 0 to 255", "astype"]),
        (np.zeros((9, 9, 3), bool), ["bool", "integers"]),
        (np.full((9, 9, 3), 256), ["256", "from 0 to 255"]),
        (np.full((9, 9, 3), -1), ["-1", "from 0 to 255"]),
        (np.zeros((9, 9), np.uint8), ["(9, 9)", "[height, width, channels]"]),
        (np.zeros((9, 9, 2), np.uint8), ["(9, 9, 2)", "1 or 3 or 4 channels", "transpose"]),
        (3, ["int", "a path, a Pillow image or a NumPy array"]),
        (None, ["NoneType"]),
    ],
)
def test_an_unusable_array_is_refused(image, words):
    refused([noise(0, 30, 30, 3), image], "image 1", *words)


def test_conversion_may_be_off_but_not_needed():
    image = pillow_image(0, 30, 30, "L")
    refused(image, "mode L is not RGB", "turn it on", do_convert_rgb=False)
    refused(noise(0, 30, 30, 4), "4 channel(s) is not RGB", do_convert_rgb=False)
    rgb = image.convert("RGB")
    assert_same(Qwen2VLImageProcessor(do_convert_rgb=False)(rgb), Qwen2VLImageProcessor()(rgb))


def test_a_mode_without_conversion_is_refused():
    refused(Image.new("La", (9, 9)), "mode La", "convert it yourself")


def test_resizing_may_be_off_but_not_needed():
    refused(noise(0, 30, 28, 3), "30 x 28", "multiples of 28", do_resize=False)


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"max_pixel": 9}, ["unknown setting 'max_pixel'", "remove it", "max_pixels"]),
        ({"patch_size": "14"}, ["patch_size is '14'", "integer of at least 1"]),
        ({"patch_size": True}, ["patch_size is True"]),
        ({"do_resize": 1}, ["do_resize is 1", "true or false"]),
        ({"image_std": [0.1, 0.0, 0.1]}, ["image_std", "three numbers above 0"]),
        ({"image_mean": 0.5}, ["image_mean is 0.5", "three numbers"]),
        ({"resample": 9}, ["resample is 9", "0 to 5"]),
        ({"rescale_factor": 0}, ["rescale_factor is 0", "above 0"]),
        ({"size": {"height": 9, "width": 9}}, ["size is", "shortest_edge"]),
        ({"size": {"longest_edge": 9}}, ["size is", "shortest_edge"]),
        ({"min_pixels": 99, "max_pixels": 9}, ["min_pixels 99", "max_pixels 9", "lower"]),
        ({"do_center_crop": True}, ["do_center_crop is on", "remove it"]),
        ({"image_processor_type": "CLIPImageProcessor"}, ["CLIPImageProcessor", "another model"]),
    ],
)
def test_a_bad_settings_file_is_named(tmp_path, contents, words):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(contents))
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLImageProcessor.from_pretrained(tmp_path)
    for word in ["preprocessor_config.json", *words]:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("contents", "word"),
    [("[]", "no JSON object"), ("{", "not valid JSON"), ("[" * 10**5, "not valid JSON")],
)
def test_a_file_that_is_no_json_is_named(tmp_path, contents, word):
    (tmp_path / "preprocessor_config.json").write_text(contents)
    with pytest.raises(Qwen2VLError, match=f"preprocessor_config.json.*{word}.*copy it again"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path)


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(Qwen2VLError, match=r"has no preprocessor_config\.json: copy it"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(Qwen2VLError, match=r"no checkpoint folder .*/absent: .*local folder"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path / "absent")
    (tmp_path / "processor_config.json").write_text('{"image_processor": 3}')
    with pytest.raises(Qwen2VLError, match="'image_processor' is not a JSON object"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path)


def test_the_patch_layout_is_no_matter_of_a_call():
    with pytest.raises(Qwen2VLError, match=r"merge_size cannot change.*preprocessor file"):
        Qwen2VLImageProcessor()(noise(0, 30, 30, 3), merge_size=1)
    with pytest.raises(Qwen2VLError, match="this call: unknown setting 'fps'"):
        Qwen2VLImageProcessor()(noise(0, 30, 30, 3), fps=1)
