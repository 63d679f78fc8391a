//! Results of decoding, and the expected ones. Independent of the source of the lines: property tests and
//! fuzz targets share this module.

use super::checked::{Checked, ensure, equal};
use prost::Message as _;
use telemetry_sidecar::{
    event::{
        batch::{Batch, BatchBuilder},
        proto::bridge::TelemetryEvent,
    },
    input::decode::{Decoder, Reject},
};

/// The time at which lines are read.
pub const NOW: i64 = 4_102_444_800_000_000_001;

/// The event at this index, as a subscriber receives it. Its frame must be complete.
#[track_caller]
pub fn event(batch: &Batch, index: usize) -> TelemetryEvent {
    let frame = &batch.frames()[batch.frame_range(index..index + 1)];
    let message = batch.message(index).expect("there is such an event");
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    assert_eq!(frame[..5], [&[0], &length[..]].concat(), "the frame's prefix");
    TelemetryEvent::decode(message).expect("the message decodes")
}

/// An event and its batch entry.
#[derive(Debug, Clone)]
pub struct Decoded {
    pub event: TelemetryEvent,
    pub name: String,
    pub correlation_id: String,
    pub timestamp_ns: i64,
    pub timestamp_given: bool,
}

impl Decoded {
    /// Checks that the batch entry agrees with the event.
    pub fn check(&self) -> Checked {
        let event = &self.event;
        equal("the name", &event.event_parts.join("."), &self.name)?;
        equal("the correlation id", &event.correlation_id, &self.correlation_id)?;
        equal("the timestamp", &event.timestamp_ns, &self.timestamp_ns)?;
        ensure(self.timestamp_given || self.timestamp_ns == NOW, || {
            format!("{} is not the time of reading", self.timestamp_ns)
        })
    }

    /// Compares encoded events: NaN equals NaN, and 0.0 differs from -0.0.
    fn is_like(&self, other: &Self) -> bool {
        let noted = |decoded: &Self| (decoded.timestamp_ns, decoded.timestamp_given);
        self.event.encode_to_vec() == other.event.encode_to_vec()
            && (&self.name, &self.correlation_id) == (&other.name, &other.correlation_id)
            && noted(self) == noted(other)
    }
}

/// The result of decoding a line.
pub type Outcome = Result<Decoded, Reject>;

/// Decodes these lines in order into one batch, by the slow path only or by the path that the decoder
/// chooses.
#[track_caller]
pub fn outcomes(decoder: &mut Decoder, slowly: bool, lines: &[&[u8]]) -> Vec<Outcome> {
    let mut builder = BatchBuilder::default();
    let mut decode = |line: &&[u8]| {
        if slowly {
            decoder.decode_slowly(line, NOW, &mut builder)
        } else {
            decoder.decode(line, NOW, &mut builder)
        }
    };
    let results: Vec<_> = lines.iter().map(&mut decode).collect();
    let batch = builder.take();
    assert_eq!(batch.len(), results.iter().filter(|result| result.is_ok()).count(), "events in the batch");
    assert_eq!(batch.frames().len(), batch.frame_range(0..batch.len()).end, "bytes behind the last frame");
    let mut index = 0;
    let mut decoded = || {
        let noted = batch.event(index).expect("there is an event for each line that decoded");
        let decoded = Decoded {
            event: event(&batch, index),
            name: String::from_utf8(noted.name.into()).expect("it is UTF-8"),
            correlation_id: String::from_utf8(noted.correlation_id.into()).expect("it is UTF-8"),
            timestamp_ns: noted.timestamp_ns,
            timestamp_given: noted.timestamp_given,
        };
        index += 1;
        decoded
    };
    results.into_iter().map(|result| result.map(|_| decoded())).collect()
}

/// Checks that both results are the same for all lines.
pub fn same(slow: &[Outcome], fast: &[Outcome], lines: &[&[u8]]) -> Checked {
    for ((slow, fast), line) in slow.iter().zip(fast).zip(lines) {
        let alike = match (slow, fast) {
            (Ok(slow), Ok(fast)) => slow.is_like(fast),
            (slow, fast) => slow.as_ref().err() == fast.as_ref().err(),
        };
        ensure(alike, || format!("{}: slow {slow:?}, fast {fast:?}", line.escape_ascii()))?;
    }
    Ok(())
}

/// The table of the design, implemented again on `serde_json::Value`.
///
/// serde_json rejects some input that the sidecar accepts (NaN, `1e999`, lone surrogates, invalid UTF-8, 128
/// levels); example tests cover it. A `Value` does not keep the text of a number or an array, so
/// - JSON text is checked to stand in the line and to mean the same value;
/// - `-0` is like `-0.0`, so either of what these become is fine;
/// - an integer just below -2^63 is like the float -2^63, which as a time is in range, so either is fine.
pub mod by_serde_json {
    use super::{Checked, Outcome, ensure, equal};
    use serde_json::{Map, Number, Value as Json};
    use telemetry_sidecar::{
        event::{
            proto::bridge::telemetry_value::Value::{self, FloatValue, IntValue, StringValue},
            stats::Malformed::{self, Event, NotObject, Shape},
        },
        input::decode::Reject,
    };

