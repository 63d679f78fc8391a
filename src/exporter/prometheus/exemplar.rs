//! Exemplars: from a bucket of a histogram to a trace that is in it.

use crate::exporter::{event::Event, metrics::aggregate::Exemplar};

/// The exemplar of an event's value, if a trace id is known: that of its `traceparent`
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>), or a correlation id that is one as it stands: 32
/// hexadecimal digits, or a UUID.
pub fn of(event: &Event, value: f64) -> Option<Exemplar> {
    let parent = event.event.metadata.get("traceparent").and_then(|header| traceparent(header));
    let (trace_id, span_id) = parent.or_else(|| Some((hex_id(&event.event.correlation_id)?, 0)))?;
    Some(Exemplar {
        value,
        timestamp_ns: event.event.timestamp_ns,
        trace_id: trace_id.to_be_bytes(),
        span_id: span_id.to_be_bytes(),
    })
}

fn traceparent(header: &str) -> Option<(u128, u64)> {
    let mut fields = header.trim().split('-').skip(1);
    let (trace_id, span_id) = (fields.next()?, fields.next()?);
    if span_id.len() != 16 {
        return None;
    }
    Some((hex_id(trace_id)?, u64::from_str_radix(span_id, 16).ok()?))
}

/// 128 bits, of which one at least is set.
fn hex_id(text: &str) -> Option<u128> {
    let digits = match text.len() {
        32 => text.to_owned(),
        36 if [8, 13, 18, 23].iter().all(|hyphen| text.as_bytes().get(*hyphen) == Some(&b'-')) => {
            text.replace('-', "")
        }
        _ => return None,
    };
    let digits_only = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u128::from_str_radix(&digits, 16).ok().filter(|id| digits_only && *id != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::bridge::TelemetryEvent;

    fn ids(correlation_id: &str, parent: Option<&str>) -> Option<(u128, u64)> {
        let metadata = parent.map(|parent| ("traceparent".to_owned(), parent.to_owned()));
        let event = TelemetryEvent {
            correlation_id: correlation_id.into(),
            metadata: metadata.into_iter().collect(),
            ..TelemetryEvent::default()
        };
        let exemplar = of(&event.into(), 1.0)?;
        Some((u128::from_be_bytes(exemplar.trace_id), u64::from_be_bytes(exemplar.span_id)))
    }

    #[test]
    fn a_trace_id_is_taken_as_it_stands_or_not_at_all() {
        let id = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
        assert_eq!(ids("0af7651916cd43dd8448eb211c80319c", None), Some((id, 0)));
        assert_eq!(ids("0AF76519-16cd-43dd-8448-eb211c80319c", None), Some((id, 0)));
        let parent = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        assert_eq!(ids("abc", Some(parent)), Some((id, 0x00f0_67aa_0ba9_02b7)));
        for none in ["", "abc", &"0".repeat(32), &"-".repeat(36), &format!("+{}", "1".repeat(31))] {
            assert_eq!(ids(none, Some("00-x-y")), None, "{none}");
        }
    }
}
