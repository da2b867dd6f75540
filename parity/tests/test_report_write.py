"""A report's folder always holds a whole report, and nothing that is not a report is touched."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from parity.core.errors import ParityError
from parity.core.rows import RunResult
from parity.report import swap, write
from parity.report.rows_io import read_json
from parity.report.write import FILES, check_replaceable, write_report
from parity.tests.report_runs import case_rows, failing, row

ROOT = Path(__file__).parents[2]


def small(case="one"):
    return RunResult(case_rows(case, "fp32"))


def whole(folder, case):
    """Whether a folder holds a whole report of that case, and nothing else."""
    assert {entry.name for entry in folder.iterdir()} == FILES
    assert {one.case for one in read_json(folder / "rows.json").rows} == {case}
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert f"<bdi>{case}</bdi>" in page
    table = (folder / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 1 + len(small().rows)
    assert all(line.startswith(f"{case},") for line in table[1:])


def beside(folder):
    """What stands beside the report."""
    return {entry.name for entry in folder.parent.iterdir()} - {folder.name}


def test_the_files_are_written_and_nothing_is_left_beside_them(tmp_path):
    folder = tmp_path / "reports" / "latest"
    assert write_report(small(), folder) == folder / "index.html"
    whole(folder, "one")
    assert beside(folder) == set()
    assert oct(folder.stat().st_mode) == oct(folder.parent.stat().st_mode)


def test_a_report_takes_the_place_of_the_one_before(tmp_path):
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    write_report(small("two"), folder)
    whole(folder, "two")
    assert beside(folder) == set()


def test_an_empty_folder_and_a_relative_path_will_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    assert write_report(small(), Path("out")) == Path("out/index.html")
    whole(tmp_path / "out", "one")


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    write_report(small("one"), tmp_path / "real")
    (tmp_path / "latest").symlink_to("real")
    write_report(small("two"), tmp_path / "latest")
    assert (tmp_path / "latest").is_symlink()
    whole(tmp_path / "real", "two")


def test_names_that_utf8_cannot_hold_are_written(tmp_path):
    write_report(RunResult([row(0, "a\ud800", case="b\udfff")]), tmp_path / "r")
    assert read_json(tmp_path / "r" / "rows.json").rows[0].point == "a\ud800"
    assert "\\ud800" in (tmp_path / "r" / "rows.csv").read_text(encoding="utf-8")


FOREIGN = {
    "notes.txt": "my thesis",
    "rows.json": '{"rows": []}',
    "index.html": "<p>another page",
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_folder_that_is_no_report_is_never_touched(tmp_path, name):
    folder = tmp_path / "precious"
    folder.mkdir()
    (folder / name).write_text(FOREIGN[name])
    with pytest.raises(ParityError, match=re.escape(str(folder)) + ".*is not a report.*name a new"):
        write_report(small(), folder)
    assert {entry.name: entry.read_text() for entry in folder.iterdir()} == {name: FOREIGN[name]}
    assert beside(folder) == set()


def test_a_report_with_somebody_s_file_in_it_is_not_removed(tmp_path):
    folder = tmp_path / "latest"
    write_report(small(), folder)
    (folder / "notes.md").write_text("keep me")
    with pytest.raises(ParityError, match=r"holds 'notes\.md'.*move that file"):
        write_report(small("two"), folder)
    assert (folder / "notes.md").read_text() == "keep me"
    (folder / "notes.md").unlink()
    whole(folder, "one")


def test_a_file_that_appears_while_the_page_is_made_is_seen(tmp_path, monkeypatch):
    folder = tmp_path / "latest"
    write_report(small(), folder)
    render = write.render

    def slow(result):
        (folder / "notes.md").write_text("keep me")
        return render(result)

    monkeypatch.setattr(write, "render", slow)
    with pytest.raises(ParityError, match="holds 'notes"):
        write_report(small("two"), folder)
    assert (folder / "notes.md").read_text() == "keep me"
    assert beside(folder) == set()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "latest").write_text("a file")
    with pytest.raises(ParityError, match="latest is a file: name a folder"):
        write_report(small(), tmp_path / "latest")
    with pytest.raises(ParityError, match=r"latest/deeper"):
        write_report(small(), tmp_path / "latest" / "deeper")
    assert (tmp_path / "latest").read_text() == "a file"


def test_it_can_be_asked_before_a_long_run(tmp_path):
    check_replaceable(tmp_path / "absent")
    (tmp_path / "a").write_text("")
    with pytest.raises(ParityError, match="is a file"):
        check_replaceable(tmp_path / "a")


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 512 kB, too small for a second report; mounted read-only by ``remount``."""
    where = tmp_path / "disk"
    where.mkdir()

    def mount(*options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", *options, "tmpfs", where], capture_output=True
        )

    done = mount("-o", "size=512k") if sys.platform == "linux" else None
    if done is None or done.returncode:
        pytest.skip("no file system can be mounted here (needs Linux and root)")
    mount.where = where
    yield mount
    subprocess.run(["umount", where], check=True)


def test_a_full_disk_is_one_clear_error_and_the_old_report_stays(tiny_disk):
    folder = tiny_disk.where / "latest"
    write_report(RunResult(small().rows), folder)
    (tiny_disk.where / "ballast").write_bytes(b"x" * 4096)
    with pytest.raises(ParityError, match=f"{folder}.*No space left on device"):
        write_report(failing(), folder)
    whole(folder, "one")
    assert beside(folder) == {"ballast"}


