"""The heap against a sorted list: order, FIFO within a priority, stale handles, the 32-bit window, threads."""

from __future__ import annotations

import pickle
import random
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from qfast._ext.scheduler import MAX_CLASS, MAX_PRIORITY, Heap

PRIORITIES = st.one_of(st.integers(1, 10), st.sampled_from([0, MAX_PRIORITY]))
CLASSES = st.sampled_from([0, 1, 8, MAX_CLASS])


class HeapMachine(RuleBasedStateMachine):
    """Heap against the dictionary {seq: (class, priority, handle)} sorted at each look."""

    def __init__(self) -> None:
        super().__init__()
        self.heap = Heap()
        self.entries: dict[int, tuple[int, int, int]] = {}
        self.stale: list[int] = []
        self.next_seq = 0

    @initialize(first=st.sampled_from([0, 7, (1 << 32) - 4, 1 << 40, (1 << 63) - (1 << 40)]))
    def start(self, first: int) -> None:
        self.next_seq = first

    def order(self) -> list[int]:
        return sorted(self.entries, key=lambda seq: (*self.entries[seq][:2], seq))

    def forget(self, seq: int) -> None:
        self.stale.append(self.entries.pop(seq)[2])

    @rule(priority=PRIORITIES, klass=CLASSES, gap=st.sampled_from([1, 1, 1, 2, 1 << 30, (1 << 32) - 1, 1 << 33]))
    def push(self, priority: int, klass: int, gap: int) -> None:
        seq = self.next_seq
        self.entries[seq] = (klass, priority, self.heap.push(priority, seq, seq, klass))
        self.next_seq = seq + gap

    @rule(data=st.data(), priority=PRIORITIES)
    def push_back(self, data: st.DataObject, priority: int) -> None:
        """A job returns to the queue at its old place."""
        seq = data.draw(st.integers(0, self.next_seq))
        if seq not in self.entries and seq != self.next_seq:
            self.entries[seq] = (8, priority, self.heap.push(priority, seq, seq))

    @rule()
    def pop(self) -> None:
        order = self.order()
        expected = order[0] if order else None
        assert self.heap.peek() == expected
        assert self.heap.pop() == expected
        if expected is not None:
            self.forget(expected)

    @rule(k=st.integers(0, 6))
    def pop_many(self, k: int) -> None:
        expected = self.order()[:k]
        assert self.heap.pop_many(k) == expected
        for seq in expected:
            self.forget(seq)

    @rule(data=st.data(), priority=PRIORITIES, klass=st.none() | CLASSES)
    def update(self, data: st.DataObject, priority: int, klass: int | None) -> None:
        if self.entries:
            seq = data.draw(st.sampled_from(list(self.entries)))
            old, _, handle = self.entries[seq]
            self.heap.update(handle, priority, klass)
            self.entries[seq] = (old if klass is None else klass, priority, handle)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if self.entries:
            seq = data.draw(st.sampled_from(list(self.entries)))
            assert self.heap.cancel(self.entries[seq][2])
            self.forget(seq)

    @rule(data=st.data())
    def use_a_stale_handle(self, data: st.DataObject) -> None:
        if self.stale:
            handle = data.draw(st.sampled_from(self.stale))
            assert not self.heap.cancel(handle)
            with pytest.raises(KeyError):
                self.heap.update(handle, 1)
            with pytest.raises(KeyError):
                self.heap.position(handle)

    @rule()
    def clear(self) -> None:
        self.heap.clear()
        for seq in list(self.entries):
            self.forget(seq)

    @invariant()
    def same_order(self) -> None:
        order = self.order()
        assert len(self.heap) == len(order)
        assert self.heap.snapshot() == order
        assert self.heap.first(len(order) // 2 + 1) == order[: len(order) // 2 + 1]
        for place in {0, len(order) // 2, len(order) - 1} if order else ():
            assert self.heap.position(self.entries[order[place]][2]) == place


TestHeapMachine = HeapMachine.TestCase
TestHeapMachine.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 10)), max_size=300))
@settings(deadline=None)
def test_pops_are_the_stable_sort(jobs: list[tuple[int, int]]) -> None:
    heap = Heap()
    for seq, (klass, priority) in enumerate(jobs):
        heap.push(priority, seq, seq, klass)
    assert heap.pop_many(len(jobs) + 5) == sorted(range(len(jobs)), key=lambda seq: jobs[seq])
    assert heap.pop() is None
    assert heap.peek() is None


def test_large_heap_against_sorted() -> None:
    rng = random.Random(5)
    heap = Heap()
    priority = [rng.randrange(1, 11) for _ in range(70_000)]
    handles = [heap.push(p, seq, seq) for seq, p in enumerate(priority)]
    for seq in range(0, len(priority), 3):
        priority[seq] = rng.randrange(1, 11)
        heap.update(handles[seq], priority[seq])
    gone = set(range(1, len(priority), 50))
    assert all(heap.cancel(handles[seq]) for seq in gone)
    order = sorted(set(range(len(priority))) - gone, key=lambda seq: (priority[seq], seq))
    assert heap.snapshot() == order
    for count in (0, 1, 7, 100, len(order) + 3):
        assert heap.first(count) == order[:count]
    assert heap.position(handles[order[40_000]]) == 40_000
    assert heap.pop_many(30_000) == order[:30_000]
    assert [heap.pop() for _ in range(1000)] == order[30_000:31_000]
    assert heap.pop_many(1 << 62) == order[31_000:]


