"""What a machine tells of itself, from files as a Jetson and a PC have them."""

from __future__ import annotations

from pathlib import Path

from agent.inventory import read_inventory
from wire.health import Accelerator


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_jetson_tells_board_release_and_cameras(tmp_path: Path) -> None:
    put(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    put(tmp_path, "proc/device-tree/serial-number", "1423224\0")
    put(tmp_path, "etc/nv_tegra_release", "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    put(tmp_path, "sys/class/video4linux/video0/name", "HD Pro Webcam C920\n")
    gpu = Accelerator(name="Orin", driver="540.4.0", memory_total_bytes=8)
    found = read_inventory((gpu,), tmp_path)
    assert (found.board, found.serial) == ("NVIDIA Jetson Orin Nano Developer Kit", "1423224")
    assert (found.l4t, found.jetpack) == ("36.4.3", "6")
    assert [(camera.path, camera.name) for camera in found.cameras] == [("/dev/video0", "HD Pro Webcam C920")]
    assert (found.gpus[0].name, found.gpus[0].driver) == ("Orin", "540.4.0")


def test_machine_that_tells_nothing_has_an_inventory_all_the_same(tmp_path: Path) -> None:
    found = read_inventory((), tmp_path)
    assert (found.board, found.l4t, found.jetpack, found.cameras) == ("", "", "", ())
    assert found.processors > 0


def test_pc_tells_its_maker_and_system(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/dmi/id/product_name", "NUC11TNHi5\n")
    put(tmp_path, "etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: 11th Gen Intel(R) Core(TM) i5\n")
    found = read_inventory((), tmp_path)
    assert found.board == "NUC11TNHi5"
    assert found.system == "Debian GNU/Linux 12 (bookworm)"
    assert found.processor == "11th Gen Intel(R) Core(TM) i5"
