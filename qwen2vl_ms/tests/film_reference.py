"""Run qwen-vl-utils and the reference's processor on video files, in a process of its own.

``python -m qwen2vl_ms.tests.film_reference FOLDER``: FOLDER holds one JSON file a request, and an
``.npz`` or ``.error`` file of that name is added. Files are decoded by PyAV on both sides: by
transformers' own PyAV reader, and for qwen-vl-utils, which has no such reader, by a module that
looks like decord, so that its own code for decord runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FAILURES = (ValueError, IndexError, AssertionError, ZeroDivisionError, RuntimeError, OSError)


def ask(
    folder: Path, requests: dict[str, dict[str, Any]]
) -> dict[str, dict[str, np.ndarray] | str]:
    """The reference's arrays for each request by name, or the name of what it raised."""
    for name, request in requests.items():
        (folder / f"{name}.json").write_text(json.dumps(request))
    command = [sys.executable, "-W", "ignore", "-m", "qwen2vl_ms.tests.film_reference", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"FORCE_QWENVL_VIDEO_READER": "decord"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return {name: read_answer(folder / name) for name in requests}


def read_answer(stem: Path) -> dict[str, np.ndarray] | str:
    if stem.with_suffix(".error").exists():
        return stem.with_suffix(".error").read_text()
    with np.load(stem.with_suffix(".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def decord_by_pyav() -> ModuleType:
    """What qwen-vl-utils uses of decord, on top of PyAV."""
    import av

    class Batch:
        def __init__(self, frames: list[np.ndarray]) -> None:
            self.frames = frames

        def asnumpy(self) -> np.ndarray:
            return np.stack(self.frames)

    class VideoReader:
        def __init__(self, path: str) -> None:
            with av.open(path.removeprefix("file://")) as container:
                self.rate = float(container.streams.video[0].average_rate)
                decoded = container.decode(video=0)
                self.frames = [frame.to_ndarray(format="rgb24") for frame in decoded]

        def __len__(self) -> int:
            return len(self.frames)

        def get_avg_fps(self) -> float:
            return self.rate

        def get_batch(self, indices: list[int]) -> Batch:
            return Batch([self.frames[index] for index in indices])

    module = ModuleType("decord")
    module.__spec__ = ModuleSpec("decord", None)  # transformers asks whether it is installed
    module.VideoReader = VideoReader
    return module


def processed_file(request: dict[str, Any]) -> dict[str, Any]:
    """A video file through transformers' PyAV reader and its video processor."""
    from parity.adapters.torchvision_shim import reference_video_processor

    processor = reference_video_processor(request["checkpoint"])
    from transformers.video_utils import load_video

    call = request["call"]
    wish = call if call.pop("do_sample_frames", False) else {}
    sampling = {k: wish[k] for k in ("fps", "num_frames", "max_frames", "min_frames") if k in wish}
    rest = {name: value for name, value in call.items() if name not in sampling}
    choose = partial(processor.sample_frames, **sampling)
    video, metadata = load_video(
        request["video"], backend="pyav", sample_indices_fn=choose if sampling else None
    )
    batch = processor([video], do_sample_frames=False, return_tensors="np", **rest)
    return {**batch, "indices": np.asarray(metadata.frames_indices)}


def loaded_messages(request: dict[str, Any]) -> dict[str, Any]:
    """What qwen-vl-utils makes of messages, and the reference's processor of that."""
    from parity.adapters.torchvision_shim import reference_video_processor

    folder = Path(request["checkpoint"])
    video_processor = reference_video_processor(folder)
    from qwen2vl_ms.tests.tiny_checkpoint import reference_processor

    sys.modules.setdefault("decord", decord_by_pyav())
    from qwen_vl_utils import process_vision_info

    messages = request["messages"]
    images, videos, keywords = process_vision_info(messages, return_video_kwargs=True)
    _, described = process_vision_info(messages, return_video_metadata=True)
    found = {f"image{i}": np.asarray(image) for i, image in enumerate(images or [])}
    found |= {f"video{i}": video.numpy() for i, video in enumerate(videos or [])}
    found["sample_fps"] = np.array(keywords.pop("fps"))
    assert keywords == {"do_sample_frames": False}
    for index, (_, metadata) in enumerate(described or []):
        found[f"indices{index}"] = np.asarray(metadata["frames_indices"])
        found[f"facts{index}"] = np.array([metadata["fps"], metadata["total_num_frames"]], float)
    processor = reference_processor(folder, video_processor)
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    batch = processor(
        text=text, images=images, videos=videos, padding=True, return_tensors="np", **keywords
    )
    return found | {f"inputs.{name}": np.asarray(value) for name, value in batch.items()}


def arithmetic(request: dict[str, Any]) -> dict[str, Any]:
    """Results of qwen-vl-utils' pure functions for many arguments; NaN where one raises."""
    from parity.adapters.torchvision_shim import import_torchvision

    import_torchvision()
    import torch
    from qwen_vl_utils import vision_process

    def spread(first: int, last: int, count: int) -> list[int]:
        return torch.linspace(first, last, count).round().long().tolist()

    functions = {
        "smart_resize": vision_process.smart_resize,
        "frame_count": lambda *a: [vision_process.smart_nframes(*a)],
        "frame_range": lambda *a: vision_process.calculate_video_frame_range(*a)[:2],
        "spread": spread,
    }
    answers = {}
    for name, calls in request["calls"].items():
        rows = []
        for arguments in calls:
            try:
                rows.append(list(functions[name](*arguments)))
            except (ValueError, AssertionError, ZeroDivisionError):
                rows.append([])
        answers[name] = np.array(json.dumps(rows))
    return answers


def main(folder: Path) -> None:
    kinds = {"file": processed_file, "messages": loaded_messages, "arithmetic": arithmetic}
    for path in sorted(folder.glob("*.json")):
        request = json.loads(path.read_text())
        try:
            np.savez(path.with_suffix(".npz"), **kinds[request["kind"]](request))
        except FAILURES as error:
            path.with_suffix(".error").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
