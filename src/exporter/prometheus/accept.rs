//! Content negotiation: the format that a client's `Accept` headers ask for.

use super::page::Format;
use http::{HeaderMap, header::ACCEPT};

/// The best format for these headers.
///
/// Only clients that name OpenMetrics, without a version or with 1.0.0, get it. All others get the text
/// format, even if they accept neither: a page in another format is more useful than an error.
pub fn format(headers: &HeaderMap) -> Format {
    let headers = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    let (mut text, mut open_metrics) = (0.0_f32, 0.0_f32);
    for range in headers.flat_map(|header| header.split(',')) {
        let mut words = range.split(';').map(str::trim);
        let media_type = words.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, "");
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.parse().unwrap_or(0.0),
                "version" => version = value,
                // Ignore the charset and the escaping scheme: no name here needs escaping.
                _ => {}
            }
        }
        match (media_type.as_str(), version) {
            ("application/openmetrics-text", "" | "1.0.0") => open_metrics = open_metrics.max(quality),
            ("text/plain", "" | "0.0.4") | ("text/*" | "*/*", _) => text = text.max(quality),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= text { Format::OpenMetrics } else { Format::Text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_is_served_only_to_clients_that_prefer_it() {
        let cases = [
            (&[][..], Format::Text),
            (&["*/*"], Format::Text),
            (&["application/json"], Format::Text),
            (&["application/openmetrics-text"], Format::OpenMetrics),
            (&["Application/OpenMetrics-Text; Version=\"1.0.0\" ; q=0.3, */*;q=0.1"], Format::OpenMetrics),
            (&["application/openmetrics-text;version=2.0.0,text/plain;q=0.1"], Format::Text),
            (&["application/openmetrics-text;q=0.4,text/plain;version=0.0.4;q=0.5"], Format::Text),
            (&["application/openmetrics-text;q=0", "text/plain;q=0"], Format::Text),
            (&["text/plain;q=0.5", "application/openmetrics-text;q=0.6"], Format::OpenMetrics),
            (&["application/openmetrics-text;q=high"], Format::Text),
            (&[";;=,,,q=1;"], Format::Text),
            // Prometheus 2.42.
            (
                &["application/openmetrics-text;version=1.0.0,\
                   application/openmetrics-text;version=0.0.1;q=0.75,\
                    text/plain;version=0.0.4;q=0.5,*/*;q=0.1"],
                Format::OpenMetrics,
            ),
            // Prometheus 3.
            (
                &["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                   encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;\
                    escaping=allow-utf-8;q=0.6,\
                   application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
                   escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"],
                Format::OpenMetrics,
            ),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT, value.parse().unwrap());
            }
            assert_eq!(format(&headers), expected, "{values:?}");
        }
    }
}
