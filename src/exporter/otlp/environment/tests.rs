//! What variables come to.

use super::{super::supported::unsupported, *};

fn read(endpoint: Option<&str>, variables: &[(&str, &str)]) -> (Environment, Vec<String>) {
    let endpoint = endpoint.map(|word| word.parse::<Endpoint>().unwrap());
    let variable =
        |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).into());
    Environment::read(endpoint.as_ref(), true, &variable)
}

/// As `read`, for what has nothing wrong with it.
#[track_caller]
fn good(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Environment {
    let (environment, warnings) = read(endpoint, variables);
    assert_eq!(warnings, Vec::<String>::new());
    environment
}

/// Where the signals go.
#[track_caller]
fn uris(endpoint: Option<&str>, variables: &[(&str, &str)]) -> [String; 3] {
    let Environment { traces, metrics, logs, .. } = good(endpoint, variables);
    [traces, metrics, logs].map(|destination| destination.uri.to_string())
}

fn grpc(origin: &str) -> [String; 3] {
    Signal::ALL.map(|signal| format!("{origin}{}", signal.grpc_path()))
}

fn http(base: &str) -> [String; 3] {
    ["traces", "metrics", "logs"].map(|signal| format!("{base}/v1/{signal}"))
}

#[test]
fn defaults_are_those_of_the_specification_but_for_the_protocol() {
    let environment = good(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_EXPORTER_OTLP_HEADERS", "")]);
    let Destination { protocol, gzip, timeout, certificate, identity, headers, .. } = environment.traces;
    assert_eq!((protocol, gzip, timeout), (Protocol::Grpc, false, Some(Duration::from_secs(10))));
    assert_eq!((certificate, identity, headers), (None, None, HeaderMap::new()));
    assert_eq!(uris(None, &[]), grpc("http://localhost:4317"));
    let batches = Batches {
        delay: Duration::from_secs(5),
        max_queue: 2048,
        max_batch: 512,
        timeout: Some(Duration::from_secs(30)),
    };
    assert_eq!(environment.batches, batches);
    assert_eq!(environment.metric_interval, Duration::from_secs(60));
    assert_eq!(environment.metric_timeout, Some(Duration::from_secs(30)));
    assert!(!environment.delta && environment.attributes.is_empty());
}

#[test]
fn the_protocol_is_what_is_said_or_what_the_port_says() {
    let protocol = |word| ("OTEL_EXPORTER_OTLP_PROTOCOL", word);
    assert_eq!(uris(Some("http://a:4318"), &[]), http("http://a:4318"));
    assert_eq!(uris(Some("http://a:4318"), &[protocol("grpc")]), grpc("http://a:4318"));
    assert_eq!(uris(Some("http://a:9"), &[protocol("HTTP/protobuf")]), http("http://a:9"));
    assert_eq!(uris(None, &[protocol("http/protobuf")]), http("http://localhost:4318"));
    assert_eq!(uris(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/x")]), http("http://a:4318/x"));
}

#[test]
fn an_endpoint_with_a_path_means_http_unless_the_protocol_is_set() {
    for url in ["http://a:9/x", "https://a/x/v1/traces", "https://a/x/v1/metrics/"] {
        let expected = http(&format!("{}/x", url.split_once("/x").unwrap().0));
        assert_eq!(uris(Some(url), &[]), expected, "{url}");
        assert_eq!(uris(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]), expected, "{url}");
        let own = uris(None, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url)]);
        let [_, metrics, logs] = grpc("http://localhost:4317");
        assert_eq!(own, [url.into(), metrics, logs], "{url}");

        let (environment, warnings) = read(Some(url), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert_eq!(
            (environment.traces.protocol, environment.metrics.protocol),
            (Protocol::Grpc, Protocol::Grpc)
        );
        let warning =
            |signal| format!("the path of the endpoint for {signal} is ignored: the protocol is grpc");
        assert_eq!(warnings, ["logs", "traces", "metrics"].map(warning), "{url}");
    }
    assert_eq!(uris(Some("https://a/"), &[]), grpc("https://a"));
}

#[test]
fn a_signals_own_variables_beat_the_general_ones_and_the_option_beats_both() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
        ("OTEL_EXPORTER_OTLP_METRICS_TIMEOUT", "0"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", "none"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=2"),
        ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "c=3"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "/me"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/all"),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
    ];
    let [_, metrics, logs] = http("http://all:4318");
    assert_eq!(uris(None, &variables), ["https://traces/".into(), metrics, logs]);
    let Environment { traces, metrics, .. } = good(None, &variables);
    assert_eq!((traces.timeout, metrics.timeout), (Some(Duration::from_secs(3)), None));
    assert_eq!((traces.gzip, metrics.gzip), (true, false));
    assert_eq!((traces.headers.len(), metrics.headers.len()), (2, 1));
    let given =
        |what: &str, path: &str| SourceFile::public(format!("OTEL_EXPORTER_OTLP_{what}"), path.into());
    let ca = Some(given("CERTIFICATE", "/ca"));
    assert_eq!((&traces.certificate, &metrics.certificate), (&ca, &ca));
    let key = || given("CLIENT_KEY", "/key");
    assert_eq!(traces.identity, Some((given("TRACES_CLIENT_CERTIFICATE", "/me"), key())));
    assert_eq!(metrics.identity, Some((given("CLIENT_CERTIFICATE", "/all"), key())));
    assert_eq!(uris(Some("http://option:4318"), &variables), http("http://option:4318"));
}

