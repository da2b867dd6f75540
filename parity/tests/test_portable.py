"""Portable bundles of the real reference: what is in them, at what size, and who may use them."""

import json
import shutil
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from parity.core.archive import write_tar
from parity.core.cases import load_cases
from parity.core.compact import compact
from parity.core.errors import BundleError, CaseError, ParityError
from parity.core.files import file_hash
from parity.core.portable import CASES, MANIFEST, Stored, open_manifest
from parity.core.portable_bundle import residuals
from parity.core.rows import Verdict
from parity.core.sampling import LEAST, rows_of
from parity.core.store import json_hash
from parity.job import result_of
from parity.portable.cases import quoted, write_cases
from parity.portable.command import bytes_of
from parity.portable.copying import exact_points
from parity.portable.make import Order, check_place, make
from parity.portable.open import on_bundle
from parity.portable.plan import rows_that_fit
from parity.portable.references import pillow_note
from parity.provenance import version
from parity.report.ledger import ledger_view
from parity.session import Session
from parity.settings import FIXTURES, Settings

SETTINGS = Settings(cases=("single-image", "text-only"))
LARGE = Settings(cases=("left-padded-batch",))
TRUTHS = ("local", "local_block", "arrival", "end_to_end")


def session_of(settings):
    session = Session(settings)
    session.references.capture([(c, d) for d in settings.dtypes for c in session.cases])
    return session


def made(settings, folder, **options):
    return make(order_of(settings, **options), folder)


def order_of(settings, **options):
    session = session_of(settings)
    return Order(session.settings, session.references, session.cases, **options)


def on(folder, settings=SETTINGS, dtypes=None):
    """A session that runs on the bundle in ``folder``."""
    return Session(on_bundle(replace(settings, bundle=folder), dtypes))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portable") / "bundle"
    return made(SETTINGS, folder, carry=True)[0], folder


def damaged(source, place, change):
    """A copy of a bundle with one record changed, and hashed anew as an attacker would."""
    folder = shutil.copytree(source, place)
    manifest = open_manifest(folder)
    name = "records/single-image-fp32.json"
    record = json.loads((folder / name).read_text(encoding="utf-8"))
    change(record)
    text = json.dumps(record)
    (folder / name).write_text(text, encoding="utf-8")
    files = {**manifest.files, name: Stored(file_hash(folder / name), len(text))}
    (folder / MANIFEST).write_text(replace(manifest, files=files).to_json(), encoding="utf-8")
    return folder


def test_everything_but_truths_is_as_it_was_captured(bundle):
    session, there = session_of(SETTINGS), on(bundle[1])
    for case in session.cases:
        ours, theirs = session.references.open(case, "fp32"), there.references.open(case, "fp32")
        assert theirs.key == ours.key
        assert theirs.tokens == ours.tokens
        assert theirs.proofs == ours.proofs
        assert list(theirs.points) == list(ours.points), "their order is another"
        for name, firings in ours.points.items():
            for one, other in zip(firings, theirs.points[name], strict=True):
                bare = dict.fromkeys(TRUTHS)
                assert asdict(replace(one, **bare)) == asdict(replace(other, **bare))
                assert list(one.inputs) == list(other.inputs), "the first is what arrives"
                assert np.array_equal(ours.tensor(one.value), theirs.tensor(other.value))


def test_truths_are_rounded_and_those_of_blocks_are_not(bundle):
    session, there = session_of(SETTINGS), on(bundle[1])
    case, seen = session.cases[0], Counter()
    ours, theirs = session.references.open(case, "fp32"), there.references.open(case, "fp32")
    exact = exact_points(session.declared)
    for name, firings in ours.points.items():
        for one, other in zip(firings, theirs.points[name], strict=True):
            for truth in TRUTHS:
                before, after = getattr(one, truth), getattr(other, truth)
                assert (before is None) == (after is None)
                if before is None:
                    continue
                as_it_was = truth == "end_to_end" and name in exact
                array = ours.tensor(before)
                wanted = array if as_it_was else compact(array)
                assert np.array_equal(theirs.tensor(after), wanted, equal_nan=True)
                seen[as_it_was] += 1
    assert seen[False] > 100
    assert seen[True] > 5
    assert "visual.blocks.0" in exact
    assert "visual.patch_embed" in exact, "the first block adds to it"
    assert "visual.blocks.0.attn" not in exact


