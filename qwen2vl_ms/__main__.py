"""Command line: ``python -m qwen2vl_ms``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qwen2vl_ms.chat import Chat, ChatOptions
from qwen2vl_ms.chat_loop import Loop, one_line, read_line
from qwen2vl_ms.conversation import Conversation
from qwen2vl_ms.errors import Qwen2VLError
from qwen2vl_ms.generation_config import PREFILL_CHUNK

DOES_NOT_LOAD, COULD_NOT_RUN, INTERRUPTED = 1, 2, 130


class Commands(TyperGroup):
    """Commands whose errors become one line and an exit status, wherever they are raised."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except Qwen2VLError as error:
            typer.echo(f"error: {one_line(error)}", err=True)
            raise typer.Exit(COULD_NOT_RUN) from error
        except KeyboardInterrupt as interrupt:
            typer.echo(err=True)
            raise typer.Exit(INTERRUPTED) from interrupt


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help=(
        "Qwen2-VL for MindSpore: ask a checkpoint about images and videos, or look into it.\n\n"
        "Exit status: **0** done, **1** the inspected checkpoint does not load, **2** an error, "
        "told in one line, **130** interrupted."
    ),
)

Folder = Annotated[
    Path, typer.Argument(help="Checkpoint folder in the Hugging Face layout.", metavar="FOLDER")
]
ANSWER, PICTURES, COMPUTING = "How it answers", "Images and videos", "How it computes"

CHAT_HELP = """
Ask a checkpoint about images and videos; the answer is streamed.

Image question answering: `python -m qwen2vl_ms chat FOLDER --image a.jpg "Describe this image."`

Video understanding: `python -m qwen2vl_ms chat FOLDER --video c.mp4 --fps 1 --max-pixels 151200
"Describe this video."`

A conversation, when no question is given: `python -m qwen2vl_ms chat FOLDER`. It reads lines;
`/image PATH` and `/video PATH` go with the next question, `/clear` starts over, `/exit` or Ctrl-D
leaves, Ctrl-C stops an answer.

The first two do what MindONE's two scripts do, image VQA and video understanding.
"""


@app.command(help=CHAT_HELP)
def chat(
    folder: Folder,
    question: Annotated[
        str | None,
        typer.Argument(help="Without one, a conversation begins.", metavar="QUESTION"),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            help="An image file; repeat for several.",
            metavar="FILE",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    video: Annotated[
        list[str] | None,
        typer.Option(
            help="A video file, or a folder of frames; repeat for several.",
            metavar="FILE",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    min_pixels: Annotated[
        int | None,
        typer.Option(
            help="Fewest pixels of an image or of a video's frame.",
            metavar="N",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            help="Most pixels of an image or of a video's frame; fewer are faster.",
            metavar="N",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(
            help="Frames taken of a second of video.",
            show_default="2",
            metavar="RATE",
            rich_help_panel=PICTURES,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="What the model is told first.",
            show_default="the chat template's",
            metavar="TEXT",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    max_new_tokens: Annotated[
        int, typer.Option(help="Most tokens of an answer.", metavar="N", rich_help_panel=ANSWER)
    ] = 512,
    sample: Annotated[
        bool | None,
        typer.Option(
            "--sample/--greedy",
            help="Draw tokens, or take the likeliest.",
            show_default="the checkpoint's",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Over 1 more varied, under 1 less.", metavar="T", rich_help_panel=ANSWER),
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option(
            help="Draw from the fewest tokens that reach this probability.",
            metavar="P",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            help="Draw from this many likeliest tokens.", metavar="K", rich_help_panel=ANSWER
        ),
    ] = None,
    repetition_penalty: Annotated[
        float | None,
        typer.Option(
            help="Over 1: makes tokens that occurred less likely.",
            metavar="R",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Draw the same again.", metavar="N", rich_help_panel=ANSWER),
    ] = None,
    dtype: Annotated[
        str,
        typer.Option(
            help="fp32, fp16, bf16 or ascend-mixed.", metavar="NAME", rich_help_panel=COMPUTING
        ),
    ] = "fp32",
    device: Annotated[
        str | None,
        typer.Option(
            help="CPU, Ascend, or as Ascend:1.",
            show_default="MindSpore's own choice",
            metavar="NAME",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option(
            help="eager, chunked or flash.",
            show_default="the best on the device",
            metavar="NAME",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    jit: Annotated[
        bool,
        typer.Option("--jit/--no-jit", help="Compile graphs.", rich_help_panel=COMPUTING),
    ] = False,
    cache_length: Annotated[
        int | None,
        typer.Option(
            help="Tokens that prompt and answer may have together; with --jit, one length for all "
            "questions compiles once.",
            show_default="as many as are needed",
            metavar="N",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    chunk_size: Annotated[
        int | None,
        typer.Option(
            help="Prompt tokens computed at a time: less memory for a long video.",
            show_default=str(PREFILL_CHUNK),
            metavar="N",
            rich_help_panel=COMPUTING,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the answer, its tokens and timings as JSON.")
    ] = False,
) -> None:
    """Documented by CHAT_HELP."""
    if as_json and question is None:
        raise Qwen2VLError("--json needs a question: it prints one answer")
    pixels = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    settings = {"image": _given(pixels), "video": _given({**pixels, "fps": fps})}
    conversation = Conversation(system, settings)
    for kind, names in (("image", image), ("video", video)):
        for name in names or ():
            conversation.attach(kind, name)
    generation = _given(
        {
            "max_new_tokens": max_new_tokens,
            "do_sample": sample,
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "repetition_penalty": repetition_penalty,
            "seed": seed,
            "cache_length": cache_length,
            "chunk_size": chunk_size,
        }
    )
    options = ChatOptions(dtype, device, attention, jit, min_pixels, max_pixels, generation)
    run_chat(folder, question, conversation, options, as_json)


def run_chat(
    folder: Path,
    question: str | None,
    conversation: Conversation,
    options: ChatOptions,
    as_json: bool,
) -> None:
    """Load, and then answer one question or hold a conversation."""
    loaded = Chat.load(folder, options, progress=not as_json)
    if question is None:
        Loop(loaded, conversation, sys.stdout, sys.stderr, read_line).run()
        return
    conversation.ask(question)
    if as_json:
        answer = loaded.ask(conversation.messages, lambda _: None)
        typer.echo(json.dumps(loaded.as_json(answer), indent=2, ensure_ascii=False))
        return
    loaded.ask(conversation.messages, lambda text: typer.echo(text, nl=False))
    typer.echo()


@app.command()
def inspect(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Tell what is in a checkpoint, whether it loads, and the memory it takes.

    Only headers are read. Exit status: **0** it loads, **1** it does not (every reason is listed),
    **2** there is no checkpoint to look at.
    """
    from qwen2vl_ms.inspection import inspect_checkpoint
    from qwen2vl_ms.inspection_report import report

    found = inspect_checkpoint(folder)
    if as_json:
        typer.echo(json.dumps({"loads": found.loads, **asdict(found)}, indent=2))
    else:
        typer.echo(report(found))
    raise typer.Exit(0 if found.loads else DOES_NOT_LOAD)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def main() -> None:
    """Entry point."""
    os.environ.setdefault("GLOG_v", "3")  # MindSpore's warnings would bury the answer
    app()


if __name__ == "__main__":
    main()
