"""Video files: what is decoded, and one clear message for each that cannot be."""

from __future__ import annotations

import contextlib
import socket
import struct
from urllib.parse import quote

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qwen2vl_ms import Qwen2VLError, video_decoding
from qwen2vl_ms.frame_fitting import MOST_BYTES
from qwen2vl_ms.tests import films
from qwen2vl_ms.tests.pictures import assert_same, fixed
from qwen2vl_ms.video_decoding import inspect_video, read_frames_of
from qwen2vl_ms.video_processing import Qwen2VLVideoProcessor

PROCESSOR = Qwen2VLVideoProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 12)
SUFFIXES = [*films.CODECS, ".gif"]


def every(file):
    return np.arange(file.total_num_frames)


def frames_of(path, choose=every):
    kept, file, _ = read_frames_of(path, choose, lambda frame, _: frame)
    return np.stack(kept), file


def refused(path, *words, **call):
    with pytest.raises(Qwen2VLError) as caught:
        PROCESSOR(str(path), **call)
    for word in ("video 0", path.name, *words):
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_container_gives_its_frames(tmp_path, suffix):
    film = films.moving(9)
    path = films.write(tmp_path / f"film{suffix}", film)
    frames, file = frames_of(path)
    assert (file.total_num_frames, file.fps) == (9, 4.0)
    assert np.array_equal(frames, films.decoded(path))
    assert np.abs(frames.astype(int) - film).mean() < 6
    assert np.abs(frames.astype(int) - film[::-1]).mean() > 9  # twin: another order
    assert_same(PROCESSOR(path), PROCESSOR(frames))
    assert_same(PROCESSOR([f"file://{path}"]), PROCESSOR(frames))


def test_sound_and_names_with_spaces_are_no_matter(tmp_path):
    film = films.moving(6)
    path = films.write(tmp_path / "a b%41 #.mp4", film, sound=True)
    assert len(frames_of(path)[0]) == 6
    assert_same(PROCESSOR(f"file://{path}"), PROCESSOR(path))
    assert_same(PROCESSOR("file://" + quote(str(path))), PROCESSOR(path))


@fixed(30)
@given(wanted=st.sets(st.integers(0, 11), min_size=1))
def test_only_chosen_frames_are_kept_and_no_more_decoded_than_needed(tmp_path, wanted):
    path = tmp_path / "film.mp4"
    if not path.exists():
        films.write(path, films.moving(12))
    chosen = sorted(wanted)
    seen = []
    kept, _, indices = read_frames_of(
        path, lambda _: np.array(chosen), lambda frame, count: seen.append(count) or frame
    )
    assert np.array_equal(np.stack(kept), films.decoded(path)[chosen])
    assert indices.tolist() == chosen
    assert seen == [len(chosen)] * len(chosen)


def test_frames_are_numbered_whatever_their_times(tmp_path):
    film = films.moving(6)
    path = films.write(tmp_path / "film.mkv", film, rate=10, times=[0, 1, 2, 30, 31, 60])
    frames, file = frames_of(path, lambda _: np.array([0, 3, 5]))
    assert np.array_equal(frames, films.decoded(path)[[0, 3, 5]])
    assert file.total_num_frames == 6


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_frames_are_turned_as_players_show_them(tmp_path, quarters):
    film = films.moving(3)
    plain = films.write(tmp_path / "plain.mp4", film)
    turned = films.write(tmp_path / "turned.mp4", film, rotation=90 * quarters)
    frames, _ = frames_of(turned)
    assert np.array_equal(frames, np.rot90(films.decoded(plain), quarters, axes=(1, 2)))
    assert not np.array_equal(frames[:, :60, :60], films.decoded(plain)[:, :60, :60])


def test_a_transparent_gif_shows_white(tmp_path):
    path = films.write_transparent_gif(tmp_path / "film.gif")
    frames, file = frames_of(path)
    assert file.fps == 2.0
    assert np.array_equal(frames, films.decoded(path))
    assert (frames[1, 0, 63] == 255).all()
    assert frames[0, 10, 3].tolist() == [200, 30, 60]
    assert frames[1, 10, 8].tolist() == [10, 120, 220]


def test_a_number_of_frames_that_is_too_high_is_corrected(tmp_path, monkeypatch):
    path = films.write(tmp_path / "film.mp4", films.moving(10))
    real = inspect_video(path)
    monkeypatch.setattr(
        video_decoding, "inspect_video", lambda _: video_decoding.VideoFile(path, 16, real.fps)
    )
    frames, file = frames_of(path, lambda file: np.arange(0, file.total_num_frames, 3))
    assert file.total_num_frames == 10
    assert np.array_equal(frames, films.decoded(path)[::3])


def test_frames_that_an_edit_list_hides_are_not_counted(tmp_path):
    path = films.write(tmp_path / "film.mp4", films.moving(12))
    content = path.read_bytes()
    at = content.index(b"elst")
    start = struct.unpack(">i", content[at + 16 : at + 20])[0]
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        step = int(1 / stream.time_base / stream.average_rate)
    later = struct.pack(">i", start + 4 * step)
    path.write_bytes(content[: at + 16] + later + content[at + 20 :])
    frames, file = frames_of(path)
    assert file.total_num_frames == len(frames) == len(films.decoded(path)) < 12


def test_a_film_is_sampled_by_its_own_rate_unless_told_otherwise(tmp_path):
    path = films.write(tmp_path / "film.mp4", films.moving(12), rate=4)
    sample = {"do_sample_frames": True, "fps": 2.0}
    frames = films.decoded(path)
    assert_same(PROCESSOR(path, **sample), PROCESSOR(frames[::2]))
    half = PROCESSOR(path, video_metadata={"fps": 6.0}, **sample)
    assert_same(half, PROCESSOR(frames[::3]))


