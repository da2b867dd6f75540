"""The judgement of generations, its file, its table, and the command on the real port."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from parity.core.cases import load_cases
from parity.core.errors import BundleError, ParityError
from parity.core.generation import (
    Generation,
    Outcome,
    ReferenceStep,
    first_difference,
    judge_row,
    measured_step,
)
from parity.core.rows import GRAPH
from parity.generation_check import COUNT, DTYPES, CaseResult, GenerationCheck
from parity.generation_table import WIDTH, summary_lines
from parity.settings import FIXTURES, Settings
from parity.tests.test_cli import parity, refused

SURE = ReferenceStep(token=5, margin=1.0, noise=0.1, contenders=(5,))
CLOSE = ReferenceStep(token=7, margin=0.1, noise=0.1, contenders=(7, 8))
ROW = [SURE, CLOSE, SURE, SURE]
TOKENS = [5, 7, 5, 5]


def judged(free, forced=None, strict=False):
    return judge_row(ROW, free, TOKENS if forced is None else forced, strict)


def test_a_step_is_measured_over_the_likeliest_tokens():
    logits = np.array([0.0, 3.0, 2.5, -9.0, *[-5.0] * 8])
    truth = logits.copy()
    truth[1] += 0.1
    truth[3] += 4.0  # far from being chosen
    step = measured_step(logits, truth)
    assert (step.token, step.contenders) == (1, (1,))
    assert (step.margin, step.noise) == (0.5, pytest.approx(0.1))
    assert step.decided
    truth[2] -= 0.3
    step = measured_step(logits, truth)
    assert (step.noise, step.contenders, step.decided) == (pytest.approx(0.3), (1, 2), False)


def test_of_equal_logits_the_first_is_chosen_and_nothing_is_decided():
    step = measured_step(np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 2.0]))
    assert (step.token, step.margin, step.decided, step.contenders) == (1, 0.0, False, (1, 2))


def test_a_margin_of_just_twice_the_noise_is_not_decided():
    assert not replace(SURE, margin=0.2).decided
    assert replace(SURE, margin=0.2001).decided


def test_the_same_tokens():
    result = judged(TOKENS)
    assert (result.outcome, result.steps, result.narrow, result.left_at) == (
        Outcome.EQUAL, 4, (1,), None,
    )  # fmt: skip


def test_another_token_where_the_reference_was_sure():
    result = judged([5, 7, 6, 5])
    assert (result.outcome, result.left_at, result.wrong_at) == (Outcome.WRONG, 2, 2)
    assert "token 6 at step 2 is another token: the reference chose 5 by a margin of 1" in (
        result.message
    )


def test_a_contender_where_rounding_decides():
    result = judged([5, 8, 1, 2])
    assert (result.outcome, result.left_at, result.differing) == (Outcome.UNDECIDED, 1, ())
    result = judged([5, 8, 1, 2], forced=[5, 8, 5, 5])
    assert (result.outcome, result.differing) == (Outcome.UNDECIDED, (1,))


def test_a_token_that_is_no_contender():
    result = judged([5, 9, 5, 5])
    assert (result.outcome, result.wrong_at) == (Outcome.WRONG, 1)
    assert "no contender" in result.message


def test_what_follows_a_divergence_is_judged_on_the_references_tokens():
    result = judged([5, 8, 5, 5], forced=[5, 7, 5, 6])
    assert (result.outcome, result.left_at, result.wrong_at) == (Outcome.WRONG, 1, 3)


def test_strictly_every_token_has_to_be_the_references():
    assert judged(TOKENS, strict=True).outcome is Outcome.EQUAL
    assert judged([5, 8, 5, 5], strict=True).outcome is Outcome.WRONG


def test_rows_of_different_length_are_not_compared():
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        first_difference([1, 2], [1])


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "one.json"
    Generation({"case": "x"}, [ROW], {"torch": "2"}).write(path)
    return path


def test_a_file_comes_back_as_it_was(written):
    assert Generation.read(written) == Generation({"case": "x"}, [ROW], {"torch": "2"})
    assert Generation.read(written).tokens == [TOKENS]
    assert [path.name for path in written.parent.iterdir()] == ["one.json"]


@pytest.mark.parametrize("change", [("rows", []), ("format", 0), ("key", {})])
def test_a_changed_file_is_refused(written, change):
    data = json.loads(written.read_text())
    written.write_text(json.dumps({**data, change[0]: change[1]}))
    with pytest.raises(BundleError, match=r"one\.json is damaged"):
        Generation.read(written)


def test_the_table_says_which_steps_were_decided_by_less():
    rows = [judged(TOKENS), judged([5, 8, 1, 2], forced=[5, 8, 5, 5]), judged([6, 7, 5, 5])]
    lines = summary_lines([CaseResult("pictures", "bf16", tuple(rows))])
    text = " ".join(" ".join(lines).split())
    assert lines[0].startswith("generation FAILED: 2 of 3 rows; 12 tokens")
    assert "pictures bf16 row 0: decided by less at step 1" in text
    assert "row 1: goes its own way from step 1" in text
    assert "chooses another contender at step 1" in text
    assert "row 2: WRONG: token 6 at step 0" in text
    assert max(map(len, lines)) <= WIDTH
    assert summary_lines([CaseResult("a", "fp32", (judged(TOKENS),))])[0].startswith(
        "generation PASSED"
    )
    assert summary_lines([])[0].startswith("generation FAILED")


def check(*, count=COUNT, **settings) -> GenerationCheck:
    made = GenerationCheck(Settings(**settings), count)
    made.validate()
    return made


def results(made: GenerationCheck, dtype: str) -> list[CaseResult]:
    made.capture([(case, dtype) for case in made.session.cases])
    return [made.run(case, dtype) for case in made.session.cases]


def test_every_call_of_a_case_is_generated():
    """A second prompt is answered by a model that has answered another one."""
    made = check(cases=("second-prompt",), count=2)
    case = made.session.cases[0]
    (found,) = results(made, "fp32")
    assert found.passed
    assert len(found.rows) == len(case.calls) == 2
    first, second = made.reference(case, "fp32").rows
    assert first != second, "one prompt was answered twice"


def test_the_port_generates_the_references_tokens():
    (result,) = results(check(cases=("two-images",)), "fp32")
    assert result.passed
    assert [row.steps for row in result.rows] == [COUNT]


def test_lost_deltas_are_found():
    made = check(cases=("two-images",), plant="rope-deltas-lost")
    (result,) = results(made, "fp32")
    assert not result.passed
    assert result.rows[0].wrong_at is not None
    assert result.rows[0].wrong_at > 0  # the prompt itself is right


def test_the_comparing_process_imports_no_torch():
    code = (
        "import sys; from parity.tests.test_generation import check, results\n"
        "assert results(check(cases=('two-images',)), 'fp32')[0].passed\n"
        "print(sorted({'torch', 'transformers', 'mindspore'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "['mindspore']"


def test_the_key_names_everything_the_tokens_depend_on():
    made = check()
    one, other = made.session.cases[:2]
    paths = {
        made.path(one, "fp32"),
        made.path(other, "fp32"),
        made.path(one, "bf16"),
        check(count=3).path(one, "fp32"),
    }
    assert len(paths) == 4
    assert made.path(one, "ascend-mixed") == made.path(one, "bf16")


def test_the_command(tmp_path):
    """Exit status 0, 1 with a planted fault, 2 for what cannot be run."""
    options = ["generation", "--case", "text-only", "--dtype", "fp32", "--count", "6",
               "--bundles", tmp_path]  # fmt: skip
    done = parity(*options)
    assert done.returncode == 0, done.stderr
    assert "generation PASSED: 1 of 1 rows; 6 tokens" in done.stdout
    assert "once; kept in" in done.stderr
    done = parity(*options, "--plant", "head-vocabulary-shift")
    assert done.returncode == 1, done.stderr
    assert "WRONG" in done.stdout
    assert "once; kept in" not in done.stderr
    file = next(tmp_path.glob("*.json"))
    file.write_text(file.read_text()[:-9])
    refused(parity(*options), file.name, "damaged")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--case", "nonsense"], ["no case is named nonsense"]),
        (["--dtype", "fp8"], ["unknown dtype 'fp8'"]),
        (["--plant", "nonsense"], ["no fault is named 'nonsense'"]),
        (["--count", "0"], ["0 tokens cannot be compared"]),
    ],
)
def test_a_name_of_nothing(tmp_path, arguments, words):
    refused(parity("generation", *arguments, "--bundles", tmp_path), *words)


def test_a_reference_that_cannot_run_is_told(tmp_path):
    made = check(cases=("text-only",), bundles=tmp_path)
    made.settings = replace(made.settings, checkpoint=tmp_path)
    with pytest.raises(ParityError, match=r"the reference could not generate.*config\.json"):
        made._start(["text-only"], ["fp32"])


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_case(dtype):
    made = check(dtypes=(dtype,))
    found = results(made, dtype)
    assert [result.case for result in found] == list(load_cases(FIXTURES / "cases.toml"))
    assert all(result.passed for result in found), "\n".join(summary_lines(found))
    assert sum(row.steps for result in found for row in result.rows) >= COUNT * len(found)


@pytest.mark.slow
@pytest.mark.parametrize("plant", ["rope-deltas-lost", "rms-eps", "gqa-tile"])
def test_planted_faults_in_fp16(plant):
    """Coarse faults change decided tokens in half precision too; a small one need not."""
    (result,) = results(check(cases=("decoding",), plant=plant), "fp16")
    assert result.passed == (plant == "rms-eps")


@pytest.mark.slow
def test_compiled_blocks_generate_the_same_tokens():
    (result,) = results(check(cases=("decoding",), modes=(GRAPH,), count=16), "fp32")
    assert result.rows[0].outcome is Outcome.EQUAL
