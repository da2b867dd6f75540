"""Pictures to process, and how to compare what became of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image

MODES = ["1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "I", "F"]
MODES += ["I;16", "I;16B", "RGBX", "RGBa"]
FILES = [".png", ".jpg", ".gif", ".webp", ".bmp"]


def fixed(examples: int) -> settings:
    """The same examples on every run; a deadline would measure the machine's load."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )


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


def assert_same(ours: Mapping, theirs: Mapping) -> None:
    assert set(ours) == set(theirs)
    for name, expected in theirs.items():
        expected = np.asarray(expected)
        assert ours[name].dtype == expected.dtype, name
        assert ours[name].shape == expected.shape, name
        bits = np.uint32 if expected.dtype == np.float32 else np.uint64  # -0.0 is not 0.0
        assert np.array_equal(ours[name].view(bits), expected.view(bits)), name


def clip(rng: np.random.Generator, frames: int, height: int, width: int, channels: int = 3):
    """Shading that moves from frame to frame, with noise on it."""
    slope = np.linspace(0, 150, width)[:, None] + 5 * np.arange(frames)[:, None, None, None]
    noise = rng.integers(0, 60, (frames, height, width, channels))
    return (slope + noise).astype(np.uint8)


def video(frames: int = 5, height: int = 40, width: int = 61) -> np.ndarray:
    return clip(np.random.default_rng(7), frames, height, width)
