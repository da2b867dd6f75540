"""`chat`: one question, a conversation, and every error a user can make, in one process."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.__main__ import app
from qwen2vl_ms.chat import Chat, ChatOptions, start_device
from qwen2vl_ms.chat_loop import HELP, Loop, one_line
from qwen2vl_ms.conversation import Conversation
from qwen2vl_ms.tests import films, tiny

FIXTURES = Path(__file__).parents[2] / "fixtures"
TINY = FIXTURES / "qwen2vl-tiny"
DIGITS = "Which digits are shown?"


def picture(name: str) -> str:
    return str(FIXTURES / "images" / f"{name}.png")


def ask(*arguments: str, folder: Path = TINY) -> Result:
    tiny.start()
    return CliRunner().invoke(app, ["chat", str(folder), *arguments])


def answer(*arguments: str) -> str:
    result = ask(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.removesuffix("\n")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The clip of a digit that moves to the right, as a video file of two frames a second."""
    frames = sorted((FIXTURES / "videos" / "moving-seven").iterdir())
    film = np.stack([np.asarray(Image.open(frame).convert("RGB")) for frame in frames])
    film = film[:, : film.shape[1] // 2 * 2, : film.shape[2] // 2 * 2]
    return str(films.write(tmp_path_factory.mktemp("clip") / "right.mp4", film, rate=2))


def test_an_image_a_video_and_text(clip: str) -> None:
    assert answer(DIGITS, "--image", picture("grey")) == "69"
    assert answer("Where does it move?", "--video", clip) == "right"
    assert answer("Where does it move?", "--video", str(FIXTURES / "videos/moving-four")) == "up"
    assert answer("Which digit comes after 4?") == "5"


def test_images_keep_their_order() -> None:
    wide, tall = picture("pair-wide"), picture("pair-tall")
    question = "Which image has the 4?"
    assert answer(question, "--image", wide, "--image", tall) == "2"
    assert answer(question, "--image", tall, "--image", wide) == "1"


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "ascend-mixed"])
def test_every_dtype(dtype: str) -> None:
    assert answer(DIGITS, "--image", picture("grey"), "--dtype", dtype) == "69"


@pytest.mark.parametrize("attention", ["eager", "chunked"])
def test_attention_and_chunks(attention: str) -> None:
    options = "--attention", attention, "--chunk-size", "16", "--cache-length", "64"
    options = *options, "--max-new-tokens", "16"
    assert answer(DIGITS, "--image", picture("grey"), *options) == "69"


@pytest.mark.slow
def test_jit() -> None:
    assert answer(DIGITS, "--image", picture("grey"), "--jit") == "69"


def test_pixels_are_limited() -> None:
    counts = []
    for options in ((), ("--max-pixels", "6272"), ("--min-pixels", "50000")):
        result = ask(DIGITS, "--image", picture("five-digits"), "--json", *options)
        counts.append(json.loads(result.stdout)["prompt_tokens"]["image"])
    assert counts[0] == 15
    assert counts[1] <= 8
    assert counts[2] >= 64


def test_frames_are_sampled(tmp_path: Path) -> None:
    clip = str(films.write(tmp_path / "six-seconds.mp4", films.moving(12), rate=2))
    options = "--video", clip, "--min-pixels", "3136", "--max-pixels", "6272", "--json"
    tokens = [
        json.loads(ask("Where does it move?", *options, *rate).stdout)["prompt_tokens"]["video"]
        for rate in ((), ("--fps", "1"))
    ]
    assert tokens[0] == 2 * tokens[1] > 0


def test_what_the_system_says_reaches_the_prompt() -> None:
    counts = [
        json.loads(ask("Which digit comes after 4?", "--json", *system).stdout)["prompt_tokens"]
        for system in ((), ("--system", "Speak of digits and of nothing else but digits, please."))
    ]
    assert counts[1]["text"] > counts[0]["text"]


def test_json_holds_tokens_and_timings() -> None:
    result = ask(DIGITS, "--image", picture("grey"), "--json", "--dtype", "bf16")
    values = json.loads(result.stdout)
    assert values["answer"] == "69"
    assert len(values["token_ids"]) == 3
    assert values["stop_reason"] == "end token"
    assert values["prompt_tokens"] == {"text": 26, "image": 12, "video": 0, "all": 38}
    seconds = ("load_seconds", "preprocessing_seconds", "prefill_seconds")
    assert all(values[name] > 0 for name in seconds)
    assert len(values["decode_ms"]) == 2
    assert values["tokens_per_second"] == pytest.approx(2000 / sum(values["decode_ms"]))
    assert (values["dtype"], values["device"], values["jit"]) == ("bf16", "CPU", False)
    assert values["attention"] == "auto"
    assert values["seed"] is None
    assert values["versions"]["mindspore"].startswith("2.")
    short = json.loads(ask(DIGITS, "--max-new-tokens", "1", "--json").stdout)
    assert short["stop_reason"] == "length"
    assert (short["decode_ms"], short["tokens_per_second"]) == ([], None)


