//! Events are encoded and packed into the expected datagrams.

mod properties;

use super::{Counts, Dialect, Encoder, Packets, Prefix, lines::Common, tags::Tag};
use crate::{
    control::glob::Glob,
    event::{
        proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value},
        view::View,
    },
    exporter::metrics::sample::{Kind, Measures, Sample, Subject},
};
use std::str::FromStr as _;

/// Encodes and packs events, with a flush after each call.
struct Server {
    encoder: Encoder,
    packets: Packets,
    measures: Measures,
    counts: Counts,
}

impl Server {
    fn new(dialect: Dialect, prefix: &str, max_bytes: usize) -> Self {
        let prefix: Prefix = prefix.parse().unwrap();
        Self {
            encoder: Encoder::new(dialect, false, &prefix, Common::default()),
            packets: Packets::new(max_bytes),
            measures: Measures::default(),
            counts: Counts::default(),
        }
    }

    fn kind(mut self, glob: &str, kind: Kind) -> Self {
        self.measures.kinds.push((Glob::new(glob), Some(kind)));
        self
    }

    fn label(mut self, key: &str) -> Self {
        self.measures.labels.push(key.into());
        self
    }

    fn distributions(mut self) -> Self {
        self.encoder =
            Encoder::new(Dialect::Dogstatsd, true, &Prefix::from_str("").unwrap(), Common::default());
        self
    }

    fn common(mut self, tags: &[&str], origin: &str) -> Self {
        let common = Common { tags: tags.iter().map(|tag| Tag::new(tag)).collect(), origin: origin.into() };
        self.encoder = Encoder::new(Dialect::Dogstatsd, false, &Prefix::from_str("").unwrap(), common);
        self
    }

    /// The datagrams of these events, and the number of events that they count.
    fn receive(&mut self, events: &[TelemetryEvent]) -> (Vec<String>, u64) {
        for event in events {
            let event = View::from(event);
            self.encoder.label(self.measures.labels(&event));
            for sample in self.measures.samples(&event) {
                match self.encoder.line(&sample) {
                    Some(line) => self.packets.add(line, &mut self.counts),
                    None => self.counts.invalid += 1,
                }
            }
        }
        self.packets.flush(&mut self.counts);
        assert!(self.packets.is_empty());
        let packets: Vec<_> = std::iter::from_fn(|| self.packets.take_full()).collect();
        let events = packets.iter().map(|packet| packet.events).sum();
        (packets.into_iter().map(|packet| packet.text).collect(), events)
    }

    /// The only datagram of these events.
    #[track_caller]
    fn receive_one(&mut self, events: &[TelemetryEvent]) -> String {
        let (mut datagrams, _) = self.receive(events);
        assert_eq!(datagrams.len(), 1, "{datagrams:?}");
        datagrams.remove(0)
    }
}

fn event(name: &str, measurements: &[(&str, f64)], metadata: &[(&str, &str)]) -> TelemetryEvent {
    let value = |number: f64| TelemetryValue { value: Some(Value::FloatValue(number)) };
    TelemetryEvent {
        event_parts: name.split('.').map(Into::into).collect(),
        measurements: measurements.iter().map(|(key, number)| ((*key).into(), value(*number))).collect(),
        metadata: metadata.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect(),
        ..TelemetryEvent::default()
    }
}

#[test]
fn statsd_lines_have_no_tags_and_reset_a_gauge_before_a_negative_value() {
    let mut server = Server::new(Dialect::Statsd, "snakepit", 1432)
        .kind("*.hits", Kind::Counter)
        .kind("*.size", Kind::Histogram)
        .label("tool");
    let measured = [("duration", 12_345_678.0), ("hits", 3.0), ("rss", -5.5), ("size", 7.0)];
    let stop = event("tool.run.stop", &measured, &[("tool", "x")]);
    let lines = server.receive_one(&[stop.clone(), stop]);
    let (timers, merged) = lines.split_at(lines.find("snakepit.tool.run.hits").unwrap());
    let mut timers: Vec<_> = timers.lines().collect();
    timers.sort_unstable();
    let expected = ["snakepit.tool.run.duration:12.345678|ms", "snakepit.tool.run.size:7|ms"];
    assert_eq!(timers, [expected[0], expected[0], expected[1], expected[1]]);
    assert_eq!(
        merged,
        "snakepit.tool.run.hits:6|c\nsnakepit.tool.run.rss:0|g\nsnakepit.tool.run.rss:-5.5|g\n\
         snakepit.tool.run.stop:2|c"
    );
    assert_eq!(server.counts, Counts::default());
}

