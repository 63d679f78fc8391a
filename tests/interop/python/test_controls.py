"""Toggle, filter and sampling, each seen from the client; what is bad is refused and harms nothing."""

import math

import grpc
import pytest
import xxhash

from sidecar import fixture, gated, steady
from stubs import bridge
from subscriber import counts, filtering, names, sampling, toggle


def traces_kept(rate, correlation_ids):
    """Those that sampling keeps: the same in every sidecar, so computed here from the definition."""
    return [one for one in correlation_ids if (xxhash.xxh3_64_intdigest(one.encode()) >> 11) * 2**-53 < rate]


def test_a_stream_can_be_disabled_and_enabled_again(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.emit_and_wait("a")
    sidecar.control(subscriber, toggle(False))
    sidecar.emit_and_wait("b", "c")
    sidecar.control(subscriber, toggle(True))
    sidecar.emit_and_wait("d")
    assert names(subscriber.take(2)) == ["a", "d"]
    account = sidecar.account(subscriber)
    assert (account.offered, account.switched_off, account.controls_applied) == (4, 2, 2)


def test_deny_takes_precedence_over_allow(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(allow=["tool.*", "python.call.*"], deny=["*.stop"]))
    sidecar.emit_and_wait("tool.execution.start", "tool.execution.stop", "python.call.start", "toolbox")
    assert names(subscriber.take(2)) == ["tool.execution.start", "python.call.start"]
    assert sidecar.account(subscriber).filtered == 2


def test_a_filter_replaces_the_previous_one_and_an_empty_one_clears_it(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(allow=["a*"], deny=["ab"]))
    sidecar.emit_and_wait("aa", "ab", "b")
    sidecar.control(subscriber, filtering(allow=["b"]))
    sidecar.emit_and_wait("aa", "ab", "b")
    sidecar.control(subscriber, filtering())
    sidecar.emit_and_wait("aa", "ab", "b")
    assert names(subscriber.take(5)) == ["aa", "b", "aa", "ab", "b"]
    assert sidecar.account(subscriber).filtered == 4


def test_globs_match_as_fnmatch_does(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(allow=["python.[cm]*.?????", "tool.[!x]*"]))
    sidecar.emit_and_wait("python.call.start", "python.memory.stop", "PYTHON.call.start")
    sidecar.emit_and_wait("tool.x", "tool.y", "tool.")
    assert names(subscriber.take(2)) == ["python.call.start", "tool.y"]
    assert sidecar.account(subscriber).filtered == 4


def test_sampling_keeps_exactly_the_traces_that_the_hash_selects(start):
    sidecar = start(steady(2000))
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0.3))
    sidecar.go()
    kept = [event.correlation_id for event in subscriber.rest()]
    assert kept == traces_kept(0.3, [f"steady-{number}" for number in range(2000)])
    assert 0 < len(kept) < 2000


def test_start_and_stop_of_a_span_are_kept_or_dropped_together(start):
    sidecar = start(gated(fixture("spans.py", "--requests", 40, "--delay", 0)))
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0.5))
    sidecar.go()
    arrived = [event.correlation_id for event in subscriber.rest()]
    kept = traces_kept(0.5, [f"request-{number}" for number in range(40)])
    assert sorted(arrived) == sorted(kept * 8)


def test_two_subscribers_at_the_same_rate_see_the_same_traces(start):
    sidecar = start(steady(1000))
    subscribers = [sidecar.subscribe(), sidecar.subscribe()]
    for subscriber in subscribers:
        sidecar.control(subscriber, sampling(0.5))
    sidecar.go()
    first, second = [counts(subscriber.rest()) for subscriber in subscribers]
    assert first == second
    assert 0 < len(first) < 1000


def test_each_subscriber_has_its_own_sampling_rate(start):
    sidecar = start(steady(1000))
    all_of_them, half, none = subscribers = [sidecar.subscribe() for _ in range(3)]
    sidecar.control(half, sampling(0.5))
    sidecar.control(none, sampling(0))
    sidecar.go()
    every, some, nothing = [counts(subscriber.rest()) for subscriber in subscribers]
    assert every == list(range(1000))
    assert set(some) < set(every) and some
    assert nothing == []


def test_the_newest_matching_pattern_wins(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0), sampling(1, "tool.*"), sampling(0, "*.stop"))
    sidecar.emit_and_wait("tool.start", "tool.stop", "python.start")
    assert names([subscriber.next()]) == ["tool.start"]

    # The same pattern again is newer than those in between.
    sidecar.control(subscriber, sampling(1, "tool.*"))
    sidecar.emit_and_wait("tool.start", "tool.stop", "python.start", "python.stop")
    assert names(subscriber.take(2)) == ["tool.start", "tool.stop"]
    assert sidecar.account(subscriber).sampled_out == 4


def test_a_base_rate_clears_pattern_rates(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0, "tool.*", "python.*"), sampling(1))
    sidecar.emit_and_wait("tool.start", "python.start")
    assert names(subscriber.take(2)) == ["tool.start", "python.start"]


