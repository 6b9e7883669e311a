"""The devices file: what it takes, and what it says of mistakes."""

import pytest

from qfast.devices import default_devices, open_driver, read_devices, slots_of
from qfast.errors import ConfigurationInvalid


def write(tmp_path, text):
    path = tmp_path / "devices.toml"
    path.write_text(text)
    return path


def test_default_devices():
    devices = read_devices(None)
    assert devices == default_devices()
    assert devices["dummy"].driver == "DriverDummy"
    assert slots_of(devices["dummy"]) >= 1
    open_driver(devices["dummy"]).close()


def test_a_full_device(tmp_path):
    text = """
    [devices.lab1]
    driver = "DriverDummy"
    alias_name = "Lab"
    status = "offline"
    max_qubits = 3
    slots = 4
    transpiler = "cmss"
    basis_gates = ["rz", "sx", "x", "cx"]
    coupling_map = [[0, 1], [1, 2]]
    options = { seed = 7 }
    """
    device = read_devices(write(tmp_path, text))["lab1"]
    assert (device.name, device.status, device.max_qubits, slots_of(device)) == ("lab1", "offline", 3, 4)
    assert device.coupling_map == ((0, 1), (1, 2))
    assert open_driver(device).device.options == {"seed": 7}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no device"),
        ("[device.x]\n", "unknown table 'device'"),
        ("[devices]\nx = 1\n", "is not a table"),
        ('[devices.x]\ndriver = "DriverDumy"\n', "DriverDumy"),
        ('[devices.x]\ndriver = "DriverDummy"\nslot = 1\n', "'slot' is not one of"),
        ('[devices.x]\ndriver = "DriverDummy"\nslots = "a"\n', "slots"),
        ('[devices.x]\ndriver = "DriverDummy"\nstatus = "away"\n', "status"),
        ('[devices.x]\ndriver = "DriverDummy"\nmax_qubits = 0\n', "max_qubits"),
        ('[devices.x]\ndriver = "DriverDummy"\ntranspiler = "nope"\n', "transpiler"),
        ('[devices.x]\ndriver = "DriverDummy"\nbasis_gates = ["nope"]\n', "nope"),
        ('[devices.x]\ndriver = "DriverDummy"\nmax_qubits = 2\ncoupling_map = [[0, 2]]\n', "coupling_map"),
        ("[devices.x\n", "devices.toml"),
    ],
)
def test_mistakes_are_named_with_file_device_and_field(tmp_path, text, word):
    with pytest.raises(ConfigurationInvalid) as refusal:
        read_devices(write(tmp_path, text))
    assert word in str(refusal.value)
    assert "devices.toml" in str(refusal.value)


def test_wrong_options_are_found_at_the_start(tmp_path):
    path = write(tmp_path, '[devices.x]\ndriver = "DriverDummy"\noptions = { sed = 7 }\n')
    with pytest.raises(ConfigurationInvalid, match="sed"):
        open_driver(read_devices(path)["x"])


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigurationInvalid, match="nowhere"):
        read_devices(tmp_path / "nowhere.toml")
