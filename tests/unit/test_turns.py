"""Calls one after the other in another thread."""

from __future__ import annotations

import threading

import pytest

from pipelines.publish.background import Turns


def test_results_come_once_and_in_order_from_one_other_thread() -> None:
    with Turns[tuple[int, int]]() as turns:
        for number in range(20):
            turns.add(lambda n: (n, threading.get_ident()), number)
        found = [*turns.done(), *turns.rest()]
        assert [*turns.done(), *turns.rest()] == []
    assert [n for n, _ in found] == list(range(20))
    assert len({thread for _, thread in found} | {threading.get_ident()}) == 2


def test_what_is_not_done_is_not_waited_for() -> None:
    go = threading.Event()
    with Turns[bool]() as turns:
        turns.add(go.wait, 60)
        assert list(turns.done()) == []
        go.set()
        assert list(turns.rest()) == [True]


def test_an_error_of_a_call_comes_out_with_its_result() -> None:
    with Turns[float]() as turns:
        turns.add(lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            list(turns.rest())


def test_an_error_of_the_caller_lets_the_present_call_end_and_drops_the_rest() -> None:
    began, go, ended = threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        began.set()
        go.wait(60)
        ended.append("first")

    def interrupted() -> None:
        with Turns[None]() as turns:
            turns.add(first)
            turns.add(ended.append, "second")
            began.wait(60)
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ended == ["first"]
