"""Videos in every accepted form, and those that cannot be used."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.tests.pictures import assert_same, video
from qwen2vl_ms.video_processing import Qwen2VLVideoProcessor

BUDGET = {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 12}


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
        (["b.mp4", "a.mp4"], {}, ["video 0 (b.mp4)", "no such file", "local video file"]),
        ("https://example.org/a.mp4", {}, ["(https://example.org/a.mp4)", "download the file"]),
        (["a.png", video()[0]], {}, ["names and pictures", "[[frame, frame, ...]]"]),
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


def test_numbers_may_be_numpys():
    processor = Qwen2VLVideoProcessor(**BUDGET)
    call = {"do_sample_frames": True, "num_frames": np.int64(4)}
    assert processor(video(), **call)["video_grid_thw"][0, 0] == 2


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
    refused(video(), *words, metadata=metadata, **SAMPLE, num_frames=2)


def test_grey_videos_need_conversion():
    grey = Qwen2VLVideoProcessor(**BUDGET, do_convert_rgb=False)
    with pytest.raises(Qwen2VLError, match=r"video 0: is grey.*turn it on"):
        grey(video()[..., :1])
