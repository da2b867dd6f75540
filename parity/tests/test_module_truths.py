"""The float64 truths in bundles are true: NumPy computes every kind of module again.

Agreement is 1e-13 in fp32, where what is stored beside a value is an error of 1e-7 with seven
digits. In narrower dtypes the stored error is larger, and its own rounding is what is left.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from parity.core.errors import ParityError
from parity.core.numerics import precision
from parity.core.rows import Kind
from parity.session import Session
from parity.settings import Settings
from parity.subjects import modules, recipe
from parity.subjects.modules import Run, firing_inputs, inner_outputs

CASES = ("single-image", "text-only")
AGREE = 1e-13
STORED_DIGITS = 2.0**-24
NAIVE = 1e-9
"""Twice this far off is what a cast to float32 inside leaves; measured 1e-8 and more."""


@cache
def session():
    return Session(Settings(cases=CASES))


@cache
def bundle(case, dtype="fp32"):
    found = next(one for one in session().cases if one.name == case)
    return session().references.open(found, dtype)


@cache
def parts(dtype="fp32"):
    config = modules.read_config(session().settings.checkpoint)
    return modules.Weights(session().settings.checkpoint, precision(dtype)), config


def far(got, truth):
    return float(np.linalg.norm(got - truth) / np.linalg.norm(truth))


def true(bundle, value, residual):
    wide = bundle.tensor(value).astype(np.float64)
    return wide if residual is None else wide + bundle.tensor(residual)


def outputs(case):
    """Points that are modules with outputs of floats."""
    known = bundle(case).points
    declared = [p for p in session().declared if p.name in known]
    return [p for p in declared if p.kind is Kind.FLOAT and not p.is_input]


def stored(case, point, dtype="fp32"):
    """The truth of a module's output that only its own float64 arithmetic made."""
    firing = bundle(case, dtype).points[point.name][0]
    whole = firing.local_block if point.level == "block" else firing.local
    return true(bundle(case, dtype), firing.value, whole)


def inside(case, name, run):
    """How far what reaches each module inside ``name`` is from the stored truth of that."""
    found = bundle(case)
    run = replace(run, given=inner_outputs(found, name, 0), arrived={})
    run.module(name, firing_inputs(found, name, 0))
    for inner, arrived in run.arrived.items():
        firing = found.points[inner][0]
        given = next(iter(firing.inputs.values()))
        yield inner, far(arrived, true(found, given, firing.arrival))


@pytest.mark.parametrize("case", CASES)
def test_every_stored_truth_is_what_numpy_computes(case):
    weights, config = parts()
    seen = set()
    for point in outputs(case):
        if point.level == "block" or point.role in ("layer_norm", "rms_norm", "linear"):
            inputs = firing_inputs(bundle(case), point.name, 0)
            got = modules.compute(point.name, inputs, weights, config)
            assert far(got, stored(case, point)) < AGREE, point.name
            seen.add(point.role)
    wanted = {"rms_norm", "linear", "embedding", "text_block", "head"}
    if case == "single-image":
        wanted |= {"patch_embed", "layer_norm", "vision_block", "merger"}
    assert seen == wanted


@pytest.mark.parametrize("case", CASES)
def test_so_is_what_connects_the_modules_inside_another(case):
    """Attention, activations, residuals and reshapes: the work between two modules."""
    seen = set()
    for point in outputs(case):
        for inner, distance in inside(case, point.name, Run(*parts())):
            assert distance < AGREE, inner
            seen.add((point.role, inner.rpartition(".")[2]))
    assert {("text_attention", "o_proj"), ("text_mlp", "down_proj"),
            ("text_block", "post_attention_layernorm")} <= seen  # fmt: skip
    if case == "single-image":
        assert {("vision_attention", "proj"), ("vision_mlp", "fc2"), ("merger", "2")} <= seen


def test_in_narrow_dtypes_it_agrees_to_the_digits_that_are_stored():
    weights, config = parts("bf16")
    for point in outputs("text-only"):
        if point.level == "block":
            found = bundle("text-only", "bf16")
            got = modules.compute(
                point.name, firing_inputs(found, point.name, 0), weights, config
            )  # fmt: skip
            truth = stored("text-only", point, "bf16")
            rounding = far(found.tensor(found.points[point.name][0].value), truth) * STORED_DIGITS
            assert far(got, truth) <= max(rounding, AGREE), point.name


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("visual.blocks.0.norm1", {"layer_norm": lambda o, *a: o.layer_norm(*a, 1.0001e-6)}),
        ("visual.blocks.0", {"vision_activation": recipe.gelu}),
        ("language_model.layers.0", {"scale": lambda width: (width + 1e-6) ** -0.5}),
        ("lm_head", {"linear": lambda o, x, w, b: o.matmul(np.float32(x), np.float32(w.T))}),
    ],
)
def test_the_check_sees_a_small_mistake(name, wrong):
    found = next(point for point in session().declared if point.name == name)
    run = Run(*parts(), recipe=replace(modules.RIGHT, **wrong))
    got = run.module(name, firing_inputs(bundle("single-image"), name, 0))
    assert far(got, stored("single-image", found)) > 10 * AGREE


