"""Pictures out of messages against qwen-vl-utils and the reference's processor, really run."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qwen2vl_ms import Qwen2VLError, Qwen2VLProcessor
from qwen2vl_ms.tests import film_reference, films, tiny_checkpoint
from qwen2vl_ms.tests.pictures import assert_same, noise, pillow_image
from qwen2vl_ms.vision_budget import fitted_size, frame_count, frame_range, spread
from qwen2vl_ms.vision_info import process_vision_info

SMALL = {"min_pixels": 28 * 28 * 4}  # the default of 128 tokens a frame would make films large
TINY = noise(0, 9, 9, 3)
CALLS = 400
RARE = 5e-3  # share of pixels in the middle between two levels, many where shading is even


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*parts, {"type": "text", "text": "Which digits?"}]}


def video(path: Any, **wishes: Any) -> dict[str, Any]:
    return {"type": "video", "video": path, **wishes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, films and pictures of every kind."""
    root = tmp_path_factory.mktemp("messages")
    tiny_checkpoint.write(root / "checkpoint")
    preset = {"min_pixels": 784, "max_pixels": 12845056}
    for name, more in (("", {}), ("video_", {"cap_pixels_per_frame": False})):
        path = root / "checkpoint" / f"{name}preprocessor_config.json"
        path.write_text(json.dumps(preset | more))
    films.write(root / "film.mp4", films.moving(23, 70, 100), rate=8)
    films.write(root / "odd.webm", films.moving(9, 57, 91, seed=1), rate=29.97)
    films.write(root / "film.gif", films.moving(7, 64, 64), rate=4)
    films.write_transparent_gif(root / "clear.gif", 6)
    for index, mode in enumerate(["RGB", "RGBA", "P", "L", "LA", "CMYK", "I;16"]):
        suffix = "tif" if mode == "CMYK" else "png"
        image = pillow_image(index, 50 + 9 * index, 90 - 7 * index, mode)
        image.save(root / f"{index}.{suffix}")
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_image(8, 40, 80, "RGB").save(root / "turned.jpg", exif=exif)
    for index, frame in enumerate(films.moving(5, 60, 90)):
        Image.fromarray(frame).save(root / f"frame{index}.png")
    return root


def conversations(root) -> dict[str, Any]:
    encoded = base64.b64encode((root / "0.png").read_bytes()).decode()
    names = ["0.png", "1.png", "2.png", "3.png", "4.png", "5.tif", "6.png", "turned.jpg"]
    frames = [str(root / f"frame{index}.png") for index in range(5)]
    film, gif = str(root / "film.mp4"), str(root / "film.gif")
    wishes = [{}, {"min_pixels": 20_000}, {"max_pixels": 4_000}, SMALL | {"max_pixels": 9_000}]
    wishes += [{"resized_height": 61, "resized_width": 150}]
    cases = {
        f"image{i}": [user({"type": "image", "image": str(root / name), **wishes[i % 5]})]
        for i, name in enumerate(names)
    }
    sampled = [{}, {"fps": 1}, {"fps": 4.0}, {"nframes": 5}, {"nframes": 6, "video_start": 1.0}]
    sampled += [{"fps": 3.0, "min_frames": 3, "max_frames": 7}, {"video_end": 2.05}]
    sampled += [{"video_start": 0.9, "video_end": 2.3, "fps": 4}, {"max_pixels": 6_000}]
    sampled += [{"total_pixels": 40_000}, {"resized_height": 60, "resized_width": 60}]
    cases |= {f"film{i}": [user(video(film, **SMALL, **wish))] for i, wish in enumerate(sampled)}
    return cases | {
        "default": [user(video(film))],
        "gif": [user(video(f"file://{gif}", **SMALL))],
        "clear": [user(video(str(root / "clear.gif"), **SMALL))],
        "webm": [user(video(str(root / "odd.webm"), fps=12, **SMALL))],
        "frames": [user(video(frames, **SMALL))],
        "rates": [user(video(frames, sample_fps=1.0, raw_fps=4.0, max_pixels=120_000))],
        "encoded": [user({"type": "image", "image": f"data:image/png;base64,{encoded}"})],
        "address": [user({"type": "image_url", "image_url": f"file://{root / '1.png'}"})],
        "text": [{"role": "user", "content": "Which digits?"}],
        "batch": [
            [user({"type": "image", "image": str(root / "0.png")}, video(film, **SMALL))],
            [
                user({"type": "image", "image": str(root / "1.png")}),
                {"role": "assistant", "content": "4"},
                user(video(gif, **SMALL), {"type": "image", "image": str(root / "2.png")}),
            ],
        ],
    }


