//! A simple decoder: `serde_json::Value` into prost's struct.

use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;
use telemetry_sidecar::event::proto::bridge::{TelemetryEvent, TelemetryValue, telemetry_value::Value};

/// Decodes an event; None if the JSON is not one.
pub fn decode(json: &str) -> Option<TelemetryEvent> {
    let json: Json = serde_json::from_str(json).ok()?;
    let name = json.get("event")?.as_str()?;
    let object = |key: &str| json.get(key).and_then(Json::as_object);
    Some(TelemetryEvent {
        event_parts: name.split('.').map(str::to_owned).collect(),
        measurements: object("measurements").map(measurements).unwrap_or_default(),
        metadata: object("metadata").map(metadata).unwrap_or_default(),
        timestamp_ns: json.get("timestamp_ns").and_then(Json::as_i64).unwrap_or_default(),
        correlation_id: json.get("correlation_id").and_then(Json::as_str).unwrap_or_default().to_owned(),
    })
}

fn measurements(object: &Map<String, Json>) -> BTreeMap<String, TelemetryValue> {
    let value = |value: &Json| match value {
        Json::Number(number) => {
            number.as_i64().map(Value::IntValue).or(number.as_f64().map(Value::FloatValue))
        }
        Json::Bool(flag) => Some(Value::IntValue((*flag).into())),
        Json::Null => None,
        other => Some(Value::StringValue(text(other))),
    };
    object.iter().map(|(key, json)| (key.clone(), TelemetryValue { value: value(json) })).collect()
}

fn metadata(object: &Map<String, Json>) -> BTreeMap<String, String> {
    object.iter().map(|(key, json)| (key.clone(), text(json))).collect()
}

fn text(json: &Json) -> String {
    json.as_str().map_or_else(|| json.to_string(), str::to_owned)
}
