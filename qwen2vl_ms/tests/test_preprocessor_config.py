"""The files of settings: what they mean to the reference, and what is wrong with bad ones."""

from __future__ import annotations

import json

import pytest
from transformers.models.qwen2_vl import image_processing_pil_qwen2_vl as reference

from qwen2vl_ms import Qwen2VLError
from qwen2vl_ms.image_processing import Qwen2VLImageProcessor
from qwen2vl_ms.tests.pictures import assert_same, noise


@pytest.mark.parametrize(
    "contents",
    [
        {},
        {"min_pixels": 3136, "max_pixels": 9000},
        {"size": {"shortest_edge": 3136, "longest_edge": 9000}},
        {"size": {"min_pixels": 1, "max_pixels": 2}, "min_pixels": 3136, "max_pixels": 9000},
        {"size": {"shortest_edge": 1, "longest_edge": 9000}, "min_pixels": 3136},
        {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.1, 0.2, 0.3], "resample": 2},
        {"do_pad": None, "crop_size": None, "data_format": "channels_first", "device": None},
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_files_mean_what_they_mean_to_the_reference(tmp_path, contents, nested):
    contents = contents | {"image_processor_type": "Qwen2VLImageProcessor"}
    if nested:  # the section of processor_config.json wins over the older file
        (tmp_path / "preprocessor_config.json").write_text('{"patch_size": 28}')
        section = {"image_processor": contents, "processor_class": "Qwen2VLProcessor"}
        (tmp_path / "processor_config.json").write_text(json.dumps(section))
    else:
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(contents))
    image = noise(1, 150, 90, 3)
    theirs = reference.Qwen2VLImageProcessorPil.from_pretrained(tmp_path)
    ours = Qwen2VLImageProcessor.from_pretrained(tmp_path)
    assert_same(ours(image), theirs(image, return_tensors="np"))
    assert ours.size == dict(theirs.size)


def test_settings_saved_by_the_reference_load(tmp_path):
    reference.Qwen2VLImageProcessorPil(min_pixels=784, max_pixels=9000).save_pretrained(tmp_path)
    loaded = Qwen2VLImageProcessor.from_pretrained(tmp_path)
    assert loaded == Qwen2VLImageProcessor(
        min_pixels=784,
        max_pixels=9000,
        image_mean=list(loaded.image_mean),
        image_std=list(loaded.image_std),
    )


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"max_pixel": 9}, ["unknown setting 'max_pixel'", "remove it", "max_pixels"]),
        ({"patch_size": "14"}, ["patch_size is '14'", "integer of at least 1"]),
        ({"patch_size": True}, ["patch_size is True"]),
        ({"do_resize": 1}, ["do_resize is 1", "true or false"]),
        ({"image_std": [0.1, 0.0, 0.1]}, ["image_std", "three numbers above 0"]),
        ({"image_mean": 0.5}, ["image_mean is 0.5", "three numbers"]),
        ({"resample": 9}, ["resample is 9", "0 to 5"]),
        ({"rescale_factor": 0}, ["rescale_factor is 0", "above 0"]),
        ({"size": {"height": 9, "width": 9}}, ["size is", "shortest_edge"]),
        ({"size": {"longest_edge": 9}}, ["size is", "shortest_edge"]),
        ({"min_pixels": 99, "max_pixels": 9}, ["min_pixels 99", "max_pixels 9", "lower"]),
        ({"do_center_crop": True}, ["do_center_crop is on", "remove it"]),
        ({"image_processor_type": "CLIPImageProcessor"}, ["CLIPImageProcessor", "another model"]),
    ],
)
def test_a_bad_settings_file_is_named(tmp_path, contents, words):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(contents))
    with pytest.raises(Qwen2VLError) as caught:
        Qwen2VLImageProcessor.from_pretrained(tmp_path)
    for word in ["preprocessor_config.json", *words]:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("contents", "word"),
    [("[]", "no JSON object"), ("{", "not valid JSON"), ("[" * 10**5, "not valid JSON")],
)
def test_a_file_that_is_no_json_is_named(tmp_path, contents, word):
    (tmp_path / "preprocessor_config.json").write_text(contents)
    with pytest.raises(Qwen2VLError, match=f"preprocessor_config.json.*{word}.*copy it again"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path)


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(Qwen2VLError, match=r"has no preprocessor_config\.json: copy it"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path)
    with pytest.raises(Qwen2VLError, match=r"no checkpoint folder .*/absent: .*local folder"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path / "absent")
    (tmp_path / "processor_config.json").write_text('{"image_processor": 3}')
    with pytest.raises(Qwen2VLError, match="'image_processor' is not a JSON object"):
        Qwen2VLImageProcessor.from_pretrained(tmp_path)