def film_calls(root) -> dict[str, tuple[str, dict[str, Any]]]:
    """Video files for the processor itself, and the settings it is called with."""
    sampled = {"do_sample_frames": True}
    small = {"size": {"shortest_edge": 784, "longest_edge": 8000}}
    calls = [{}, small, sampled | {"fps": 2.0}, sampled | {"fps": 3.0, "max_frames": 6} | small]
    calls += [sampled | {"num_frames": 4}, {"cap_pixels_per_frame": True}]
    names = ["film.mp4", "film.gif", "odd.webm", "clear.gif"]
    return {
        f"{name.replace('.', '-')}-{index}": (str(root / name), call)
        for name in names
        for index, call in enumerate(calls)
        if name != "odd.webm" or index < 2  # without a number of frames the reference fails
    }


def arithmetic() -> dict[str, list[Any]]:
    rng = np.random.default_rng(0)
    sizes = []
    for _ in range(CALLS):
        height, width = (int(n) for n in rng.integers(1, rng.choice([60, 3000]), 2))
        least = int(rng.integers(1, 300_000))
        sizes.append([height, width, int(rng.choice([28, 56])), least, least + least % 99_000])
    counts, ranges, spreads = [], [], []
    for _ in range(CALLS):
        total, rate = int(rng.integers(1, 900)), float(rng.choice([4, 24, 29.97, 60]))
        wish: dict[str, Any] = {}
        if rng.random() < 0.3:
            wish["nframes"] = int(rng.integers(1, 40))
        elif rng.random() < 0.6:
            wish["fps"] = float(rng.choice([0.5, 1, 2.5]))
        if rng.random() < 0.5:
            wish |= {"min_frames": int(rng.integers(1, 9)), "max_frames": int(rng.integers(2, 99))}
        counts.append([wish, total, rate])
        seconds = [round(float(x), 2) for x in rng.uniform(0, total / rate + 1, 2)]
        times = dict(zip(["video_start", "video_end"], seconds, strict=True))
        ranges.append([{k: v for k, v in times.items() if rng.random() < 0.7}, total, rate])
        first, count = int(rng.integers(0, 50)), int(rng.integers(2, 400))
        spreads.append([first, first + int(rng.integers(count, 200_000)), count])
    calls = {"smart_resize": sizes, "frame_count": counts, "frame_range": ranges}
    return calls | {"spread": spreads}


@pytest.fixture(scope="module")
def answers(folder, tmp_path_factory):
    requests: dict[str, Any] = {
        name: {"kind": "messages", "checkpoint": str(folder / "checkpoint"), "messages": messages}
        for name, messages in conversations(folder).items()
    }
    for name, (path, call) in film_calls(folder).items():
        checkpoint = str(folder / "checkpoint")
        requests[name] = {"kind": "file", "checkpoint": checkpoint, "video": path, "call": call}
    requests["arithmetic"] = {"kind": "arithmetic", "calls": arithmetic()}
    return film_reference.ask(tmp_path_factory.mktemp("requests"), requests)


def close(ours: np.ndarray, theirs: np.ndarray) -> None:
    """8-bit frames that differ by one level at most, and that in few pixels: torch adds float32."""
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(np.float64) - theirs)
    assert difference.max(initial=0) <= 1
    assert (difference > 0).mean() < RARE


def test_everything_loaded_equals_qwen_vl_utils(folder, answers):
    for name, messages in conversations(folder).items():
        theirs = answers[name]
        assert isinstance(theirs, dict), (name, theirs)
        images, videos, keywords = process_vision_info(messages, return_video_kwargs=True)
        _, described = process_vision_info(messages, return_video_metadata=True)
        stored = [key for key in theirs if key.startswith(("image", "video"))]
        assert len(stored) == len(images or []) + len(videos or [])
        assert (images is None) == (not any(key.startswith("image") for key in stored))
        for index, image in enumerate(images or []):
            assert image.mode == "RGB"
            assert np.array_equal(np.asarray(image), theirs[f"image{index}"]), name
        for index, frames in enumerate(videos or []):
            close(frames, theirs[f"video{index}"])
            metadata = described[index][1]
            assert metadata["frames_indices"] == theirs[f"indices{index}"].tolist(), name
            facts = [metadata["fps"], metadata["total_num_frames"]]
            assert facts == theirs[f"facts{index}"].tolist(), name
        assert keywords == {"do_sample_frames": False, "fps": theirs["sample_fps"].tolist()}


