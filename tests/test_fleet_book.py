"""The book of a fleet: an epoch is given out once, a lease runs out, and what is written down can be read again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.fleet.book import Book, Entry, from_json, to_json

LEASE = 3_000

NAMES = st.sampled_from(["a", "b", "c"])
HOSTS = st.sampled_from(["h1", "h2", "h3"])
ORDERS = st.one_of(
    st.tuples(st.just("assign"), NAMES, HOSTS),
    st.tuples(st.just("renew"), NAMES, HOSTS, st.integers(0, 8)),
    st.tuples(st.just("release"), NAMES),
    st.tuples(st.just("lose"), HOSTS),
    st.tuples(st.just("pass"), st.integers(1, 2 * LEASE)),
)


@given(st.lists(ORDERS, max_size=60))
def test_an_epoch_is_given_out_once_and_only_its_holder_may_renew(orders):
    book, now, given_out = Book(LEASE), 0, {}
    for name in "abc":
        book.want({"name": name})
    for order in orders:
        if order[0] == "pass":
            now += order[1]
            continue
        kind, name = order[:2]
        before = book.get(name)
        if kind == "assign":
            entry = book.assign(name, order[2], now)
            assert (name, entry.epoch) not in given_out
            assert entry.epoch == before.epoch + 1
            given_out[name, entry.epoch] = order[2]
        elif kind == "renew":
            held = before.host == order[2] and before.epoch == order[3]
            assert book.renew(name, order[2], order[3], now, {"seq": now}) is held
            assert (book.get(name).state == {"seq": now}) or not held
        elif kind == "release":
            book.release(name, lost=False)
            assert book.get(name).host is None
        else:
            for lost in book.release_all(order[1]):
                assert book.get(lost).lost
        for entry in book:
            if entry.host is not None:
                assert given_out[entry.name, entry.epoch] == entry.host
                assert (entry.host in book.expired(now)) or entry.lease_ns > now


def test_a_lease_runs_out_unless_its_host_answers():
    book = Book(LEASE)
    book.want({"name": "desk"})
    book.assign("desk", "h1", 0)
    assert book.expired(LEASE - 1) == set()
    book.hold("h1", LEASE - 1)
    assert book.expired(2 * LEASE - 2) == set()
    assert book.expired(2 * LEASE - 1) == {"h1"}
    assert book.owned("h1") == {"desk": 1}


def test_a_stream_that_is_wanted_otherwise_keeps_its_epoch_and_its_state():
    book = Book(LEASE)
    book.want({"name": "desk", "camera": "0"}, {"site": "a"})
    book.assign("desk", "h1", 0)
    book.renew("desk", "h1", 1, 0, {"seq": 7}, 0.3)
    book.want({"name": "desk", "camera": "1"}, {"site": "b"})
    entry = book.get("desk")
    assert (entry.epoch, entry.host, entry.state, entry.cores) == (1, "h1", {"seq": 7}, 0.3)
    assert (entry.spec["camera"], entry.labels) == ("1", {"site": "b"})
    assert len(book) == 1
    book.forget("desk")
    assert book.get("desk") is None
    book.want({"name": "desk"})
    assert book.get("desk") == Entry({"name": "desk"}, epoch=1), "an epoch is never given out twice"


@given(
    st.builds(
        Entry,
        spec=st.fixed_dictionaries(
            {"name": st.text(max_size=20)}, optional={"camera": st.none() | st.text(max_size=9)}
        ),
        labels=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
        host=st.none() | st.text(max_size=9),
        epoch=st.integers(0, 2**40),
        state=st.none() | st.dictionaries(st.text(max_size=9), st.integers() | st.none(), max_size=4),
    )
)
def test_an_entry_survives_being_written_down(entry):
    assert from_json(to_json(entry)) == entry


def test_a_newer_entry_is_not_replaced_by_one_that_was_written_down():
    book = Book(LEASE)
    book.want({"name": "desk"})
    book.assign("desk", "h1", 0)
    book.restore(Entry({"name": "desk"}, host="h2", epoch=1), 0)
    assert book.get("desk").host == "h1"
    book.restore(Entry({"name": "desk"}, host="h2", epoch=5), 0)
    assert (book.get("desk").host, book.assign("desk", "h3", 0).epoch) == ("h2", 6)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"[" * 100_000,
        b"\xff",
        b"x" * 70_000,
        b'{"schema": "agfn.fleet.entry/2"}',
        *(
            json.dumps(
                {
                    "schema": "agfn.fleet.entry/1",
                    "spec": {"name": "a"},
                    "labels": {},
                    "host": None,
                    "epoch": 1,
                    "state": None,
                }
                | wrong
            ).encode()
            for wrong in (
                {"spec": {}},
                {"spec": {"name": 3}},
                {"labels": {"a": 1}},
                {"labels": []},
                {"epoch": -1},
                {"epoch": True},
                {"epoch": 1.5},
                {"host": 3},
                {"state": []},
            )
        ),
    ],
)
def test_what_is_no_entry_is_refused(payload):
    with pytest.raises(ValueError, match=r"entry|JSON|Expecting|decode|codec"):
        from_json(payload)
