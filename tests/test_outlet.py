"""One outlet: who subscribed to a kind gets it, words only with consent, and one sink's fault is nobody else's."""

from test_messages import event, health, sentiment

from realtime.publish.messages import EventMessage, Health, Sentiment, Words
from realtime.publish.outlet import Outlet

SPOKEN = sentiment(text=Words(committed="a secret", tentative=""))


def test_a_subscriber_gets_the_kinds_it_asked_for_in_their_order():
    got, outlet = [], Outlet()
    outlet.subscribe(got.append, Sentiment, EventMessage)
    said = [sentiment(seq=1), health(), event(), sentiment(seq=2)]
    for message in said:
        outlet.send(message)

    assert got == [said[0], said[2], said[3]]


def test_words_reach_only_those_who_may_have_them():
    told, untold, outlet = [], [], Outlet()
    outlet.subscribe(told.append, Sentiment, words=True)
    outlet.subscribe(untold.append, Sentiment)
    outlet.send(SPOKEN)

    assert told == [SPOKEN]
    assert [message.text for message in untold] == [None]
    assert b"secret" not in untold[0].payload()


def test_a_subscriber_to_one_stream_hears_no_other():
    got, outlet = [], Outlet()
    outlet.subscribe(got.append, Sentiment, Health, stream="desk")
    outlet.send(sentiment(stream="hall"))
    outlet.send(sentiment(stream="desk"))

    assert [message.stream for message in got] == ["desk"]


def test_a_sink_that_fails_is_logged_and_the_others_get_the_message(caplog):
    def broken(_message):
        raise ZeroDivisionError("a bug")

    got, outlet = [], Outlet()
    outlet.subscribe(broken, Sentiment)
    outlet.subscribe(got.append, Sentiment)
    outlet.send(sentiment())

    assert len(got) == 1
    assert "a sentiment message was not taken" in caplog.text
