"""The exchange's time by two clocks, jumps and outages among them."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from core.errors import ExchangeUnavailableError
from market.ingest.live_clock import LiveClock, follow_exchange_clock, nap
from market.providers.exchange_time import TimeReading

T0 = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)


class Machine:
    """A machine and an exchange: both clocks, the stopwatch, and sleep that moves them."""

    def __init__(self, skew=0.0):
        self.exchange = T0
        self.skew = timedelta(seconds=skew)
        self.stopwatch = 100.0
        self.naps = []
        self.is_away = False

    def wall(self):
        return self.exchange + self.skew

    async def read(self):
        if self.is_away:
            raise ExchangeUnavailableError("away")
        return TimeReading(self.exchange)

    def pass_seconds(self, seconds):
        self.exchange += timedelta(seconds=seconds)
        self.stopwatch += seconds

    def clock(self):
        return LiveClock(self.read, wall=self.wall, monotonic=lambda: self.stopwatch)


@pytest.fixture
def slept(monkeypatch):
    """Return a function that lets a machine's naps pass at once, and something happen in the n-th one."""

    def install(machine, happens=None):
        async def sleep(seconds, stop):
            machine.naps.append(seconds)
            machine.pass_seconds(seconds)
            if happens is not None:
                happens(len(machine.naps), stop)

        monkeypatch.setattr("market.ingest.live_clock.nap", sleep)

    return install


def run(work):
    return asyncio.run(work)


def test_clock_waits_by_the_exchanges_time_not_the_machines(slept):
    machine = Machine(skew=-20.0)
    slept(machine)
    clock = machine.clock()

    async def go():
        await clock.check()
        return await clock.sleep_until(T0 + timedelta(seconds=5), asyncio.Event())

    assert run(go()) == machine.exchange == T0 + timedelta(seconds=5)
    assert max(machine.naps) <= 1.0


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_clock_that_is_set_is_noticed_and_measured_anew(slept, jump, caplog):
    machine = Machine()
    clock = machine.clock()

    def set_clock(number, _):
        if number == 2:
            machine.skew += timedelta(seconds=jump)

    slept(machine, set_clock)
    reached = run(clock.sleep_until(T0 + timedelta(seconds=10), asyncio.Event()))
    assert reached == machine.exchange == T0 + timedelta(seconds=10), "an hour either way changes nothing"
    assert caplog.text.count("jumped") == 1


def test_clock_machine_that_slept_sees_the_time_that_passed(slept):
    machine = Machine()
    clock = machine.clock()

    def suspend(number, _):
        if number == 3:
            # the stopwatch stands still while the machine sleeps
            machine.exchange += timedelta(hours=3)

    slept(machine, suspend)
    reached = run(clock.sleep_until(T0 + timedelta(seconds=30), asyncio.Event()))
    assert reached >= T0 + timedelta(hours=3)
    assert len(machine.naps) == 3, "it wakes within a second of the machine"


def test_clock_jump_while_the_exchange_is_away_is_measured_when_it_is_back(slept):
    machine = Machine()
    clock = machine.clock()
    machine.is_away = True

    def set_clock(number, _):
        if number == 2:
            machine.skew = timedelta(seconds=-40)
        if number == 5:
            machine.is_away = False

    slept(machine, set_clock)
    assert run(clock.sleep_until(T0 + timedelta(seconds=20), asyncio.Event())) == machine.exchange


def test_clock_stop_ends_the_waiting(slept):
    machine = Machine()

    def end(number, stop):
        if number == 2:
            stop.set()

    slept(machine, end)
    assert run(machine.clock().sleep_until(T0 + timedelta(hours=1), asyncio.Event())) == T0 + timedelta(seconds=2)


def test_nap_ends_after_its_time_or_when_stop_is_set():
    async def go():
        began, stop = time.monotonic(), asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, stop.set)
        await nap(60.0, stop)
        await nap(0.001, asyncio.Event())
        return stop.is_set(), time.monotonic() - began

    is_set, seconds = run(go())
    assert is_set and 0.01 < seconds < 5


class FakeClock:
    """Stands in for `ExchangeClock`."""

    def __init__(self, *, speed=1.0, is_stepped=False):
        self.moment, self.speed, self.is_stepped = T0, speed, is_stepped
        self.requested = 0
        self.is_away = False

    def read(self):
        self.requested += 1
        if self.is_away:
            raise ExchangeUnavailableError("away")
        return TimeReading(self.moment, self.speed, self.is_stepped)

    def wait_until(self, moment):
        assert self.is_stepped, "only a stepped clock is told to move"
        self.moment = max(self.moment, moment)


def test_exchange_clock_steps_a_stepped_exchange():
    exchange = FakeClock(is_stepped=True)
    later = T0 + timedelta(minutes=5)
    assert run(follow_exchange_clock(exchange).sleep_until(later, asyncio.Event())) == later


def test_exchange_clock_is_carried_on_at_its_speed_between_readings():
    exchange, watch = FakeClock(speed=60.0), [100.0]
    clock = follow_exchange_clock(exchange, monotonic=lambda: watch[0])

    async def go():
        first = await clock.now()
        watch[0] += 0.4
        return first, await clock.now(), exchange.requested

    assert run(go()) == (T0, T0 + timedelta(seconds=24), 1)


def test_exchange_clock_goes_on_while_the_exchange_is_away():
    exchange, watch = FakeClock(speed=10.0), [100.0]
    clock = follow_exchange_clock(exchange, monotonic=lambda: watch[0])

    async def go():
        await clock.now()
        exchange.is_away = True
        watch[0] += 6.0
        return await clock.now()

    assert run(go()) == T0 + timedelta(minutes=1)
    with pytest.raises(ExchangeUnavailableError):
        run(follow_exchange_clock(exchange).now())
