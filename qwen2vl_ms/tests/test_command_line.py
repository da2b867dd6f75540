"""The command line in processes of its own: streams, exit statuses, signals."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

FIXTURES = Path(__file__).parents[2] / "fixtures"
TINY = FIXTURES / "qwen2vl-tiny"
GREY = str(FIXTURES / "images" / "grey.png")


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "qwen2vl_ms", *arguments]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_v"}
    return subprocess.Popen(command, text=True, env=environment, **pipes)


def test_an_error_is_one_line_on_standard_error() -> None:
    process = start("chat", str(TINY), "Which?", "--image", GREY, "--device", "Ascend")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert out == ""
    assert re.fullmatch(r"error: device Ascend cannot be used here: .*\n", err)


def test_a_conversation_through_pipes() -> None:
    process = start("chat", str(TINY), "--image", GREY)
    lines = "Which digits are shown?\n/clear\nWhich digit comes after 4?\n"
    out, err = process.communicate(lines, timeout=120)
    assert process.returncode == 0
    assert out == "69\n5\n"
    assert "Ctrl-D leaves" in err
    assert err.endswith("started over\n")
    assert len(err.splitlines()) == 2  # nothing of the framework's between them


def test_an_answer_is_streamed_and_interrupted(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(TINY, tmp_path / "endless"))
    file = folder / "generation_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**settings, "eos_token_id": []}), encoding="utf-8")
    process = start("chat", str(folder), "Which digit comes after 4?", "--max-new-tokens", "9000")
    assert process.stdout is not None
    assert process.stdout.read(1) == "5"  # long before the end
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert err == "\n"