def test_a_folder_of_frames_is_a_video(tmp_path):
    film = films.moving(11)
    for index, frame in enumerate(film):
        Image.fromarray(frame).save(tmp_path / f"frame{index}.png")
    (tmp_path / ".hidden").write_text("no picture")
    assert_same(PROCESSOR(tmp_path), PROCESSOR(film))
    assert_same(PROCESSOR([str(tmp_path)]), PROCESSOR(film))
    (tmp_path / "notes.txt").write_text("no picture")
    refused(tmp_path, "frame 11", "notes.txt", "cannot be decoded")


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".ts", ".gif"])
def test_a_film_that_was_cut_off_is_refused(tmp_path, suffix):
    noisy = np.random.default_rng(0).integers(0, 256, (12, 60, 90, 3), dtype=np.uint8)
    for options in ({}, {"movflags": "faststart"}) if suffix == ".mp4" else ({},):
        path = films.write(tmp_path / f"cut{suffix}", noisy, options=options)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) * 6 // 10])
        refused(path, "replace it by a whole video")
    assert "cut off" in cut_message(path) or suffix != ".mp4"


def cut_message(path):
    with pytest.raises(Qwen2VLError) as caught:
        PROCESSOR(path)
    return str(caught.value)


@fixed(40)
@given(
    suffix=st.sampled_from([".mp4", ".gif", ".webm", ".avi"]),
    at=st.floats(0, 1),
    data=st.binary(min_size=1, max_size=40),
)
def test_a_damaged_film_raises_nothing_else(tmp_path, suffix, at, data):
    whole = tmp_path / f"whole{suffix}"
    if not whole.exists():
        films.write(whole, films.moving(4, 32, 48))
    content = whole.read_bytes()
    start = int(at * (len(content) - 1))
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content[:start] + data + content[start + len(data) :])
    with contextlib.suppress(Qwen2VLError):  # any other exception fails the test
        assert np.isfinite(PROCESSOR(path)["pixel_values_videos"]).all()


def test_what_is_no_video_is_refused(tmp_path):
    (tmp_path / "empty.mp4").write_bytes(b"")
    refused(tmp_path / "empty.mp4", "zero bytes", "whole video")
    for name in ("notes.txt", "notes.mp4"):  # FFmpeg would show the first as a film of letters
        (tmp_path / name).write_text("words, not pictures\n" * 99)
        refused(tmp_path / name, "cannot be decoded as a video")
    refused(tmp_path / "absent.mp4", "no such file", "local video file or a folder")
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "is a picture and not a video", "[[path, path, ...]]")


def test_a_file_without_pictures_is_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(tmp_path / "sound.mp4", "no video stream")
    with av.open(str(tmp_path / "none.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.height = stream.width = 64
        container.start_encoding()
    refused(tmp_path / "none.avi", "has no frames")


def test_a_playlist_opens_no_other_file_and_no_connection(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        lines = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
        for name in ("list.m3u8", "list.mp4"):
            (tmp_path / name).write_text(lines.format(address))
            refused(tmp_path / name, "cannot be decoded as a video")
        with pytest.raises(TimeoutError):
            server.accept()
    refused_address = "https://example.org/film.mp4"
    with pytest.raises(Qwen2VLError, match="download the file first"):
        PROCESSOR(refused_address)


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    path = films.write(tmp_path / "film.mp4", films.moving(3))
    gif = films.write(tmp_path / "film.gif", films.moving(3))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60 * 90 - 1)
    monkeypatch.setattr(video_decoding, "_decode", None)  # calling it would be another error
    refused(path, "60 x 90 pixels", "5399", "MAX_IMAGE_PIXELS")
    monkeypatch.undo()
    content = bytearray(gif.read_bytes())
    content[6:10] = struct.pack("<HH", 12_000, 12_000)
    at = content.index(b"\x2c", 13 + 3 * 2 ** ((content[10] & 7) + 1))
    content[at + 5 : at + 9] = struct.pack("<HH", 12_000, 12_000)
    gif.write_bytes(content)
    refused(gif, "")


def test_a_film_that_no_context_could_hold_is_refused(tmp_path):
    path = films.write(tmp_path / "film.mp4", films.moving(4))
    side = 28 * int((MOST_BYTES / 4 / 3) ** 0.5 / 28 + 2)
    refused(path, "4 frames of", "take fewer", min_pixels=side * side, max_pixels=2 * side * side)


def test_frames_of_two_sizes_are_refused(tmp_path):
    one = films.write(tmp_path / "one.ts", films.moving(4, 60, 90))
    two = films.write(tmp_path / "two.ts", films.moving(4, 90, 60))
    both = tmp_path / "both.ts"
    both.write_bytes(one.read_bytes() + two.read_bytes())
    refused(both, "(60, 90) and of (90, 60)", "encode it in one size")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"do_sample_frames": True, "num_frames": 20}, "cannot take 20 of 4 frames"),
        ({"do_sample_frames": True, "fps": [2.0]}, "has to be one number"),
    ],
)
def test_sampling_that_is_impossible_is_refused(tmp_path, call, words):
    path = films.write(tmp_path / "film.mp4", films.moving(4))
    with pytest.raises(Qwen2VLError, match=words):
        PROCESSOR(path, **call)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    path = films.write(tmp_path / "film.mp4", films.moving(2))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    refused(path, "PyAV", "pip install av", "frames as a list")