#[test]
fn dogstatsd_lines_have_tags_histograms_and_distributions() {
    let mut server = Server::new(Dialect::Dogstatsd, "app", 8192)
        .kind("a.size", Kind::Histogram)
        .kind("a.lag", Kind::Distribution)
        .label("tool")
        .label("region")
        .label("absent");
    let metadata = [("tool", "x|c\n#y"), ("region", "eu,1"), ("user", "nobody")];
    let tags = "tool:x_c__y,region:eu_1";
    for (name, number, expected) in [
        (
            "a.stop",
            ("duration", 5e6),
            format!("app.a.duration:5|ms|#result:ok,{tags}\napp.a.stop:1|c|#{tags}"),
        ),
        ("a.exception", ("duration_ms", 0.1), {
            format!("app.a.duration:0.1|ms|#result:error,{tags}\napp.a.exception:1|c|#{tags}")
        }),
        ("a", ("size", -2.0), format!("app.a.size:-2|h|#{tags}\napp.a:1|c|#{tags}")),
        ("a", ("lag", -2.0), format!("app.a.lag:-2|d|#{tags}\napp.a:1|c|#{tags}")),
        ("a", ("rss", 2.0), format!("app.a.rss:2|g|#{tags}\napp.a:1|c|#{tags}")),
    ] {
        let mut expected: Vec<_> = expected.lines().collect();
        expected.sort_unstable();
        let datagram = server.receive_one(&[event(name, &[number], &metadata)]);
        let mut lines: Vec<_> = datagram.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, expected);
    }
    let untagged = event("a.stop", &[("duration", 1.0)], &[("tool", "")]);
    assert_eq!(server.receive_one(&[untagged]), "app.a.duration:0.000001|ms|#result:ok\napp.a.stop:1|c");
}

/// Telegraf and Prometheus' statsd_exporter accept tags and read a sign as a change.
#[test]
fn dogstatsd_lines_reset_a_gauge_before_a_negative_value_too() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432).label("tool");
    let cold = event("a", &[("b", -2.5)], &[("tool", "x")]);
    assert_eq!(server.receive_one(&[cold]), "a.b:0|g|#tool:x\na.b:-2.5|g|#tool:x\na:1|c|#tool:x");
}

#[test]
fn a_distribution_is_a_timer_where_there_is_no_other_type() {
    let mut server = Server::new(Dialect::Statsd, "", 1432).kind("a.lag", Kind::Distribution);
    assert_eq!(server.receive_one(&[event("a", &[("lag", 2.5)], &[])]), "a.lag:2.5|ms\na:1|c");
}

#[test]
fn tags_keep_the_letters_and_digits_of_all_scripts() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432).label("tool").label("größe");
    for (text, expected) in [
        ("поиск", "поиск"),
        ("検索", "検索"),
        ("खोज", "खोज"),
        ("Größe٣", "Größe٣"),
        ("a/b.c-d_e", "a/b.c-d_e"),
        ("http://h:1", "http://h:1"),
        ("a b\u{a0}c\u{2028}→🔍\u{202e}", "a_b_c____"),
    ] {
        let datagram = server.receive_one(&[event("a", &[], &[("tool", text)])]);
        assert_eq!(datagram, format!("a:1|c|#tool:{expected}"));
    }
    let datagram = server.receive_one(&[event("a", &[], &[("größe", "1")])]);
    assert_eq!(datagram, "a:1|c|#größe:1");
}

#[test]
fn a_tag_has_at_most_200_characters() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432).label("k");
    let datagram = server.receive_one(&[event("a", &[], &[("k", &"я".repeat(300))])]);
    assert_eq!(datagram, format!("a:1|c|#k:{}", "я".repeat(198)));
}

#[test]
fn a_duration_can_be_a_distribution() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432).distributions();
    let stop = event("a.stop", &[("duration", 5e6)], &[]);
    assert_eq!(server.receive_one(&[stop]), "a.duration:5|d|#result:ok\na.stop:1|c");
    let wrong = event("a.stop", &[("duration", -1.0)], &[]);
    assert_eq!(server.receive_one(&[wrong]), "a.stop:1|c");
    assert_eq!(server.counts.invalid, 1);
}

#[test]
fn all_lines_end_with_the_common_tags_and_the_origin() {
    let mut server =
        Server::new(Dialect::Dogstatsd, "", 1432).label("env").common(&["env:prod", "a|b:c"], "|c:ci-1");
    let stop = event("a.stop", &[("duration", 5e6), ("b", -1.0)], &[]);
    let tags = "env:prod,a_b:c|c:ci-1";
    let mut expected = [
        format!("a.duration:5|ms|#result:ok,{tags}"),
        format!("a.b:0|g|#{tags}"),
        format!("a.b:-1|g|#{tags}"),
        format!("a.stop:1|c|#{tags}"),
    ];
    assert_eq!(server.receive_one(&[stop]), expected.join("\n"));
    // A label takes precedence over a common tag with its key.
    let labelled = event("a", &[], &[("env", "test")]);
    expected[0] = "a:1|c|#env:test,a_b:c|c:ci-1".into();
    assert_eq!(server.receive_one(&[labelled]), expected[0]);
}

#[test]
fn values_have_the_fewest_digits_and_no_exponent() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432);
    for (number, expected) in [
        (0.1, "0.1"),
        (-0.0, "0"),
        (17.0, "17"),
        (1e21, "1000000000000000000000"),
        (1.5e-9, "0.0000000015"),
        (-123_456.789, "0|g\nb.a:-123456.789"),
    ] {
        let datagram = server.receive_one(&[event("b", &[("a", number)], &[])]);
        assert_eq!(datagram, format!("b.a:{expected}|g\nb:1|c"));
    }
}

