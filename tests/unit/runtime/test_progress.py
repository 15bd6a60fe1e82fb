"""Whoever waits for a restore is told how far it is: one line a second, and none about a short one."""

from __future__ import annotations

from streams.runtime.progress import RestoreProgress


class Watch:
    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[str] = []

    def progress(self) -> RestoreProgress:
        return RestoreProgress("hil.conversations", self.lines.append, lambda: self.now)


def test_a_short_restore_is_not_worth_a_line():
    watch = Watch()
    progress = watch.progress()
    progress.begins("p0")
    watch.now += 0.9
    progress.told("p0", range(10), 500, 1_000)
    progress.ended("p0")
    assert watch.lines == []


def test_a_long_one_is_told_about_once_a_second_for_all_partitions_and_at_its_end():
    watch = Watch()
    progress = watch.progress()
    progress.begins("p0")
    progress.begins("p1")
    for step in range(1, 13):
        watch.now += 0.25
        progress.told("p0", range(step * 2_500), step * 5_000, 100_000)
        progress.told("p1", range(5), 100_000, 100_000)
    assert watch.lines == [
        "hil.conversations: restoring 2 partitions: 60 % of 200,000 changelog offsets read, 10,005 states",
        "hil.conversations: restoring 2 partitions: 70 % of 200,000 changelog offsets read, 20,005 states",
        "hil.conversations: restoring 2 partitions: 80 % of 200,000 changelog offsets read, 30,005 states",
    ]
    progress.ended("p1")
    assert len(watch.lines) == 3, "one of them is still being restored"
    progress.ended("p0")
    assert watch.lines[3:] == ["hil.conversations: restored 30,005 states in 3.0 s"]


def test_the_next_restore_is_counted_by_itself():
    watch = Watch()
    progress = watch.progress()
    for partition in ("p0", "p1"):
        progress.begins(partition)
        watch.now += 2
        progress.told(partition, range(7), 10, 10)
        progress.ended(partition)
    assert [line for line in watch.lines if "restored" in line] == ["hil.conversations: restored 7 states in 2.0 s"] * 2