def test_window_moves_when_sequences_pass_it() -> None:
    heap = Heap()
    wrap = 1 << 32
    for seq in range(wrap - 50, wrap + 50):
        heap.push(5, seq, seq)
    assert heap.renumberings == 1  # the first window ended at 2^32; the next begins a quarter before the oldest entry
    oldest = heap.push(5, 3, 3)  # a job that returns from before the window; the spread is beyond it
    assert heap.renumberings == 2
    newest = 3 * wrap
    heap.push(5, newest, newest)
    assert heap.renumberings == 3
    for seq in range(newest + 1, newest + 100):
        heap.push(4, seq, seq)
    assert heap.renumberings == 3, "pushes after a squeeze are linear again"
    heap.update(oldest, 4)
    assert heap.pop_many(3) == [3, newest + 1, newest + 2]
    assert heap.pop_many(1000)[97:] == [*range(wrap - 50, wrap + 50), newest]


def test_equal_sequences_survive_a_squeeze() -> None:
    heap = Heap()
    for item in range(40):
        heap.push(5, 1, item)
        heap.push(5, 2, 100 + item)
    heap.push(5, 1 << 40, 1000)
    popped = heap.pop_many(100)
    assert sorted(popped[:40]) == list(range(40))
    assert sorted(popped[40:80]) == list(range(100, 140))
    assert popped[80:] == [1000]


@pytest.mark.parametrize(
    "arguments",
    [
        (-1, 0, 0),
        (MAX_PRIORITY + 1, 0, 0),
        (10**30, 0, 0),
        (5, -1, 0),
        (5, 1 << 63, 0),
        (5, 0, 1 << 63),
        (5, 0, -(1 << 63) - 1),
        (5, 0, 0, 16),
        (5, 0, 0, -1),
    ],
)
def test_push_refuses_what_is_out_of_range(arguments: tuple[int, ...]) -> None:
    heap = Heap()
    with pytest.raises(ValueError, match=r"is not in"):
        heap.push(*arguments)
    assert len(heap) == 0


@pytest.mark.parametrize("wrong", ["1", 1.5, None, b"x", [1]])
def test_what_is_no_integer_is_a_type_error(wrong: Any) -> None:
    heap = Heap()
    handle = heap.push(5, 1, 1)
    for call in (
        lambda: heap.push(wrong, 1, 1),
        lambda: heap.push(1, wrong, 1),
        lambda: heap.push(1, 1, wrong),
        lambda: heap.pop_many(wrong),
        lambda: heap.update(handle, wrong),
        lambda: heap.cancel(wrong),
        lambda: heap.position(wrong),
    ):
        with pytest.raises(TypeError):
            call()
    with pytest.raises(ValueError, match=r"k: -1"):
        heap.pop_many(-1)
    assert heap.snapshot() == [1]


def test_limits_are_inclusive_and_items_keep_their_sign() -> None:
    heap = Heap()
    heap.push(MAX_PRIORITY, (1 << 63) - 1, -(1 << 63), MAX_CLASS)
    heap.push(0, 0, (1 << 63) - 1, 0)
    assert heap.pop_many(2) == [(1 << 63) - 1, -(1 << 63)]


@given(st.lists(st.integers(-(1 << 70), 1 << 70), min_size=1, max_size=20))
@settings(deadline=None)
def test_no_forged_handle_works(forged: list[int]) -> None:
    heap = Heap()
    live = [heap.push(5, seq, seq) for seq in range(4)]
    heap.cancel(live.pop())
    for handle in [*forged, *range(5), *(h + (1 << 32) for h in live), *(h ^ (1 << 63) for h in live)]:
        if handle not in live:
            assert not heap.cancel(handle)
            with pytest.raises(KeyError):
                heap.update(handle, 1)
            with pytest.raises(KeyError):
                heap.position(handle)
    assert heap.snapshot() == [0, 1, 2]


def test_wrong_update_changes_nothing() -> None:
    heap = Heap()
    handle = heap.push(5, 0, 10)
    heap.push(6, 1, 11)
    for priority, klass in ((-1, None), (MAX_PRIORITY + 1, 3), (7, 16)):
        with pytest.raises(ValueError, match=r"is not in"):
            heap.update(handle, priority, klass)
    assert heap.snapshot() == [10, 11]


def test_threads_share_a_heap() -> None:
    heap = Heap()
    count, threads = 8_000, 3
    popped: list[int] = []
    pushed = threading.Barrier(threads + 1)

    def push(first: int) -> None:
        for seq in range(first, first + count):
            heap.push(seq % 10, seq, seq)
        pushed.wait()

    def drain() -> None:
        while len(popped) < count:
            popped.extend(heap.pop_many(1500))
            heap.snapshot()
        pushed.wait()

    workers = [threading.Thread(target=push, args=(i * count,)) for i in range(threads)]
    workers.append(threading.Thread(target=drain))
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rest = heap.pop_many(threads * count)
    assert rest == sorted(rest, key=lambda seq: (seq % 10, seq))
    assert sorted(popped + rest) == list(range(threads * count))


def test_heap_is_not_copied_by_accident() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Heap())
