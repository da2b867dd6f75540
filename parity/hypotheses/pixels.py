"""Pixel values that are not the reference's.

N patches, C channels, T frames of a patch, P side of a patch, m merge size; values are
``[N, C * T * P * P]``, patches merge-block by merge-block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from parity.hypotheses.failure import Failure
from parity.hypotheses.hypothesis import Answer, Hypothesis
from parity.hypotheses.layout import AXES, flattened
from parity.subjects.ops import Float, wide

PIXELS = ("processor.pixel_values", "processor.pixel_values_videos")
CLIP = ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
FILTERS = ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
Change = Callable[[Failure, Float], Float]


def settings(failure: Failure) -> dict[str, Any]:
    """The checkpoint's preprocessor settings."""
    path = failure.checkpoint / "preprocessor_config.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _mean_std(failure: Failure) -> tuple[Float, Float]:
    """Mean and deviation by channel, ``[C, 1]``."""
    known = settings(failure)
    mean = known.get("image_mean", CLIP[0]), known.get("image_std", CLIP[1])
    return np.asarray(mean[0])[:, None], np.asarray(mean[1])[:, None]


def _levels(failure: Failure) -> Float:
    """The reference's pixels before they were normalised, 0 to 1: ``[N, C, T * P * P]``."""
    mean, std = _mean_std(failure)
    own = failure.value(failure.point.name, failure.index)
    assert own is not None, "a failing point has a reference"
    return wide(own).reshape(len(own), len(mean), -1) * std + mean


def _from_levels(change: Change) -> Callable[[Failure], Answer]:
    """An answer that starts from pixels between 0 and 1."""

    def answer(failure: Failure) -> Answer:
        levels = _levels(failure)
        return change(failure, levels).reshape(len(levels), -1)

    return answer


def _normalised(failure: Failure, levels: Float) -> Float:
    mean, std = _mean_std(failure)
    return (levels - mean) / std


def _with(constants: tuple[list[float], list[float]]) -> Change:
    mean, std = (np.asarray(numbers)[:, None] for numbers in constants)
    return lambda failure, levels: (levels - mean) / std


def _of_values() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Change) -> Hypothesis:
        return Hypothesis(f"pixels-{name}", sentence, PIXELS, _from_levels(change))

    yield one("half", "mean and standard deviation of 0.5 instead of CLIP's", _with(HALF))
    yield one("imagenet", "ImageNet's mean and deviation instead of CLIP's", _with(IMAGENET))
    yield one("not-normalised", "pixels not normalised: between 0 and 1", lambda f, levels: levels)
    yield one("not-rescaled", "pixels not divided by 255 before they are normalised",
              lambda f, levels: _normalised(f, levels * 255))  # fmt: skip
    yield one("rescaled-twice", "pixels divided by 255 twice",
              lambda f, levels: _normalised(f, levels / 255))  # fmt: skip
    yield one("bytes", "neither rescaled nor normalised: 0 to 255", lambda f, levels: levels * 255)
    yield one("no-std", "the mean subtracted, not divided by the deviation",
              lambda f, levels: levels - _mean_std(f)[0])  # fmt: skip
    yield one("normalised-twice", "normalised twice",
              lambda f, levels: _normalised(f, _normalised(f, levels)))  # fmt: skip
    yield one("bgr", "blue, green, red instead of red, green, blue",
              lambda f, levels: _normalised(f, levels[:, ::-1]))  # fmt: skip
    yield one("bgr-late", "channels reversed after they were normalised",
              lambda f, levels: _normalised(f, levels)[:, ::-1])  # fmt: skip
    yield one("inverted", "black and white exchanged",
              lambda f, levels: _normalised(f, 1 - levels))  # fmt: skip


def _grids(failure: Failure) -> list[list[int]]:
    """Grids (t, h, w) of the failing pictures."""
    kind = "video" if failure.point.name.endswith("_videos") else "image"
    found = failure.value(f"processor.{kind}_grid_thw", failure.call)
    return [] if found is None else np.asarray(found, np.int64).tolist()