def test_content_is_stored_once(tmp_path):
    from safetensors import safe_open

    folder = tmp_path / "bundle"
    made(Settings(cases=("text-only",), dtypes=("fp32", "bf16")), folder)
    stored = Counter()
    for path in (folder / "tensors").iterdir():
        with safe_open(path, framework="numpy") as opened:
            stored.update(opened.keys())
    there = on(folder, Settings())
    opened = [there.references.open(there.cases[0], dtype) for dtype in ("fp32", "bf16")]
    used = [one.used for one in opened]
    assert used[0] & used[1], "the dtypes share nothing, so that this test proves nothing"
    assert dict(stored) == dict.fromkeys(used[0] | used[1], 1)


def test_the_same_content_gives_the_same_bytes(bundle, tmp_path):
    again, _ = made(SETTINGS, tmp_path / "again", carry=True)
    assert again.sha256 == bundle[0].sha256
    for folder, tar in ((bundle[1], "one.tar"), (tmp_path / "again", "two.tar")):
        write_tar(folder, open_manifest(folder), tmp_path / tar)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


def test_it_is_made_anew_in_its_place_and_over_nothing_else(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    made(replace(SETTINGS, cases=("text-only",)), folder)
    made(replace(SETTINGS, cases=("marked-mask",)), folder)
    assert open_manifest(folder).cases == ("marked-mask",)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ParityError, match="no portable bundle; choose another place"):
        made(SETTINGS, tmp_path / "thesis")
    with pytest.raises(ParityError):
        check_place(tmp_path / "thesis" / "chapter.txt")


def test_the_checkpoint_that_travels_is_the_one_that_is_used(bundle):
    there = on(bundle[1])
    assert there.settings.checkpoint == bundle[1] / "checkpoint"
    assert bundle[0].carries_checkpoint
    named = on(bundle[1], replace(SETTINGS, checkpoint=FIXTURES / "qwen2vl-tiny" / "."))
    assert named.settings.checkpoint == bundle[1] / "checkpoint"


def test_every_case_and_dtype_of_it_is_run_unless_some_are_named(bundle):
    every = on(bundle[1], Settings())
    assert [case.name for case in every.cases] == ["single-image", "text-only"]
    assert every.settings.dtypes == ("fp32",)
    with pytest.raises(ParityError, match=r"no reference for odd-video, bf16; .*single-image"):
        on(bundle[1], replace(SETTINGS, cases=("odd-video",)), ("bf16",))
    with pytest.raises(ParityError, match="unknown dtype"):
        on(bundle[1], dtypes=("fp99",))


def test_a_dtype_is_run_on_the_reference_that_it_is_held_to(tmp_path):
    folder = tmp_path / "bundle"
    manifest, _ = made(Settings(cases=("text-only",), dtypes=("bf16", "ascend-mixed")), folder)
    assert [record.name for record in manifest.records] == ["text-only-bf16"]
    there = on(folder, Settings())
    assert there.settings.dtypes == ("bf16", "ascend-mixed")
    assert there.references.open(there.cases[0], "ascend-mixed").points


def test_its_cases_are_its_own(bundle, tmp_path):
    with pytest.raises(ParityError, match="has cases of its own; leave --cases-file"):
        on(bundle[1], replace(SETTINGS, cases_file=tmp_path / "cases.toml"))
    twice = on(bundle[1], on(bundle[1]).settings)
    assert twice.settings == on(bundle[1]).settings


def test_nothing_is_captured(bundle):
    there = on(bundle[1])
    case = next(iter(load_cases(FIXTURES / "cases.toml").values()))
    there.references.capture([(case, "fp32")])
    with pytest.raises(BundleError, match="has no reference of single-image in bf16"):
        there.references.capture([(case, "bf16")])


def test_another_pillow_is_told_of(bundle):
    assert bundle[0].made["versions"]["pillow"] == version("pillow")
    assert pillow_note(bundle[0].made) is None
    there = pillow_note({"versions": {"pillow": "4.3.0"}})
    assert f"made with Pillow 4.3.0 and this is Pillow {version('pillow')}" in there
    assert pillow_note({"versions": {"pillow": None}}) is None
    assert pillow_note({"versions": 7}) is None


def test_another_checkpoint_is_refused(bundle, tmp_path):
    other = shutil.copytree(FIXTURES / "qwen2vl-tiny", tmp_path / "other")
    (other / "README.md").write_text("which changes nothing")
    assert on(bundle[1], replace(SETTINGS, checkpoint=other)).settings.checkpoint == other
    config = other / "config.json"
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    (other / "chat_template.jinja").write_text("")
    with pytest.raises(ParityError, match=r"chat_template.jinja, config.json are missing"):
        on(bundle[1], replace(SETTINGS, checkpoint=other))
    with pytest.raises(ParityError, match="cannot read the checkpoint"):
        on(bundle[1], replace(SETTINGS, checkpoint=tmp_path / "nowhere"))


