"""Run the reference, with its video processor, on requests from a test in its own process.

``python -m qwen2vl_ms.tests.video_reference FOLDER``: FOLDER holds one folder a request,
each with a file of settings, ``request.json`` and ``videos.npz``; ``answer.npz`` or ``error.txt``
is added to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


def ask(folder: Path) -> None:
    """Answer every request in ``folder``; called by tests."""
    command = [sys.executable, "-m", "qwen2vl_ms.tests.video_reference", str(folder)]
    # One thread: on pictures this small, more of them wait for each other.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


def read_answer(folder: Path) -> dict[str, np.ndarray] | str:
    """The arrays the reference made of a request, or the name of what it raised."""
    if (folder / "error.txt").exists():
        return (folder / "error.txt").read_text()
    with np.load(folder / "answer.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def answer(folder: Path) -> dict[str, np.ndarray]:
    """What the reference makes of one request: of videos, or of numbers of frames alone."""
    from parity.adapters.torchvision_shim import reference_video_processor

    processor = reference_video_processor(folder)
    request = json.loads((folder / "request.json").read_text())
    if "total" in request:
        return {"indices": sampled(processor, request)}
    videos = read_arrays(folder / "videos.npz")
    if "text" in request:
        batch = whole(processor, folder, request, videos)
    else:
        arguments = {"video_metadata": request["video_metadata"], **request["call"]}
        batch = processor(videos, return_tensors="np", **arguments)
    return {name: np.asarray(value) for name, value in batch.items()}


def read_arrays(path: Path) -> list[np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return [stored[name] for name in stored]


def whole(
    video_processor: Any, folder: Path, request: dict[str, Any], videos: list[np.ndarray]
) -> dict[str, Any]:
    """The whole processor on texts, images and videos."""
    from qwen2vl_ms.tests.tiny_checkpoint import reference_processor

    images = read_arrays(folder / "images.npz")
    return reference_processor(folder, video_processor)(
        text=request["text"],
        images=images or None,
        videos=videos or None,
        return_tensors="np",
        **request["call"],
    )


def sampled(processor: Any, request: dict[str, Any]) -> np.ndarray:
    from transformers.video_utils import VideoMetadata

    metadata = VideoMetadata(total_num_frames=request["total"], fps=request["recorded_fps"])
    return np.asarray(processor.sample_frames(metadata, **request["call"]))


def main(folder: Path) -> None:
    for case in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            np.savez(case / "answer.npz", **answer(case))
        except (ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
            (case / "error.txt").write_text(type(error).__name__)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
