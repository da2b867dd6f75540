"""Cases: what a good file gives, and that each bad one is one error naming the case and the fix."""

import json
import os
from dataclasses import replace

import pytest

from parity.core.cases import Part, load_cases, select_cases
from parity.core.errors import CaseError

GOOD = """
[both]
about = "Every kind of part, in two rows"
decode_steps = 3
max_pixels = 100352
[[both.prompts]]
content = [{ image = "images/a.png" }, { text = "Which?" }]
[[both.prompts]]
content = [{ video = "clip" }, { video = "clip", fps = 4 }, { text_file = "long.txt" }]

[twice]
decode_steps = 1
chunks = 2
mask_value = 3
[[twice.prompts]]
content = [{ image = "images/a.png" }, { text = "Which?" }]
[[twice.again]]
content = [{ image = "images/b.png" }, { text = "How many?" }]

[words]
[[words.prompts]]
content = [{ text = "" }]
"""


@pytest.fixture
def root(tmp_path):
    """A folder with one file of every kind, and secrets beside it."""
    folder = tmp_path / "fixtures"
    for name in ("images", "clip", "empty", "clip/000.png.d"):
        (folder / name).mkdir(parents=True)
    for name in (
        "images/a.png",
        "images/b.png",
        "clip/001.png",
        "clip/000.png",
        "clip/002.jpg",
        "clip/notes.md",
    ):
        (folder / name).write_bytes(b"picture")
    (folder / "long.txt").write_text("Grüße", encoding="utf-8")
    (folder / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "000.png").write_bytes(b"secret")
    return folder


def load(root, text):
    path = root / "cases.toml"
    path.write_text(text, encoding="utf-8")
    return load_cases(path)


def with_part(part):
    return f"[broken]\n[[broken.prompts]]\ncontent = [{part}]\n"


def refused(root, text):
    """The one error that ``text`` leads to, which always says in which file it is."""
    with pytest.raises(CaseError) as caught:
        load(root, text)
    assert str(root / "cases.toml") in str(caught.value)
    return str(caught.value)


def test_every_kind_of_part_is_read(root):
    case = load(root, GOOD)["both"]
    image, question = case.prompts[0]
    clip, faster, text = case.prompts[1]
    assert image == Part(image=root / "images/a.png")
    assert question == Part(text="Which?")
    assert [path.name for path in clip.frames] == ["000.png", "001.png", "002.jpg"]
    assert (clip.fps, faster.fps) == (2.0, 4.0)
    assert isinstance(faster.fps, float)
    assert text == Part(text="Grüße")
    assert (case.about, case.decode_steps, case.max_pixels) == (
        "Every kind of part, in two rows", 3, 100352,
    )  # fmt: skip


def test_what_is_not_said_has_a_default(root):
    case = load(root, GOOD)["words"]
    assert (case.name, case.about, case.decode_steps, case.max_pixels) == ("words", "", 0, None)
    assert (case.again, case.chunks, case.mask_value) == ((), 1, 1)


def test_properties(root):
    cases = load(root, GOOD)
    both, words = cases["both"], cases["words"]
    names = [path.relative_to(root).as_posix() for path in both.files]
    assert names == ["images/a.png", *["clip/000.png", "clip/001.png", "clip/002.jpg"] * 2]
    assert words.files == ()
    assert both.modalities == ("image", "video")
    assert words.modalities == ()
    assert (both.rows, words.rows) == (2, 1)
    first, second = both.messages
    question = {"type": "text", "text": "Which?"}
    assert first == [{"role": "user", "content": [{"type": "image"}, question]}]
    assert [part["type"] for part in second[0]["content"]] == ["video", "video", "text"]
    assert words.messages == [[{"role": "user", "content": [{"type": "text", "text": ""}]}]]


