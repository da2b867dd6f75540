"""Video files to decode, written by PyAV and Pillow on the spot."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

CODECS = {".mp4": "libx264", ".mov": "mpeg4", ".avi": "mpeg4", ".webm": "libvpx-vp9"}
CODECS |= {".mkv": "libx264", ".ts": "libx264"}


def moving(frames: int = 12, height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    """A bright square that moves over shading: uint8 [T, H, W, 3]."""
    colour = np.random.default_rng(seed).integers(40, 120, 3)
    shading = np.add.outer(np.linspace(0, 1, height), np.linspace(0, 1, width)) / 2
    film = np.repeat((shading[..., None] * colour).astype(np.uint8)[None], frames, axis=0)
    for index, frame in enumerate(film):
        left = index * (width - 20) // max(frames - 1, 1)
        frame[10:30, left : left + 20] = (250, 40 + 15 * (index % 12), 90)
    return film


def write(
    path: Path,
    film: np.ndarray,
    rate: float = 4,
    times: list[int] | None = None,
    rotation: int | None = None,
    sound: bool = False,
    options: dict[str, str] | None = None,
) -> Path:
    """Encode frames [T, H, W, 3].

    Args:
        path: The suffix decides on the container and the codec.
        film: The frames.
        rate: Frames a second.
        times: When each frame is shown, in 1/rate seconds; evenly unless given.
        rotation: Degrees the file asks players to turn its frames by, counter-clockwise.
        sound: Add a stream of silence before the pictures.
        options: Of the container.
    """
    if path.suffix == ".gif":
        return write_gif(path, film, rate)
    with av.open(str(path), "w", options=options or {}) as container:
        audio = container.add_stream("aac", rate=8000) if sound else None
        stream = container.add_stream(CODECS[path.suffix], rate=Fraction(rate).limit_denominator())
        stream.height, stream.width, stream.pix_fmt = *film.shape[1:3], "yuv420p"
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if audio is not None:
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.rate = 8000
            container.mux(audio.encode(silence))
        for index, pixels in enumerate(film):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[index], 1 / Fraction(rate).limit_denominator()
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            container.mux(audio.encode())
    return path


def write_gif(path: Path, film: np.ndarray, rate: float = 4) -> Path:
    pictures = [Image.fromarray(frame).quantize(64) for frame in film]
    duration = round(1000 / rate)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=duration, disposal=2)
    return path


def write_transparent_gif(path: Path, frames: int = 4) -> Path:
    """A square on nothing, in a palette with one colour left out."""
    pictures = []
    for index in range(frames):
        picture = Image.new("P", (64, 48), 0)
        picture.putpalette([0, 0, 0, 200, 30, 60, 10, 120, 220])
        picture.paste(1 + index % 2, (index * 5, 8, index * 5 + 20, 28))
        pictures.append(picture)
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=500, disposal=2, transparency=0
    )
    return path


def decoded(path: Path) -> np.ndarray:
    """All frames of a file, as PyAV gives them."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
