from app.engine.batching.device_time import DeviceTime


def test_time_is_charged_to_the_running_model_only() -> None:
    time = DeviceTime()
    time.charge(1.0, ["a"])
    time.charge(4.0, [])
    time.charge(6.0, ["b"])

    assert time.used_s == {"a": 1.0, "b": 2.0}
    assert time.busy_s == 3.0


def test_a_short_run_that_overtakes_a_long_one_counts_a_third_and_delays_it() -> None:
    time = DeviceTime()
    delay_s = time.charge(3.0, ["short", "long"])

    assert time.used_s == {"short": 1.0}
    assert (delay_s, time.busy_s) == (3.0, 3.0)


def test_a_model_is_not_owed_the_time_it_was_idle() -> None:
    time = DeviceTime(used_s={"busy": 100.0, "other": 90.0})
    time.join("new", ("busy", "other"))

    assert time.used_s["new"] == 90.0


def test_a_model_that_arrives_on_an_idle_device_is_level_with_the_one_that_used_most() -> None:
    time = DeviceTime(used_s={"busy": 100.0, "rare": 1.0})
    time.join("rare", ())

    assert time.used_s["rare"] == 100.0


def test_an_active_model_keeps_what_it_is_owed() -> None:
    time = DeviceTime(used_s={"busy": 100.0, "waiting": 99.0})
    time.join("waiting", ("busy", "waiting"))

    assert time.used_s["waiting"] == 99.0
