//! The names of the variables that [`environment`] reads.
//!
//! [`environment`]: super::environment

use std::ffi::OsString;

/// The supported settings of OTEL_EXPORTER_OTLP_…, which each signal has as well.
const DESTINATION: [&str; 8] = [
    "ENDPOINT",
    "PROTOCOL",
    "HEADERS",
    "COMPRESSION",
    "TIMEOUT",
    "CERTIFICATE",
    "CLIENT_CERTIFICATE",
    "CLIENT_KEY",
];

/// The other supported variables.
const OTHERS: [&str; 17] = [
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_LOGS_EXPORTER",
    "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
    "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BLRP_SCHEDULE_DELAY",
    "OTEL_BLRP_MAX_QUEUE_SIZE",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BLRP_EXPORT_TIMEOUT",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_METRIC_EXPORT_TIMEOUT",
];

/// The names among these that are OpenTelemetry's and have no effect here, in order.
pub(super) fn unsupported(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let names = names.filter_map(|name| name.into_string().ok());
    let mut unsupported: Vec<_> =
        names.filter(|name| name.starts_with("OTEL_") && !is_supported(name)).collect();
    unsupported.sort_unstable();
    unsupported
}

fn is_supported(name: &str) -> bool {
    let of_destination = name.strip_prefix("OTEL_EXPORTER_OTLP_").is_some_and(|rest| {
        let mut signals = ["TRACES_", "METRICS_", "LOGS_"].into_iter();
        let own = signals.find_map(|signal| rest.strip_prefix(signal));
        DESTINATION.contains(&own.unwrap_or(rest))
    });
    of_destination || OTHERS.contains(&name)
}
