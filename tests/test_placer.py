"""The placer: every stream on one host whatever happens to the hosts; on a virtual clock."""

from concurrent.futures import Future

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime.clock import VirtualClock
from realtime.errors import UsageError
from realtime.fleet.book import Book, Entry
from realtime.fleet.engine import HostError, HostInfo
from realtime.fleet.host import StreamHost, StreamReport
from realtime.fleet.placer import Placer, Rules
from realtime.types import NS_PER_S

ROUND_S = 0.2
LEASE_S = 3.0
RULES = Rules(lease_s=LEASE_S, cores=0.1)


class Session:
    """Streams that count; one of `broken` can't be begun."""

    def __init__(self, clock, broken):
        self.clock, self.broken = clock, broken
        self.streams = {}
        self.fenced = set()

    def add(self, spec, epoch, state):
        if spec["name"] in self.broken:
            raise UsageError("no such camera")
        assert spec["name"] not in self.streams
        self.streams[spec["name"]] = (self.clock.now_ns(), epoch, (state or {}).get("said", 0))

    def remove(self, stream):
        _, epoch, said = self.streams.pop(stream)
        self.fenced.discard(stream)
        return {"said": said, "epoch": epoch}

    def report(self):
        return {
            name: StreamReport(
                {"said": said, "epoch": epoch}, 0.1, int(self.clock.now_ns() > begun_ns), fenced=name in self.fenced
            )
            for name, (begun_ns, epoch, said) in self.streams.items()
        }

    def close(self):
        self.streams.clear()


class Host:
    def __init__(self, name, clock, broken, labels):
        self.name, self.clock, self.broken, self.labels = name, clock, broken, labels
        self.run, self.cores, self.waiting = 0, 4.0, []
        self.start()

    def start(self):
        self.run += 1
        self.up, self.frozen = True, False
        self.session = Session(self.clock, self.broken)
        self.host = StreamHost(self.name, self.session)

    def kill(self):
        self.up = False
        waiting, self.waiting = self.waiting, []
        for _, _, future in waiting:
            future.set_exception(HostError("gone"))

    def thaw(self):
        self.frozen = False
        waiting, self.waiting = self.waiting, []
        for order in waiting:
            self.obey(*order)

    def obey(self, method, arguments, future):
        if self.frozen:
            self.waiting.append((method, arguments, future))
        else:
            future.set_result(getattr(self.host, method)(**arguments))


class Engine:
    def __init__(self, clock, names, labels=None):
        self.broken, self.asked = set(), []
        self.hosts = {name: Host(name, clock, self.broken, (labels or {}).get(name, {})) for name in names}

    def poll(self):
        return {
            name: HostInfo(name, host.run, up=host.up, cores=host.cores, labels=host.labels)
            for name, host in self.hosts.items()
        }

    def ask(self, host, method, **arguments):
        future = Future()
        self.asked.append((host, method, arguments))
        if self.hosts[host].up:
            self.hosts[host].obey(method, arguments, future)
        else:
            future.set_exception(HostError("gone"))
        return future

    def close(self):
        pass


class Fleet:
    def __init__(self, names=("h1", "h2", "h3"), streams=6, labels=None, **options):
        self.clock = VirtualClock(NS_PER_S)
        self.engine = Engine(self.clock, names, labels)
        self.book = Book(int(LEASE_S * NS_PER_S))
        self.changes = []
        self.placer = Placer(self.engine, self.book, self.clock, RULES, on_change=self.changes.append, **options)
        for number in range(streams):
            self.placer.want({"name": f"s{number}"})

    def run(self, seconds):
        for _ in range(round(seconds / ROUND_S)):
            self.placer.step()
            self.clock.advance_to(self.clock.now_ns() + int(ROUND_S * NS_PER_S))

    def having(self, stream):
        """Hosts that run a stream, those that stand still left out, with its epoch there."""
        return {
            name: host.session.streams[stream][1]
            for name, host in self.engine.hosts.items()
            if host.up and not host.frozen and stream in host.session.streams
        }

    def counts(self):
        return {name: len(host.session.streams) if host.up else 0 for name, host in self.engine.hosts.items()}


def test_streams_are_spread_over_the_hosts_and_told_of():
    fleet = Fleet()
    fleet.run(3)
    assert fleet.counts() == {"h1": 2, "h2": 2, "h3": 2}
    status = fleet.placer.status()
    assert {name: host["state"] for name, host in status["hosts"].items()} == dict.fromkeys(fleet.counts(), "ready")
    assert all(stream["epoch"] == 1 for stream in status["streams"].values())
    assert len(status["moves"]) == 6
    assert {change.name for change in fleet.changes} == {f"s{number}" for number in range(6)}