def _by_picture(change: Callable[[Float, int], Float]) -> Change:
    """Reorder patches ``[t, h / m, w / m, m, m, ...]`` of each picture."""

    def reordered(failure: Failure, levels: Float) -> Float:
        side, start, parts = failure.run.config.merge, 0, []
        values = _normalised(failure, levels)
        for t, h, w in _grids(failure):
            own = values[start : start + t * h * w]
            start += t * h * w
            split = own.reshape(t, h // side, w // side, side, side, -1)
            parts.append(change(split, side).reshape(own.shape))
        return np.concatenate(parts)

    return reordered


def _of_orders() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, change: Callable[[Float, int], Float]) -> Hypothesis:
        answer = _from_levels(_by_picture(change))
        return Hypothesis(f"pixels-{name}", sentence, PIXELS, answer)

    yield one("raster", "patches in raster order, not merge-block by merge-block",
              lambda x, m: x.transpose(0, 1, 3, 2, 4, 5))  # fmt: skip
    yield one("column-major", "patches column by column",
              lambda x, m: x.transpose(0, 2, 4, 1, 3, 5))  # fmt: skip
    yield one("blocks-by-column", "patches of a merge block column by column",
              lambda x, m: x.transpose(0, 1, 2, 4, 3, 5))  # fmt: skip
    for order in ((1, 0, 2, 3), (0, 1, 3, 2), (1, 2, 3, 0), (0, 2, 3, 1), (2, 3, 0, 1)):
        named = ", ".join(AXES[axis] for axis in order)
        name = "pixels-axes-" + "".join(AXES[axis][0] if axis < 3 else "w" for axis in order)
        sentence = f"a patch's axes in the order {named} instead of {', '.join(AXES)}"
        yield Hypothesis(name, sentence, PIXELS, _axes(order))
        yield Hypothesis(f"{name}-early", f"{sentence}, before they were normalised", PIXELS,
                         _early_axes(order))  # fmt: skip


def _moved(failure: Failure, values: Float, order: tuple[int, ...]) -> Float:
    moved = flattened(order)(values.reshape(len(values), -1), failure.run.config.patch)
    return moved.reshape(values.shape)


def _axes(order: tuple[int, ...]) -> Callable[[Failure], Answer]:
    return _from_levels(lambda f, levels: _moved(f, _normalised(f, levels), order))


def _early_axes(order: tuple[int, ...]) -> Callable[[Failure], Answer]:
    return _from_levels(lambda f, levels: _normalised(f, _moved(f, levels, order)))


def picture_values(failure: Failure, sampling: str, over: str | None = None) -> Float | None:
    """The case's images resized to the reference's grids and cut into patches.

    Args:
        failure: of the pixel values of images.
        sampling: one of Pillow's filters.
        over: colour under transparent pixels; ``None`` drops the transparency, as the reference.

    Returns:
        ``[N, C * T * P * P]``, or ``None`` where the case has no images.
    """
    paths = [
        part.image
        for prompt in failure.case.calls[failure.call].prompts
        for part in prompt
        if part.image
    ]
    grids = _grids(failure)
    if not paths or len(paths) != len(grids):
        return None
    parts = [
        _patches(failure, path, h, w, sampling, over)
        for path, (_, h, w) in zip(paths, grids, strict=True)
    ]
    return np.concatenate(parts)


def _patches(
    failure: Failure, path: Path, h: int, w: int, sampling: str, over: str | None
) -> Float:
    """One image as patches of h rows and w columns: ``[h * w, C * T * P * P]``."""
    from PIL import Image

    channels, frames, side = failure.run.config.patch
    merge = failure.run.config.merge
    with Image.open(path) as opened:
        picture = opened.convert("RGB") if over is None else _laid_on(opened, over)
    resized = picture.resize((w * side, h * side), getattr(Image.Resampling, sampling))
    levels = np.asarray(resized, np.float64).transpose(2, 0, 1) / 255  # [C, H, W]
    mean, std = _mean_std(failure)
    values = (levels - mean[..., None]) / std[..., None]
    cut = values.reshape(channels, h // merge, merge, side, w // merge, merge, side)
    cut = cut.transpose(1, 4, 2, 5, 0, 3, 6)[:, :, :, :, :, None]  # [h/m, w/m, m, m, C, 1, P, P]
    return np.repeat(cut, frames, axis=5).reshape(h * w, -1)


def _laid_on(picture: Any, colour: str) -> Any:
    """A picture over a background."""
    from PIL import Image

    clear = picture.convert("RGBA")
    ground = Image.new("RGBA", clear.size, colour)
    return Image.alpha_composite(ground, clear).convert("RGB")


def _sampled(sampling: str, over: str | None = None) -> Callable[[Failure], Answer]:
    return lambda failure: picture_values(failure, sampling, over)


def _of_pictures() -> Iterator[Hypothesis]:
    def one(name: str, sentence: str, *choices: str) -> Hypothesis:
        return Hypothesis(name, sentence, PIXELS[:1], _sampled(*choices))

    for sampling in FILTERS:
        if sampling != "BICUBIC":
            name = sampling.lower()
            sentence = f"pictures resized with the filter {name} instead of bicubic"
            yield one(f"resample-{name}", sentence, sampling)
    for colour in ("white", "black"):
        sentence = f"transparent pictures laid on {colour}; the reference drops the alpha"
        yield one(f"alpha-on-{colour}", sentence, "BICUBIC", colour)


HYPOTHESES = (*_of_values(), *_of_orders(), *_of_pictures())
