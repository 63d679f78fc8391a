//! Content negotiation: the format and the encoding that a client's headers ask for.

use super::page::Format;
use http::{
    HeaderMap, HeaderName,
    header::{ACCEPT, ACCEPT_ENCODING},
};

/// The best format for these headers.
///
/// Only clients that name OpenMetrics, without a version or with 1.0.0, get it. All others get the text
/// format, even if they accept neither: a page in another format is more useful than an error.
pub fn format(headers: &HeaderMap) -> Format {
    let (mut text, mut open_metrics) = (0.0_f32, 0.0_f32);
    for Choice { name, quality, parameters } in choices(headers, ACCEPT) {
        // Ignore the charset and the escaping scheme: no name here needs escaping.
        let version =
            parameters.iter().rev().find(|(name, _)| name == "version").map_or("", |(_, value)| value);
        match (name.as_str(), version) {
            ("application/openmetrics-text", "" | "1.0.0") => open_metrics = open_metrics.max(quality),
            ("text/plain", "" | "0.0.4") | ("text/*" | "*/*", _) => text = text.max(quality),
            _ => {}
        }
    }
    if open_metrics > 0.0 && open_metrics >= text { Format::OpenMetrics } else { Format::Text }
}

/// Whether the page is to be compressed with gzip: the client accepts that, and does not prefer the page
/// without it.
pub fn gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, 0.0);
    for Choice { name, quality, .. } in choices(headers, ACCEPT_ENCODING) {
        match name.as_str() {
            "gzip" | "x-gzip" => gzip = Some(quality),
            "*" => any = Some(quality),
            "identity" => identity = quality,
            _ => {}
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity
}

/// One of the alternatives of a header, such as `text/plain;version=0.0.4;q=0.5`.
struct Choice<'a> {
    /// In lower case, as the names of the parameters are.
    name: String,
    quality: f32,
    parameters: Vec<(String, &'a str)>,
}

fn choices(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Choice<'_>> {
    let headers = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    headers.flat_map(|header| header.split(',')).map(|choice| {
        let mut words = choice.split(';').map(str::trim);
        let name = words.next().unwrap_or_default().to_ascii_lowercase();
        let (mut quality, mut parameters) = (1.0, Vec::new());
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"'));
            if name == "q" {
                quality = value.parse().unwrap_or(0.0);
            } else {
                parameters.push((name, value));
            }
        }
        Choice { name, quality, parameters }
    })
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

    #[test]
    fn pages_are_compressed_only_for_clients_that_prefer_it() {
        let cases = [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["X-GZIP"], true),
            (&["gzip;q=0"], false),
            (&["gzip ; Q=0.000"], false),
            (&["gzip;q=0.001"], true),
            (&["gzip;q=much"], false),
            (&["deflate, gzip, br"], true),
            (&["deflate", "gzip"], true),
            (&["br, deflate"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["*;q=0, gzip"], true),
            (&["identity"], false),
            (&["identity, gzip"], true),
            (&["identity, gzip;q=0.5"], false),
            (&["identity;q=0.5, gzip"], true),
            (&["identity;q=0"], false),
        ];
        for (values, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(gzip(&headers), expected, "{values:?}");
        }
    }
}
