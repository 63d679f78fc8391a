//! The command line: what is wrong with it is said in one line, and no worker starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may")]

mod support;

use std::{fs, net::TcpListener, os::unix::net::UnixListener};
use support::{
    Sidecar,
    refusal::{expect_one_line, expect_words, refused},
    run,
};

#[test]
fn bad_values_name_the_option_the_value_and_the_cause() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--frob"], &["--frob", "no such option"]),
        (&["--liste", "x"], &["--liste", "did you mean --listen"]),
        (&["--listen", "8080"], &["--listen", "'8080'", "HOST:PORT"]),
        (&["--listen", "localhost:x"], &["--listen", "'x'", "not a port"]),
        (&["--listen", "unix:"], &["--listen", "'unix:'", "unix:PATH"]),
        (&["--sampling-rate", "1.5"], &["--sampling-rate", "'1.5'", "0 to 1"]),
        (&["--sampling-rate", "-0.1"], &["--sampling-rate", "'-0.1'", "0 to 1"]),
        (&["--sampling-rate", "NaN"], &["--sampling-rate", "0 to 1"]),
        (&["--sampling-rate", "half"], &["--sampling-rate", "'half'"]),
        (&["--allow", ""], &["--allow", "''", "empty glob"]),
        (&["--deny", ""], &["--deny", "''", "empty glob"]),
        (&["--metadata", "region"], &["--metadata", "'region'", "KEY=VALUE"]),
        (&["--metadata", "=x"], &["--metadata", "'=x'", "key is empty"]),
        (&["--drain-timeout", "5"], &["--drain-timeout", "'5'", "500ms"]),
        (&["--linger", "soon"], &["--linger", "'soon'", "500ms"]),
        (&["--queue-capacity", "0"], &["--queue-capacity", "'0'", "at least 1"]),
        (&["--queue-capacity", "-1"], &["--queue-capacity", "'-1'"]),
        (&["--queue-bytes", "many"], &["--queue-bytes", "'many'"]),
        (&["--max-line-bytes", "0"], &["--max-line-bytes", "'0'", "at least 1"]),
        (&["--max-connections", "0"], &["--max-connections", "'0'", "at least 1"]),
        (&["--max-streams", "-1"], &["--max-streams", "'-1'"]),
        (&["--max-subscribers", "0"], &["--max-subscribers", "'0'", "at least 1"]),
        (&["--max-controls-per-second", "0"], &["--max-controls-per-second", "'0'", "at least 1"]),
        (&["--max-patterns", "0"], &["--max-patterns", "'0'", "at least 1"]),
        (&["--max-patterns", "1", "--allow", "a", "--deny", "b"], &["--allow, --deny", "more than 1 glob"]),
        (&["--max-pattern-bytes", "1", "--allow", "ab"], &["--allow, --deny", "more than 1 byte"]),
        (&["--max-header-bytes", "many"], &["--max-header-bytes", "'many'"]),
        (&["--handshake-timeout", "0s"], &["--handshake-timeout", "'0s'", "more than nothing"]),
        (&["--keepalive-interval", "often"], &["--keepalive-interval", "'often'", "500ms"]),
        (&["--keepalive-timeout", "0s"], &["--keepalive-timeout", "'0s'", "more than nothing"]),
        (&["--when-full", "explode"], &["--when-full", "'explode'", "drop-newest"]),
        (&["--embedded", "maybe"], &["--embedded", "'maybe'", "copy, strip or ignore"]),
        (&["--pipe-size", "99999999999"], &["--pipe-size", "'99999999999'"]),
        (&["--export-jsonl", "/nonexistent/x"], &["--export-jsonl", "'/nonexistent/x'", "No such file"]),
        (
            &["--export-statsd", "localhost:8125"],
            &["--export-statsd", "'localhost:8125'", "udp://HOST:PORT or unix:"],
        ),
        (&["--export-statsd", "udp://::1:8125"], &["--export-statsd", "'udp://::1:8125'", "udp://HOST:PORT"]),
        (
            &["--export-statsd", "udp://h:1", "--statsd-dialect", "etsy"],
            &["--statsd-dialect", "'etsy'", "statsd or dogstatsd"],
        ),
        (
            &["--export-statsd", "udp://h:1", "--statsd-prefix", "a|b"],
            &["--statsd-prefix", "'a|b'", "letters, digits"],
        ),
        (&["--metric-kind", "a.b"], &["--metric-kind", "'a.b'", "GLOB=counter"]),
        (&["--metric-label", "correlation_id"], &["--metric-label", "'correlation_id'", "series of its own"]),
        (&["--record", "/nonexistent/x"], &["--record", "'/nonexistent/x'", "No such file"]),
        (&["--ready-file", "/nonexistent/x"], &["--ready-file", "'/nonexistent/x'", "No such file"]),
        (&["--listen"], &["--listen", "value is missing"]),
    ];
    for (options, words) in cases {
        expect_words(&refused(options), words);
    }
}

