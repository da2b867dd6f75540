"""The trend's page and command: what is new first, nothing runs, nothing leaves the file."""

import dataclasses
import html.parser
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from parity.__main__ import app
from parity.core.errors import ParityError
from parity.core.rows import Verdict
from parity.history.database import History
from parity.history.place import as_url
from parity.history.record import record_of
from parity.history.spark import Spark, draw, draw_small
from parity.history.trend import grouped, judgements
from parity.history.view import view
from parity.report.rows_io import to_json
from parity.tests.history_runs import record, result
from parity.tests.report_runs import EVIL_CASE, hostile


@pytest.fixture
def file(tmp_path):
    return tmp_path / "history.sqlite"


def fill(file, *nights):
    history = History(as_url(file))
    for night, ratios in enumerate(nights):
        history.append(record(night, ratios, commit=f"commit{night}"))
    return history


def trend(tmp_path, file, *more):
    page = tmp_path / "out" / "trend.html"
    arguments = ["trend", "--history", str(file), "-o", str(page), *more]
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done, page.read_text(encoding="utf-8")


STEADY = [{"a": 0.3, "b": 0.5}] * 8
WORSE = [*STEADY, *[{"a": 0.3, "b": 0.5 * 2.5}] * 2]


def test_a_steady_history_passes_and_says_so(tmp_path, file):
    fill(file, *STEADY)
    done, page = trend(tmp_path, file, "--gate")
    assert done.exit_code == 0
    assert "trend: steady, 2 series over 8 runs" in done.output
    assert "STEADY" in page
    assert "WORSE</" not in page


def test_a_worse_level_is_first_on_the_page_and_fails_the_gate(tmp_path, file):
    fill(file, *WORSE)
    done, page = trend(tmp_path, file, "--gate")
    assert done.exit_code == 1
    assert "WORSE b in case, fp32: its local ratio went from 0.5 to 1.25" in done.output
    assert "commit8" in done.output
    assert page.index("WORSE</b>") < page.index("All points in")
    assert "b is 2.5 times as far from the reference" in page
    assert trend(tmp_path, file)[0].exit_code == 0  # without --gate it only shows


def test_view_data_says_what_and_since_when(file):
    history = fill(file, *WORSE)
    seen = view(*judgements(history, None, 90))
    (line,) = seen.alarms
    assert (line.point, line.before, line.after, line.times) == ("b", "0.5", "1.25", "2.5")
    assert line.since == "2026-01-09 03:00, commit8"
    assert line.spark.changes == (8,)
    assert [night.changes for night in seen.environments[0].nights] == [0] * 8 + [1, 0]
    (dtype,) = seen.environments[0].dtypes
    assert [(one.point, one.newest) for one in dtype.points] == [("a", "0.3"), ("b", "1.25")]


def test_a_point_that_fails_is_crossed_out(file):
    history = fill(file, *STEADY)
    history.append(record(20, {"a": 40.0, "b": 0.5}, {"a": Verdict.GUILTY}))
    seen = view(*judgements(history, None, 90))
    assert seen.sentence == "a began to fail: GUILTY in case"
    assert seen.alarms[0].spark.failing == [8]
    assert '<path class="fail"' in draw(seen.alarms[0].spark)


def test_another_environment_starts_anew_and_is_compared(tmp_path, file):
    history = fill(file, *STEADY)
    for night in range(20, 23):
        history.append(record(night, {"a": 0.9, "b": 0.5}, mindspore="2.11.0"))
    done, page = trend(tmp_path, file, "--gate")
    assert done.exit_code == 0
    assert "mindspore: 2.10.0 -&gt; 2.11.0" in page
    seen = view(*judgements(history, None, 90))
    assert [(one.point, one.times) for one in seen.environments[0].shifts] == [("a", "3")]
    assert [len(one) for one in grouped(history.runs())] == [3, 8]


def test_changed_versions_are_marked(file):
    history = History(as_url(file))
    for night in range(4):
        one = record(night, {"a": 0.3})
        facts = {"torch": "2.12" if night < 2 else "2.13", "numpy": "1"}
        history.append(dataclasses.replace(one, facts=facts))
    (environment,) = view(*judgements(history, None, 90)).environments
    assert [mark.what for mark in environment.marks] == [("torch: 2.12 -> 2.13",)]
    assert [night.marked for night in environment.nights] == [False, False, True, False]