def test_a_pattern_rate_is_consistent_by_trace(start):
    sidecar = start(steady(1000))
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0), sampling(0.25, "tool.execution.*"))
    sidecar.go()
    kept = [event.correlation_id for event in subscriber.rest()]
    assert kept == traces_kept(0.25, [f"steady-{number}" for number in range(1000)])


def test_events_without_a_trace_are_sampled_at_random(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0.5))
    sidecar.emit_and_wait(*["tool.result_size"] * 2000)
    sampled_out = sidecar.account(subscriber).sampled_out
    assert 700 < sampled_out < 1300  # 13 standard deviations to either side
    sidecar.end_worker()
    assert len(subscriber.rest()) == 2000 - sampled_out


@pytest.mark.parametrize(("rate", "arriving"), [(7.5, 10), (math.inf, 10), (-1, 0), (-math.inf, 0)])
def test_rates_are_clamped_to_0_and_1(start, rate, arriving):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0.5), sampling(rate))
    sidecar.emit_and_wait(*["a"] * 10)
    sidecar.end_worker()
    assert names(subscriber.rest()) == ["a"] * arriving


def test_options_set_the_initial_controls(start):
    sidecar = start(allow=["tool.*", "python.*"], deny="*.stop", sampling_rate="1.0")
    sidecar.emit_and_wait("tool.start", "tool.stop", "other")  # the backlog is evaluated by it, too
    subscriber = sidecar.subscribe()
    sidecar.emit_and_wait("python.start", "python.stop")
    assert names(subscriber.take(2)) == ["tool.start", "python.start"]
    account = sidecar.account(subscriber)
    assert (account.offered, account.filtered) == (5, 3)


def test_a_rate_that_is_not_a_number_is_refused(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, sampling(0), sampling(math.nan), sampling(math.nan, "a"))
    account = sidecar.account(subscriber)
    assert (account.controls_applied, account.controls_refused) == (1, 2)
    sidecar.emit_and_wait("a")
    sidecar.control(subscriber, sampling(1))
    sidecar.emit_and_wait("b")
    assert names([subscriber.next()]) == ["b"]


def test_an_empty_control_changes_nothing(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(deny=["b"]))
    subscriber.send(bridge.TelemetryControl())
    sidecar.control(subscriber, sampling(1))  # comes after it
    sidecar.emit_and_wait("a", "b", "c")
    assert names(subscriber.take(2)) == ["a", "c"]
    assert sidecar.account(subscriber).controls_refused == 0


def test_garbage_is_refused_and_the_controls_after_it_are_applied(start):
    sidecar = start()
    subscriber = sidecar.subscribe(raw_controls=True)
    garbage = [b"\xff\xff\xff\xff", b"\x0a\x7f", b"\x08", b"not protobuf at all"]
    sidecar.control(subscriber, *garbage, filtering(deny=["b"]).SerializeToString())
    account = sidecar.account(subscriber)
    assert (account.controls_applied, account.controls_refused) == (1, len(garbage))
    sidecar.emit_and_wait("a", "b", "c")
    assert names(subscriber.take(2)) == ["a", "c"]
    sidecar.end_worker()
    assert subscriber.rest() == []


def test_an_unknown_control_changes_nothing(start):
    sidecar = start()
    subscriber = sidecar.subscribe(raw_controls=True)
    subscriber.send(b"\x22\x02\x08\x01")  # field 4, a message
    sidecar.control(subscriber, filtering(deny=["b"]).SerializeToString())
    sidecar.emit_and_wait("a", "b")
    sidecar.end_worker()
    assert names(subscriber.rest()) == ["a"]


def test_an_oversized_control_is_refused_and_events_continue(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(deny=["b" * 6_000_000]))
    assert sidecar.account(subscriber).controls_refused == 1
    for number in range(100):
        sidecar.emit("a", number)
    assert counts(subscriber.take(100)) == list(range(100))
    sidecar.end_worker()
    assert subscriber.rest() == []


def test_a_compressed_control_is_refused_and_events_continue(start):
    sidecar = start()
    subscriber = sidecar.subscribe(compression=grpc.Compression.Gzip)
    sidecar.control(subscriber, filtering(deny=["a" * 10_000]))  # short ones are sent as they are
    assert sidecar.account(subscriber).controls_refused == 1
    for number in range(100):
        sidecar.emit("a", number)
    assert counts(subscriber.take(100)) == list(range(100))
    sidecar.end_worker()
    assert subscriber.rest() == []


def test_too_many_patterns_are_refused(start):
    sidecar = start()
    subscriber = sidecar.subscribe()
    sidecar.control(subscriber, filtering(deny=["a"]), filtering(deny=["b"] * 100_000))
    assert sidecar.account(subscriber).controls_refused == 1
    sidecar.emit_and_wait("a", "b")
    assert names([subscriber.next()]) == ["b"]
