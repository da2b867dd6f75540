"""Portable bundles as files: what is written comes back, and nothing damaged or hostile is used."""

import io
import json
import os
import shutil
import tarfile
import time

import pytest

from parity.core.archive import read_manifest, unpack, write_tar
from parity.core.errors import BundleError, ParityError
from parity.core.files import file_hash
from parity.core.portable import (
    MANIFEST,
    PORTABLE_FORMAT,
    Manifest,
    Record,
    Stored,
    is_safe,
    open_manifest,
    verify,
)
from parity.core.stale import DAY
from parity.core.store import json_hash
from parity.portable.open import opened

CONTENT = {
    "cases.toml": b"[a]\n",
    "cases/pictures/\u732b 1.png": b"",
    "records/a-fp32.json": b"{}",
    "tensors/a-fp32.safetensors": b"x" * 999,
}


def manifest_of(folder):
    files = {
        path.relative_to(folder).as_posix(): Stored(file_hash(path), path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }
    return Manifest(("a",), ("fp32",), (Record("a", "fp32", 5),), files, {"config.json": "0" * 64},
                    "tiny", {"rounding": 0.5}, {"parity": "1"})  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "bundle"
    for name, content in CONTENT.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (place / MANIFEST).write_text(manifest_of(place).to_json(), encoding="utf-8")
    return place


@pytest.fixture
def tar(folder):
    place = folder.with_suffix(".tar")
    write_tar(folder, open_manifest(folder), place)
    return place


def test_a_manifest_comes_back(folder):
    found = open_manifest(folder)
    assert found == manifest_of(folder)
    assert found.size == sum(map(len, CONTENT.values()))
    assert not found.carries_checkpoint
    verify(folder, found)


def test_a_tar_file_comes_back(folder, tar, tmp_path):
    (tmp_path / "out").mkdir()
    assert unpack(tar, tmp_path / "out") == open_manifest(folder)
    verify(tmp_path / "out", read_manifest(tar))
    for name in (*CONTENT, MANIFEST):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def test_the_same_content_gives_the_same_bytes(folder, tar, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copyfile)
    (copy / MANIFEST).chmod(0o600)
    write_tar(copy, open_manifest(copy), tmp_path / "copy.tar")
    assert (tmp_path / "copy.tar").read_bytes() == tar.read_bytes()


def test_tar_itself_reads_it(tar):
    with tarfile.open(tar) as archive:
        members = archive.getmembers()
    assert [one.name for one in members] == [MANIFEST, *sorted(CONTENT)]
    assert {(one.mtime, one.uid, one.gid, one.uname, one.mode) for one in members} == {
        (0, 0, 0, "", 0o644)
    }


def test_a_tar_file_is_unpacked_once(tar, tmp_path):
    first = opened(tar, tmp_path / "place")
    marked = first / "cases.toml"
    before = marked.stat().st_ino
    assert opened(tar, tmp_path / "place") == first
    assert marked.stat().st_ino == before
    assert first.parent == tmp_path / "place"
    assert first.parent.stat().st_mode & 0o077 == 0, "others may look into it"


def test_what_was_unpacked_goes_when_nobody_uses_it(tar, tmp_path):
    place = tmp_path / "place"
    first = opened(tar, place)
    others = [place / name for name in ("a" * 64, "b" * 64)]
    for other, days in zip(others, (2.0, 4.0), strict=True):
        shutil.copytree(first, other)
        then = time.time() - days * DAY
        os.utime(other / MANIFEST, (then, then))
    os.utime(first / MANIFEST, (0, 0))
    assert opened(tar, place) == first, "what is asked for is in use, however old it is"
    assert first.exists()
    assert [other.exists() for other in others] == [True, False]


def test_a_name_that_no_plain_header_holds_is_refused(folder):
    long = folder / "cases" / ("x" * 200)
    long.write_bytes(b"")
    manifest = manifest_of(folder)
    with pytest.raises(ParityError, match="shorter names"):
        write_tar(folder, manifest, folder.with_suffix(".tar"))
    assert not folder.with_suffix(".tar").exists()


@pytest.mark.parametrize("position", range(0, 9000, 41))
def test_a_flipped_bit_is_never_believed(tar, tmp_path, position):
    """Anywhere in the file: it is refused, or, in what tar pads with, changes nothing."""
    content = bytearray(tar.read_bytes())
    position %= len(content)
    content[position] ^= 1 << position % 8
    damaged, out = tmp_path / "damaged.tar", tmp_path / "out"
    damaged.write_bytes(content)
    out.mkdir()
    try:
        found = unpack(damaged, out)
    except BundleError:
        return
    verify(out, found)
    assert found == read_manifest(tar)
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == sorted(
        name.rpartition("/")[2] for name in (*CONTENT, MANIFEST)
    )


@pytest.mark.parametrize("length", [0, 100, 512, 1000, 2000, 4000])
def test_a_file_that_ends_too_early_is_refused(tar, tmp_path, length):
    short = tmp_path / "short.tar"
    short.write_bytes(tar.read_bytes()[:length])
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError):
        unpack(short, tmp_path / "out")