def test_the_streams_of_a_dead_host_go_on_elsewhere_from_their_states_by_the_next_epoch():
    fleet = Fleet()
    fleet.run(3)
    for host in fleet.engine.hosts.values():
        for name, (begun_ns, epoch, _) in host.session.streams.items():
            host.session.streams[name] = (begun_ns, epoch, 40 + int(name[1]))
    fleet.run(2)
    lost = sorted(fleet.engine.hosts["h1"].session.streams)
    fleet.engine.hosts["h1"].kill()
    fleet.run(0.4)
    for stream in lost:
        ((host, epoch),) = fleet.having(stream).items()
        assert host != "h1"
        assert epoch == 2
        assert fleet.engine.hosts[host].session.streams[stream][2] == 40 + int(stream[1]), "the state went with it"
    assert {move.why for _, move, _ in list(fleet.placer.moves)[-2:]} == {"lost"}


def test_a_host_that_stands_still_loses_its_streams_after_a_lease_and_ends_them_when_it_wakes():
    fleet = Fleet()
    fleet.run(3)
    old = fleet.engine.hosts["h1"]
    lost = sorted(old.session.streams)
    old.frozen = True
    fleet.run(LEASE_S - 1.5)
    assert all(not fleet.having(stream) for stream in lost), "not before the lease is over"
    fleet.run(2.0)
    assert all(list(fleet.having(stream).values()) == [2] for stream in lost)
    assert fleet.placer.status()["hosts"]["h1"]["state"] == "silent"
    old.thaw()
    assert set(old.session.streams) & set(lost) == set(), "the order to end them was waiting for it"
    fleet.run(70)
    assert sum(fleet.counts().values()) == 6
    assert fleet.counts()["h1"] > 0, "it takes streams again"


def test_a_host_that_comes_back_with_an_old_epoch_is_told_to_end_it():
    fleet = Fleet(names=("h1", "h2"), streams=2)
    fleet.run(3)
    old = fleet.engine.hosts["h1"]
    (stream,) = old.session.streams
    kept = old.session.streams[stream]
    fleet.placer.move(stream, "h2")
    fleet.run(3)
    assert list(fleet.having(stream)) == ["h2"]
    old.session.streams[stream] = kept
    old.host._epochs[stream] = 1  # as if the order to end it had been lost
    fleet.run(2)
    assert fleet.having(stream) == {"h2": 2}


def test_a_move_makes_before_it_breaks_and_a_local_device_is_let_go_of_first():
    for exclusive in (False, True):
        fleet = Fleet(names=("h1", "h2"), streams=1, exclusive=lambda _, answer=exclusive: answer)
        fleet.run(3)
        ((source, _),) = fleet.having("s0").items()
        target = "h2" if source == "h1" else "h1"
        fleet.engine.asked.clear()
        fleet.placer.move("s0", target)
        fleet.run(3)
        changes = [(host, method) for host, method, _ in fleet.engine.asked if method != "report"]
        wanted = [(target, "add"), (source, "remove")]
        assert changes == (wanted[::-1] if exclusive else wanted)
        assert fleet.having("s0") == {target: 2}


def test_a_drained_host_is_emptied_and_takes_nothing_until_it_is_undrained():
    fleet = Fleet(names=("h1", "h2"), streams=6)
    fleet.run(3)
    fleet.placer.drain("h1")
    fleet.run(70)
    assert fleet.counts() == {"h1": 0, "h2": 6}
    assert fleet.placer.status()["hosts"]["h1"]["state"] == "draining"
    fleet.placer.drain("h1", draining=False)
    fleet.run(180)
    assert fleet.counts() == {"h1": 3, "h2": 3}


def test_a_host_that_joins_is_filled_within_a_minute_by_its_part_of_the_streams_at_most():
    fleet = Fleet(names=("h1", "h2"), streams=12)
    fleet.run(90)
    fleet.engine.hosts["h3"] = Host("h3", fleet.clock, set(), {})
    fleet.run(60)
    assert fleet.counts() == {"h1": 4, "h2": 4, "h3": 4}
    assert sum(move.why == "balance" for _, move, _ in fleet.placer.moves) <= 4


def test_a_stream_that_cannot_be_begun_says_why_and_is_tried_again():
    fleet = Fleet(streams=1)
    fleet.engine.broken.add("s0")
    fleet.run(5)
    told = fleet.placer.status()["streams"]["s0"]
    assert (told["host"], told["why"]) == (None, "no such camera")
    tries = sum(method == "add" for _, method, _ in fleet.engine.asked)
    assert 1 < tries < 5, "with waits that grow"
    fleet.engine.broken.clear()
    fleet.run(20)
    assert len(fleet.having("s0")) == 1


def test_a_stream_that_another_client_has_taken_over_is_placed_anew():
    fleet = Fleet(streams=1)
    fleet.run(3)
    ((host, _),) = fleet.having("s0").items()
    fleet.engine.hosts[host].session.fenced.add("s0")
    fleet.run(3)
    assert list(fleet.having("s0").values()) == [2]
    assert not any(host.session.fenced for host in fleet.engine.hosts.values())


def test_a_stream_that_is_forgotten_ends_and_one_that_its_host_does_not_show_comes_back():
    fleet = Fleet(streams=2)
    fleet.run(3)
    fleet.placer.forget("s0")
    fleet.run(1)
    assert fleet.having("s0") == {}
    assert "s0" in fleet.changes
    ((host, _),) = fleet.having("s1").items()
    fleet.engine.hosts[host].host.remove({"s1": 9})
    fleet.run(30)
    assert len(fleet.having("s1")) == 1


