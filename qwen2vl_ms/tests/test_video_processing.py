"""The video processor against the reference's, which runs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.frame_sampling import sample_frame_indices
from qwen2vl_ms.image_processing import Qwen2VLImageProcessor, patchify, smart_resize
from qwen2vl_ms.tests import video_reference
from qwen2vl_ms.tests.pictures import assert_same, clip, video
from qwen2vl_ms.video_processing import Qwen2VLVideoProcessor

PROCESS_CASES, SAMPLING_CASES = 170, 130
BUDGET = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 12}


@dataclass
class Request:
    """One question to the reference and to the port."""

    folder: Path
    settings: dict[str, Any]
    call: dict[str, Any]
    videos: list[np.ndarray]
    metadata: list[dict[str, Any]] | None

    def write(self, form: int) -> None:
        self.folder.mkdir()
        write_settings(self.folder, self.settings, form)
        np.savez(self.folder / "videos.npz", *self.videos)
        request = {"call": self.call, "video_metadata": self.metadata}
        (self.folder / "request.json").write_text(json.dumps(request))


def write_settings(folder: Path, settings: dict[str, Any], form: int) -> None:
    """Settings in each of the three files that the reference reads them from."""
    if form % 3 == 0:
        (folder / "processor_config.json").write_text(json.dumps({"video_processor": settings}))
    name = "preprocessor_config.json" if form % 3 == 1 else "video_preprocessor_config.json"
    (folder / name).write_text(json.dumps(settings if form % 3 else {"patch_size": 28}))


def random_request(folder: Path, rng: np.random.Generator) -> Request:
    settings: dict[str, Any] = dict(BUDGET)
    if rng.random() < 0.5:
        settings = {"size": {"shortest_edge": 784, "longest_edge": 9408}}
    settings |= {"cap_pixels_per_frame": bool(rng.random() < 0.5)}
    settings |= {"max_video_tokens": int(rng.integers(1, 60))}
    if rng.random() < 0.3:
        settings |= {"image_mean": list(rng.random(3)), "image_std": list(0.1 + rng.random(3))}
    channels, first = int(rng.choice([3, 3, 3, 1])), bool(rng.random() < 0.3)
    videos = [random_video(rng, channels, first) for _ in range(rng.integers(1, 4))]
    call, metadata = random_sampling(rng, videos)
    if rng.random() < 0.2:
        call["size"] = {"shortest_edge": 784, "longest_edge": 4000}
    return Request(folder, settings, call, videos, metadata)


def random_video(rng: np.random.Generator, channels: int, first: bool) -> np.ndarray:
    """Frames of any size, half of them of one that needs no resizing, odd numbers of them too."""
    unresized = rng.random() < 0.5
    height, width = 28 * rng.integers(1, 4, 2) if unresized else rng.integers(5, 150, 2)
    video = clip(rng, int(rng.integers(1, 12)), height, width, channels)
    return np.moveaxis(video, -1, 1) if first else video


def random_sampling(
    rng: np.random.Generator, videos: list[np.ndarray]
) -> tuple[dict[str, Any], list[dict[str, Any]] | None]:
    kind = rng.integers(0, 4)
    shortest = min(len(video) for video in videos)
    if kind == 0 or shortest == 1:
        return {}, None
    if kind == 1:
        return {"do_sample_frames": True, "num_frames": int(rng.integers(1, shortest + 2))}, None
    rates = rng.choice([5, 24, 29.97], len(videos))
    about = [
        {"fps": float(rate), "total_num_frames": len(video)}
        for rate, video in zip(rates, videos, strict=True)
    ]
    call: dict[str, Any] = {"do_sample_frames": True, "fps": float(rng.choice([1, 2, 3.5]))}
    if kind == 3:
        call |= {"min_frames": int(rng.integers(1, 6)), "max_frames": int(rng.integers(2, 9))}
    return call, about


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> tuple[list[Request], list[dict[str, Any]]]:
    """Every request of this file, answered by one run of the reference."""
    folder = tmp_path_factory.mktemp("requests")
    rng = np.random.default_rng(0)
    requests = []
    for index in range(PROCESS_CASES):
        request = random_request(folder / f"process-{index:03}", rng)
        request.write(index)
        requests.append(request)
    requests += list(special_requests(folder, rng))
    sampling = [
        random_sampling_request(folder / f"sample-{i:03}", rng) for i in range(SAMPLING_CASES)
    ]
    overrunning(folder).write(2)
    video_reference.ask(folder)
    return requests, sampling


def special_requests(folder: Path, rng: np.random.Generator) -> Iterator[Request]:
    """Unresized frames under other settings of rescaling and normalising."""
    for index, settings in enumerate(
        [
            {"do_normalize": False},
            {"do_rescale": False},
            {"do_resize": False},
            {"rescale_factor": 0.0031},
            {"rescale_factor": 1 / 127.5, "do_normalize": False},
            {"rescale_factor": 0.00392156862745098, "image_mean": [0.1, 0.7, 0.3]},
            {"patch_size": 7, "temporal_patch_size": 3, "merge_size": 4},
            {"temporal_patch_size": 1},
        ]
    ):
        video = clip(rng, 5, 56, 84)
        request = Request(folder / f"special-{index}", BUDGET | settings, {}, [video], None)
        request.write(1)
        yield request


def random_sampling_request(folder: Path, rng: np.random.Generator) -> dict[str, Any]:
    settings = {"temporal_patch_size": int(rng.choice([1, 2, 2, 2, 3, 4]))}
    if rng.random() < 0.3:
        settings |= {"min_frames": int(rng.integers(1, 20)), "max_frames": int(rng.integers(1, 99))}
    call: dict[str, Any] = {}
    kind = rng.integers(0, 5)
    if kind in (0, 1, 4):
        call["num_frames"] = int(rng.integers(1, 120))
    if kind in (2, 3, 4) and not (kind == 4 and rng.random() < 0.5):
        call["fps"] = float(rng.choice([0.3, 1, 2, 2.5, 24]))
    total = int(rng.integers(1, 3000 if rng.random() < 0.3 else 60))
    recorded = None if rng.random() < 0.1 else float(rng.choice([10, 24, 25, 29.97, 60]))
    folder.mkdir()
    write_settings(folder, settings, int(rng.integers(0, 3)))
    request = {"folder": folder, "call": call, "total": total, "recorded_fps": recorded}
    (folder / "request.json").write_text(json.dumps(request | {"folder": str(folder)}))
    return request


def ours(request: Request) -> dict[str, np.ndarray]:
    processor = Qwen2VLVideoProcessor.from_pretrained(request.folder)
    return processor(request.videos, request.metadata, **request.call)


def outcome(request: Request) -> dict[str, np.ndarray] | str:
    try:
        return ours(request)
    except Qwen2VLError as error:
        return str(error)


def needs_resizing(request: Request) -> bool:
    size = request.call.get("size", {"longest_edge": 9408})
    shapes = [sorted(video.shape[1:], reverse=True)[:2] for video in request.videos]
    return any(smart_resize(h, w, 28, 784, size["longest_edge"]) != (h, w) for h, w in shapes)


def test_every_video_equals_the_reference(answered):
    requests, _ = answered
    compared = resized = sampled = refused = 0
    for request in requests:
        theirs, mine = video_reference.read_answer(request.folder), outcome(request)
        if isinstance(theirs, str):  # the name of the exception
            assert theirs in {"ValueError", "ZeroDivisionError"}, request
            assert isinstance(mine, str), request
            refused += 1
            continue
        assert not isinstance(mine, str), (mine, request)
        assert_same(mine, theirs)
        compared += 1
        resized += needs_resizing(request)
        sampled += "do_sample_frames" in request.call
    assert compared >= 140
    assert min(resized, compared - resized, sampled, compared - sampled) >= 30
    assert refused >= 5


def port_indices(request: dict[str, Any]) -> np.ndarray | str:
    processor = Qwen2VLVideoProcessor.from_pretrained(request["folder"])
    try:
        return sample_frame_indices(
            request["total"],
            temporal_patch_size=processor.temporal_patch_size,
            min_frames=processor.min_frames,
            max_frames=processor.max_frames,
            recorded_fps=request["recorded_fps"],
            **request["call"],
        )
    except Qwen2VLError as error:
        return str(error)


def test_every_sample_of_frames_equals_the_reference(answered):
    _, requests = answered
    compared = overrun = 0
    for request in requests:
        theirs, mine = video_reference.read_answer(request["folder"]), port_indices(request)
        if isinstance(theirs, str):
            assert theirs in {"ValueError", "ZeroDivisionError"}, request
            assert isinstance(mine, str), request
            continue
        assert not isinstance(mine, str), (mine, request)
        expected = theirs["indices"]
        # Positions that lie behind the end, on which the reference fails a line later.
        overrun += (behind := int((expected >= request["total"]).sum()))
        assert behind <= 1
        assert np.array_equal(mine, expected[: len(expected) - behind]), request
        compared += 1
    assert compared >= 60
    assert overrun >= 1  # the seed has such a case


def test_the_reference_fails_where_its_positions_overrun(answered):
    requests, _ = answered
    request = overrunning(requests[0].folder.parent)
    assert video_reference.read_answer(request.folder) == "IndexError"
    every = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15]
    assert list(sample_frame_indices(17, num_frames=14)) == every
    assert list(ours(request)["video_grid_thw"][0]) == [7, 2, 2]


def overrunning(folder: Path) -> Request:
    video = clip(np.random.default_rng(1), 17, 28, 28)
    call = {"do_sample_frames": True, "num_frames": 14}
    return Request(folder / "overrun", dict(BUDGET), call, [video], None)


def test_of_fps_and_num_frames_the_one_given_wins():
    processor = Qwen2VLVideoProcessor(**BUDGET, fps=2.0, do_sample_frames=True)
    assert processor(video(8), num_frames=6)["video_grid_thw"][0, 0] == 3
    processor = Qwen2VLVideoProcessor(**BUDGET, num_frames=6, do_sample_frames=True)
    about = {"fps": 2.0}
    assert processor(video(8), about, fps=1.0)["video_grid_thw"][0, 0] == 2


def test_all_frames_are_taken_without_a_rate():
    assert list(sample_frame_indices(5)) == [0, 1, 2, 3, 4]


# Twins that must fail.


@pytest.mark.parametrize("fault", ["odd frames dropped", "unfused", "one frame off", "budget"])
def test_a_seeded_fault_is_seen(fault):
    processor = Qwen2VLVideoProcessor(**BUDGET)
    frames = video(5, 56, 56)
    wrong = {
        "odd frames dropped": lambda: processor(frames[:4]),
        "unfused": lambda: unfused(processor, frames),
        "one frame off": lambda: processor(frames[[1, 2, 3, 4, 4]]),
        "budget": lambda: processor(frames, max_pixels=28 * 28 * 2),
    }[fault]()
    with pytest.raises(AssertionError):
        assert_same(wrong, processor(frames))


def unfused(processor: Qwen2VLVideoProcessor, frames: np.ndarray) -> dict[str, np.ndarray]:
    """The image processor's order of operations, which rounds differently."""
    images = Qwen2VLImageProcessor(**BUDGET)
    values = images.normalized(np.moveaxis(frames, -1, 1))
    patches, grid = patchify(values, 14, 2, 2)
    return {"pixel_values_videos": patches, "video_grid_thw": np.array([grid])}


def test_a_missing_file_is_named(tmp_path):
    names = r"video_preprocessor_config\.json or preprocessor_config\.json: copy it"
    with pytest.raises(Qwen2VLError, match=names):
        Qwen2VLVideoProcessor.from_pretrained(tmp_path)


def test_another_models_file_is_named(tmp_path):
    write_settings(tmp_path, {"video_processor_type": "LlavaVideoProcessor"}, 2)
    with pytest.raises(Qwen2VLError, match=r"video_preprocessor_config\.json.*another model"):
        Qwen2VLVideoProcessor.from_pretrained(tmp_path)