def test_a_read_only_disk_is_one_clear_error_and_the_old_report_stays(tiny_disk):
    folder = tiny_disk.where / "latest"
    write_report(small(), folder)
    tiny_disk("-o", "remount,ro")
    with pytest.raises(ParityError, match=f"{folder}.*Read-only file system"):
        write_report(small("two"), folder)
    whole(folder, "one")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError, RuntimeError])
def test_an_interrupt_anywhere_leaves_the_old_report(tmp_path, monkeypatch, stop):
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    for module, name in ((write, "render"), (write.os, "fsync"), (write, "put_in_place")):

        def interrupted(*_, name=name):
            raise stop(name)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupted)
            with pytest.raises(stop, match=name):
                write_report(small("two"), folder)
        whole(folder, "one")
        assert beside(folder) == set()


KILLED = """
import os, signal, sys
from pathlib import Path
from parity.report import write
from parity.core.rows import RunResult
from parity.tests.report_runs import case_rows
real, left = write.os.fsync, int(sys.argv[2])
def sync(number):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(number)
write.os.fsync = sync
if sys.argv[3] == "swap":
    place = write.put_in_place
    write.put_in_place = lambda *paths: (place(*paths), os.kill(os.getpid(), signal.SIGKILL))
write.write_report(RunResult(case_rows("two", "fp32")), Path(sys.argv[1]))
"""


def run_killed(folder, files, at="write"):
    """Write a report in a process that kills itself after that many files."""
    command = [sys.executable, "-c", KILLED, str(folder), str(files), at]
    return subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill outright")
@pytest.mark.parametrize("files", [0, 1, 2])
def test_kill_9_in_the_middle_of_writing_leaves_the_old_report(tmp_path, files):
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    done = run_killed(folder, files)
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole(folder, "one")
    assert len(beside(folder)) == 1  # what the dead process could not take away
    write_report(small("three"), folder)
    whole(folder, "three")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill outright")
def test_kill_9_right_after_the_swap_leaves_the_new_report(tmp_path):
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    done = run_killed(folder, 99, "swap")
    assert done.returncode == -signal.SIGKILL, done.stderr
    whole(folder, "two")


def test_what_killed_runs_left_is_removed_after_an_hour_and_nothing_else(tmp_path):
    folder = tmp_path / "latest"
    write_report(small(), folder)
    old = time.time() - 7200
    kept = {
        ".latest.new-0123": "notes.md",
        ".latest.other": "rows.json",
        ".latestx.new-1": "rows.json",
    }
    for name, file in {
        ".latest.new-abcd": "rows.json",
        ".latest.old-abcd": "index.html",
        **kept,
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("")
        os.utime(tmp_path / name, (old, old))
    (tmp_path / ".latest.new-young").mkdir()
    write_report(small(), folder)
    assert beside(folder) == {*kept, ".latest.new-young"}


def test_without_the_kernel_s_exchange_two_renames_do(tmp_path, monkeypatch):
    monkeypatch.setattr(swap, "_renameat2", lambda: None)
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    write_report(small("two"), folder)
    whole(folder, "two")
    assert beside(folder) == set()


def test_a_second_rename_that_fails_brings_the_old_report_back(tmp_path, monkeypatch):
    monkeypatch.setattr(swap, "_renameat2", lambda: None)
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    rename = Path.rename

    def fail(self, target):
        if ".new-" in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(ParityError, match="Input/output error"):
        write_report(small("two"), folder)
    whole(folder, "one")
    assert beside(folder) == set()


def found_between_renames(folder, monkeypatch):
    """Write a second report; say of which case the folder held one after every rename."""
    seen, rename = [], Path.rename

    def watched(self, target):
        done = rename(self, target)
        there = (folder / "rows.json").exists()
        seen.append(read_json(folder / "rows.json").rows[0].case if there else None)
        return done

    write_report(small("one"), folder)
    monkeypatch.setattr(Path, "rename", watched)
    write_report(small("two"), folder)
    return seen


@pytest.mark.skipif(swap._renameat2() is None, reason="the kernel cannot exchange folders here")
def test_a_reader_finds_a_report_at_every_moment(tmp_path, monkeypatch):
    assert found_between_renames(tmp_path / "latest", monkeypatch) == ["two"]


def test_where_the_kernel_cannot_exchange_there_is_a_moment_without(tmp_path, monkeypatch):
    monkeypatch.setattr(swap, "_renameat2", lambda: None)
    assert found_between_renames(tmp_path / "latest", monkeypatch) == [None, "two"]


def test_another_process_may_be_faster(tmp_path, monkeypatch):
    folder = tmp_path / "latest"
    write_report(small("one"), folder)
    exists = Path.exists
    monkeypatch.setattr(Path, "exists", lambda self: self != folder and exists(self))
    write_report(small("two"), folder)
    whole(folder, "two")
    assert beside(folder) == set()


def test_several_processes_writing_one_folder_leave_one_whole_report(tmp_path):
    folder = tmp_path / "latest"
    code = KILLED.replace("def sync", "left = 99\ndef sync")
    jobs = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), "99", "write"], cwd=ROOT)
        for _ in range(3)
    ]
    assert [job.wait(timeout=60) for job in jobs] == [0, 0, 0]
    whole(folder, "two")
    assert beside(folder) == set()
