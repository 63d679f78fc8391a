use super::*;
use std::os::unix::ffi::OsStringExt as _;

type Variables<'a> = &'a [(&'a str, &'a str)];

fn with_reader<T>(variables: Variables<'_>, read: impl FnOnce(&mut Reader<'_>) -> T) -> (T, Vec<String>) {
    let variable = |name: &str| {
        let found = variables.iter().find(|(other, _)| *other == name);
        found.map(|(_, value)| OsString::from(value))
    };
    let mut reader = Reader { variable: &variable, warnings: Vec::new() };
    (read(&mut reader), reader.warnings)
}

fn address(variables: Variables<'_>) -> Result<(String, Dialect), String> {
    let (address, warnings) = with_reader(variables, |reader| reader.address());
    assert_eq!(warnings, Vec::<String>::new());
    address.map(|(target, dialect, _)| (target.to_string(), dialect))
}

#[test]
fn the_address_is_that_of_datadog_then_of_statsd_then_of_this_host() {
    let all = [
        ("DD_DOGSTATSD_URL", "unix:///run/dsd.socket"),
        ("DD_AGENT_HOST", "agent"),
        ("DD_DOGSTATSD_PORT", "1234"),
        ("STATSD_HOST", "statsd"),
        ("STATSD_PORT", "5678"),
    ];
    for (variables, expected, dialect) in [
        (&all[..], "unix:/run/dsd.socket", Dialect::Dogstatsd),
        (&all[1..], "udp://agent:1234", Dialect::Dogstatsd),
        (&all[1..2], "udp://agent:8125", Dialect::Dogstatsd),
        (&all[2..], "udp://127.0.0.1:1234", Dialect::Dogstatsd),
        (&all[3..], "udp://statsd:5678", Dialect::Statsd),
        (&all[3..4], "udp://statsd:8125", Dialect::Statsd),
        (&all[4..], "udp://127.0.0.1:5678", Dialect::Statsd),
        (&[("DD_DOGSTATSD_URL", ""), ("DD_AGENT_HOST", "")], "udp://127.0.0.1:8125", Dialect::Statsd),
        (&[("DD_DOGSTATSD_URL", "udp://agent")], "udp://agent:8125", Dialect::Dogstatsd),
        (&[("DD_AGENT_HOST", "::1")], "udp://[::1]:8125", Dialect::Dogstatsd),
        (&[("DD_AGENT_HOST", "agent:1")], "udp://agent:1", Dialect::Dogstatsd),
        (&[("DD_AGENT_HOST", "unix:///run/dsd")], "unix:/run/dsd", Dialect::Dogstatsd),
    ] {
        assert_eq!(address(variables), Ok((expected.to_owned(), dialect)), "{variables:?}");
    }
}

#[test]
fn the_variable_that_has_the_address_is_known() {
    for (variables, expected) in [
        (&[("DD_DOGSTATSD_URL", "unix:/run/dsd")][..], "DD_DOGSTATSD_URL"),
        (&[("DD_AGENT_HOST", "agent"), ("DD_DOGSTATSD_PORT", "1")], "DD_AGENT_HOST"),
        (&[("DD_DOGSTATSD_PORT", "1")], "DD_DOGSTATSD_PORT"),
        (&[("STATSD_HOST", "h")], "STATSD_HOST"),
        (&[], "the default"),
    ] {
        let (address, _) = with_reader(variables, |reader| reader.address());
        assert_eq!(address.unwrap().2, expected);
    }
}