#[test]
fn a_certificate_without_its_key_is_kept_apart_and_so_is_a_key() {
    for (given, missing) in [("CLIENT_CERTIFICATE", "CLIENT_KEY"), ("CLIENT_KEY", "CLIENT_CERTIFICATE")] {
        let [given, missing] = [given, missing].map(|name| format!("OTEL_EXPORTER_OTLP_{name}"));
        let environment = good(None, &[(&given, "/file")]);
        let given = SourceFile::public(given, "/file".into());
        let incomplete = Some(IncompleteIdentity { given, missing });
        for destination in environment.destinations() {
            assert_eq!((&destination.identity, &destination.incomplete_identity), (&None, &incomplete));
        }
    }
}

#[test]
fn each_signal_is_exported_unless_its_exporter_is_none() {
    for (word, enabled) in
        [("none", false), ("None", false), ("", true), ("otlp", true), ("console, OTLP", true)]
    {
        let traces = good(None, &[("OTEL_TRACES_EXPORTER", word)]);
        assert_eq!((traces.traces.enabled, traces.metrics.enabled), (enabled, true), "{word}");
        let metrics = good(None, &[("OTEL_METRICS_EXPORTER", word)]);
        assert_eq!((metrics.traces.enabled, metrics.metrics.enabled), (true, enabled), "{word}");
    }
}

#[test]
fn an_invalid_pair_of_headers_leaves_the_others_and_is_not_shown() {
    let word = "a=1,Bearer secret1, b = 2 ,b c=secret2,d=%0Asecret3,e=%ffsecret4,=secret5,f=6";
    let (environment, warnings) = read(None, &[("OTEL_EXPORTER_OTLP_HEADERS", word)]);
    let pairs = |headers: &HeaderMap| {
        let pairs = headers.iter().map(|(key, value)| format!("{key}={}", value.to_str().unwrap()));
        pairs.collect::<Vec<_>>().join(",")
    };
    assert_eq!(pairs(&environment.traces.headers), "a=1,b=2,f=6");
    assert_eq!(pairs(&environment.metrics.headers), "a=1,b=2,f=6");
    let invalid = [
        (2, "expected KEY=VALUE,KEY=VALUE, percent-encoded"),
        (4, "no name of a header"),
        (5, "no value of a header"),
        (6, "expected KEY=VALUE,KEY=VALUE, percent-encoded"),
        (7, "expected KEY=VALUE,KEY=VALUE, percent-encoded"),
    ];
    let expected = invalid.map(|(position, cause)| {
        format!("OTEL_EXPORTER_OTLP_HEADERS: pair {position}: {cause}; it is ignored")
    });
    assert_eq!(warnings, expected);
}

#[test]
fn a_timeout_that_may_be_meant_in_seconds_is_reported() {
    for name in [
        "OTEL_EXPORTER_OTLP_TIMEOUT",
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        "OTEL_BSP_EXPORT_TIMEOUT",
        "OTEL_BLRP_EXPORT_TIMEOUT",
        "OTEL_METRIC_EXPORT_TIMEOUT",
    ] {
        let (_, warnings) = read(None, &[(name, "30")]);
        assert_eq!(warnings, [format!("{name}: the unit is milliseconds, not seconds: 30 ms is short")]);
        for enough in ["0", "100", "30000"] {
            good(None, &[(name, enough)]);
        }
    }
}