#[test]
fn a_command_needs_two_dashes_before_it() {
    for words in [&["python", "w.py"][..], &["--quiet", "python", "w.py"]] {
        let line = expect_one_line(&run(words), || true);
        expect_words(&line, &["python", "put --", "-- COMMAND"]);
    }
    let missing = [(&[][..], "COMMAND"), (&["--quiet"], "COMMAND"), (&["--"], "COMMAND")];
    for (words, what) in missing {
        expect_words(&expect_one_line(&run(words), || true), &[what, "missing"]);
    }
    let line = expect_one_line(&run(&["--quiet", "replay", "x.log"]), || true);
    expect_words(&line, &["replay", "comes first"]);
}

#[test]
fn subcommands_refuse_bad_input_as_well() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["replay"], &["FILE", "missing"]),
        (&["replay", "/nonexistent"], &["/nonexistent", "No such file"]),
        (&["replay", "/tmp"], &["/tmp", "directory"]),
        (&["replay", "--wait-for-subscribers", "129", "-"], &["--wait-for-subscribers", "--max-subscribers"]),
        (&["decode", "/nonexistent"], &["/nonexistent", "No such file"]),
        (&["decode", "--embedded", "maybe", "-"], &["--embedded", "'maybe'"]),
        (&["decode", "--listen", "127.0.0.1:0"], &["--listen", "no such option"]),
        (&["tail"], &["ADDRESS", "missing"]),
        (&["tail", "here"], &["ADDRESS", "'here'", "HOST:PORT"]),
        (&["tail", "127.0.0.1:1"], &["127.0.0.1:1", "cannot connect", "refused"]),
        (&["tail", "unix:/nonexistent"], &["unix:/nonexistent", "cannot connect", "No such file"]),
    ];
    for (words, expected) in cases {
        expect_words(&expect_one_line(&run(words), || true), expected);
    }
}

#[test]
fn addresses_that_other_hosts_can_reach_need_insecure() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        expect_words(&refused(&["--listen", address]), &["--listen", address, "--insecure"]);
    }
    run(&["-q", "--listen", "0.0.0.0:0", "--insecure", "--", "true"]).expect_code(0);
    for local in ["127.0.0.1:0", "127.1.2.3:0", "localhost:0"] {
        run(&["-q", "--listen", local, "--", "true"]).expect_code(0);
    }
}

#[test]
fn an_address_in_use_starts_no_worker() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    expect_words(&refused(&["--listen", &address]), &["--listen", &address, "address in use"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]);
    assert!(help.expect_code(0).stdout().contains("telemetry-sidecar [OPTIONS] -- COMMAND"));
    assert!(run(&["replay", "--help"]).expect_code(0).stdout().contains("--wait-for-subscribers"));
    assert_eq!(
        run(&["--version"]).expect_code(0).stdout(),
        concat!("telemetry-sidecar ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn snakepit_finds_none_of_its_own_options_in_ours() {
    let reserved = [
        "--port",
        "--elixir-address",
        "--snakepit-instance-name",
        "--snakepit-instance-token",
        "--max-workers",
    ];
    let help = run(&["replay", "--help"]).stdout() + &run(&["--help"]).stdout();
    for option in reserved {
        assert!(!help.contains(option), "{option}");
    }
}

#[test]
fn the_port_is_announced_only_when_nobody_could_know_it() {
    let stderr = run(&["--", "true"]).expect_code(0).stderr();
    let port = stderr.strip_prefix("GRPC_READY:").and_then(|rest| rest.strip_suffix('\n')).expect(&stderr);
    assert!(port.parse::<u16>().unwrap() > 0);

    // Nobody else uses this loopback address, so the port is free.
    for options in [
        &["--quiet"][..],
        &["--listen", "127.91.7.3:47113"],
        &["--ready-file", "{dir}/r"],
        &["--listen", "unix:{dir}/s"],
    ] {
        let words = [options, &["--", "true"]].concat();
        assert_eq!(Sidecar::command(&words).start().finish().expect_code(0).stderr(), "");
    }
}

#[test]
fn the_ready_file_has_a_line_for_each_listener_before_the_worker_starts() {
    let options = ["--listen", "127.0.0.1:0", "--listen", "unix:{dir}/s", "--ready-file", "{dir}/ready"];
    let builder = Sidecar::command(&[&options[..], &["--", "cat", "{dir}/ready"]].concat());
    fs::write(builder.path("ready"), "stale\n").unwrap();
    let socket = builder.path("s");
    let seen_by_worker = builder.start().finish().expect_code(0).stdout();
    let lines: Vec<_> = seen_by_worker.lines().collect();
    assert_eq!(lines.len(), 2, "{seen_by_worker}");
    assert!(lines[0].parse::<u16>().unwrap() > 0);
    assert_eq!(lines[1], format!("unix:{}", socket.display()));
}

#[test]
fn a_stale_ready_file_is_gone_when_binding_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["--listen", &address, "--ready-file", "{dir}/ready", "--", "true"];
    let builder = Sidecar::command(&words);
    let ready = builder.path("ready");
    fs::write(&ready, "stale\n").unwrap();
    let line = expect_one_line(&builder.start().finish(), || !ready.exists());
    expect_words(&line, &["address in use"]);
}

