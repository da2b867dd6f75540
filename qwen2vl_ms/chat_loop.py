"""A conversation at a terminal: reads lines, streams answers, obeys commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TextIO

from qwen2vl_ms.chat import Chat
from qwen2vl_ms.conversation import KINDS, Conversation
from qwen2vl_ms.errors import Qwen2VLError

HELP = (
    "ask something, or: /image PATH, /video PATH (both go with the next question), /clear (start "
    "over), /help, /exit. Ctrl-C stops an answer, Ctrl-D leaves."
)
PROMPT = "> "


class Loop:
    """One conversation.

    Args:
        chat: What answers.
        conversation: Where it begins; images and videos may be attached already.
        out: Where answers go.
        err: Where everything else goes.
        read: Gives the next line, raises EOFError at the end and KeyboardInterrupt at Ctrl-C.
    """

    def __init__(
        self,
        chat: Chat,
        conversation: Conversation,
        out: TextIO,
        err: TextIO,
        read: Callable[[], str],
    ) -> None:
        self.chat, self.conversation = chat, conversation
        self.out, self.err, self.read = out, err, read

    def run(self) -> None:
        """Read and answer until ``/exit`` or the end of input.

        Raises:
            KeyboardInterrupt: Ctrl-C while nothing was being answered.
        """
        self._say(HELP)
        while True:
            try:
                line = self.read().strip()
            except EOFError:
                return
            if line == "/exit":
                return
            if line:
                self._obey(line)

    def _obey(self, line: str) -> None:
        """Do what one line says; a mistake is told and changes nothing."""
        try:
            if line.startswith("/"):
                self._command(*line.split(maxsplit=1))
            else:
                self._answer(line)
        except Qwen2VLError as error:
            self._say(f"error: {one_line(error)}")

    def _command(self, command: str, argument: str = "") -> None:
        kind = command.removeprefix("/")
        if kind in KINDS:
            if not argument:
                raise Qwen2VLError(f"{command} needs a path")
            self.conversation.attach(kind, argument)
            self._say(f"with the next question: {', '.join(self.conversation.attached)}")
        elif command == "/clear":
            self.conversation.clear()
            self._say("started over")
        elif command == "/help":
            self._say(HELP)
        else:
            raise Qwen2VLError(f"unknown command {command}: {HELP}")

    def _answer(self, question: str) -> None:
        """Ask; Ctrl-C keeps what has been said so far as the answer."""
        pieces: list[str] = []

        def write(text: str) -> None:
            pieces.append(text)
            self.out.write(text)
            self.out.flush()

        self.conversation.ask(question)
        try:
            self.chat.ask(self.conversation.messages, write)
        except KeyboardInterrupt:
            self._say("\nstopped")
        except Qwen2VLError:
            self.conversation.withdraw()
            raise
        else:
            self.out.write("\n")
            self.out.flush()
        if pieces:
            self.conversation.answer("".join(pieces))
        else:
            self.conversation.withdraw()

    def _say(self, text: str) -> None:
        self.err.write(f"{text}\n")
        self.err.flush()


def read_line() -> str:
    """The next line of standard input; asked for at a terminal, and silently read elsewhere."""
    return input(PROMPT if sys.stdin.isatty() else "")


def one_line(error: Exception) -> str:
    """An error's message without line breaks: a list's items are set apart by semicolons."""
    first, *items = str(error).split("\n  - ")
    joined = f"{first} {'; '.join(items)}" if items else first
    return " ".join(joined.split())
