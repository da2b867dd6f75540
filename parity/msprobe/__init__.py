"""Import of the dumps that msprobe (PyPI ``mindstudio-probe``), Ascend's dump tool, writes."""
