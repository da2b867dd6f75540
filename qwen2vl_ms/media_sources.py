"""Names of pictures and videos: what is a local file, what is encoded text, what is refused."""

from __future__ import annotations

import base64
import binascii
import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from qwen2vl_ms.errors import Qwen2VLError

LONGEST_NAME = 120  # characters of a name in an error message
FILE_SCHEME = "file://"
DATA_SCHEME = "data:"
NETWORK_SCHEMES = ("http://", "https://", "ftp://", "s3://", "gs://", "oss://", "rtsp://")


def is_name(item: Any) -> bool:
    """Whether something names a picture or a video, and is not one itself."""
    return isinstance(item, (str, os.PathLike))


def shortened(name: str) -> str:
    """A name as an error message shows it."""
    return name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "..."


def describe(media: Any) -> str:
    """A file's name in brackets, for error messages; nothing for what has no name."""
    name = media.filename if isinstance(getattr(media, "filename", None), str) else ""
    if is_name(media):
        name = os.fspath(media)
    return f" ({shortened(name)})" if name else ""


def local_path(name: str | os.PathLike[str]) -> Path:
    """The path that a name means: the name itself, or what follows ``file://``.

    Percent signs after ``file://`` are taken as they are if there is such a file (qwen-vl-utils
    never decodes them), and else decoded, as URLs are meant.

    Raises:
        Qwen2VLError: an address on the network.
    """
    text = os.fspath(name)
    if text.lower().startswith(NETWORK_SCHEMES):
        raise Qwen2VLError(
            "is an address on the network, and nothing is downloaded: download the file first and "
            "give its path"
        )
    if not text.startswith(FILE_SCHEME):
        return Path(text)
    plain = text[len(FILE_SCHEME) :].removeprefix("localhost")
    return Path(plain) if exists(Path(plain)) else Path(unquote(plain))


def exists(path: Path) -> bool:
    """Whether there is such a file or folder; a name that could not be one is none."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or a zero byte in it
        return False


def encoded_picture(name: Any) -> io.BytesIO | None:
    """The file that a ``data:image/...;base64,`` text holds, or ``None`` for any other name.

    Raises:
        Qwen2VLError: another kind of data, or not base64.
    """
    if not isinstance(name, str) or not name.startswith(DATA_SCHEME):
        return None
    kind, _, text = name.partition(",")
    if not kind.startswith("data:image/") or not kind.endswith(";base64"):
        raise Qwen2VLError(
            f"is data of the kind {shortened(kind)!r}: only data:image/...;base64, is read"
        )
    try:
        return io.BytesIO(base64.b64decode("".join(text.split()), validate=True))
    except (binascii.Error, ValueError) as error:
        raise Qwen2VLError(f"is no valid base64 ({error}): encode the file again") from None
