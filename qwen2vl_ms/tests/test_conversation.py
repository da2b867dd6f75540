"""A conversation's messages, and what may be attached to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.conversation import Conversation


@pytest.fixture
def picture(tmp_path: Path) -> str:
    file = tmp_path / "a.png"
    file.touch()
    return str(file)


def test_turns_become_messages(picture: str) -> None:
    talk = Conversation("Be brief.", {"image": {"max_pixels": 784}})
    talk.attach("image", picture)
    assert talk.attached == [picture]
    talk.ask("What is it?")
    assert talk.attached == []
    talk.answer("A dog.")
    talk.ask("Which?")
    assert talk.messages == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "image", "image": picture, "max_pixels": 784},
                {"type": "text", "text": "What is it?"},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "A dog."}]},
        {"role": "user", "content": [{"type": "text", "text": "Which?"}]},
    ]


def test_settings_go_to_their_kind_only(picture: str) -> None:
    talk = Conversation(settings={"video": {"fps": 1.0}})
    talk.attach("image", picture)
    talk.attach("video", picture)
    talk.ask("?")
    image, video, _ = talk.messages[0]["content"]
    assert image == {"type": "image", "image": picture}
    assert video == {"type": "video", "video": picture, "fps": 1.0}


def test_a_question_without_an_answer_is_withdrawn(picture: str) -> None:
    talk = Conversation()
    talk.ask("First?")
    talk.answer("Yes.")
    talk.attach("image", picture)
    talk.ask("Second?")
    talk.withdraw()
    assert [turn["role"] for turn in talk.messages] == ["user", "assistant"]
    talk.withdraw()  # an answered question stays
    assert len(talk.messages) == 2
    assert talk.attached == []


def test_clearing_keeps_what_the_system_says(picture: str) -> None:
    talk = Conversation("Be brief.")
    talk.ask("?")
    talk.attach("image", picture)
    talk.clear()
    assert talk.messages == [{"role": "system", "content": "Be brief."}]
    assert talk.attached == []


def test_messages_are_a_copy() -> None:
    talk = Conversation()
    talk.ask("?")
    talk.messages[0]["content"].clear()
    assert talk.messages[0]["content"] == [{"type": "text", "text": "?"}]


def test_a_folder_of_frames_is_a_video(tmp_path: Path) -> None:
    talk = Conversation()
    talk.attach("video", str(tmp_path))
    assert talk.attached == [str(tmp_path)]


def test_what_cannot_be_attached_is_told(tmp_path: Path) -> None:
    talk = Conversation()
    for kind, name, message in (
        ("image", "nowhere.png", "image nowhere.png does not exist"),
        ("video", "nowhere.mp4", "video nowhere.mp4 does not exist"),
        ("image", str(tmp_path), "is a folder"),
        ("image", "https://host/a.png", "image https://host/a.png is an address on the network"),
        ("sound", "a.wav", "cannot attach a 'sound'"),
    ):
        with pytest.raises(Qwen2VLError, match=message):
            talk.attach(kind, name)
    assert talk.attached == []