def test_sampling_is_reproducible() -> None:
    options = "--sample", "--temperature", "3", "--top-k", "0", "--top-p", "1", "--json"
    options = *options, "--max-new-tokens", "8", "--repetition-penalty", "1.1"
    runs = [
        json.loads(ask("Which digit comes after 4?", *options, "--seed", seed).stdout)
        for seed in ("1", "1", "2")
    ]
    assert runs[0]["token_ids"] == runs[1]["token_ids"] != runs[2]["token_ids"]
    assert [run["seed"] for run in runs] == [1, 1, 2]


# --- errors -----------------------------------------------------------------------------------


def refused(folder: Path, *arguments: str) -> str:
    """The one line that an error is told in."""
    result = ask(*arguments, folder=folder)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert re.fullmatch(r"error: .*\n", result.stderr), result.stderr
    return result.stderr


def huge_picture(path: Path) -> Path:
    """A PNG of 9500 x 9500 black pixels."""
    Image.new("1", (9500, 9500)).save(path)
    return path


def no_frames(path: Path) -> Path:
    """A video file whose stream of pictures is empty."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=2)
        stream.height = stream.width = 64
        container.start_encoding()
    return path


def garbage(path: Path) -> Path:
    path.write_bytes(bytes(range(256)) * 20)
    return path


def empty(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "name", "make", "message"),
    [
        ("video", "bad.mp4", garbage, "bad.mp4"),
        ("video", "none.avi", no_frames, "has no frames"),
        ("video", "frames", empty, "no frames"),
        ("image", "huge.png", huge_picture, "9500 x 9500 pixels, over the limit of"),
        ("image", "bad.png", garbage, "bad.png"),
    ],
)
def test_pictures_that_cannot_be_used(
    tmp_path: Path, kind: str, name: str, make: Callable[[Path], Path], message: str
) -> None:
    path = make(tmp_path / name)
    line = refused(TINY, "Which?", f"--{kind}", str(path))
    assert message in line
    assert str(path) in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "nowhere.png"], "image nowhere.png does not exist"),
        (["--cache-length", "10"], "cache_length is 10: a prompt of"),
        (["--dtype", "int8"], "'int8'"),
        (["--device", "TPU"], "device is 'TPU'"),
        (["--attention", "fused"], "'fused'"),
        (["--attention", "flash"], "'flash' is Ascend's fused kernel"),
        (["--temperature", "0"], "temperature is 0"),
        (["--top-p", "2"], "top_p is 2"),
        (["--max-new-tokens", "0"], "max_new_tokens is 0"),
        (["--max-pixels", "10", "--image", picture("grey")], "max_pixels"),
        (["--fps", "-1", "--video", str(FIXTURES / "videos" / "moving-four")], "fps is -1"),
    ],
)
def test_options_that_cannot_be_used(arguments: list[str], message: str) -> None:
    assert message in refused(TINY, "Which digit comes after 4?", *arguments)


def damaged(tmp_path: Path, file: str, **values: Any) -> Path:
    """A copy of the checkpoint with values changed in one of its files."""
    folder = Path(shutil.copytree(TINY, tmp_path / "checkpoint"))
    content = json.loads((folder / file).read_text(encoding="utf-8"))
    (folder / file).write_text(json.dumps({**content, **values}), encoding="utf-8")
    return folder


def test_a_checkpoint_of_another_architecture(tmp_path: Path) -> None:
    folder = damaged(tmp_path, "config.json", model_type="qwen2_5_vl")
    line = refused(folder, "Which?")
    assert "its model_type is 'qwen2_5_vl'" in line
    assert "this port is for Qwen2-VL" in line


def test_an_unknown_generation_setting(tmp_path: Path) -> None:
    folder = damaged(tmp_path, "generation_config.json", num_beam=2)
    assert "unknown generation setting 'num_beam' (2)" in refused(folder, "Which?")


def test_problems_of_a_checkpoint_are_one_line(tmp_path: Path) -> None:
    folder = damaged(tmp_path, "config.json", vocab_size=770, rms_norm_eps=None, hidden_act="x")
    line = refused(folder, "Which?")
    assert "cannot be used: hidden_act is 'x'" in line
    assert "; rms_norm_eps is missing" in line


def test_json_needs_a_question() -> None:
    assert "--json needs a question" in refused(TINY, "--json")


def test_no_folder() -> None:
    assert "no checkpoint folder nowhere" in refused(Path("nowhere"), "Which?")


def test_a_device_that_is_not_here() -> None:
    with pytest.raises(Qwen2VLError, match=r"device Ascend:3 cannot be used here: .*Ascend"):
        start_device("Ascend:3")


def test_lists_become_one_line() -> None:
    assert one_line(Qwen2VLError("x:\n  - a is\n b\n  - c")) == "x: a is b; c"
    assert one_line(Qwen2VLError("plain")) == "plain"


# --- conversations ----------------------------------------------------------------------------


class Talk:
    """A conversation with the fixture, typed line by line."""

    def __init__(self, chat: Chat, *lines: str, out: io.StringIO | None = None) -> None:
        self.out, self.err = out or io.StringIO(), io.StringIO()
        self.conversation, waiting = Conversation(), iter(lines)

        def read() -> str:
            try:
                return next(waiting)
            except StopIteration:
                raise EOFError from None

        self.loop = Loop(chat, self.conversation, self.out, self.err, read)

    @property
    def said(self) -> list[str]:
        return self.out.getvalue().splitlines()


@pytest.fixture(scope="module")
def chat() -> Chat:
    tiny.start()
    return Chat.load(TINY, ChatOptions(generation={"max_new_tokens": 16}))


def test_a_conversation_goes_on(chat: Chat) -> None:
    talk = Talk(chat, f"/image {picture('grey')}", DIGITS, "", "Which digit comes after 4?")
    talk.loop.run()
    roles = [message["role"] for message in talk.conversation.messages]
    assert roles == ["user", "assistant", "user", "assistant"]
    assert talk.said[0] == "69"
    assert talk.conversation.messages[1]["content"][0]["text"] == "69"
    assert talk.err.getvalue() == f"{HELP}\nwith the next question: {picture('grey')}\n"


def test_starting_over_forgets_the_picture(chat: Chat) -> None:
    question = "Which digit comes after 4?"
    talk = Talk(chat, f"/image {picture('grey')}", "/clear", question, "/exit", question)
    talk.loop.run()
    assert talk.said == ["5"]
    assert talk.conversation.messages[0]["content"] == [{"type": "text", "text": question}]


def test_a_mistake_changes_nothing(chat: Chat, tmp_path: Path) -> None:
    bad = garbage(tmp_path / "bad.png")
    question = "Which digit comes after 4?"
    lines = ["/image nowhere.png", "/video", "/dance now", f"/image {bad}", DIGITS, question]
    talk = Talk(chat, *lines)
    talk.loop.run()
    assert talk.said == ["5"]
    errors = [line for line in talk.err.getvalue().splitlines() if line.startswith("error: ")]
    expected = ["nowhere.png does not exist", "/video needs a path", "unknown command /dance"]
    for line, message in zip(errors, [*expected, str(bad)], strict=True):
        assert message in line
    assert len(talk.conversation.messages) == 2


class Interrupting(io.StringIO):
    """Presses Ctrl-C at the first piece of the first answer."""

    pressed = False

    def write(self, text: str) -> int:
        super().write(text)
        if not self.pressed:
            self.pressed = True
            raise KeyboardInterrupt
        return len(text)


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(chat: Chat) -> None:
    five = f"/image {picture('five-digits')}"
    talk = Talk(chat, five, DIGITS, "/clear", five, DIGITS, out=Interrupting())
    talk.loop.run()
    assert "stopped" in talk.err.getvalue()
    whole = talk.conversation.messages[1]["content"][0]["text"]
    assert len(whole) == 5
    assert talk.out.getvalue() == f"{whole[0]}{whole}\n"


def test_a_stopped_answer_is_kept_as_far_as_it_came(chat: Chat) -> None:
    talk = Talk(chat, f"/image {picture('five-digits')}", DIGITS, out=Interrupting())
    talk.loop.run()
    assert talk.conversation.messages[1]["content"][0]["text"] == talk.out.getvalue()
    assert len(talk.out.getvalue()) == 1


def test_ctrl_c_while_waiting_leaves(chat: Chat) -> None:
    talk = Talk(chat)

    def interrupt() -> str:
        raise KeyboardInterrupt

    talk.loop.read = interrupt
    with pytest.raises(KeyboardInterrupt):
        talk.loop.run()
