"""MindNLP: the reference's own code on MindNLP's torch, which computes with MindSpore."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from parity.bench.torch_runner import TorchRunner


class MindNlpRunner(TorchRunner):
    """``Qwen2VLForConditionalGeneration`` of transformers, run as MindNLP documents."""

    def set_up(self, threads: int) -> Any:
        """Import mindnlp first, which puts its torch in PyTorch's place."""
        import mindnlp  # type: ignore[import-not-found]  # noqa: F401
        import mindspore

        mindspore.device_context.cpu.op_tuning.threads_num(threads)
        import torch

        return torch

    def versions(self) -> dict[str, str]:
        """Of what it is made of."""
        return {name: version(name) for name in ("mindnlp", "mindspore", "transformers")}
