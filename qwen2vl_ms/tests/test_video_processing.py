"""The video processor against the reference's, which runs in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.image_processing import Qwen2VLImageProcessor, patchify, smart_resize
from qwen2vl_ms.tests import video_reference
from qwen2vl_ms.video_processing import Qwen2VLVideoProcessor, sample_frame_indices

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


def clip(rng: np.random.Generator, frames: int, height: int, width: int, channels: int = 3):
    """Shading that moves from frame to frame, with noise on it."""
    slope = np.linspace(0, 150, width)[:, None] + 5 * np.arange(frames)[:, None, None, None]
    noise = rng.integers(0, 60, (frames, height, width, channels))
    return (slope + noise).astype(np.uint8)


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


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    assert list(ours) == list(theirs)
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype, name
        assert ours[name].shape == expected.shape, name
        bits = np.uint32 if expected.dtype == np.float32 else np.uint64
        assert np.array_equal(ours[name].view(bits), expected.view(bits)), name


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


def video(frames: int = 5, height: int = 40, width: int = 61) -> np.ndarray:
    return clip(np.random.default_rng(7), frames, height, width)


def test_frames_may_be_arrays_pictures_or_paths(tmp_path):
    processor = Qwen2VLVideoProcessor(**BUDGET)
    frames = video()
    expected = processor(frames)
    pictures = [Image.fromarray(frame) for frame in frames]
    paths = [tmp_path / f"{index:03}.png" for index in range(len(frames))]
    for path, picture in zip(paths, pictures, strict=True):
        picture.save(path)
    forms = [[frames], list(frames), [list(frames)], pictures, [pictures], [paths]]
    forms += [[map_to_str(paths)], frames[None], [[frames]], [tuple(pictures)]]
    for form in forms:
        assert_same(processor(form), expected)
    both = processor([paths, frames])
    assert len(both["video_grid_thw"]) == 2


def map_to_str(paths):
    return [str(path) for path in paths]


def test_paths_are_sampled_before_they_are_read(tmp_path):
    frames = video(8)
    for index in (0, 2, 4, 6):  # the others are not there
        Image.fromarray(frames[index]).save(tmp_path / f"{index}.png")
    processor = Qwen2VLVideoProcessor(**BUDGET)
    paths = [tmp_path / f"{index}.png" for index in range(8)]
    read = processor([paths], do_sample_frames=True, num_frames=4)
    assert_same(read, processor(frames[::2]))


def test_transparent_frames_are_laid_over_white():
    clear = [Image.new("RGBA", (28, 28), (9, 9, 9, 0))] * 2
    white = np.full((2, 28, 28, 3), 255, np.uint8)
    processor = Qwen2VLVideoProcessor(**BUDGET)
    assert_same(processor(clear), processor(white))


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


# Bad input.


def refused(videos: Any, *words: str, metadata: Any = None, **call: Any) -> None:
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLVideoProcessor(**BUDGET)(videos, metadata, **call)
    for word in words:
        assert word in str(caught.value), str(caught.value)


SAMPLE = {"do_sample_frames": True}


@pytest.mark.parametrize(
    ("videos", "call", "words"),
    [
        ([], {}, ["no videos", "at least one"]),
        ([[]], {}, ["video 0", "no frames"]),
        (["a.mp4"], {}, ["list of paths", "[[path, path, ...]]", "not decoded"]),
        ("a.mp4", {}, ["str (a.mp4)", "list of frames", "not decoded"]),
        (np.zeros((5, 5, 3), np.uint8), {}, ["ndarray", "[frames, height, width, channels]"]),
        (3, {}, ["int as a video"]),
        ([video(), np.zeros((2, 9, 9, 4), np.uint8)], {}, ["video 1", "1 or 3 channels"]),
        ([video(), np.zeros((2, 9, 9, 3))], {}, ["video 1", "float64", "integers"]),
        (np.zeros((2, 0, 9, 3), np.uint8), {}, ["video 0", "is empty"]),
        (np.zeros((2, 2, 403, 3), np.uint8), {}, ["video 0", "2 x 403", "200 times"]),
        ([[video()[0], video(1, 9, 9)[0]]], {}, ["video 0", "frame 1", "(9, 9, 3)", "the same"]),
        ([["no.png"]], {}, ["video 0", "frame 0 (no.png)", "no such file"]),
        (video(), SAMPLE | {"fps": 2.0}, ["rate the video was recorded at", "video_metadata"]),
        (video(), SAMPLE | {"num_frames": 8}, ["cannot take 8 of 5 frames", "num_frames or fps"]),
        (video(), SAMPLE | {"num_frames": 1}, ["cannot take 0 of 5 frames"]),
        (video(), SAMPLE | {"num_frames": 2, "fps": 1.0}, ["exclude each other"]),
        (video(), {"fps": 0}, ["fps is 0", "above 0"]),
        (video(), {"max_video_tokens": 9}, ["max_video_tokens cannot change", "file"]),
        (video(), {"temporal_patch_size": 1}, ["temporal_patch_size cannot change"]),
        (video(), {"resample": 2}, ["resample is 2", "bicubic"]),
        (video(), {"colour": 2}, ["this call", "unknown setting 'colour'"]),
    ],
)
def test_bad_videos_and_settings_are_refused(videos, call, words):
    refused(videos, *words, **call)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ([{"fps": 2}, {"fps": 2}], ["1 video(s) but 2 video_metadata"]),
        ([{"rate": 2}], ["unknown key 'rate'"]),
        ([{"fps": -1}], ["fps in video_metadata is -1"]),
        ([{"total_num_frames": 9}], ["is 9, but 5 frame(s) were given"]),
        (3, ["list of dicts"]),
    ],
)
def test_bad_metadata_is_refused(metadata, words):
    refused(video(), *words, metadata=metadata)


def test_grey_videos_need_conversion():
    grey = Qwen2VLVideoProcessor(**BUDGET, do_convert_rgb=False)
    with pytest.raises(Qwen2VLError, match=r"video 0: is grey.*turn it on"):
        grey(video()[..., :1])


def test_a_missing_file_is_named(tmp_path):
    names = r"video_preprocessor_config\.json or preprocessor_config\.json: copy it"
    with pytest.raises(Qwen2VLError, match=names):
        Qwen2VLVideoProcessor.from_pretrained(tmp_path)


def test_another_models_file_is_named(tmp_path):
    write_settings(tmp_path, {"video_processor_type": "LlavaVideoProcessor"}, 2)
    with pytest.raises(Qwen2VLError, match=r"video_preprocessor_config\.json.*another model"):
        Qwen2VLVideoProcessor.from_pretrained(tmp_path)