def test_a_placer_that_starts_anew_keeps_streams_where_they_are_and_never_uses_an_epoch_again():
    fleet = Fleet()
    fleet.run(3)
    left = list(fleet.book)
    heir = Fleet(streams=0)
    heir.engine, heir.clock = fleet.engine, fleet.clock
    heir.placer = Placer(fleet.engine, heir.book, fleet.clock, RULES)
    gone = fleet.engine.hosts["h1"]
    lost = sorted(gone.session.streams)
    gone.kill()
    gone.start()
    for entry in left:
        heir.placer.restore(entry)
    heir.run(5)
    for entry in left:
        ((_, epoch),) = heir.having(entry.name).items()
        assert epoch == (2 if entry.name in lost else 1)


def test_an_entry_of_a_host_that_is_no_more_is_placed_after_a_lease():
    fleet = Fleet(streams=0)
    fleet.placer.restore(Entry({"name": "s0"}, host="elsewhere", epoch=7))
    fleet.run(LEASE_S - 1)
    assert fleet.having("s0") == {}
    fleet.run(2)
    assert list(fleet.having("s0").values()) == [8]


def test_labels_say_where_a_stream_may_run():
    fleet = Fleet(streams=0, labels={"h2": {"site": "lyon"}})
    fleet.placer.want({"name": "cam"}, {"site": "lyon"})
    fleet.run(3)
    assert list(fleet.having("cam")) == ["h2"]
    fleet.engine.hosts["h2"].kill()
    fleet.run(5)
    assert fleet.placer.status()["streams"]["cam"] == {
        "host": None,
        "epoch": 1,
        "cores": 0.1,
        "why": "no host with site=lyon",
    }
    with pytest.raises(UsageError, match="no host h9; there are h1, h2, h3"):
        fleet.placer.check_host("h9")


STREAMS = [f"s{number}" for number in range(5)]
TROUBLE = st.lists(
    st.tuples(
        st.sampled_from(["kill", "start", "freeze", "thaw", "drain", "undrain", "move", "wait"]),
        st.sampled_from(["h1", "h2", "h3"]),
        st.sampled_from([0.2, 1.0, 4.0]),
    ),
    max_size=14,
)


def suffer(fleet, kind, name):
    host = fleet.engine.hosts[name]
    if kind == "kill" and host.up:
        host.kill()
    elif kind == "start" and not host.up:
        host.start()
    elif kind == "freeze" and host.up:
        host.frozen = True
    elif kind == "thaw" and host.frozen:
        host.thaw()
    elif kind in {"drain", "undrain"}:
        fleet.placer.drain(name, draining=kind == "drain")
    elif kind == "move":
        fleet.placer.move("s1", name)


@settings(max_examples=20)
@given(TROUBLE)
def test_whatever_happens_one_host_at_most_has_the_newest_epoch_and_in_the_end_each_stream_has_one_host(troubles):
    fleet = Fleet(streams=5)
    fleet.run(2)
    for kind, name, seconds in troubles:
        suffer(fleet, kind, name)
        fleet.run(seconds)
        for number in range(5):
            epochs = list(fleet.having(f"s{number}").values())
            newest = fleet.book.get(f"s{number}").epoch
            assert epochs.count(newest) <= 1
            assert max(epochs, default=0) <= newest
    for name in fleet.engine.hosts:
        for kind in ("start", "thaw", "undrain"):
            suffer(fleet, kind, name)
    fleet.run(40)
    for _ in range(10):  # a stream that is just being moved has two hosts for a moment
        if all(each == 1 for each in map(len, map(fleet.having, STREAMS))):
            break
        fleet.run(1)
    for stream in STREAMS:
        assert list(fleet.having(stream).values()) == [fleet.book.get(stream).epoch]


def test_a_placer_that_stood_still_takes_no_host_for_dead():
    fleet = Fleet()
    fleet.run(3)
    fleet.clock.advance_to(fleet.clock.now_ns() + 60 * NS_PER_S)
    fleet.run(5)
    assert {next(iter(fleet.having(f"s{number}").values())) for number in range(6)} == {1}
    assert len(fleet.placer.moves) == 6
    fleet.engine.hosts["h1"].frozen = True
    fleet.clock.advance_to(fleet.clock.now_ns() + 60 * NS_PER_S)
    fleet.run(LEASE_S + 1)
    assert fleet.placer.status()["hosts"]["h1"]["state"] == "silent", "and yet notices one that is"


def test_a_move_says_who_had_the_stream_before():
    fleet = Fleet(names=("h1", "h2"), streams=2)
    fleet.run(3)
    (stream,) = fleet.engine.hosts["h1"].session.streams
    fleet.engine.hosts["h1"].kill()
    fleet.run(1)
    told = fleet.placer.status()["moves"]
    assert [(move["from"], move["why"]) for move in told[:2]] == [(None, "new")] * 2
    assert told[2] == {"stream": stream, "from": "h1", "to": "h2", "why": "lost", "epoch": 2, "ago_s": told[2]["ago_s"]}
