"""Which environment variables a run records: those that change numbers, never a secret.

What is recorded ends up in reports that people mail to each other. So variables are chosen by
name, those that sound like a secret are left out, and passwords inside addresses are blotted out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

RECORDED = (
    "MS_*",  # MindSpore
    "GLOG_*",  # its log level
    "DEVICE_ID", "RANK_*",  # the device and the processes beside it
    "ASCEND_*", "ACL_*", "NPU_*", "TE_*",  # Ascend: places, log levels, blocking launch, compiler
    "HCCL_*", "LCCL_*",  # reductions over devices, and their order
    "OMP_*", "KMP_*", "GOMP_*", "MKL_*", "OPENBLAS_*",  # threads and instruction sets on CPU
    "ONEDNN_*", "DNNL_*", "ATEN_*", "TORCH_*",
    "PYTHONHASHSEED",
)  # fmt: skip
"""Names; ``*`` stands for any end."""
_SECRET = re.compile(r"TOKEN|SECRET|PASS|KEY|CREDENTIAL|AUTH|COOKIE|SIGNATURE|LICEN[CS]E|CERT")
_IN_ADDRESS = re.compile(r"(?<=://)[^/\s@]*(?:@[^/\s@]*)*@")
_LONGEST = 200


def recorded(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that a report shows, by name, long values cut."""
    return {
        name: without_passwords(environment[name])[:_LONGEST]
        for name in sorted(environment)
        if _is_recorded(name) and not _SECRET.search(name.upper())
    }


def without_passwords(text: str) -> str:
    """``text`` with what stands before the ``@`` of an address blotted out."""
    return _IN_ADDRESS.sub("***@", text)


def _is_recorded(name: str) -> bool:
    """Whether a variable is one of those that change numbers."""
    return any(
        name.startswith(known[:-1]) if known.endswith("*") else name == known for known in RECORDED
    )