#[test]
fn unrepresentable_values_are_counted_as_invalid() {
    let mut server =
        Server::new(Dialect::Statsd, "", 1432).kind("a.count", Kind::Counter).kind("a.size", Kind::Histogram);
    let wrong =
        [("nan", f64::NAN), ("far", f64::INFINITY), ("duration", -1.0), ("count", -1.0), ("size", -1.0)];
    assert_eq!(server.receive_one(&[event("a", &wrong, &[])]), "a:1|c");
    assert_eq!(server.counts, Counts { invalid: 5, ..Counts::default() });
    // The sum overflows.
    let enormous = event("a", &[("count", f64::MAX)], &[]);
    let datagram = server.receive_one(&[enormous.clone(), enormous]);
    assert_eq!(datagram, format!("a.count:{}|c\na:2|c", f64::MAX));
    assert_eq!(server.counts.invalid, 6);
}

#[test]
fn counters_are_summed_and_only_the_latest_gauge_is_sent() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432).label("tool");
    let events: Vec<_> = (0..17)
        .map(|number| {
            event("a", &[("rss", f64::from(number))], &[("tool", if number < 16 { "x" } else { "y" })])
        })
        .collect();
    let datagram = server.receive_one(&events);
    assert_eq!(datagram, "a.rss:15|g|#tool:x\na.rss:16|g|#tool:y\na:16|c|#tool:x\na:1|c|#tool:y");
}

#[test]
fn oversized_lines_are_dropped_and_datagrams_are_filled() {
    let mut server = Server::new(Dialect::Statsd, "", 100);
    let fits = "x".repeat(96);
    let (datagrams, events) = server.receive(&[event(&fits, &[], &[]), event(&format!("{fits}x"), &[], &[])]);
    assert_eq!(datagrams, [format!("{fits}:1|c")]);
    assert_eq!(events, 1);
    assert_eq!(server.counts, Counts { oversized: 1, lost_events: 1, ..Counts::default() });

    // Four lines of 24 bytes and three newlines are 99 bytes, five of 19 and four newlines also.
    for (bytes, per_datagram) in [(24, 4), (19, 5)] {
        let events: Vec<_> =
            (0..20).map(|number| event(&format!("{number:0>width$}", width = bytes - 4), &[], &[])).collect();
        let (datagrams, counted) = server.receive(&events);
        assert_eq!(counted, 20);
        assert!(datagrams.iter().all(|one| one.lines().count() == per_datagram), "{datagrams:?}");
    }
}

#[test]
fn the_reset_and_the_negative_gauge_share_a_datagram() {
    let mut server = Server::new(Dialect::Statsd, "", 40);
    for length in 1..30 {
        let filler = event(&"f".repeat(length), &[], &[]);
        let (datagrams, _) = server.receive(&[filler, event("g", &[("x", -1.0)], &[])]);
        assert!(datagrams.iter().any(|one| one.contains("g.x:0|g\ng.x:-1|g")), "{datagrams:?}");
    }
}

#[test]
fn series_that_wait_to_be_merged_are_bounded() {
    let mut server = Server::new(Dialect::Statsd, "", 8192);
    for number in 0..100_000 {
        let name = format!("event-{number:0>90}");
        let sample = Sample { subject: Subject::Event(&name), kind: Kind::Counter, value: 1.0.into() };
        server.packets.add(server.encoder.line(&sample).unwrap(), &mut server.counts);
        while let Some(packet) = server.packets.take_full() {
            assert!(packet.text.len() <= 8192);
        }
    }
    server.packets.flush(&mut server.counts);
    assert!(std::iter::from_fn(|| server.packets.take_full()).count() <= 64 * 1024 / 8000 + 1);
}

#[test]
fn series_that_are_kept_are_bounded() {
    let mut server = Server::new(Dialect::Statsd, "", 8192);
    for number in 0..20_000 {
        let operation = format!("operation-{number:0>90}");
        let subject = Subject::Duration { operation: &operation, failed: false };
        let sample = Sample { subject, kind: Kind::Histogram, value: 1.5.into() };
        server.packets.add(server.encoder.line(&sample).unwrap(), &mut server.counts);
        let packets = std::iter::from_fn(|| server.packets.take_full());
        assert!(
            packets.flat_map(|packet| packet.text.lines().map(str::len).collect::<Vec<_>>()).all(|n| n > 100)
        );
        assert!(server.packets.kept_bytes() < 300 * 1024);
    }
    server.packets.flush(&mut server.counts);
    assert_eq!(server.packets.kept_bytes(), 0);
}

#[test]
fn names_cannot_be_parsed_as_datadog_events_or_service_checks() {
    let mut server = Server::new(Dialect::Dogstatsd, "", 1432);
    for (name, expected) in [("_sc", "x_sc"), ("_e{5,4}", "x_e_5_4_"), ("404", "x404"), ("a", "a")] {
        assert_eq!(server.receive_one(&[event(name, &[], &[])]), format!("{expected}:1|c"));
    }
}