def test_a_decoding_step_takes_keys_and_values_from_the_steps_before():
    decoding = Session(Settings(cases=("decoding",)))
    found = decoding.references.open(decoding.cases[0], "fp32")
    for name in ("language_model.layers.1", "language_model.layers.2"):
        for index in (1, 6):
            firing = found.points[name][index]
            got = modules.compute(name, firing_inputs(found, name, index), *parts())
            assert far(got, true(found, firing.value, firing.local_block)) < AGREE
            alone = {key: found.tensor(value) for key, value in firing.inputs.items()}
            mask = alone["attention_mask"][..., -1:]
            blind = modules.compute(name, alone | {"attention_mask": mask}, *parts())
            assert far(blind, got) > 1e-3


NETWORK_KINDS = [
    ("visual.patch_embed", False), ("visual.blocks.1.norm1", False),
    ("visual.blocks.1.attn.qkv", False), ("visual.blocks.1.attn", True),
    ("visual.blocks.1.mlp", False), ("visual.blocks.1", True), ("visual.merger", False),
    ("language_model.embed_tokens", False), ("language_model.layers.1.input_layernorm", True),
    ("language_model.layers.1.self_attn", True), ("language_model.layers.1.mlp", False),
    ("language_model.layers.1", True), ("language_model.norm", True), ("lm_head", False),
]  # fmt: skip
"""A module of every kind, and whether the reference casts to float32 inside."""


@cache
def network():
    from parity.adapters.torch_reference import load
    from parity.adapters.torch_truth import widened_copy

    return widened_copy(load(session().settings.checkpoint, precision("fp32")))


def in_torch(name, inputs):
    """The reference's own module, widened, on the captured inputs."""
    import torch

    from parity.adapters.torch_truth import widen_value

    tensors = {key: torch.from_numpy(np.array(value)) for key, value in inputs.items()}
    tables = [tensors.pop(f"position_embeddings.{i}", None) for i in range(2)]
    if tables[0] is not None:
        tensors["position_embeddings"] = tuple(tables)
    first = tensors.pop("*", None)
    module = network().get_submodule(name if name == "lm_head" else f"model.{name}")
    with torch.no_grad():
        output = module(*([] if first is None else [widen_value(first)]), **widen_value(tensors))
    return (output[0] if isinstance(output, tuple) else output).numpy()


@pytest.mark.parametrize(("name", "casts"), NETWORK_KINDS)
def test_the_widened_module_is_the_truth_and_the_naive_double_is_not(name, casts):
    from parity.adapters.torch_truth import Widen

    inputs = firing_inputs(bundle("single-image"), name, 0)
    got = modules.compute(name, inputs, *parts())
    with Widen():
        assert far(in_torch(name, inputs), got) < AGREE
    naive = far(in_torch(name, inputs), got)
    assert naive > NAIVE if casts else naive < AGREE


def test_the_kinds_above_are_all_kinds():
    roles = {point.name: point.role for point in session().declared}
    floats = {point.role for point in outputs("single-image")}
    assert {roles[name] for name, _ in NETWORK_KINDS} == floats


def test_a_replaced_primitive_is_used():
    inputs = firing_inputs(bundle("single-image"), "visual.merger", 0)
    ops = replace(modules.EXACT, erf=lambda x: np.tanh(x))
    other = modules.compute("visual.merger", inputs, *parts(), ops)
    assert far(other, modules.compute("visual.merger", inputs, *parts())) > 1e-3


def test_what_is_asked_wrongly_is_one_clear_error(tmp_path):
    weights, config = parts()
    with pytest.raises(ParityError, match=r"visual\.nothing is not computed"):
        modules.compute("visual.nothing", {}, weights, config)
    with pytest.raises(ParityError, match="lm_head needs the input"):
        modules.compute("lm_head", {}, weights, config)
    with pytest.raises(ParityError, match=r"has no tensor visual\.merger\.ln_q\.nothing"):
        weights("visual.merger.ln_q", "nothing")
    with pytest.raises(ParityError, match=r"holds neither model.safetensors nor"):
        modules.Weights(tmp_path, precision("fp32"))
    with pytest.raises(ParityError, match="has no firing 3 of lm_head"):
        firing_inputs(bundle("single-image"), "lm_head", 3)