def hostile(folder, place, *members):
    """A tar file with a true manifest, followed by ``members`` (header, content)."""
    with tarfile.open(place, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(folder / MANIFEST, MANIFEST)
        for header, content in members:
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return place


def header(name, kind=tarfile.REGTYPE, link=""):
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "member",
    [
        header("../escaped"),
        header("/escaped"),
        header("cases/../../escaped"),
        header("cases.toml", tarfile.SYMTYPE, "/etc/passwd"),
        header("cases.toml", tarfile.LNKTYPE, "../escaped"),
        header("cases.toml", tarfile.FIFOTYPE),
        header("cases.toml", tarfile.CHRTYPE),
        header("cases", tarfile.DIRTYPE),
        header("unlisted"),
        header(".hidden"),
        header(MANIFEST),
        header("C:\\escaped"),
    ],
    ids=lambda member: f"{member.name!r}-{member.type!r}",
)
def test_what_no_bundle_holds_is_refused(folder, tmp_path, member):
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    with pytest.raises(BundleError):
        unpack(hostile(folder, tmp_path / "bad.tar", (member, b"")), out)
    assert list(out.iterdir()) == []
    assert not list(tmp_path.rglob("escaped"))


def test_a_link_that_stands_in_the_folder_is_not_followed(folder, tar, tmp_path):
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "cases").symlink_to(elsewhere)
    with pytest.raises(BundleError, match="leads out"):
        unpack(tar, out)
    assert list(elsewhere.iterdir()) == []


def test_a_member_that_comes_twice_is_refused(folder, tmp_path):
    once = (header("cases.toml"), CONTENT["cases.toml"])
    (tmp_path / "out").mkdir()
    with pytest.raises(BundleError, match="once"):
        unpack(hostile(folder, tmp_path / "bad.tar", once, once), tmp_path / "out")


def test_a_file_that_is_missing_or_changed_is_named(folder):
    manifest = open_manifest(folder)
    path = folder / "records" / "a-fp32.json"
    path.write_bytes(b"[]")
    with pytest.raises(BundleError, match=r"a-fp32.json is damaged"):
        verify(folder, manifest)
    path.write_bytes(b"{}}")
    with pytest.raises(BundleError, match="3 bytes instead of 2"):
        verify(folder, manifest)
    path.unlink()
    with pytest.raises(BundleError, match="missing"):
        verify(folder, manifest)
    (folder.parent / "elsewhere").write_bytes(b"{}")
    path.symlink_to(folder.parent / "elsewhere")
    with pytest.raises(BundleError, match="leads out"):
        verify(folder, manifest)


def change(folder, **changes):
    """Change the manifest and hash it anew, as an attacker would."""
    data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    data |= changes
    del data["sha256"]
    data["sha256"] = json_hash(data)
    (folder / MANIFEST).write_text(json.dumps(data), encoding="utf-8")


STORED = {"sha256": "0" * 64, "size": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"format": PORTABLE_FORMAT + 1},
        {"kind": "something else"},
        {"files": {"../escaped": STORED}},
        {"files": {"a/../../b": STORED}},
        {"files": {"cases.toml": {"sha256": "0", "size": 1}}},
        {"files": {"cases.toml": {"sha256": "0" * 64, "size": -1}}},
        {"files": {"cases.toml": {"sha256": "0" * 64, "size": True}}},
        {"files": {"cases.toml": STORED, "CASES.toml": STORED}},
        {"files": {}},
        {"files": []},
        {"files": {str(number): STORED for number in range(20_001)}},
        {"records": []},
        {"records": [{"case": "b", "dtype": "fp32"}]},
        {"records": [{"case": "a", "dtype": "fp16"}]},
        {"records": [{"case": "a", "dtype": "../../fp32"}]},
        {"records": [["a", "fp32"]]},
        {"records": [{"case": "a", "dtype": "fp32", "size": "5"}]},
        {"cases": "a"},
        {"dtypes": [1]},
        {"checkpoint": None},
    ],
    ids=str,
)
def test_a_manifest_that_no_maker_wrote_is_refused(folder, changes):
    change(folder, **changes)
    with pytest.raises(BundleError):
        open_manifest(folder)


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_manifest_is_refused(folder, text):
    (folder / MANIFEST).write_bytes(text)
    with pytest.raises(BundleError):
        open_manifest(folder)


def test_a_changed_manifest_does_not_match_its_hash(folder):
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text.replace('"fp32"', '"bf16"', 1), encoding="utf-8")
    with pytest.raises(BundleError, match="own hash"):
        open_manifest(folder)


def test_what_is_no_bundle_is_told(tmp_path):
    with pytest.raises(BundleError, match="no portable bundle"):
        open_manifest(tmp_path)
    with pytest.raises(ParityError, match="there is no bundle at"):
        opened(tmp_path / "nothing.tar")
    (tmp_path / "other.tar").write_bytes(b"PK\x03\x04" * 512)
    with pytest.raises(BundleError, match="no plain tar file"):
        opened(tmp_path / "other.tar", tmp_path / "place")


@pytest.mark.parametrize("path", ["a", "a/b.c", "\u732b.png", "a b/c", "a..b"])
def test_names_that_are_safe(path):
    assert is_safe(path)


@pytest.mark.parametrize(
    "path", ["", ".", "..", "/a", "a/", "a//b", "a/../b", ".a", "a/.b", "a\\b", "a:b", "a\0", "a\n",
             "a.", "a ", "x" * 1001])  # fmt: skip
def test_names_that_are_not(path):
    assert not is_safe(path)