def test_a_bundle_for_other_points_is_refused(bundle, tmp_path):
    def change(record):
        record["key"]["points"] = json_hash(["lm_head"])

    there = on(damaged(bundle[1], tmp_path / "old", change))
    with pytest.raises(BundleError, match="looks at other points"):
        there.references.open(there.cases[0], "fp32")


FIRING = "visual.blocks.0"


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r.pop("points"),
        lambda r: r.update(points=[]),
        lambda r: r["points"].update({FIRING: [{}]}),
        lambda r: r["points"].update({FIRING: ["x"]}),
        lambda r: r["points"][FIRING][0].update(value=None),
        lambda r: r["points"][FIRING][0].update(value="0" * 32),
        lambda r: r["points"][FIRING][0].update(inputs=[]),
        lambda r: r["points"][FIRING][0].update(inputs={"hidden_states": 5}),
        lambda r: r["points"][FIRING][0].update(local=1),
        lambda r: r["points"][FIRING][0].update(weight_rounding="x"),
        lambda r: r["points"][FIRING][0].update(extra=1),
        lambda r: r.update(tokens=[[["a"]]]),
        lambda r: r.update(tokens=[[[1], [1, 2]]]),
        lambda r: r.update(tokens=[]),
        lambda r: r.update(tokens=7),
        lambda r: r.update(chunks=0),
        lambda r: r.update(chunks=True),
        lambda r: r.update(proofs=[{"claim": 1}]),
        lambda r: r.update(sampled={"9999999": [1]}),
        lambda r: r.update(sampled=[]),
        lambda r: r.update(key=7),
        lambda r: r.update(provenance=None),
    ],
)
def test_a_record_that_no_maker_wrote_is_refused(bundle, tmp_path, change):
    there = on(damaged(bundle[1], tmp_path / "damaged", change))
    with pytest.raises(BundleError, match="damaged"):
        there.references.open(there.cases[0], "fp32")


def test_a_tensor_that_changed_after_it_was_opened_is_refused(bundle, tmp_path):
    """Files are checked once, and every tensor again when it is read."""
    folder = shutil.copytree(bundle[1], tmp_path / "copy")
    there = on(folder)
    path = folder / "tensors" / "single-image-fp32.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    opened = there.references.open(there.cases[0], "fp32")
    with pytest.raises(BundleError, match="does not match its hash"):
        opened.check()
    with pytest.raises(BundleError, match="safetensors is damaged"):
        on(folder)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A bundle of as few rows as there can be, its size and that of all rows."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    demand = order_of(LARGE).demand()
    manifest, _ = made(LARGE, folder, max_size=demand.size(LEAST))
    return manifest, folder, demand


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_bundle_keeps_to_its_size(small):
    manifest, folder, demand = small
    assert 0.95 * demand.size(LEAST) <= size_of(folder) <= demand.size(LEAST)
    assert manifest.exactness["rows"] == LEAST


def test_without_a_limit_it_takes_what_was_reckoned(tmp_path, small):
    manifest, _ = made(LARGE, tmp_path / "whole")
    assert "rows" not in manifest.exactness
    assert 0.95 * small[2].size(None) <= size_of(tmp_path / "whole") <= small[2].size(None)


def test_what_cannot_fit_is_told_with_the_least_that_does(small, tmp_path):
    least = small[2].size(LEAST)
    with pytest.raises(ParityError, match=f"it takes {least:,}.*--max-size") as caught:
        made(LARGE, tmp_path / "none", max_size=least - 1)
    assert not list(tmp_path.iterdir())
    named = str(caught.value).partition("--max-size ")[2].partition(" ")[0]
    assert rows_that_fit(small[2], bytes_of(named)) is not None


def test_the_rows_that_fit_are_as_many_as_can_be(small):
    demand = small[2]
    for limit in range(demand.size(LEAST), demand.size(None), 777_777):
        most = rows_that_fit(demand, limit)
        assert demand.size(most) <= limit < demand.size(most + 8)
    assert rows_that_fit(demand, demand.size(None)) is None
    assert rows_that_fit(demand, None) is None


def test_what_is_kept_of_a_sample_is_as_exact_as_without_it(small):
    ours = session_of(LARGE).references
    case = session_of(LARGE).cases[0]
    there = on(small[1], LARGE)
    whole, part = ours.open(case, "fp32"), there.references.open(case, "fp32")
    exact, compared = exact_points(ours.declared), Counter()
    sampled = there.references.sampled(part)
    for name, firings in whole.points.items():
        for one, other in zip(firings, part.points[name], strict=True):
            assert np.array_equal(whole.tensor(one.value), part.tensor(other.value))
            for truth in TRUTHS:
                if (before := getattr(one, truth)) is None:
                    continue
                as_it_was = truth == "end_to_end" and name in exact
                array = whole.tensor(before)
                array = array if as_it_was else compact(array)
                kept = sampled.get(rows_of(array.shape), np.ones(rows_of(array.shape), bool))
                found = part.tensor(getattr(other, truth)).reshape(len(kept), -1)
                assert np.array_equal(found[kept], array.reshape(len(kept), -1)[kept])
                assert np.isnan(found[~kept]).all()
                compared[bool(kept.all())] += 1
    assert compared[False] > 100