def test_a_second_call_is_a_case_of_its_own(root):
    twice = load(root, GOOD)["twice"]
    first, second = twice.calls
    assert [part.image.name for part in (first.prompts[0][0], second.prompts[0][0])] == [
        "a.png", "b.png",
    ]  # fmt: skip
    assert [path.name for path in twice.files] == ["a.png", "b.png"]
    assert (first.files, second.files) == (twice.files[:1], twice.files[1:])
    for call in (first, second):
        assert (call.name, call.decode_steps, call.chunks, call.mask_value) == ("twice", 1, 2, 3)
        assert call.again == ()
        assert call.calls == (call,)


def test_everything_that_decides_the_inputs_is_told(root):
    """A bundle is found by it: a change that is left out would be judged by an old one."""
    twice = load(root, GOOD)["twice"]
    changes = {"decode_steps": 2, "max_pixels": 9, "chunks": 3, "mask_value": 1, "again": ()}
    other = ((Part(text="Why?"),),)
    found = [json.dumps(replace(twice, **{name: value}).inputs) for name, value in changes.items()]
    found += [json.dumps(replace(twice, **{name: other}).inputs) for name in ("prompts", "again")]
    assert len({json.dumps(twice.inputs), *found}) == 1 + len(found)
    assert replace(twice, about="otherwise").inputs == twice.inputs


def test_an_order_of_images_and_videos_does_not_matter_for_modalities(root):
    text = with_part('{ video = "clip" }, { image = "images/a.png" }')
    assert load(root, text)["broken"].modalities == ("image", "video")
    assert load(root, with_part('{ video = "clip" }'))["broken"].modalities == ("video",)


def test_frames_are_read_by_name_whatever_their_order_on_disk(root):
    names = [f"{index:03}.png" for index in range(30)]
    for name in sorted(names, key=lambda name: name[::-1]):
        (root / "empty" / name).touch()
    frames = load(root, with_part("{ video = 'empty' }"))["broken"].files
    assert [path.name for path in frames] == names


def test_select_keeps_the_order_asked_for_and_takes_each_once(root):
    cases = load(root, GOOD)
    assert [case.name for case in select_cases(cases, [])] == ["both", "twice", "words"]
    chosen = select_cases(cases, ["words", "both", "words"])
    assert [case.name for case in chosen] == ["words", "both"]


def test_select_names_what_is_not_there_and_what_is(root):
    with pytest.raises(CaseError, match="no case is named x, y; there are: both, twice, words"):
        select_cases(load(root, GOOD), ["x", "both", "y"])


@pytest.mark.parametrize("name", ["nowhere.toml", "images", "long.txt/cases.toml"])
def test_a_file_that_cannot_be_read(root, name):
    with pytest.raises(CaseError, match="cannot read the cases file .*" + name):
        load_cases(root / name)


@pytest.mark.parametrize(
    "content",
    [b"[broken", b"\xff\xfe", b"x = " + b"[" * 5000, b"x = " + b"1" * 5000, b"a = 1\na = 2"],
    ids=["cut", "no-utf8", "too-deep", "too-long-a-number", "twice"],
)
def test_a_file_that_is_not_toml(root, content):
    (root / "cases.toml").write_bytes(content)
    with pytest.raises(CaseError, match=r"cases\.toml is not TOML: "):
        load_cases(root / "cases.toml")


def test_a_file_without_cases(root):
    assert "holds no case" in refused(root, "# nothing\n")


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("broken = 5", "[[broken.prompts]]"),
        ("[broken]", "[[broken.prompts]]"),
        ("[broken]\nprompts = 'Which?'", "[[broken.prompts]]"),
        ("[broken]\nprompts = []", "add a [[broken.prompts]]"),
        ("[broken]\nprompts = [5]", "a non-empty list named content"),
        ("[broken]\n[[broken.prompts]]\ncontent = []", "a non-empty list named content"),
        ("[broken]\n[[broken.prompts]]\ncontent = 'Which?'", "a non-empty list named content"),
        ("[broken]\n[[broken.prompts]]\ntext = 'Which?'", "a non-empty list named content"),
        ("[broken]\nprompts = [{content = [{text = 'a'}], role = 'user'}]", "known: ['content']"),
        ("[broken]\nagain = 5\nprompts = [{content = [{text = 'a'}]}]", "([[broken.again]])"),
        ("[broken]\nagain = []\nprompts = [{content = [{text = 'a'}]}]", "add a [[broken.again]]"),
        ("[broken]\nagain = [{}]\nprompts = [{content = [{text = 'a'}]}]", "named content"),
        ("[broken]\nstep = 1\nprompts = [{content = [{text = 'a'}]}]", "'decode_steps'"),
    ],
)
def test_a_malformed_case(root, text, fix):
    message = refused(root, text)
    assert "case 'broken'" in message
    assert fix in message


