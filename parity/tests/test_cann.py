"""Versions of CANN, driver and firmware, in the files as Huawei's manuals print them."""

import pytest

from parity.device.cann import ascend_versions

DRIVER = """Version=24.1.rc1
ascendhal_version=7.35.19
aicpu_version=1.0
tdt_version=1.0
log_version=1.0
Innerversion=V100R001C15SPC006B220
compatible_version=[V100R001C30],[V100R001C13],[V100R001C15],[V100R001C17]
compatible_version_fw=[7.0.0,7.2.99]
"""
FIRMWARE = """Version=7.1.0.11.220
firmware_version=1.0
package_version=23.0.7
compatible_version_drv=[23.0.rc3,23.0.rc3.],[23.0.0,23.0.0.]
"""
TOOLKIT = """package_name=Ascend-cann-toolkit
version={}
innerversion=V100R001C25SPC001B231
compatible_version=[V100R001C15],[V100R001C18]
arch=aarch64
os=linux
path=/usr/local/Ascend/cann-8.5.0
"""


def place(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path):
    """A host as the manuals describe it."""
    place(tmp_path, "usr/local/Ascend/driver/version.info", DRIVER)
    place(tmp_path, "usr/local/Ascend/firmware/version.info", FIRMWARE)
    return tmp_path


def cann(root, **environment):
    return ascend_versions(environment, root)["cann"]


def test_driver_and_firmware(root):
    found = ascend_versions({}, root)
    assert found == {"cann": "unknown", "driver": "24.1.rc1", "firmware": "7.1.0.11.220"}


@pytest.mark.parametrize(
    "path",
    [
        "usr/local/Ascend/cann/aarch64-linux/ascend_toolkit_install.info",
        "usr/local/Ascend/ascend-toolkit/latest/x86_64-linux/ascend_toolkit_install.info",
        "usr/local/Ascend/nnae/latest/ascend_nnae_install.info",
        "home/me/Ascend/cann/aarch64-linux/ascend_toolkit_install.info",
        "home/me/Ascend/ascend-toolkit/latest/aarch64-linux/ascend_toolkit_install.info",
    ],
)
def test_cann_where_the_manuals_put_it(root, path):
    place(root, path, TOOLKIT.format("8.5.0"))
    assert cann(root, HOME="/home/me") == "8.5.0"


def test_the_toolkit_that_is_set_up_counts(root):
    for name, version in (("cann", "8.5.0"), ("cann-8.2", "8.2.RC1")):
        path = f"usr/local/Ascend/{name}/aarch64-linux/ascend_toolkit_install.info"
        place(root, path, TOOLKIT.format(version))
    assert cann(root) == "8.5.0"
    assert cann(root, ASCEND_HOME_PATH="/usr/local/Ascend/cann-8.2") == "8.2.RC1"
    assert cann(root, ASCEND_TOOLKIT_HOME="/usr/local/Ascend/cann-8.2") == "8.2.RC1"
    assert cann(root, ASCEND_HOME_PATH="/nowhere") == "8.5.0"


def test_a_driver_installed_elsewhere(root):
    place(root, "etc/ascend_install.info", "UserName=x\nDriver_Install_Path_Param=/opt/Ascend\n")
    place(root, "opt/Ascend/driver/version.info", DRIVER.replace("24.1.rc1", "25.0.1"))
    found = ascend_versions({}, root)
    assert (found["driver"], found["firmware"]) == ("25.0.1", "unknown")


@pytest.mark.parametrize(
    "text", ["", "ascendhal_version=7.35.19\n", "Version=\n", "Version=<b>1</b>\n", "\0" * 10]
)
def test_a_file_without_a_version_is_unknown(root, text):
    place(root, "usr/local/Ascend/driver/version.info", text)
    assert ascend_versions({}, root)["driver"] == "unknown"


def test_a_folder_or_a_huge_file_in_its_place_does_no_harm(root):
    file = root / "usr/local/Ascend/driver/version.info"
    file.write_bytes(b"x" * 10_000_000)
    (root / "usr/local/Ascend/firmware/version.info").unlink()
    (root / "usr/local/Ascend/firmware/version.info").mkdir()
    assert set(ascend_versions({}, root).values()) == {"unknown"}
