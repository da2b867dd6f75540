"""Recorded variables: those that change numbers, and never a secret."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.environment import recorded, without_passwords


def test_what_changes_numbers_is_recorded_sorted_and_nothing_else():
    environment = {
        "OMP_NUM_THREADS": "2", "MS_ENABLE_NUMA": "1", "GLOG_v": "3", "HOME": "/home/me",
        "HCCL_DETERMINISTIC": "true", "ASCEND_LAUNCH_BLOCKING": "1", "MSX": "1", "PATH": "/bin",
        "MY_OMP_NUM_THREADS": "3", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONHASHSEED": "0",
    }  # fmt: skip
    assert list(recorded(environment)) == [
        "ASCEND_LAUNCH_BLOCKING", "GLOG_v", "HCCL_DETERMINISTIC", "MS_ENABLE_NUMA",
        "OMP_NUM_THREADS", "PYTHONHASHSEED",
    ]  # fmt: skip
    assert recorded(environment)["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    "name",
    ["MS_TOKEN", "ASCEND_API_KEY", "HCCL_password", "MS_Auth", "NPU_SSH_PASSPHRASE", "TE_SECRETS",
     "TORCH_CREDENTIALS_FILE", "ASCEND_LICENSE", "ACL_CERT"],
)  # fmt: skip
def test_what_sounds_like_a_secret_is_left_out(name):
    assert recorded({name: "hunter2", "MS_X": "1"}) == {"MS_X": "1"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("http://me:pw@proxy:80/x", "http://***@proxy:80/x"),
        ("redis://:pw@host", "redis://***@host"),
        ("https://ghp_abc@github.com/a", "https://***@github.com/a"),
        ("postgresql+psycopg://u:p@ss@h/db and http://a:b@c", "postgresql+psycopg://***@h/db and "
         "http://***@c"),
        ("me@example.org http://host/a@b", "me@example.org http://host/a@b"),
        ("2", "2"),
    ],
)  # fmt: skip
def test_a_password_in_an_address_is_blotted_out(text, left):
    assert without_passwords(text) == left
    assert recorded({"MS_PROXY": text}) == {"MS_PROXY": left}


secrets = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=6)


@given(secrets, secrets, st.sampled_from(["http", "postgresql", "s3"]))
def test_no_password_survives(user, password, scheme):
    found = without_passwords(f"--url {scheme}://{user}:{password}@host/path")
    assert found == f"--url {scheme}://***@host/path"


def test_a_long_value_is_cut():
    assert len(recorded({"MS_LONG": "x" * 10_000})["MS_LONG"]) == 200