ROW = "{ content = [{ text = 'a' }] }"
PICTURE = "{ content = [{ image = 'images/a.png' }] }"


@pytest.mark.parametrize(
    "text",
    [f"chunks = 2\nprompts = [{ROW}, {ROW}]", f"again = [{ROW}]\nprompts = [{ROW}, {ROW}]",
     f"again = [{ROW}, {ROW}]\nprompts = [{ROW}]"],
)  # fmt: skip
def test_further_calls_and_parts_are_of_one_prompt(root, text):
    message = refused(root, f"[broken]\n{text}")
    assert "case 'broken': again and chunks go with a single prompt each" in message
    assert load(root, f"[broken]\nchunks = 1\nprompts = [{ROW}, {ROW}]")["broken"].rows == 2


def test_calls_have_the_same_kinds_of_parts(root):
    message = refused(root, f"[broken]\nprompts = [{PICTURE}]\nagain = [{ROW}]")
    assert "case 'broken': prompts and again have to hold the same kinds of parts" in message


@pytest.mark.parametrize("name", ['""', '"../x"', '"a/b"', '"a b"', '".hidden"', '"a\\u0000"'])
def test_a_name_that_cannot_name_a_folder(root, name):
    message = refused(root, f"[{name}]\nprompts = [{{content = [{{text = 'a'}}]}}]")
    assert "made of letters, digits" in message


@pytest.mark.parametrize(
    "part",
    [
        "5", "{}", "[]", "{ sound = 'a.wav' }", "{ image = 'images/a.png', text = 'a' }",
        "{ image = 'images/a.png', fps = 2 }", "{ text = 'a', text_file = 'long.txt' }",
    ],
)  # fmt: skip
def test_what_is_no_part(root, part):
    message = refused(root, with_part(part))
    assert "case 'broken'" in message
    assert "write one of {text = ..}, {text_file = ..}, {image = ..}, {video = .., fps = ..}" in (
        message
    )


def test_fps_needs_a_video(root):
    assert "add video = .. or drop fps" in refused(root, with_part("{ fps = 2.0 }"))


@pytest.mark.parametrize("key", ["text", "text_file", "image", "video"])
@pytest.mark.parametrize("value", ["5", "true", "['a']", "{ a = 1 }", "2026-01-01"])
def test_text_and_names_have_to_be_strings(root, key, value):
    message = refused(root, with_part(f"{{ {key} = {value} }}"))
    assert f"case 'broken': {key} = " in message
    assert "has to be a string in quotes" in message


def test_about_has_to_be_a_string(root):
    assert "about = 5 has to be a string" in refused(
        root, "[broken]\nabout = 5\nprompts = [{content = [{text = 'a'}]}]"
    )


@pytest.mark.parametrize(
    ("key", "least"),
    [("decode_steps", 0), ("max_pixels", 1), ("chunks", 1), ("mask_value", 1)],
    ids=["steps", "pixels", "chunks", "mask"],
)
@pytest.mark.parametrize("value", ["-1", "true", "'3'", "1.5", "nan", "[1]"])
def test_counts_have_to_be_whole_numbers(root, key, least, value):
    text = f"[broken]\n{key} = {{}}\nprompts = [{{{{content = [{{{{text = 'a'}}}}]}}}}]"
    message = refused(root, text.format(value))
    assert f"case 'broken': {key} = " in message
    assert message.endswith(f"has to be a whole number from {least}")
    assert getattr(load(root, text.format(least))["broken"], key) == least


