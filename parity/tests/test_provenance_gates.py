"""What a run says about the gates it was judged under."""

from parity.core.files import file_hash
from parity.provenance import provenance
from parity.session import Session
from parity.settings import Settings


def test_every_gates_file_is_named_with_its_hash():
    session = Session(Settings(dtypes=("fp32", "bf16")))
    facts = provenance(session, 0.0)
    for dtype in ("fp32", "bf16"):
        path = session.settings.gates / f"CPU-{dtype}.toml"
        assert f"CPU-{dtype}.toml {file_hash(path)[:16]}" in facts["gates"]
    assert "gates note" not in facts


def test_gates_that_were_measured_elsewhere_are_said_to_be():
    facts = provenance(Session(Settings(device="Ascend:0")), 0.0)
    assert "CPU-fp32.toml" in facts["gates"]
    assert "none on Ascend yet" in facts["gates note"]


def test_an_overrides_file_is_named_with_its_hash(tmp_path):
    path = tmp_path / "overrides.toml"
    path.write_text('[[override]]\npoint = "lm_head"\nk = 9\nreason = "r"\n')
    assert provenance(Session(Settings()), 0.0)["overrides"] == "none"
    facts = provenance(Session(Settings(overrides=path)), 0.0)
    assert facts["overrides"] == f"{path} {file_hash(path)[:16]}"