    pub fn check(line: &[u8], outcome: &Outcome) -> Checked {
        match serde_json::from_slice(line) {
            Ok(value) => agree(std::str::from_utf8(line).unwrap(), &value, outcome)?,
            Err(error) if is_for_the_sidecar(line, &error.to_string()) => {}
            Err(error) if error.to_string().contains("trailing") && may_be_gap(line) => {
                let mut values = serde_json::Deserializer::from_slice(line).into_iter();
                if let (Some(Ok(value)), Ok(_)) = (values.next(), outcome) {
                    let object = &line[..values.byte_offset()];
                    agree(std::str::from_utf8(object).unwrap(), &value, outcome)?;
                }
            }
            Err(_) => equal(
                "serde_json refuses it",
                &Some(&Reject::Malformed(Malformed::Json)),
                &outcome.as_ref().err(),
            )?,
        }
        Ok(())
    }

    /// Whether an escape sequence or another event may be behind the first value.
    fn may_be_gap(line: &[u8]) -> bool {
        line.contains(&0x1B) || line.windows(10).any(|part| part == b"TELEMETRY:")
    }

    /// Whether the sidecar may accept a line that serde_json rejects.
    fn is_for_the_sidecar(line: &[u8], error: &str) -> bool {
        let errors = ["out of range", "recursion", "surrogate", "hex escape", "unicode"];
        let text = String::from_utf8_lossy(line);
        errors.iter().any(|part| error.contains(part)) || text.contains("NaN") || text.contains("Infinity")
    }

    fn agree(line: &str, value: &Json, outcome: &Outcome) -> Checked {
        let (fields, decoded) = match (expected(value), outcome) {
            (Ok(fields), Ok(decoded)) => (fields, decoded),
            (expected, got) => {
                return equal(
                    "the fault",
                    &expected.err().map(Reject::Malformed),
                    &got.as_ref().err().copied(),
                );
            }
        };
        equal("the name", &fields.name, &&*decoded.name)?;
        let keys = |map: &Map<String, Json>| map.keys().cloned().collect::<Vec<_>>();
        let event = &decoded.event;
        equal("measurements", &keys(&fields.measurements), &event.measurements.keys().cloned().collect())?;
        for (key, value) in &fields.measurements {
            let got = event.measurements.get(key).and_then(|value| value.value.as_ref());
            ensure(is_measurement(line, value, got), || {
                format!("measurement {key:?}: {value} became {got:?}")
            })?;
        }
        equal("metadata", &keys(&fields.metadata), &event.metadata.keys().cloned().collect())?;
        for (key, value) in &fields.metadata {
            let got = &event.metadata[key];
            ensure(is_text(line, value, got), || format!("metadata {key:?}: {value} became {got:?}"))?;
        }
        let id = [value.get("correlation_id"), fields.metadata.get("correlation_id")];
        let id = id.into_iter().flatten().find(|id| !id.is_null() && **id != "");
        let id = id.unwrap_or(&Json::Null);
        let got = &event.correlation_id;
        let is_id = if id.is_null() { got.is_empty() } else { is_text(line, id, got) };
        ensure(is_id, || format!("correlation id: {id} became {got:?}"))?;

        let given = decoded.timestamp_given.then_some(decoded.timestamp_ns);
        let least = given == Some(i64::MIN) || given.is_none();
        match value.get("timestamp_ns") {
            Some(Json::Number(number)) if least && number.as_f64() == Some(-2f64.powi(63)) => Ok(()),
            Some(Json::Number(number)) => equal("the timestamp", &instant(number), &given),
            _ => equal("the timestamp", &None, &given),
        }
    }

    struct Fields<'a> {
        name: &'a str,
        measurements: Map<String, Json>,
        metadata: Map<String, Json>,
    }

    fn expected(value: &Json) -> Result<Fields<'_>, Malformed> {
        let object = value.as_object().ok_or(NotObject)?;
        let name = object.get("event").and_then(Json::as_str).filter(|name| !name.is_empty()).ok_or(Event)?;
        let map = |key| match object.get(key) {
            None | Some(Json::Null) => Ok(Map::new()),
            Some(Json::Object(map)) => Ok(map.clone()),
            Some(_) => Err(Shape),
        };
        Ok(Fields { name, measurements: map("measurements")?, metadata: map("metadata")? })
    }

    fn is_measurement(line: &str, value: &Json, got: Option<&Value>) -> bool {
        match (value, got) {
            (Json::Null, None) => true,
            (Json::Bool(value), Some(IntValue(int))) => i64::from(*value) == *int,
            (Json::Number(value), Some(IntValue(int))) => {
                value.as_i64().map_or(value.to_string() == "-0.0", |value| value == *int)
            }
            (Json::Number(value), Some(FloatValue(float))) => {
                value.as_i64().is_none() && value.as_f64().map(f64::to_bits) == Some(float.to_bits())
            }
            (Json::String(_) | Json::Array(_) | Json::Object(_), Some(StringValue(text))) => {
                is_text(line, value, text)
            }
            _ => false,
        }
    }

    fn is_text(line: &str, value: &Json, got: &str) -> bool {
        match value {
            Json::String(text) => text == got,
            _ => line.contains(got) && serde_json::from_str::<Json>(got).is_ok_and(|got| got == *value),
        }
    }

    fn instant(number: &Number) -> Option<i64> {
        let float = number.as_f64().filter(|_| number.is_f64());
        let in_range = float.filter(|float| (-2f64.powi(63)..2f64.powi(63)).contains(float));
        #[allow(clippy::cast_possible_truncation, reason = "a fraction is cut off")]
        in_range.map(|float| float as i64).or(number.as_i64())
    }
}