def without_sampling(call: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in call.items() if k in ("size", "cap_pixels_per_frame")}


def test_a_film_through_the_processor_equals_the_reference_bit_for_bit(folder, answers):
    processor = Qwen2VLProcessor.from_pretrained(folder / "checkpoint").video_processor
    compared = 0
    for name, (path, call) in film_calls(folder).items():
        theirs = answers[name]
        if path.endswith("webm"):  # whose header has no number of frames
            assert isinstance(theirs, str)
            assert processor(path, **call)["video_grid_thw"][0, 0] == 5
            continue
        assert isinstance(theirs, dict), (name, theirs)
        indices = theirs.pop("indices")
        ours = processor(path, **call)
        assert_same(ours, theirs)
        assert ours["video_grid_thw"][0, 0] == -(-len(indices) // 2)
        with pytest.raises(AssertionError):  # twin: other frames
            assert_same(
                processor(films.decoded(path)[::-1][indices], **without_sampling(call)), theirs
            )
        compared += 1
    assert compared == 18


def test_what_the_processor_makes_of_it_equals_the_reference(folder, answers):
    processor = Qwen2VLProcessor.from_pretrained(folder / "checkpoint")
    for name, messages in conversations(folder).items():
        expected = {k[7:]: v for k, v in answers[name].items() if k.startswith("inputs.")}
        text = processor.apply_chat_template(messages, add_generation_prompt=True)
        images, videos, keywords = process_vision_info(messages, return_video_kwargs=True)
        ours = processor(text=text, images=images, videos=videos, padding=True, **keywords)
        pixels, theirs = (
            ours.pop("pixel_values_videos", None),
            expected.pop("pixel_values_videos", None),
        )
        assert_same(ours, expected)
        assert (pixels is None) == (theirs is None)
        if pixels is not None:
            level = np.float32(1 / 255 / 0.26130258)
            assert np.abs(pixels - theirs).max() <= 1.001 * level
            assert (pixels != theirs).mean() < RARE


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("smart_resize", fitted_size),
        ("frame_count", lambda *arguments: [frame_count(*arguments)]),
        ("frame_range", frame_range),
        ("spread", spread),
    ],
)
def test_the_arithmetic_equals_qwen_vl_utils(answers, name, function):
    expected = json.loads(str(answers["arithmetic"][name]))
    refusals = 0
    for arguments, wanted in zip(arithmetic()[name], expected, strict=True):
        try:
            ours = [int(number) for number in function(*arguments)]
        except Qwen2VLError:
            ours, refusals = [], refusals + 1
        if name == "smart_resize" and 0 in wanted:  # there, torch refuses such a size later
            wanted = []
        assert ours == wanted, arguments
    assert refusals < CALLS / 2


# Twins that must fail: the comparison sees what it is there to see.


