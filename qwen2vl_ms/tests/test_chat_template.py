"""Chat templates against transformers' rendering, and what the sandbox keeps them from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers.utils.chat_template_utils import render_jinja_template

from qwen2vl_ms import Qwen2VLError, Qwen2VLProcessor
from qwen2vl_ms.chat_template import ChatTemplate
from qwen2vl_ms.tests import tiny_checkpoint
from qwen2vl_ms.tests.tiny_checkpoint import TEMPLATE, reference_processor

PICTURE = Image.new("RGB", (3, 3))
PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, st.text(max_size=9)),
    st.sampled_from(
        [
            {"type": "image"},
            {"type": "image", "image": PICTURE},
            {"type": "image", "url": "a.png"},
            {"type": "image_url", "image_url": {"url": "a.png"}},
            {"type": "image_url", "image_url": "a.png"},
            {"type": "video"},
            {"type": "video", "video": np.zeros((2, 3, 3, 3), np.uint8), "fps": 2.0},
        ]
    ),
)
CONTENTS = st.one_of(st.text(max_size=20), st.lists(PARTS, max_size=5))
MESSAGES = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content, "name": None},
        st.sampled_from(["system", "user", "assistant"]),
        CONTENTS,
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_checkpoint.write(tmp_path_factory.mktemp("tiny") / "checkpoint")


@pytest.fixture(scope="module")
def pair(folder):
    return Qwen2VLProcessor.from_pretrained(folder), reference_processor(folder)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(messages=MESSAGES, prompt=st.booleans(), numbered=st.booleans())
def test_any_conversation_renders_as_by_the_reference(pair, messages, prompt, numbered):
    ours, theirs = pair
    options = {"add_generation_prompt": prompt, "add_vision_id": numbered}
    expected = theirs.apply_chat_template(messages, tokenize=False, **options)
    assert ours.apply_chat_template(messages, tokenize=False, **options) == expected


def test_a_batch_of_conversations_renders_one_by_one(pair):
    ours, theirs = pair
    batch = [[{"role": "user", "content": "a"}], [{"role": "system", "content": "b"}]]
    assert ours.apply_chat_template(batch) == theirs.apply_chat_template(batch)


# Each uses something that the environment has to provide or that it treats in its own way.
TEMPLATES = [
    "{% for m in messages %}\n  {{ m.role }}:\n    {% if m.content %}\n{{ m.content }}{% endif %}\n"
    "{% endfor %}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}"
    "{% endfor %}",
    "{{ messages | tojson(indent=2, sort_keys=true) }}",
    "{% set d = dict(a=1, b='<é>') %}{{ d | tojson }}{{ dict.fromkeys('ab') }}",
    "{% set ns = namespace(n=0, self=2) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
    "{% endfor %}{{ ns.n }}{{ ns.self }}",
    "{% generation %}{% set x = 1 %}{{ messages[0].content }}{% endgeneration %}{{ x is defined }}",
    "{{ tools is none }}{{ documents is none }}{{ eos_token }}{{ pad_token }}"
    "{{ bos_token is defined }}",
    "{{ messages[-1]['content'] | trim | upper }}{{ '&' ~ '<' }}",
    "{% macro say(m) %}[{{ m.role }}]{% endmacro %}{% for m in messages %}{{ say(m) }}{% endfor %}",
    "{{ strftime_now('%%') }}",
]


@pytest.mark.parametrize("template", TEMPLATES)
def test_any_template_renders_as_by_the_reference(pair, template):
    messages = [{"role": "user", "content": " <a&b> é "}, {"role": "assistant", "content": "x"}]
    tokens = dict(pair[0].tokenizer.special_tokens)
    expected, _ = render_jinja_template([messages], chat_template=template, **tokens)
    assert ChatTemplate(template).render(messages, **tokens) == expected[0]


def test_a_template_cannot_change_the_callers_messages(pair):
    messages = [{"role": "user", "content": [{"type": "image", "image": PICTURE}]}]
    pair[0].apply_chat_template(messages)
    assert messages == [{"role": "user", "content": [{"type": "image", "image": PICTURE}]}]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(role='x') }}",
        "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        "{{ namespace(_x=1) }}",
        "{{ dict.__globals__ }}{{ dict.__globals__.os }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ messages[0].content.save('x.png') }}",
        "{% for i in range(10**9) %}{% endfor %}",
        "{{ 1 + messages }}",
        "{{ missing.attribute }}",
    ],
)
def test_a_template_that_misbehaves_is_one_clear_error(template):
    with pytest.raises(Qwen2VLError, match=r"^t\.jinja cannot render these messages .*check"):
        ChatTemplate(template, "t.jinja").render([{"role": "user", "content": PICTURE}])


def test_pictures_are_not_handed_to_templates():
    text = ChatTemplate("{{ messages[0].content }}").render([{"role": "user", "content": PICTURE}])
    assert text == "<Image>"


def test_where_the_template_is_looked_for(tmp_path):
    def found() -> str:
        template = ChatTemplate.from_pretrained(tmp_path)
        assert template is not None
        rendered = template.render([])
        assert isinstance(rendered, str)
        return rendered

    assert ChatTemplate.from_pretrained(tmp_path) is None
    for name, content in [  # from the last place to the first
        ("tokenizer_config.json", {"chat_template": "tokenizer"}),
        ("chat_template.jinja", "jinja"),
        ("chat_template.json", {"chat_template": "legacy"}),
        ("processor_config.json", {"chat_template": "processor"}),
    ]:
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        assert found() == (content if isinstance(content, str) else content["chat_template"])
    (tmp_path / "processor_config.json").write_text('{"chat_template": {"default": "named"}}')
    assert found() == "named"
    several = [{"name": "rag", "template": "rag"}, {"name": "default", "template": "listed"}]
    (tmp_path / "processor_config.json").write_text(json.dumps({"chat_template": several}))
    assert found() == "listed"


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% if %}", r"chat_template\.json is not a valid template .*copy it again"),
        (3, r"chat_template\.json: chat_template is not a text"),
    ],
)
def test_a_broken_template_is_named(tmp_path, template, words):
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    with pytest.raises(Qwen2VLError, match=words):
        ChatTemplate.from_pretrained(tmp_path)


def test_an_unreadable_template_is_named(tmp_path):
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(Qwen2VLError, match=r"chat_template\.jinja cannot be read .*copy it again"):
        ChatTemplate.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hello", "messages are a str: give a list of dicts"),
        ({"role": "user"}, "messages are a dict"),
        (["hello"], "message 0 has to be a dict with 'role'"),
        ([{"content": "hello"}], "message 0 has to be a dict with 'role'"),
        ([{"role": "user", "content": 3}], "cannot render.*check their roles and contents"),
    ],
)
def test_messages_of_another_form_are_refused(messages, words):
    with pytest.raises(Qwen2VLError, match=words):
        ChatTemplate(TEMPLATE).render(messages)


def test_what_the_processor_does_not_render_is_refused(pair, tmp_path):
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(Qwen2VLError, match="neither the chat template nor the processor knows"):
        pair[0].apply_chat_template(messages, tokenize=True, add_vision=True)
    with pytest.raises(Qwen2VLError, match=r"does not read 'add_vision'.*add_vision_id"):
        pair[0].apply_chat_template(messages, add_vision=True)
    folder = tiny_checkpoint.write(tmp_path / "c")
    (folder / "chat_template.json").unlink()
    with pytest.raises(Qwen2VLError, match=r"no chat template: copy chat_template\.jinja"):
        Qwen2VLProcessor.from_pretrained(folder).apply_chat_template(messages)