#[test]
fn an_address_that_cannot_be_used_is_an_error_that_names_the_variable() {
    for (name, value, cause) in [
        ("DD_DOGSTATSD_URL", "tcp://h:1", "expected udp://HOST:PORT or unix:PATH"),
        ("DD_DOGSTATSD_URL", "unixstream:///s", "stream sockets are not supported"),
        ("DD_DOGSTATSD_PORT", "http", "expected a port (1 to 65535)"),
        ("DD_DOGSTATSD_PORT", "0", "expected a port (1 to 65535)"),
        ("DD_AGENT_HOST", "a:b:c", "expected a host"),
        // Kubernetes sets this for a service with the name statsd.
        ("STATSD_PORT", "udp://10.0.0.1:8125", "expected a port (1 to 65535)"),
    ] {
        let error = address(&[(name, value)]).unwrap_err();
        assert!(error.starts_with(&format!("{name}: '{value}': {cause}")), "{error}");
    }
    let variable = |name: &str| (name == "DD_AGENT_HOST").then(|| OsString::from_vec(vec![b'a', 0xff]));
    let error = Environment::read(None, None, &variable).unwrap_err();
    assert_eq!(error, "DD_AGENT_HOST: 'a\u{fffd}': not UTF-8");
}

#[test]
fn options_take_precedence_over_variables() {
    let wrong = |_: &str| Some(OsString::from("tcp://h"));
    let target: Target = "udp://h:1".parse().unwrap();
    let read = Environment::read(Some(target.clone()), None, &wrong).unwrap();
    assert_eq!((read.target, read.dialect), (target, Dialect::Statsd));
    assert!(read.common.tags.is_empty() && read.common.origin.is_empty());
    let variable = |name: &str| (name == "DD_AGENT_HOST").then(|| OsString::from("h"));
    let read = |dialect| Environment::read(None, dialect, &variable).unwrap().dialect;
    assert_eq!(read(None), Dialect::Dogstatsd);
    assert_eq!(read(Some(Dialect::Statsd)), Dialect::Statsd);
}

fn tags(variables: Variables<'_>) -> Vec<String> {
    let (tags, warnings) =
        with_reader(variables, |reader| reader.tags().iter().map(|tag| tag.text().to_owned()).collect());
    assert_eq!(warnings, Vec::<String>::new());
    tags
}

#[test]
fn dd_tags_are_separated_by_commas_or_else_by_spaces() {
    assert_eq!(
        tags(&[("DD_TAGS", "a:b, team:my team,url:http://x|y,,solo")]),
        ["a:b", "team:my_team", "url:http://x_y", "solo"]
    );
    assert_eq!(tags(&[("DD_TAGS", " a:b  c:d ")]), ["a:b", "c:d"]);
    assert_eq!(tags(&[]), Vec::<String>::new());
}

#[test]
fn single_tags_have_variables_of_their_own_and_dd_tags_takes_precedence() {
    let variables = [
        ("DD_VERSION", "1.2"),
        ("DD_SERVICE", "поиск"),
        ("DD_ENV", "prod"),
        ("DD_ENTITY_ID", "04652bb7"),
        ("DD_TAGS", "env:staging"),
    ];
    let own = ["dd.internal.entity_id:04652bb7", "env:prod", "service:поиск", "version:1.2"];
    assert_eq!(tags(&variables[..4]), own);
    assert_eq!(tags(&variables), ["env:staging", own[0], own[2], own[3]]);
}

#[test]
fn the_origin_is_the_container_and_the_external_data() {
    let origin =
        |variables: Variables<'_>| with_reader(variables, |reader| reader.origin(|| Some("ci-x".to_owned())));
    let quiet = |fields: &str| (fields.to_owned(), Vec::new());
    assert_eq!(origin(&[]), quiet("|c:ci-x"));
    let external = ("DD_EXTERNAL_ENV", "it-false,cn-a|b\n,pu-c");
    assert_eq!(origin(&[external]), quiet("|c:ci-x|e:it-false,cn-ab,pu-c"));
    for off in ["false", "0", "No", "OFF"] {
        assert_eq!(origin(&[("DD_ORIGIN_DETECTION_ENABLED", off), external]), quiet(""));
    }
    let (fields, warnings) = origin(&[("DD_ORIGIN_DETECTION_ENABLED", "maybe")]);
    assert_eq!(fields, "|c:ci-x");
    let warning = "DD_ORIGIN_DETECTION_ENABLED: 'maybe': expected true or false; it is ignored";
    assert_eq!(warnings, [warning]);
}
