"""Random inputs in the shapes of given cases: other pictures, frames and words, the same sizes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.core.cases import load_cases
from parity.core.errors import ParityError
from parity.core.files import temporary_beside
from parity.core.toml_text import toml_value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

COARSE = 6
"""Points along a side between which a picture is smooth."""
NOISE = 20.0
"""Standard deviation of what is added to each pixel, of 255."""


def write_inputs(cases_file: Path, checkpoint: Path, seed: int, path: Path) -> None:
    """Write a cases file like ``cases_file`` to ``path``, and the files it names beside it.

    Args:
        cases_file: whose cases give the structure: sizes and modes of pictures, numbers of frames,
            and numbers of tokens.
        checkpoint: its tokenizer counts tokens and gives the words.
        seed: of the random numbers.
        path: of the new cases file.

    Raises:
        ParityError: a file cannot be read or written.
    """
    load_cases(cases_file)  # refuses what is wrong with it, so that nothing below has to
    data = tomllib.loads(cases_file.read_text(encoding="utf-8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = _Writer(cases_file.parent, path.parent, checkpoint, np.random.default_rng([seed, 1]))
    cases = {name: writer.like(case) for name, case in data.items()}
    with temporary_beside(path) as temporary:
        temporary.write_text(
            "".join(f"{toml_value({name: case})[2:-2]}\n" for name, case in cases.items()),
            encoding="utf-8",
        )


class _Writer:
    """Makes a random file for each one that a case names."""

    def __init__(
        self, source: Path, target: Path, checkpoint: Path, rng: np.random.Generator
    ) -> None:
        self.source, self.target, self.checkpoint, self.rng = source, target, checkpoint, rng
        self.count = 0

    def like(self, value: Any) -> Any:
        """A part of a case, with other files and texts and everything else as it is."""
        if isinstance(value, list):
            return [self.like(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "image" in value:
            return {**value, "image": self._image(self.source / value["image"])}
        if "video" in value:
            return {**value, "video": self._video(self.source / value["video"])}
        if "text_file" in value:
            text = (self.source / value["text_file"]).read_text(encoding="utf-8")
            return {"text": self._text(text)}
        if "text" in value:
            return {"text": self._text(value["text"])}
        return {name: self.like(item) for name, item in value.items()}

    def _image(self, source: Path) -> str:
        size, mode = _size_and_mode(source)
        name = self._name() + ".png"
        _save(self.target / name, random_picture(self.rng, size, _bands(mode)), mode)
        return name

    def _video(self, source: Path) -> str:
        """A clip whose picture moves a little from frame to frame."""
        folder = self._name()
        (self.target / folder).mkdir()
        frames = sorted(p for p in source.iterdir() if p.suffix in (".png", ".jpg"))
        size, _ = _size_and_mode(frames[0])
        scene = random_picture(self.rng, size, 3)
        for number, _ in enumerate(frames):
            moved = np.roll(scene, 5 * number, axis=1) + self.rng.normal(0, NOISE / 4, scene.shape)
            _save(self.target / folder / f"{number:03d}.png", moved, "RGB")
        return folder

    def _text(self, like: str) -> str:
        """Random words, of as many tokens as ``like`` at least."""
        count = len(self.tokenizer.encode(like, add_special_tokens=False).ids)
        text = ""
        while len(self.tokenizer.encode(text, add_special_tokens=False).ids) < count:
            text += "".join(self.rng.choice(self.words, size=max(count // 8, 1)))
        return text

    def _name(self) -> str:
        self.count += 1
        return f"{self.count:03d}"

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's."""
        from tokenizers import Tokenizer

        path = self.checkpoint / "tokenizer.json"
        try:
            return Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises plain Exception
            raise ParityError(f"cannot read the tokenizer {path}: {error}") from error

    @cached_property
    def words(self) -> Sequence[str]:
        """Texts of single tokens: whole characters, and nothing that could become a special one."""
        found = [self.tokenizer.decode([i]) for i in range(self.tokenizer.get_vocab_size(False))]
        usable = [t for t in found if t and t.isprintable() and not set(t) & set("<|>\ufffd")]
        if not usable:
            raise ParityError(f"the tokenizer of {self.checkpoint} has no token of plain text")
        return usable


def random_picture(
    rng: np.random.Generator, size: tuple[int, int], bands: int
) -> NDArray[np.float64]:
    """A smooth picture with noise, ``[H, W, bands]``, about 0 to 255.

    Args:
        rng: random numbers.
        size: height and width.
        bands: values a pixel.
    """
    coarse = rng.uniform(0, 255, (COARSE, COARSE, bands))
    smooth = coarse
    for axis, length in enumerate(size):
        smooth = _stretched(smooth, axis, length)  # [H, COARSE, bands], then [H, W, bands]
    return smooth + rng.normal(0, NOISE, smooth.shape)


def _stretched(array: NDArray[np.float64], axis: int, length: int) -> NDArray[np.float64]:
    """Linear interpolation to ``length`` points along ``axis``."""
    places = np.linspace(0, array.shape[axis] - 1, length)
    low = np.minimum(places.astype(int), array.shape[axis] - 2)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(array.ndim)])
    below, above = np.take(array, low, axis), np.take(array, low + 1, axis)
    return np.asarray(below * (1 - share) + above * share)


def _size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    """Height and width of the picture in a file, and how it holds colours."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return (image.height, image.width), image.mode
    except (UnidentifiedImageError, OSError) as error:
        raise ParityError(f"{path} cannot be read as an image ({error})") from error


def _bands(mode: str) -> int:
    return {"L": 1, "LA": 2, "RGBA": 4}.get(mode, 3)


def _save(path: Path, picture: NDArray[np.float64], mode: str) -> None:
    from PIL import Image

    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
