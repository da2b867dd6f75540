"""The reference: Hugging Face's model in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from parity.bench import inputs
from parity.bench.task import NO_PROFILE, Task, pictures_task, unknown
from parity.core.errors import ParityError
from parity.core.trace import Array


class TorchRunner:
    """``Qwen2VLForConditionalGeneration`` of transformers, in float32."""

    def __init__(self, threads: int, attention: str) -> None:
        """Import the framework.

        Args:
            threads: What it computes with.
            attention: ``eager`` or ``sdpa``.
        """
        self.torch = self.set_up(threads)
        import transformers

        transformers.utils.logging.disable_progress_bar()
        self.attention = attention
        self._loaded: tuple[Path, Any] | None = None

    def set_up(self, threads: int) -> Any:
        """The module ``torch``, ready."""
        import torch

        torch.set_num_threads(threads)
        return torch

    def versions(self) -> dict[str, str]:
        """Of what it is made of."""
        return {name: version(name) for name in ("torch", "transformers")}

    def prepare(self, task: str, folder: Path, size: Mapping[str, int]) -> Task:
        """Load the checkpoint and make the task's inputs."""
        tasks = {
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
        """Only the port's model is profiled."""
        raise ParityError(NO_PROFILE)

    def _model(self, folder: Path) -> Any:
        if self._loaded is None or self._loaded[0] != folder:
            self._loaded = None
            from transformers import Qwen2VLForConditionalGeneration

            model = Qwen2VLForConditionalGeneration.from_pretrained(
                str(folder), dtype=self.torch.float32, attn_implementation=self.attention
            )
            self._loaded = folder, model.eval()
        return self._loaded[1]

    def _tensors(self, arrays: Mapping[str, Array]) -> dict[str, Any]:
        return {name: self.torch.from_numpy(array) for name, array in arrays.items()}

    def _vision_block(self, model: Any, size: Mapping[str, int]) -> Task:
        """The first block on the very arguments that the tower gives it."""
        seen: list[Any] = []
        block = model.model.visual.blocks[0]
        hook = block.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
        )
        try:
            self._vision_tower(model, size).run()
        finally:
            hook.remove()
        args, kwargs = seen[0]
        return Task(self._fetched(lambda: block(*args, **kwargs)))

    def _vision_tower(self, model: Any, size: Mapping[str, int]) -> Task:
        made = self._tensors(inputs.patches(size["grid_height"], size["grid_width"]))
        visual = model.model.visual

        def run() -> Any:
            found = visual(made["pixel_values"], grid_thw=made["image_grid_thw"])
            return getattr(found, "pooler_output", found)  # a tensor before transformers 5

        return Task(self._fetched(run))

    def _fetched(self, call: Any) -> Any:
        def run() -> Array:
            with self.torch.no_grad():
                return np.asarray(call().numpy())

        return run

    def _prefill(self, model: Any, size: Mapping[str, int]) -> Task:
        given = {"input_ids": inputs.tokens(size["tokens"])}
        return Task(lambda: _Decoding(self.torch, model, given).logits)

    def _decode(self, model: Any, size: Mapping[str, int]) -> Task:
        """Steps on given tokens; each run goes on where the last one stopped."""
        length, steps = size["tokens"], size["steps"]
        text = inputs.tokens(length + steps * size["runs"])
        decoding = _Decoding(self.torch, model, {"input_ids": text[:, :length]})

        def run() -> Array:
            past = decoding.length
            columns = text[:, past : past + steps].T
            return np.stack([decoding.step(column) for column in columns])

        return Task(run, parts=steps)

    def _tiny_prompt(self, model: Any, size: Mapping[str, int]) -> Task:
        given = inputs.read_case(Path(str(size["inputs"])))
        return Task(lambda: _Decoding(self.torch, model, given).logits)

    def _tiny_decode(self, model: Any, size: Mapping[str, int]) -> Task:
        """Greedy steps after the prompt, which is run before each and not timed."""
        given = inputs.read_case(Path(str(size["inputs"])))
        state: list[_Decoding] = []

        def reset() -> None:
            state[:] = [_Decoding(self.torch, model, given)]

        def run() -> Array:
            found: list[Array] = [state[0].logits]
            for _ in range(size["steps"]):
                found.append(state[0].step(found[-1].argmax(axis=-1)))
            return np.stack(found)

        return Task(run, reset, parts=size["steps"])


class _Decoding:
    """A prompt without padding that was run, and what goes from one step to the next.

    Attributes:
        logits: float32 [B, V] of the last token so far.
        length: Tokens of a row so far.
    """

    def __init__(self, torch: Any, model: Any, given: Mapping[str, Array]) -> None:
        """Run the prompt ``given``, and remember it."""
        from transformers import DynamicCache

        self.torch, self.model = torch, model
        self.cache = DynamicCache(config=model.config.get_text_config())
        self.model.model.rope_deltas = None
        self.mask = np.ones_like(given["input_ids"])
        self.logits = self._run(given)

    @property
    def length(self) -> int:
        """Tokens of a row that the cache holds."""
        return int(self.mask.shape[1])

    def step(self, tokens: Array) -> Array:
        """One more token of each row, int [B]."""
        deltas = self.model.model.rope_deltas  # None where a prompt has no pictures
        delta = 0 if deltas is None else int(deltas.numpy()[0, 0])
        # Only the reference's `generate` works the position out; its `forward` wants to be told.
        positions = np.full((3, len(tokens), 1), self.length + delta, np.int64)
        self.mask = np.pad(self.mask, ((0, 0), (0, 1)), constant_values=1)
        ids = tokens[:, None].astype(np.int64)
        self.logits = self._run({"input_ids": ids, "position_ids": positions})
        return self.logits

    def _run(self, given: Mapping[str, Array]) -> Array:
        arrays = {**given, "attention_mask": self.mask}
        tensors = {name: self.torch.from_numpy(array) for name, array in arrays.items()}
        with self.torch.no_grad():
            found = self.model(
                **tensors, past_key_values=self.cache, use_cache=True, logits_to_keep=1
            )
        return np.asarray(found.logits[:, -1].numpy())


class PictureRunner:
    """The reference's image processor, on Pillow or on torchvision."""

    def __init__(self, threads: int, backend: str) -> None:
        """``backend`` is ``pillow`` or ``torchvision``, which is imported before transformers."""
        from parity.bench.preprocessing import prepare

        self.backend = backend
        self.process = prepare(backend)
        import torch

        torch.set_num_threads(threads)

    def versions(self) -> dict[str, str]:
        """Of what it is made of."""
        made_of = "pillow" if self.backend == "pillow" else "torch"
        return {name: version(name) for name in (made_of, "transformers")}

    def prepare(self, task: str, folder: Path, size: Mapping[str, int]) -> Task:
        """Read the photograph."""
        return pictures_task(task, self.process, size)

    def profile(self, task: Task) -> dict[str, Any]:
        """Only the port's model is profiled."""
        raise ParityError(NO_PROFILE)
