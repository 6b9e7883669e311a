"""32 clients, 10,000 jobs at once, and a kill -9 in the middle (storm.py)."""

from storm import storm, storm_with_kill


def test_ten_thousand_jobs_at_once_end_in_order() -> None:
    assert storm(10_000, 32)["jobs"] == 10_000


def test_no_acknowledged_job_is_lost_or_done_twice_by_a_kill() -> None:
    assert storm_with_kill(4_000, 32)["acknowledged_before_kill"] > 0
