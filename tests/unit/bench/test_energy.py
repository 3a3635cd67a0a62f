"""Energy as the kernel tells it, from trees like its own."""

from runtime.bench import energy


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def package_zone(root, number, energy_uj, most_uj=1000_000):
    zone = root / "sys/class/powercap" / f"intel-rapl:{number}"
    write(zone / "name", f"package-{number}")
    write(zone / "max_energy_range_uj", most_uj)
    write(zone / "energy_uj", energy_uj)
    return zone


def rail(root, number, name, millivolts, milliamperes):
    folder = root / "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon3"
    write(folder / f"in{number}_label", name)
    write(folder / f"in{number}_input", millivolts)
    write(folder / f"curr{number}_input", milliamperes)


def test_packages_are_added_up_and_counters_may_wrap(tmp_path):
    first, second = package_zone(tmp_path, 0, 900_000), package_zone(tmp_path, 1, 0)
    write(tmp_path / "sys/class/powercap/intel-rapl:0:0/name", "core")
    (meter,), reason = energy.meters(tmp_path, None)
    assert reason == ""
    write(first / "energy_uj", 100_000)
    write(second / "energy_uj", 300_000)
    assert meter.joules() == 0.5


def test_the_boards_own_rail_is_taken_alone(tmp_path):
    rail(tmp_path, 1, "VDD_IN", 5000, 2000)
    rail(tmp_path, 2, "VDD_CPU_GPU_CV", 5000, 1000)
    (meter,), _ = energy.meters(tmp_path, None)
    meter.close()
    assert meter.covers == "VDD_IN (INA3221)"
    assert meter.watts() == 10.0


def test_power_is_summed_up_over_time(tmp_path):
    rail(tmp_path, 1, "VDD_GPU_SOC", 5000, 1000)
    times = iter([0.0, 2.0, 2.0])
    meter = energy.Ina(energy._rails(tmp_path), lambda: next(times, 2.0))
    meter.close()
    assert meter.joules() == 10.0


def test_a_machine_that_tells_nothing_says_why(tmp_path):
    found, reason = energy.meters(tmp_path, None)
    assert found == []
    assert "no RAPL, no NVML counter, no INA3221" in reason


def test_a_counter_for_root_only_says_so(tmp_path):
    (package_zone(tmp_path, 0, 1) / "energy_uj").unlink()
    found, reason = energy.meters(tmp_path, None)
    assert found == []
    assert "for root only" in reason


class Nvml:
    """One GPU that counts millijoules."""

    millijoules = 5000

    def nvmlDeviceGetCount(self):  # noqa: N802 - the library's name
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802 - the library's name
        return index

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802 - the library's name
        return self.millijoules


def test_a_gpu_tells_its_energy_beside_the_processor(tmp_path):
    package_zone(tmp_path, 0, 0)
    found, _ = energy.meters(tmp_path, Nvml())
    assert [meter.covers for meter in found] == ["processor packages (RAPL)", "GPU (NVML)"]
    assert found[1].joules() == 5.0
