"""A conversation as the messages that the chat template reads. Nothing here computes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.media_sources import exists, local_path

Message = dict[str, Any]
KINDS = ("image", "video")


class Conversation:
    """Turns of a user and the model, with images and videos in the user's turns.

    Args:
        system: What the model is told first; None leaves it to the chat template.
        settings: Settings that go with every "image" and every "video", as ``max_pixels``.
    """

    def __init__(
        self, system: str | None = None, settings: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.system = system
        self.settings = {kind: dict((settings or {}).get(kind, {})) for kind in KINDS}
        self._turns: list[Message] = []
        self._attached: list[Message] = []

    @property
    def messages(self) -> list[Message]:
        """All turns so far, the system's first; a copy."""
        system = [{"role": "system", "content": self.system}] if self.system is not None else []
        return copy.deepcopy([*system, *self._turns])

    @property
    def attached(self) -> list[str]:
        """The names of what will go with the next question."""
        return [str(item[item["type"]]) for item in self._attached]

    def attach(self, kind: str, name: str) -> None:
        """Add an image or a video to the next question.

        Args:
            kind: "image" or "video".
            name: Path of a file, or of a folder that holds a video's frames as images.

        Raises:
            Qwen2VLError: There is no such file. (Whether it can be read shows when it is asked
                about.)
        """
        if kind not in KINDS:
            raise Qwen2VLError(f"cannot attach a {kind!r}: only {' or '.join(KINDS)}")
        try:
            path = local_path(name)
        except Qwen2VLError as error:
            raise Qwen2VLError(f"{kind} {name} {error}") from None
        if not exists(path):
            raise Qwen2VLError(f"{kind} {name} does not exist: give the path of a file")
        if kind == "image" and path.is_dir():
            raise Qwen2VLError(f"image {name} is a folder: give the path of a file")
        self._attached.append({"type": kind, kind: name, **self.settings[kind]})

    def ask(self, text: str) -> None:
        """Add the user's turn: what was attached, then the text."""
        self._turns.append(
            {"role": "user", "content": [*self._attached, {"type": "text", "text": text}]}
        )
        self._attached = []

    def answer(self, text: str) -> None:
        """Add the model's turn."""
        self._turns.append({"role": "assistant", "content": [{"type": "text", "text": text}]})

    def withdraw(self) -> None:
        """Take back the last question, with what was attached to it, as it got no answer."""
        if self._turns and self._turns[-1]["role"] == "user":
            self._turns.pop()

    def clear(self) -> None:
        """Forget every turn, and what was attached; the system's text stays."""
        self._turns, self._attached = [], []
