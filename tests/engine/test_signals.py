import os
import signal

import pytest

from distill.engine.signals import SignalWatch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_nothing_else_happens(number):
    with SignalWatch() as watch:
        assert watch.received is None
        os.kill(os.getpid(), number)
        assert watch.received == number


def test_a_second_signal_is_obeyed_at_once():
    with SignalWatch() as watch:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert watch.received == signal.SIGTERM


def test_former_handlers_come_back():
    former = [signal.getsignal(number) for number in SignalWatch.watched]
    with SignalWatch():
        assert signal.getsignal(signal.SIGTERM) not in former
    assert [signal.getsignal(number) for number in SignalWatch.watched] == former