#[test]
fn every_variable_that_is_read_is_supported_and_no_other() {
    let asked = std::cell::RefCell::new(Vec::new());
    // Values that are invalid, so that the general variables are read after those of the signals.
    let variable = |name: &str| {
        asked.borrow_mut().push(OsString::from(name));
        Some("%ff/%ff".into())
    };
    Environment::read(None, true, &variable);
    assert_eq!(unsupported(asked.take().into_iter()), Vec::<String>::new());

    let set =
        ["PATH", "OTEL_SDK_DISABLED", "OTEL_BSP_EXPORT_TIMEOUT", "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"];
    let names = unsupported(set.iter().map(OsString::from));
    assert_eq!(names, ["OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_SDK_DISABLED"]);
}

#[test]
fn headers_and_attributes_are_percent_encoded_pairs() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20eDp5PT0%3D, x-team = a=b ,"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,deployment.environment=a%2Cb%3Dc,empty="),
        ("OTEL_SERVICE_NAME", "mine"),
    ];
    let environment = good(None, &variables);
    assert_eq!(environment.traces.headers["authorization"], "Basic eDp5PT0=");
    assert_eq!(environment.traces.headers["x-team"], "a=b");
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let attributes = [
        pair("service.name", "other"),
        pair("deployment.environment", "a,b=c"),
        pair("empty", ""),
        pair("service.name", "mine"),
    ];
    assert_eq!(environment.attributes, attributes);
}

#[test]
fn numbers_have_bounds() {
    let batches = |variables: &[(&str, &str)]| good(None, variables).batches;
    assert_eq!(batches(&[("OTEL_BSP_MAX_QUEUE_SIZE", "100")]).max_batch, 100);
    assert_eq!(batches(&[("OTEL_BSP_SCHEDULE_DELAY", "0")]).delay, Duration::from_millis(1));
    assert_eq!(batches(&[("OTEL_BSP_EXPORT_TIMEOUT", "0")]).timeout, None);
    for preference in ["delta", "LowMemory"] {
        assert!(good(None, &[("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preference)]).delta);
    }
    let exponential = |aggregation| {
        let variable = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION";
        good(None, &[(variable, aggregation)]).exponential_histograms
    };
    assert!(exponential("base2_exponential_bucket_histogram"));
    assert!(!exponential("explicit_bucket_histogram") && !exponential(""));
}

#[test]
fn an_invalid_value_is_reported_once_and_counts_as_unset() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "99999999999999999999"),
        ("OTEL_TRACES_EXPORTER", "console"),
        ("OTEL_METRICS_EXPORTER", "prometheus,none"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%ff"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "both"),
        ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "exponential"),
    ] {
        let (environment, warnings) = read(None, &[(name, value)]);
        let [warning] = &warnings[..] else { panic!("{name}={value}: {warnings:?}") };
        assert!(warning.starts_with(&format!("{name}: '{value}': expected")), "{warning}");
        assert_eq!(format!("{environment:?}"), format!("{:?}", good(None, &[])), "{name}={value}");
    }
}

#[test]
fn passwords_are_not_shown() {
    let (_, warnings) = read(None, &[("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret")]);
    assert!(warnings.len() == 1 && !warnings[0].contains("secret"), "{warnings:?}");
    let headers = good(None, &[("OTEL_EXPORTER_OTLP_HEADERS", "a=secret")]).traces.headers;
    assert!(!format!("{headers:?}").contains("secret"));
}

#[test]
fn log_records_have_batches_of_their_own_and_nothing_is_wrong_with_them_if_they_are_not_wanted() {
    let variables = [
        ("OTEL_BLRP_SCHEDULE_DELAY", "70"),
        ("OTEL_BLRP_MAX_QUEUE_SIZE", "5"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://logs:1"),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
    ];
    let environment = good(None, &variables);
    let batches = Batches {
        delay: Duration::from_millis(70),
        max_queue: 5,
        max_batch: 5,
        timeout: Some(Duration::from_secs(30)),
    };
    assert_eq!((environment.log_batches, environment.batches.max_queue), (batches, 2048));
    assert_eq!(good(None, &[]).log_batches.delay, Duration::from_secs(1));
    assert_eq!((environment.logs.uri.to_string(), environment.logs.enabled), ("http://logs:1/".into(), true));

    let console = |_: &str| Some("console".into());
    let count = |logs| {
        let (environment, warnings) = Environment::read(None, logs, &console);
        let about_logs = |warning: &&String| warning.contains("_LOGS_") || warning.contains("_BLRP_");
        (environment.logs.enabled, warnings.iter().filter(about_logs).count() > 0)
    };
    assert_eq!([count(true), count(false)], [(true, true), (false, false)]);
}
