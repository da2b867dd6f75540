"""Chat templates: a checkpoint's own program that turns messages into one text.

A template comes with the weights and is not trusted: it is rendered in Jinja's immutable sandbox,
from copies of the messages that hold nothing but plain data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from jinja2 import TemplateError, meta
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node, Scope
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.preprocessor_config import PROCESSOR_FILE, read_json_object

TEMPLATE_FILE = "chat_template.jinja"
LEGACY_FILE = "chat_template.json"
CONFIG_FILE = "tokenizer_config.json"
# Variables that a template always gets, so they are not the caller's to set.
OWN_VARIABLES = frozenset({"messages", "add_generation_prompt"})


class ChatTemplate:
    """One compiled template.

    Mirrors ``render_jinja_template`` (transformers 5.23, utils/chat_template_utils.py).

    Args:
        source: The template.
        name: Where it is from, for error messages.

    Raises:
        Qwen2VLError: the template is not valid Jinja.
    """

    def __init__(self, source: str, name: str = "chat template") -> None:
        self.name = name
        environment = sandbox()
        try:
            self._template = environment.from_string(source)
            self.variables = frozenset(meta.find_undeclared_variables(environment.parse(source)))
        except Exception as error:  # of Jinja, or of what it computes while it compiles
            raise Qwen2VLError(
                f"{name} is not a valid template ({error}): copy it again"
            ) from error

    @classmethod
    def from_pretrained(cls, folder: Path) -> ChatTemplate | None:
        """The template of a checkpoint folder, or ``None`` if it has none.

        Looked for as the reference's processor does, in ``processor_config.json``,
        ``chat_template.json`` and ``chat_template.jinja``, and last where its tokenizer does, in
        ``tokenizer_config.json``.

        Raises:
            Qwen2VLError: a file cannot be read or its template cannot be compiled.
        """
        for path, source in _sources(folder):
            if isinstance(source, list):  # several templates, by name
                source = _by_name(source, path)
            if isinstance(source, dict):
                source = source.get("default")
            if source is None:
                continue
            if not isinstance(source, str):
                raise Qwen2VLError(f"{path}: chat_template is not a text; copy the file again")
            return cls(source, str(path))
        return None

    def render(
        self, messages: Any, *, add_generation_prompt: bool = False, **variables: Any
    ) -> str | list[str]:
        """Render one conversation, or a list of them.

        Args:
            messages: Dicts with ``role`` and ``content``, a text or a list of parts such as
                ``{"type": "image"}`` and ``{"type": "text", "text": ...}``; or a list of such
                lists.
            add_generation_prompt: Begin the answer.
            variables: What else the template reads.

        Returns:
            The text, or one text a conversation.

        Raises:
            Qwen2VLError: messages of another form, or the template refused or failed.
        """
        if isinstance(messages, (list, tuple)) and messages and _is_list(messages[0]):
            return [
                self._render(conversation, add_generation_prompt, variables)
                for conversation in messages
            ]
        return self._render(messages, add_generation_prompt, variables)

    def _render(self, messages: Any, add_prompt: bool, variables: Mapping[str, Any]) -> str:
        known = {"tools": None, "documents": None} | plain_data(variables)
        conversation = [_message(index, message) for index, message in enumerate(_listed(messages))]
        try:
            return self._template.render(
                messages=conversation, add_generation_prompt=add_prompt, **known
            )
        except Exception as error:  # a template is a program of others: anything can go wrong
            raise Qwen2VLError(
                f"{self.name} cannot render these messages ({error}): check their roles and "
                "contents against the template"
            ) from error


def _by_name(entries: list[Any], path: Path) -> dict[str, Any]:
    """Templates by their names."""
    try:
        return {str(entry["name"]): entry.get("template") for entry in entries}
    except (TypeError, KeyError, AttributeError) as error:
        raise Qwen2VLError(
            f"{path}: chat_template lists something without a name and a template: copy it again"
        ) from error


def _sources(folder: Path) -> Iterator[tuple[Path, Any]]:
    for name in (PROCESSOR_FILE, LEGACY_FILE):
        if (folder / name).is_file():
            yield folder / name, read_json_object(folder / name).get("chat_template")
    path = folder / TEMPLATE_FILE
    if path.is_file():
        try:
            yield path, path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise Qwen2VLError(f"{path} cannot be read ({error}): copy it again") from None
    if (folder / CONFIG_FILE).is_file():
        yield folder / CONFIG_FILE, read_json_object(folder / CONFIG_FILE).get("chat_template")


def _is_list(item: Any) -> bool:
    return isinstance(item, (list, tuple))


def _listed(messages: Any) -> list[Any]:
    if not _is_list(messages):
        raise Qwen2VLError(
            f"messages are a {type(messages).__name__}: give a list of dicts with 'role' and "
            "'content'"
        )
    return list(messages)


def _message(index: int, message: Any) -> dict[str, Any]:
    """A plain copy of one message, without unset keys and with its images in one form."""
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise Qwen2VLError(f"message {index} has to be a dict with 'role' and 'content'")
    copy: dict[str, Any] = plain_data({k: v for k, v in message.items() if v is not None})
    if isinstance(copy.get("content"), list):
        copy["content"] = [_part(part) for part in copy["content"]]
    return copy


def _part(part: Any) -> Any:
    """OpenAI's spelling of an image part turned into the one that templates know."""
    if isinstance(part, dict) and part.get("type") == "image_url" and "image_url" in part:
        link = part["image_url"]
        return {"type": "image", "url": link.get("url", "") if isinstance(link, dict) else link}
    return part


def plain_data(value: Any) -> Any:
    """A copy made of JSON types alone; any other object becomes its type's name in brackets.

    Mirrors ``_plain_template_data`` (transformers 5.23): pictures and arrays have methods that
    the sandbox does not know to be dangerous, and templates only ask whether they are there.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # the base type, of an enum for example
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, Mapping):
        return {plain_data(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(plain_data(item) for item in value)
    if isinstance(value, list):
        return [plain_data(item) for item in value]
    return f"<{type(value).__name__}>"


def sandbox() -> ImmutableSandboxedEnvironment:
    """The environment that transformers renders chat templates in.

    Mirrors ``_cached_compile_jinja_template`` (transformers 5.23): the same whitespace rules,
    extensions, filters and functions, and the same guards on ``dict`` and ``namespace``.
    """
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": _raise_exception,
        "strftime_now": lambda layout: datetime.now().strftime(layout),
        "dict": TemplateDict(),
        "namespace": TemplateNamespace,
    }
    return environment


class GenerationBlock(Extension):
    """``{% generation %}`` marks an assistant's words for training; here they are just rendered."""

    tags = {"generation"}  # noqa: RUF012 (as the base class declares it)

    def parse(self, parser: Parser) -> Node:
        """Render the body, in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return Scope(body).set_lineno(line)


class TemplateDict:
    """``dict`` without the attributes of a class that a template could climb out by."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        """``dict(...)``."""
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """``dict.fromkeys(...)``."""
        return dict.fromkeys(*args)


class TemplateNamespace(Namespace):
    """``namespace`` that stores no names beginning with an underscore."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that `self` may be a stored name
        """``namespace(...)``."""
        for name in dict(*args[1:], **kwargs):
            _require_public(name)
        Namespace.__init__(*args, **kwargs)

    def __setitem__(self, name: str, value: Any) -> None:
        """``{% set ns.name = value %}``."""
        _require_public(name)
        super().__setitem__(name, value)


def _require_public(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a template cannot store {name!r} in a namespace: rename it")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without Jinja's escaping for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)