def test_the_gate_judges_up_to_the_run_that_is_named(tmp_path, file):
    history = History(as_url(file))
    for night in range(3):
        history.append(record_of(result(night)))
    (tmp_path / "rows.json").write_text(to_json(result(1)))
    done, _ = trend(tmp_path, file, "--run", str(tmp_path / "rows.json"))
    assert "over 2 runs" in done.output
    (tmp_path / "rows.json").write_text(to_json(result(7)))
    with pytest.raises(ParityError, match="is not in the history"):
        trend(tmp_path, file, "--run", str(tmp_path / "rows.json"))


def test_an_empty_history_could_not_run(tmp_path, file):
    fill(file, *STEADY).remove(range(1, 9))
    with pytest.raises(ParityError, match="the history is empty"):
        trend(tmp_path, file)


class Tags(html.parser.HTMLParser):
    """What a browser would see."""

    def __init__(self):
        super().__init__()
        self.names, self.links, self.handlers, self.open = set(), [], [], []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_hostile_names_are_only_text(tmp_path, file):
    history = History(as_url(file))
    for night in range(3):
        history.append(record_of(result(night, hostile().rows, commit="</style><script>x")))
    _, page = trend(tmp_path, file)
    tags = Tags()
    tags.feed(page)
    assert not tags.names & {"script", "img", "iframe", "link", "object"}
    assert tags.handlers == []
    assert all(link.startswith("#") for link in tags.links)
    assert EVIL_CASE not in page
    assert "script-src 'none'" in page


def test_every_link_leads_somewhere_and_every_drawing_has_words(tmp_path, file):
    fill(file, *WORSE)
    _, page = trend(tmp_path, file)
    ids = re.findall(r'id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)
    drawings = re.findall(r"<svg[^>]*>", page)
    small = [one for one in drawings if 'aria-hidden="true"' in one]  # beside a number
    assert len(small) == 2
    drawings = [one for one in drawings if one not in small]
    assert len(drawings) >= 2
    assert all('role="img"' in one and re.search(r'aria-label="[^"]+"', one) for one in drawings)


@pytest.mark.parametrize("values", [
    [0.3], [np.nan], [np.nan, 0.3, np.nan], [0.0, np.inf, 1e30], [0.3] * 90, [],
])  # fmt: skip
def test_every_series_can_be_drawn(values):
    drawn = str(draw(Spark(values)))
    numbers = [float(x) for x in re.findall(r"-?\d+\.?\d*", re.findall(r' d="(.*?)"', drawn)[-1])]
    assert all(0 <= one <= 200 for one in numbers)
    assert "nan" not in drawn
    assert "nan" not in str(draw_small(values))


def test_a_small_drawing_goes_where_the_ratios_go():
    assert 'd="M0 14h0l6 0l6-12"' in draw_small([0.02, 0.02, 0.04])
    assert draw_small([0.02, np.nan, 0.04]).count("M") == 2


def test_the_height_of_a_line_tells_the_ratio():
    low, high = draw(Spark([0.2, 0.2])), draw(Spark([0.2, 0.8]))
    assert 'class="line" d="M4 ' in low
    first, last = re.findall(r"M4 ([\d.]+).*L[\d.]+ ([\d.]+)", high)[0]
    assert float(last) < float(first)  # higher up is worse
    assert 'class="gate"' in high
    assert 'class="gate"' not in draw(Spark([0.01, 0.02]))


@pytest.mark.slow
def test_the_largest_page_stays_small(tmp_path, file):
    """3,000 points in 4 dtypes over 30 runs, each another number every night."""
    random = np.random.default_rng(0)
    history = History(as_url(file))
    for night in range(30):
        base = record(night, {f"language_model.layers.{n}.mlp.down_proj": 0.5 for n in range(3000)})
        entries = [
            dataclasses.replace(
                one, key=dataclasses.replace(one.key, dtype=dtype),
                local=dataclasses.replace(one.local, ratio=float(np.float32(random.uniform(1, 2)))),
            )
            for dtype in ("fp32", "fp16", "bf16", "ascend-mixed")
            for one in base.entries
        ]  # fmt: skip
        history.append(dataclasses.replace(base, entries=tuple(entries)))
    _, page = trend(tmp_path, file)
    assert page.count("<svg") > 12_000
    assert len(page.encode()) < 3e6