#[test]
fn a_unix_socket_is_private_replaces_a_stale_one_and_goes_at_exit() {
    let builder = Sidecar::command(&["-q", "--listen", "unix:{dir}/s", "--", "stat", "-c", "%a", "{dir}/s"]);
    let socket = builder.path("s");
    // A socket that nobody listens at any more.
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(builder.start().finish().expect_code(0).stdout(), "600\n");
    assert!(!socket.exists());
}

#[test]
fn what_is_in_the_way_of_a_unix_socket_stays() {
    let words = ["-q", "--listen", "unix:{dir}/s", "--", "true"];
    for in_use in [true, false] {
        let builder = Sidecar::command(&words);
        let path = builder.path("s");
        let listener = in_use.then(|| UnixListener::bind(&path).unwrap());
        if !in_use {
            fs::write(&path, "precious").unwrap();
        }
        let line = expect_one_line(&builder.start().finish_keeping(&path), || true);
        expect_words(
            &line,
            &["--listen", path.to_str().unwrap(), if in_use { "address in use" } else { "not a socket" }],
        );
        drop(listener);
    }
}

#[test]
fn options_come_from_the_environment_too() {
    let echo = r#"echo 'TELEMETRY:{"event": "a"}' >&2"#;
    let sidecar = Sidecar::command(&["--", "sh", "-c", echo])
        .env("TELEMETRY_SIDECAR_QUIET", "1")
        .env("TELEMETRY_SIDECAR_METADATA", "region=eu\nzone=b\n")
        .env("TELEMETRY_SIDECAR_LISTEN", "")
        .env("TELEMETRY_SIDECAR_EXPORT_JSONL", "/dev/stdout")
        .start();
    let finished = sidecar.finish();
    assert!(finished.expect_code(0).stdout().contains(r#""metadata": {"region": "eu", "zone": "b"}"#));
    assert_eq!(finished.stderr(), "");
}

#[test]
fn the_command_line_is_stronger_than_the_environment() {
    let sidecar = Sidecar::command(&["--sampling-rate", "1", "--", "true"])
        .env("TELEMETRY_SIDECAR_SAMPLING_RATE", "0.5")
        .env("TELEMETRY_SIDECAR_QUIET", "false")
        .start();
    assert!(sidecar.finish().expect_code(0).stderr().starts_with("GRPC_READY:"));
}

#[test]
fn a_bad_value_in_the_environment_is_refused_where_it_is_read() {
    for (name, value, option) in [
        ("TELEMETRY_SIDECAR_SAMPLING_RATE", "2", "--sampling-rate"),
        ("TELEMETRY_SIDECAR_QUIET", "yes", "--quiet"),
        ("TELEMETRY_SIDECAR_METADATA", "a=b\nc", "--metadata"),
    ] {
        let finished = Sidecar::command(&["--", "true"]).env(name, value).start().finish();
        expect_words(&expect_one_line(&finished, || true), &[option]);
        // Only wrapping and replaying read it.
        Sidecar::command(&["decode", "/dev/null"]).env(name, value).start().finish().expect_code(0);
    }
}

#[test]
fn the_worker_does_not_inherit_our_variables() {
    let sidecar = Sidecar::command(&["--", "env"])
        .env("TELEMETRY_SIDECAR_QUIET", "1")
        .env("TELEMETRY_SIDECAR_EMBEDDED", "")
        .env("TELEMETRY_SIDECAR_PACE", "1")
        .env("TELEMETRY_OF_MY_OWN", "kept")
        .start();
    let environment = sidecar.finish().expect_code(0).stdout();
    assert!(environment.contains("TELEMETRY_OF_MY_OWN=kept"), "{environment}");
    assert!(!environment.contains("TELEMETRY_SIDECAR_"), "{environment}");
}