def test_a_budget_of_no_pixels_is_none(root):
    text = "[broken]\nmax_pixels = 0\nprompts = [{content = [{text = 'a'}]}]"
    assert "max_pixels = 0 has to be a whole number from 1" in refused(root, text)


@pytest.mark.parametrize(
    "value", ["0", "-2.0", "nan", "inf", "-inf", "true", "'2'", "[2]", "1" + "0" * 400]
)
def test_fps_has_to_be_a_positive_number(root, value):
    message = refused(root, with_part(f"{{ video = 'clip', fps = {value} }}"))
    assert "case 'broken': fps = " in message
    assert message.endswith("has to be a positive number")


PARTS = {"text_file": "secret.txt", "image": "secret.txt", "video": "secrets"}


@pytest.mark.parametrize("key", PARTS)
@pytest.mark.parametrize("way", ["dots", "absolute", "link", "dots to nothing"])
def test_a_path_that_leaves_the_folder(root, key, way):
    target = root.parent / PARTS[key]
    (root / "link").symlink_to(target)
    names = {"dots": f"images/../../{PARTS[key]}", "absolute": str(target), "link": "link",
             "dots to nothing": "../nothing"}  # fmt: skip
    message = refused(root, with_part(f"{{ {key} = '{names[way]}' }}"))
    assert f"case 'broken' names '{names[way]}', which is outside {root}" in message


def test_a_frame_that_links_out_of_the_folder(root):
    (root / "clip" / "003.png").symlink_to(root.parent / "secrets" / "000.png")
    message = refused(root, with_part("{ video = 'clip' }"))
    assert "003.png" in message
    assert "which is outside" in message


def test_dots_and_links_that_stay_inside_are_fine(root):
    (root / "link.png").symlink_to(root / "images" / "a.png")
    part = "{ image = 'clip/../images/a.png' }, { image = 'link.png' }"
    assert [path.name for path in load(root, with_part(part))["broken"].files] == ["a.png"] * 2


@pytest.mark.parametrize("key", PARTS)
def test_a_file_that_is_not_there(root, key):
    (root / "dangling").symlink_to(root / "nothing")
    for name in ("nothing", "dangling", "long.txt/nothing"):
        message = refused(root, with_part(f"{{ {key} = '{name}' }}"))
        assert f"case 'broken' names '{name}', which is not in {root}" in message


@pytest.mark.parametrize("key", PARTS)
def test_a_path_that_is_none(root, key):
    (root / "loop").symlink_to(root / "loop")
    for name in ("loop", "a\\u0000b", "x" * 5000):
        message = refused(root, with_part(f'{{ {key} = "{name}" }}'))
        assert "case 'broken' names " in message


@pytest.mark.parametrize("key", ["text_file", "image"])
@pytest.mark.parametrize("name", ["images", "", "."])
def test_a_folder_is_no_file(root, key, name):
    message = refused(root, with_part(f"{{ {key} = '{name}' }}"))
    assert f"case 'broken' names '{name}', which is no file" in message


def test_a_pipe_is_no_file(root):
    """Reading one would wait for ever."""
    os.mkfifo(root / "pipe")
    assert "which is no file" in refused(root, with_part("{ image = 'pipe' }"))


def test_a_file_is_no_folder_of_frames(root):
    message = refused(root, with_part("{ video = 'images/a.png' }"))
    assert "case 'broken' names 'images/a.png', which is no folder of frames" in message


def test_a_folder_without_frames(root):
    message = refused(root, with_part("{ video = 'empty' }"))
    assert f"case 'broken': {root / 'empty'} holds no frames (*.png, *.jpg)" in message


def test_a_folder_that_looks_like_a_frame(root):
    (root / "clip" / "003.png").mkdir()
    message = refused(root, with_part("{ video = 'clip' }"))
    assert "003.png" in message
    assert "which is no file" in message


def test_a_text_file_that_is_not_utf8(root):
    message = refused(root, with_part("{ text_file = 'latin.txt' }"))
    assert f"case 'broken': {root / 'latin.txt'} is not UTF-8" in message
    assert "save it as UTF-8" in message
