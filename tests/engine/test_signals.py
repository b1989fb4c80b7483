import os
import signal
from contextlib import ExitStack

import pytest

from distill.engine import signals
from distill.engine.signals import SignalWatch, ending_cleanly
from distill.errors import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_nothing_else_happens(number):
    with SignalWatch() as watch:
        assert watch.received is None
        os.kill(os.getpid(), number)
        assert watch.received == number
        assert not watch.save_asked


def test_a_request_to_save_is_no_reason_to_stop():
    with SignalWatch() as watch:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert watch.save_asked
        assert watch.received is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_is_obeyed_at_once(monkeypatch, number, code):
    monkeypatch.setattr(signals, "ECHO", -1.0)
    with SignalWatch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted, match="at once") as stopped:
            os.kill(os.getpid(), number)
        assert stopped.value.code == code
        assert watch.received == signal.SIGTERM


def test_the_echo_of_a_signal_is_not_a_second_one():
    with SignalWatch() as watch:
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        assert watch.received == signal.SIGINT


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_request_to_end_unwinds_what_is_open(number, code):
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGHUP, former)
        stack.enter_context(ending_cleanly())
        with pytest.raises(SystemExit) as stopped:
            os.kill(os.getpid(), number)
    assert stopped.value.code == code


def test_a_request_to_save_before_there_is_anything_to_save_kills_nothing():
    former = signal.getsignal(signal.SIGUSR1)
    with ending_cleanly():
        os.kill(os.getpid(), signal.SIGUSR1)
        with SignalWatch() as watch:
            os.kill(os.getpid(), signal.SIGUSR1)
            assert watch.save_asked
    assert signal.getsignal(signal.SIGUSR1) == former


@pytest.mark.parametrize("ignored", [False, True])
def test_a_terminal_that_closes_is_heard_but_not_under_nohup(ignored):
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with ending_cleanly(), SignalWatch() as watch:
            os.kill(os.getpid(), signal.SIGHUP)
            assert watch.received == (None if ignored else signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_former_handlers_come_back():
    former = [signal.getsignal(number) for number in SignalWatch.watched]
    with SignalWatch():
        assert signal.getsignal(signal.SIGTERM) not in former
    assert [signal.getsignal(number) for number in SignalWatch.watched] == former