def test_the_comparison_sees_another_sampling_and_another_filter(folder, answers):
    messages = conversations(folder)["film0"]
    frames = process_vision_info(messages)[1][0]
    close(frames, answers["film0"]["video0"])
    with pytest.raises(AssertionError):
        close(frames[::-1], answers["film0"]["video0"])
    pictures = [Image.fromarray(np.moveaxis(frame, 0, -1)) for frame in frames]
    soft = [p.resize((p.width // 2, p.height // 2)).resize(p.size) for p in pictures]
    with pytest.raises(AssertionError):
        close(np.stack([np.moveaxis(np.asarray(p), -1, 0) for p in soft]), frames)


def test_a_video_is_not_sampled_twice(folder):
    (folder / "again").mkdir(exist_ok=True)
    again = tiny_checkpoint.write(folder / "again")
    preset = {"min_pixels": 784, "max_pixels": 10**7, "do_sample_frames": True, "fps": 1.0}
    (again / "video_preprocessor_config.json").write_text(json.dumps(preset))
    processor = Qwen2VLProcessor.from_pretrained(again)
    messages = conversations(folder)["film2"]
    _, videos, keywords = process_vision_info(messages, return_video_kwargs=True)
    inputs = processor(text="<|video_pad|>", videos=videos, **keywords)
    assert inputs.video_grid_thw[0, 0] * 2 == len(videos[0]) > 2
    with pytest.raises(Qwen2VLError, match="has to be one number where do_sample_frames is on"):
        processor(text="<|video_pad|>", videos=videos, fps=keywords["fps"])


def test_frames_and_images_may_be_pictures_and_arrays(folder):
    film = films.moving(5, 60, 90)
    paths = [str(folder / f"frame{index}.png") for index in range(5)]
    expected = process_vision_info([user(video(paths, **SMALL))])[1][0]
    links = folder / "frames"
    links.mkdir()
    for index in range(5):
        (links / f"{index}.png").write_bytes((folder / f"frame{index}.png").read_bytes())
    for frames in (film, [*film], [Image.fromarray(f) for f in film], links, tuple(paths)):
        found = process_vision_info([user(video(frames, **SMALL))])[1][0]
        assert np.array_equal(found, expected)
    image = noise(0, 50, 70, 3)
    forms = (image, Image.fromarray(image), np.moveaxis(image, -1, 0))
    loaded = [process_vision_info([user({"type": "image", "image": f})])[0][0] for f in forms]
    assert all(np.array_equal(loaded[0], other) for other in loaded[1:])
    assert process_vision_info([user({"type": "image_url", "image_url": {"url": paths[0]}})])[0]


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"type": "image"}, ["part 0", "has no picture", "'image'"]),
        ({"type": "image", "image": "no.png"}, ["message 0", "(no.png)", "no such file"]),
        ({"type": "image", "image": "https://a.org/b.png"}, ["download the file first"]),
        ({"type": "image", "image": "data:text/plain,hello"}, ["only data:image/...;base64"]),
        ({"type": "image", "image": "data:image/png;base64,@"}, ["no valid base64"]),
        ({"type": "image", "image": "data:image/png;base64,AAAA"}, ["cannot be decoded"]),
        ({"type": "image", "image": 3}, ["cannot read a int"]),
        ({"type": "image", "image": Image.new("La", (9, 9))}, ["mode La", "convert it yourself"]),
        ({"type": "image", "image": np.zeros((9, 9, 3))}, ["float64", "integers"]),
        (
            {"type": "image", "image": noise(0, 9, 9, 3), "max_pixel": 3},
            ["unknown key 'max_pixel'"],
        ),
        ({"type": "image", "image": noise(0, 9, 9, 3), "max_pixels": 0}, ["max_pixels is 0"]),
        ({"type": "image", "image": noise(0, 9, 9, 3), "max_pixels": 9}, ["min_pixels 3136"]),
        ({"type": "image", "image": noise(0, 2, 402, 3)}, ["200 times"]),
        (
            {"type": "image", "image": noise(0, 30, 60, 3), "min_pixels": 1, "max_pixels": 99},
            ["fit"],
        ),
        ({"type": "video"}, ["has no picture", "'video' for a video"]),
        ({"type": "video", "video": "no.mp4"}, ["(no.mp4)", "no such file"]),
        ({"type": "video", "video": []}, ["has no frames"]),
        ({"type": "video", "video": 3}, ["cannot read a int as a video"]),
        ({"type": "video", "video": ["no.png"]}, ["frame 0 (no.png)", "no such file"]),
        ({"type": "video", "video": "FILM", "fps": 1, "nframes": 4}, ["exclude each other"]),
        ({"type": "video", "video": "FILM", "nframes": 400}, ["400 of its 23 frame(s)"]),
        ({"type": "video", "video": "FILM", "nframes": 2.5}, ["nframes is 2.5"]),
        ({"type": "video", "video": "FILM", "fps": math.nan}, ["fps is nan"]),
        ({"type": "video", "video": "FILM", "video_start": 99}, ["no two frames", "2.88 seconds"]),
        ({"type": "video", "video": "FILM", "video_start": -1}, ["video_start is -1"]),
    ],
)
def test_what_cannot_be_loaded_is_refused(folder, part, words):
    part = {k: str(folder / "film.mp4") if v is not None and isinstance(v, str) and v == "FILM"
            else v for k, v in part.items()}  # fmt: skip
    with pytest.raises(Qwen2VLError) as caught:
        process_vision_info([user(part)])
    for word in ("conversation 0, message 0, part 0", *words):
        assert word in str(caught.value), str(caught.value)


def test_messages_of_another_form_are_refused(monkeypatch):
    with pytest.raises(Qwen2VLError, match="messages are a str"):
        process_vision_info("hello")
    with pytest.raises(Qwen2VLError, match="message 0 has to be a dict"):
        process_vision_info(["hello"])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 899)
    with pytest.raises(Qwen2VLError, match=r"30 x 30 pixels, over the limit of 899"):
        process_vision_info([user({"type": "image", "image": pillow_image(0, 30, 30, "L")})])


def test_frames_of_two_sizes_are_refused():
    frames = [noise(0, 60, 90, 3), noise(0, 200, 90, 3)]
    with pytest.raises(Qwen2VLError, match="frame 1 has another size than frame 0"):
        process_vision_info([user(video(frames))])
