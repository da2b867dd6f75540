"""The port, in PyNative or compiled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np

from parity.bench import inputs
from parity.bench.task import Task, unknown
from parity.core.errors import ParityError
from parity.core.trace import Array


class PortRunner:
    """``qwen2vl_ms.Qwen2VLForConditionalGeneration`` in float32 on the CPU."""

    def __init__(self, threads: int, jit: bool = False) -> None:
        """Set MindSpore up.

        Args:
            threads: Of its kernels; its products also follow ``OMP_NUM_THREADS``.
            jit: Compile each block.
        """
        ms.set_device("CPU")
        ms.device_context.cpu.op_tuning.threads_num(threads)
        ms.runtime.launch_blocking()  # a kernel's time is then where its call is
        self.jit = jit
        self._loaded: tuple[Path, Any] | None = None

    def versions(self) -> dict[str, str]:
        """Of what it is made of."""
        return {"mindspore": str(ms.__version__)}

    def prepare(self, task: str, folder: Path, size: Mapping[str, int]) -> Task:
        """Load the checkpoint and make the task's inputs."""
        tasks: dict[str, Callable[[Any, Mapping[str, int]], Task]] = {
            "vision-block": self._vision_block,
            "vision-tower": self._vision_tower,
            "prefill": self._prefill,
            "decode": self._decode,
            "tiny-prompt": self._tiny_prompt,
            "tiny-decode": self._tiny_decode,
        }
        if task not in tasks:
            raise ParityError(unknown(task, tasks))
        return tasks[task](self._model(folder), size)

    def profile(self, task: Task) -> dict[str, Any]:
        """Where the time of ``task`` goes, by MindSpore's own profiler."""
        from parity.bench.mindspore_profile import profile

        return profile(task)

    def _model(self, folder: Path) -> Any:
        from qwen2vl_ms import Qwen2VLForConditionalGeneration

        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None
            model = Qwen2VLForConditionalGeneration.from_pretrained(folder, jit=self.jit)
            self._loaded = folder, model
        return self._loaded[1]

    def _vision_block(self, model: Any, size: Mapping[str, int]) -> Task:
        """The first block on the very arguments that the tower gives it."""
        seen: list[Any] = []
        block = model.model.visual.blocks[0]
        hook = block.register_forward_pre_hook(
            lambda cell, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
        )
        try:
            self._vision_tower(model, size).run()
        finally:
            hook.remove()
        args, kwargs = seen[0]
        return Task(lambda: _fetched(block(*args, **kwargs)))

    def _vision_tower(self, model: Any, size: Mapping[str, int]) -> Task:
        made = inputs.patches(size["grid_height"], size["grid_width"])
        pixels, grid = ms.Tensor(made["pixel_values"]), made["image_grid_thw"]
        visual = model.model.visual
        return Task(lambda: _fetched(visual(hidden_states=pixels, grid_thw=grid)))

    def _prefill(self, model: Any, size: Mapping[str, int]) -> Task:
        text = inputs.tokens(size["tokens"])
        return Task(lambda: _Decoding(model, {"input_ids": text}, text.shape[1]).logits)

    def _decode(self, model: Any, size: Mapping[str, int]) -> Task:
        """Steps on given tokens; each run goes on where the last one stopped."""
        length, steps = size["tokens"], size["steps"]
        text = inputs.tokens(length + steps * size["runs"])
        decoding = _Decoding(model, {"input_ids": text[:, :length]}, text.shape[1])

        def run() -> Array:
            past = decoding.length
            columns = text[:, past : past + steps].T
            return np.stack([decoding.step(column) for column in columns])

        return Task(run, parts=steps)

    def _tiny_prompt(self, model: Any, size: Mapping[str, int]) -> Task:
        given = inputs.read_case(Path(str(size["inputs"])))
        return Task(lambda: _Decoding(model, given, given["input_ids"].shape[1]).logits)

    def _tiny_decode(self, model: Any, size: Mapping[str, int]) -> Task:
        """Greedy steps after the prompt, which is run before each and not timed."""
        given = inputs.read_case(Path(str(size["inputs"])))
        capacity = given["input_ids"].shape[1] + size["steps"]
        state: list[_Decoding] = []

        def reset() -> None:
            state[:] = [_Decoding(model, given, capacity)]

        def run() -> Array:
            found: list[Array] = [state[0].logits]
            for _ in range(size["steps"]):
                found.append(state[0].step(found[-1].argmax(axis=-1)))
            return np.stack(found)

        return Task(run, reset, parts=size["steps"])


class _Decoding:
    """A prompt that was run, and what goes from one step to the next.

    Attributes:
        logits: float32 [B, V] of the last token so far.
    """

    def __init__(self, model: Any, given: Mapping[str, Array], capacity: int) -> None:
        """Run the prompt ``given`` with a cache for ``capacity`` tokens."""
        from qwen2vl_ms.generate import Decoding
        from qwen2vl_ms.generation_prompt import checked_prompt

        integers: dict[str, Any] = {name: v for name, v in given.items() if "pixel" not in name}
        pixels: dict[str, Any] = {name: v for name, v in given.items() if "pixel" in name}
        self.decoding = Decoding(model, checked_prompt(model.config, **integers), capacity)
        self.logits: Array = self.decoding.prefill(**pixels)

    @property
    def length(self) -> int:
        """Tokens of a row that the cache holds."""
        return int(self.decoding.cache.length)

    def step(self, tokens: Array) -> Array:
        """One more token of each row, int [B]."""
        self.logits = self.decoding.step(tokens.astype(np.int64))
        return self.logits


def _fetched(tensor: Any) -> Array:
    """Its numbers, which waits for them."""
    return np.asarray(tensor.asnumpy())