def test_no_row_of_padding_takes_the_place_of_another(small):
    there = on(small[1], LARGE)
    record = there.references.open(there.cases[0], "fp32")
    mask = record.tensor(record.points["processor.attention_mask"][0].value).reshape(-1) != 0
    kept = there.references.sampled(record)[mask.size]
    assert not (kept & ~mask).any()
    assert LEAST - 16 <= kept.sum() <= LEAST


def test_a_residual_is_expanded_to_the_size_of_what_it_is_added_to(small):
    there = on(small[1], LARGE)
    record = there.references.open(there.cases[0], "fp32")
    for name, of in residuals(record.points):
        assert record.tensor(name).shape == record.tensor(of).shape


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("1.5 MB", 1_500_000), ("900", 900), ("7kB", 7000), ("1TB", 10**12)],
)
def test_sizes(text, size):
    assert bytes_of(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "2 GiB", "1,5GB", "nan", "9" * 400])
def test_what_is_no_size(text):
    with pytest.raises(ParityError, match="no size"):
        bytes_of(text)


def test_every_case_comes_back_from_its_copy(tmp_path):
    cases = load_cases(FIXTURES / "cases.toml")
    write_cases(list(cases.values()), FIXTURES, tmp_path)
    copies = load_cases(tmp_path / CASES)
    assert list(copies) == list(cases)
    for name, case in cases.items():
        assert copies[name].inputs == case.inputs
        assert [path.read_bytes() for path in copies[name].files] == [
            path.read_bytes() for path in case.files
        ]
    used = {path for case in cases.values() for path in case.files}
    assert len([path for path in tmp_path.rglob("*.*") if path.is_file()]) == len(used) + 1


def test_any_text_comes_back(tmp_path):
    text = "".join(map(chr, range(0x300))) + "\u2028\U0001f600\\\"'''"
    source = tmp_path / "source"
    source.mkdir()
    content = f"[a]\nabout = {quoted(text)}\n[[a.prompts]]\ncontent = [{{ text = {quoted(text)} }}]"
    (source / CASES).write_text(content, encoding="utf-8")
    cases = load_cases(source / CASES)
    write_cases(list(cases.values()), source, tmp_path)
    assert load_cases(tmp_path / CASES)["a"] == cases["a"]
    assert cases["a"].prompts[0][0].text == text


def test_a_video_of_links_to_different_places_is_refused(tmp_path):
    source = tmp_path / "source"
    frames = sorted((FIXTURES / "videos" / "moving-four").iterdir())[:3]
    for folder in ("clip", "elsewhere"):
        (source / folder).mkdir(parents=True)
    for number, frame in enumerate(frames):
        shutil.copy(frame, source / "elsewhere" / f"{number}.png")
    (source / "clip" / "0.png").symlink_to(source / "elsewhere" / "1.png")
    shutil.copy(frames[0], source / "clip" / "1.png")
    (source / CASES).write_text('[a]\n[[a.prompts]]\ncontent = [{ video = "clip" }]')
    with pytest.raises(CaseError, match="cannot travel"):
        write_cases(list(load_cases(source / CASES).values()), source, tmp_path)


@pytest.mark.slow
def test_a_run_on_a_sample_finds_a_fault_and_says_what_it_left_out(small):
    """Everything passes and every proof holds on it; a fault is found at its place, by name."""
    settings = on(small[1], LARGE).settings
    session = Session(settings, prove=True, look_into=True)
    (case,) = session.cases
    rows = session.run(case, "fp32")
    assert {row.verdict for row in rows} == {Verdict.PASS}
    assert session.invalid == []
    (covered,) = session.covered
    assert covered.sampled > 50
    assert covered.repeated
    (note,) = [note for note in ledger_view(result_of(session, 0.0)).notes if "sample" in note.text]
    assert f"{covered.rows_not_compared:,} rows left out" in note.text
    planted = session.planting("quick-gelu-as-gelu")
    guilty = [row for row in planted.run(case, "fp32") if row.verdict is Verdict.GUILTY]
    assert [row.point for row in guilty] == ["visual.blocks.2.mlp"]
    assert "erf GELU" in guilty[0].suggestions[0]
