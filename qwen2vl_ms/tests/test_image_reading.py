"""Images that cannot be used: one clear message that names the thing and the fix."""

from __future__ import annotations

import base64
import contextlib
import struct
import zlib
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.image_processing import Qwen2VLImageProcessor
from qwen2vl_ms.image_reading import read_image
from qwen2vl_ms.tests.pictures import FILES, assert_same, fixed, noise, pillow_image


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
    refused("A" * 5000, "no such file", "encoded images begin with data:image/")
    refused("a\0b.png", "no such file")


def test_addresses_and_encoded_pictures_are_read(tmp_path):
    path = tmp_path / "a b.png"
    pillow_image(0, 40, 60, "RGB").save(path)
    expected = read_image(path)
    encoded = base64.b64encode(path.read_bytes()).decode()
    forms = [f"file://{path}", "file://" + quote(str(path)), f"file://localhost{path}"]
    forms += [f"data:image/png;base64,{encoded}", f"data:image/any;base64,{encoded[:9]}\n"]
    forms[-1] += encoded[9:]
    for form in forms:
        assert np.array_equal(read_image(form), expected)
    assert not np.array_equal(read_image(path), expected[:, ::-1])  # twin


def test_addresses_and_encoded_pictures_that_cannot_be_read_are_refused(tmp_path):
    refused("https://example.org/a.png", "example.org", "nothing is downloaded", "download the")
    refused("HTTP://example.org/a.png", "download the file first")
    refused("s3://bucket/a.png", "download the file first")
    refused(f"file://{tmp_path}/no.png", "no such file")
    refused("data:image/png;base64,@@", "no valid base64", "encode the file again")
    refused("data:image/png;base64,AAAA", "cannot be decoded")
    refused("data:text/plain,hello", "data:text/plain", "only data:image/...;base64,")


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
        (np.zeros((9, 9), np.uint8), ["(9, 9)", "[height, width, channels]", "array[..., None]"]),
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
