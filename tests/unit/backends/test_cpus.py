from runtime.model.backends import cpus


def topology(folder, siblings):
    for cpu, text in enumerate(siblings):
        place = folder / f"cpu{cpu}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(text + "\n")
    return folder


def test_two_hardware_threads_of_a_core_count_once(tmp_path):
    folder = topology(tmp_path, ["0,2", "1,3", "0,2", "1,3"])
    assert cpus.usable(range(4), tmp_path / "none", folder) == 2


def test_affinity_and_quota_limit(tmp_path):
    folder = topology(tmp_path / "cpu", [str(i) for i in range(8)])
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cpus.usable(range(8), tmp_path, folder) == 2
    assert cpus.usable([5], tmp_path, folder) == 1
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cpus.usable(range(8), tmp_path, folder) == 8


def test_the_older_control_group_is_read_too(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus.quota_cpus(tmp_path) == 0.5
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpus.quota_cpus(tmp_path) is None


def test_a_machine_that_tells_nothing_has_one_core_a_processor(tmp_path):
    assert cpus.usable(range(3), tmp_path, tmp_path) == 3
