"""Finished runs: whole under their names, the newest as ``latest``, whoever is killed or late."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from threading import Thread

import pytest

from parity import runs
from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.report.rows_io import read_json
from parity.report.write import FILES, write_report
from parity.runs import check_place, find_run, finished, publish, write_run
from parity.tests.report_runs import row

ROOT = Path(__file__).parents[2]


def result(case="one"):
    return RunResult([row(0, "lm_head", case=case)])


def case_of(folder):
    """Which run a folder holds; it has to be whole."""
    assert {entry.name for entry in folder.iterdir()} == FILES
    return read_json(folder / "rows.json").rows[0].case


def cases(reports):
    return [case_of(folder) for folder in finished(reports)]


def litter(reports):
    """What stands about that is neither a run, nor ``latest``, nor the lock."""
    known = {*finished(reports), reports / "runs" / ".lock", reports / "runs", reports / "latest"}
    return {*reports.iterdir(), *(reports / "runs").iterdir()} - known


@pytest.fixture
def reports(tmp_path):
    return tmp_path / "reports"


def test_a_run_has_a_folder_of_its_own_and_latest_leads_to_the_newest(reports):
    first = publish(result("one"), reports)
    assert first == finished(reports)[0] / "index.html"
    assert case_of(reports / "latest") == "one"
    second = publish(result("two"), reports)
    assert case_of(reports / "latest") == "two"
    assert case_of(first.parent) == "one"
    assert (reports / "latest").resolve() == second.parent.resolve()
    assert not (reports / "latest").readlink().is_absolute(), "the folder can be moved"
    assert not litter(reports)


def test_a_name_tells_when_the_run_was_finished(reports):
    name = publish(result(), reports).parent.name
    assert re.fullmatch(r"\d{8}T\d{6}\.\d{3}Z-[0-9a-f]{6}", name)
    stamp = datetime.strptime(name[:19] + "+0000", "%Y%m%dT%H%M%S.%f%z")
    assert abs(stamp.timestamp() - time.time()) < 60


def test_the_order_of_names_is_that_of_finishing_even_if_the_clock_is_set_back(
    reports, monkeypatch
):
    publish(result("one"), reports)

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2001, 1, 1, tzinfo=tz)

    monkeypatch.setattr(runs, "datetime", Yesterday)
    for case in ("two", "three"):
        publish(result(case), reports)
    assert cases(reports) == ["one", "two", "three"]
    assert case_of(reports / "latest") == "three"


def test_a_run_that_began_earlier_and_ends_later_is_the_newest(reports, monkeypatch):
    """Runs stand in the order in which they were finished; none is hidden by a quicker one."""
    fill = runs.fill

    def slow(folder, told, tables):
        if told.rows[0].case == "slow":
            monkeypatch.setattr(runs, "fill", fill)
            publish(result("quick"), reports)
            assert case_of(reports / "latest") == "quick"
        fill(folder, told, tables)

    monkeypatch.setattr(runs, "fill", slow)
    publish(result("slow"), reports)
    assert cases(reports) == ["quick", "slow"]
    assert case_of(reports / "latest") == "slow"


def test_a_folder_that_was_asked_for_is_written_and_latest_stays(reports, tmp_path):
    publish(result("one"), reports)
    assert write_run(result("two"), tmp_path / "mine", reports) == tmp_path / "mine" / "index.html"
    assert case_of(tmp_path / "mine") == "two"
    assert cases(reports) == ["one"]


def test_asking_for_latest_is_asking_for_a_run(reports, monkeypatch):
    """Scripts that name the old default must not overwrite the run that the link leads to."""
    publish(result("one"), reports)
    monkeypatch.chdir(reports.parent)
    write_run(result("two"), Path("reports/latest"), Path("reports"))
    write_run(result("three"), reports / "latest", Path("reports"))
    assert cases(reports) == ["one", "two", "three"]


def test_the_oldest_go_and_what_holds_a_person_s_file_stays(reports):
    for case in "abcd":
        publish(result(case), reports, keep=3)
    assert cases(reports) == list("bcd")
    (finished(reports)[0] / "notes.md").write_text("why this one matters")
    (reports / "runs" / "baseline").mkdir()
    publish(result("e"), reports, keep=1)
    kept = finished(reports)
    assert (kept[0] / "notes.md").exists()
    assert [case_of(kept[-1]), len(kept)] == ["e", 2]
    assert litter(reports) == {reports / "runs" / "baseline"}


def test_twenty_are_kept_if_nothing_is_said(reports):
    for number in range(runs.KEPT + 1):
        publish(result(str(number)), reports)
    assert cases(reports) == [str(number) for number in range(1, runs.KEPT + 1)]


def test_a_report_kept_as_latest_itself_becomes_a_run(reports):
    write_report(result("old"), reports / "latest")
    before = time.time() - 86400
    os.utime(reports / "latest" / "rows.json", (before, before))
    assert find_run("latest", reports) == reports / "latest" / "rows.json"
    publish(result("new"), reports)
    assert cases(reports) == ["old", "new"]
    assert case_of(reports / "latest") == "new"
    assert finished(reports)[0].name.startswith(
        datetime.fromtimestamp(before, runs.timezone.utc).strftime("%Y%m%dT%H%M%S")
    )
    assert not litter(reports)


def test_a_report_from_the_future_does_not_hide_the_run_that_replaces_it(reports):
    write_report(result("old"), reports / "latest")
    later = time.time() + 86400
    os.utime(reports / "latest" / "rows.json", (later, later))
    publish(result("new"), reports)
    assert cases(reports) == ["old", "new"]


def test_an_empty_folder_called_latest_is_taken_away(reports):
    (reports / "latest").mkdir(parents=True)
    publish(result(), reports)
    assert cases(reports) == ["one"]
    assert case_of(reports / "latest") == "one"


@pytest.mark.parametrize("check", [lambda r: check_place(None, r), lambda r: publish(result(), r)])
def test_a_latest_that_nobody_here_made_is_left_alone(reports, tmp_path, check):
    latest = reports / "latest"
    latest.mkdir(parents=True)
    (latest / "thesis.txt").write_text("years of work")
    with pytest.raises(ParityError, match=r"latest is not a report"):
        check(reports)
    assert (latest / "thesis.txt").read_text() == "years of work"
    (latest / "thesis.txt").rename(tmp_path / "thesis.txt")
    latest.rmdir()
    latest.symlink_to(tmp_path)
    with pytest.raises(ParityError, match=r"latest is a link to .*did not make: remove the link"):
        check(reports)
    assert latest.readlink() == tmp_path
    latest.unlink()
    latest.write_text("a file")
    with pytest.raises(ParityError, match="latest is a file"):
        check(reports)
    assert finished(reports) == []


def test_a_link_whose_run_was_deleted_by_hand_is_mended(reports):
    publish(result("one"), reports)
    path = publish(result("two"), reports)
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert find_run("latest", reports) == finished(reports)[-1] / "rows.json"
    publish(result("three"), reports)
    assert case_of(reports / "latest") == "three"


def test_a_run_is_found_by_every_name(reports, tmp_path, monkeypatch):
    old, new = publish(result("old"), reports).parent, publish(result("new"), reports).parent
    rows = new / "rows.json"
    names = ("latest", new.name, new.name[-6:], str(new), str(rows))
    assert [find_run(name, reports) for name in names] == [rows] * len(names)
    assert find_run(old.name[-6:], reports) == old / "rows.json"
    write_report(result("else"), tmp_path / "else")
    monkeypatch.chdir(tmp_path)
    assert find_run("else", reports) == Path("else/rows.json")
    assert find_run(str(reports / "latest"), reports) == reports / "latest" / "rows.json"


@pytest.mark.parametrize("name", ["latest", "20010101T000000.000Z-abcdef", "", "no/such", "."])
def test_a_name_of_no_run_is_an_error_that_names_those_there_are(
    reports, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParityError, match=r"newest are: none\. Name one of"):
        find_run(name, reports)
    there = publish(result(), reports).parent.name
    if name != "latest":
        with pytest.raises(ParityError, match=re.escape(f"newest are: {there}. Name")):
            find_run(name, reports)


PUBLISH = """
import os, signal, sys
from pathlib import Path
from parity import runs
from parity.tests.test_runs import result
def killed(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
where, reports, *cases = sys.argv[1:]
if where == "fill":
    from parity.report import write
    write.os.fsync = killed
elif where == "rename":
    runs.Path.rename = killed
elif where == "link":
    runs.Path.replace = killed
for case in cases:
    runs.publish(result(case), Path(reports))
"""


def process(where, reports, *cases):
    command = [sys.executable, "-c", PUBLISH, where, str(reports), *cases]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)


def kill_at(where, reports):
    done = process(where, reports, "killed")
    _, told = done.communicate(timeout=60)
    assert done.returncode == -signal.SIGKILL, told.decode()


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill outright")
@pytest.mark.parametrize("where", ["fill", "rename"])
def test_a_killed_run_changes_nothing(reports, where):
    publish(result("one"), reports)
    kill_at(where, reports)
    assert cases(reports) == ["one"]
    assert case_of(reports / "latest") == "one"
    publish(result("two"), reports)  # its lock died with it
    assert cases(reports) == ["one", "two"]
    assert case_of(reports / "latest") == "two"
    for left in litter(reports):
        os.utime(left, (0, 0), follow_symlinks=False)
    publish(result("three"), reports)
    assert not litter(reports)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill outright")
def test_a_run_killed_before_it_moved_the_link_is_complete_and_found(reports):
    publish(result("one"), reports)
    kill_at("link", reports)
    assert cases(reports) == ["one", "killed"]
    assert read_json(find_run("latest", reports)).rows[0].case == "killed"
    assert case_of(reports / "latest") == "one"  # a whole run, until the next one is finished
    publish(result("two"), reports)
    assert case_of(reports / "latest") == "two"


def test_a_run_waits_until_the_one_before_it_has_moved_the_link(reports, monkeypatch):
    publish(result("one"), reports)
    enter, others = runs._enter, []

    def slow(new, folder, latest):
        monkeypatch.setattr(runs, "_enter", enter)
        others.append(Thread(target=publish, args=(result("three"), reports)))
        others[0].start()
        others[0].join(timeout=2)
        assert others[0].is_alive(), "it did not wait"
        enter(new, folder, latest)

    monkeypatch.setattr(runs, "_enter", slow)
    publish(result("two"), reports)
    others[0].join()
    assert cases(reports) == ["one", "two", "three"]
    assert case_of(reports / "latest") == "three"


@pytest.mark.slow
def test_several_processes_at_once_lose_no_run_and_latest_never_leads_nowhere(reports):
    publish(result("first"), reports)
    names = [[f"{process_}-{n}" for n in range(4)] for process_ in "ab"]
    jobs = [process("nowhere", reports, *some) for some in names]
    while any(job.poll() is None for job in jobs):
        assert case_of(reports / "latest")
    told = [job.communicate()[1].decode() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], told
    found = cases(reports)
    assert sorted(found) == sorted(["first", *names[0], *names[1]])
    for some in names:
        assert [case for case in found if case in some] == some
    assert case_of(reports / "latest") == found[-1]
    assert not litter(reports)


@pytest.fixture
def disk(tmp_path):
    """A small file system, mounted anew by calling it with ``mount``'s options."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", *options, "tmpfs", where]
        return subprocess.run(command, capture_output=True)

    done = mount("-o", "size=400k") if sys.platform == "linux" else None
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted here (needs Linux and root)")
    mount.reports = where / "reports"
    yield mount
    subprocess.run(["umount", where], check=True)


def test_a_full_disk_is_one_clear_error_and_leaves_the_runs_as_they_were(disk):
    publish(result("one"), disk.reports)
    free = os.statvfs(disk.reports)
    (disk.reports / "ballast").write_bytes(bytes(free.f_bavail * free.f_frsize - 20_000))
    with pytest.raises(ParityError, match=r"reports/runs.*No space left on device.*free some"):
        publish(result("two"), disk.reports)
    (disk.reports / "ballast").unlink()
    assert cases(disk.reports) == ["one"]
    assert case_of(disk.reports / "latest") == "one"
    assert not litter(disk.reports)


def test_a_read_only_place_is_told_before_the_run(disk):
    publish(result("one"), disk.reports)
    disk("-o", "remount,ro")
    with pytest.raises(ParityError, match=r"reports/runs \(Read-only file system\): .* name a"):
        check_place(None, disk.reports)
    with pytest.raises(ParityError, match="Read-only file system"):
        check_place(None, disk.reports.parent / "others")
    assert cases(disk.reports) == ["one"]


def test_a_place_without_links_is_told_before_the_run(reports, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(ParityError, match=r"reports/runs \(Operation not permitted\)"):
        check_place(None, reports)
    monkeypatch.undo()
    check_place(None, reports)
    assert not litter(reports)


def test_a_lock_that_is_never_given_back_is_named(reports, monkeypatch):
    publish(result(), reports)
    monkeypatch.setattr(runs, "LOCK_SECONDS", 0.1)
    with runs._locked(reports / "runs"), pytest.raises(ParityError, match=r"held .*\.lock"):
        publish(result("two"), reports)
    assert cases(reports) == ["one"]
    assert not litter(reports)


@pytest.mark.slow
def test_both_commands_at_once_leave_a_run_each(tmp_path):
    """What they print as their report is theirs, and ``latest`` is the one that was last."""
    shell = ["parity", "run", "--case", "text-only", "--no-history"]
    tests = ["pytest", str(ROOT / "parity" / "suites"), "-p", "no:cacheprovider", "-q",
             "--case", "text-only", "-k", "norm"]  # fmt: skip
    jobs = [
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for command in (shell, tests)
    ]  # fmt: skip
    printed = [job.communicate()[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], printed
    both = finished(tmp_path / "reports")
    said = [tmp_path / text.splitlines()[-1].rpartition("; ")[2] for text in printed]
    assert sorted(said) == [folder / "index.html" for folder in both]
    assert (tmp_path / "reports" / "latest").resolve() == both[-1].resolve()
    whole = [read_json(folder / "rows.json") for folder in both]
    assert sorted(one.provenance["command"].split()[2] for one in whole) == ["parity", "pytest"]
