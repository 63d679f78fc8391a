//! The command line: errors are reported in one line, and no worker is started.

mod environment;
mod expect;
mod files;
mod install;

use crate::support::{
    Sidecar,
    refusal::{expect_one_line, expect_words, refused, refused_without},
    run,
};
use std::{fs, net::TcpListener, os::unix::net::UnixListener};

/// With ten of these there are more than 2048 wildcards.
const WILD: &str = "????????????????????????????????????????????????????????????????????????????????\
    ????????????????????????????????????????????????????????????????????????????????\
    ??????????????????????????????????????????????????";

/// So many globs to deny, one after the other, and so many to allow.
fn globs(deny: usize, allow: usize, glob: &str) -> Vec<&str> {
    [["--deny", glob].repeat(deny), ["--allow", glob].repeat(allow)].concat()
}

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
        (&["--sampling-rate", "half"], &["--sampling-rate", "'half'", "0 to 1"]),
        (&["--sampling-rate", ""], &["--sampling-rate", "''", "0 to 1"]),
        (&["--allow", ""], &["--allow", "''", "empty glob"]),
        (&["--deny", ""], &["--deny", "''", "empty glob"]),
        (&["--metadata", "region"], &["--metadata", "'region'", "KEY=VALUE"]),
        (&["--metadata", "=x"], &["--metadata", "'=x'", "key is empty"]),
        (&["--drain-timeout", "5"], &["--drain-timeout", "'5'", "with a unit, such as 20s"]),
        (&["--drain-timeout", "-1s"], &["--drain-timeout", "'-1s'", "500ms"]),
        (&["--drain-timeout", "10000000000000000000s"], &["--drain-timeout", "at most 100 years"]),
        (&["--drain-timeout"], &["--drain-timeout", "value is missing"]),
        (&["--linger", "soon"], &["--linger", "'soon'", "500ms"]),
        (&["--queue-capacity", "0"], &["--queue-capacity", "'0'", "whole number from 1 to "]),
        (&["--queue-capacity", "-1"], &["--queue-capacity", "'-1'", "whole number from 1 to 4294967295"]),
        (&["--queue-bytes", "many"], &["--queue-bytes", "'many'", "whole number"]),
        (
            &["--queue-bytes", "18446744073709551616"],
            &["--queue-bytes", "'18446744073709551616'", "whole number"],
        ),
        (&["--max-line-bytes", "0"], &["--max-line-bytes", "'0'", "whole number from 1 to "]),
        (&["--max-connections", "0"], &["--max-connections", "'0'", "whole number from 1 to "]),
        (&["--max-subscribers", "0"], &["--max-subscribers", "'0'", "whole number from 1 to "]),
        (&["--max-patterns", "1"], &["--max-patterns: no such option"]),
        (&globs(513, 512, "a"), &["--allow, --deny: 1025 globs together, at most 1024"]),
        (&["--deny", &"x".repeat(257)], &["--deny: 'xxx", "at most 256 bytes"]),
        (&globs(2, 8, WILD), &["--allow, --deny: at most 2048 wildcards together"]),
        (&["--handshake-timeout", "0s"], &["--handshake-timeout", "'0s'", "more than 0s"]),
        (&["--keepalive-interval", "often"], &["--keepalive-interval", "'often'", "500ms"]),
        (&["--when-full", "explode"], &["--when-full", "'explode'", "drop-newest"]),
        (&["--embedded", "maybe"], &["--embedded", "'maybe'", "auto, copy, strip or ignore"]),
        (&["--pipe-size", "2147483648"], &["--pipe-size", "'2147483648'", "from 1 to 2147483647"]),
        (&["--export-otlp", "http://x:4317"], &["write --export-otlp --otlp-endpoint http://x:4317"]),
        (&["--export-otlp", "x:4317"], &["x:4317: unexpected"]),
        (&["--otlp-endpoint", "http://x:1"], &["--otlp-endpoint: give --export-otlp as well"]),
        (
            &["--export-otlp", "--otlp-endpoint", "x:1"],
            &["--otlp-endpoint: 'x:1': expected http://HOST:PORT"],
        ),
        (&["--export-prometheus", ":9464"], &["':9464': expected HOST:PORT, such as 127.0.0.1:9464\n"]),
        (&["--export-prometheus", "9464"], &["'9464': expected HOST:PORT, such as 127.0.0.1:9464\n"]),
        (&["--export-prometheus", "x"], &["--export-prometheus: 'x': expected HOST:PORT\n"]),
        (
            &["--export-prometheus", "http://x:1"],
            &["--export-prometheus: 'http://x:1': expected HOST:PORT\n"],
        ),
        (
            &["--export-jsonl", "/nonexistent/x"],
            &["--export-jsonl: '/nonexistent/x': the directory /nonexistent does not exist"],
        ),
        (
            &["--export-statsd", "localhost:8125"],
            &["--export-statsd", "'localhost:8125'", "udp://HOST:PORT or unix:"],
        ),
        (&["--export-statsd", "udp://::1:8125"], &["--export-statsd", "'udp://::1:8125'", "udp://HOST:PORT"]),
        (
            &["--export-statsd", &format!("unix:/{}", "x".repeat(107))],
            &["--export-statsd", "too long for a unix socket (107 bytes at most)"],
        ),
        // Options of a disabled exporter are validated too.
        (&["--statsd-dialect", "etsy"], &["--statsd-dialect", "'etsy'", "statsd or dogstatsd"]),
        (&["--statsd-prefix", "a|b"], &["--statsd-prefix", "'a|b'", "letters, digits"]),
        (&["--otlp-span-timeout", "abc"], &["--otlp-span-timeout", "'abc'", "500ms"]),
        (&["--metric-kind", "a.b"], &["--metric-kind", "'a.b'", "GLOB=counter"]),
        (&["--metric-kind", "a.b=rate"], &["--metric-kind", "'a.b=rate'", "GLOB=distribution or GLOB=none"]),
        (&["--prometheus-prefix", "a.b"], &["--prometheus-prefix", "'a.b'", "the first one a letter"]),
        (&["--prometheus-prefix", "telemetry"], &["--prometheus-prefix", "'telemetry'", "own metrics"]),
        (&["--metric-buckets", "a.b=1,x"], &["--metric-buckets", "'a.b=1,x'", "GLOB=NUMBER,NUMBER"]),
        (&["--metric-buckets", "a.b=2,1"], &["--metric-buckets", "'a.b=2,1'", "1 follows 2"]),
        (&["--metric-label", "correlation_id"], &["--metric-label", "'correlation_id'", "series of its own"]),
        (
            &["--record", "/nonexistent/x"],
            &["--record: '/nonexistent/x': the directory /nonexistent does not exist"],
        ),
        (
            &["--ready-file", "/nonexistent/x"],
            &["--ready-file: '/nonexistent/x': the directory /nonexistent does not exist"],
        ),
        (&["--listen"], &["--listen", "value is missing"]),
        (&["--listen", "a\nb\u{1b}"], &["--listen: 'a\\nb\\u{1b}'"]),
        (&["--disabled=1"], &["--disabled: takes no value"]),
        (&["--wait-for-subscribers", "1"], &["--wait-for-subscribers: an option of replay"]),
        (&["--timeout", "1s"], &["--timeout: an option of replay"]),
    ];
    for (options, words) in cases {
        // Text that must be at the end of the line is written with a newline.
        expect_words(&(refused(options) + "\n"), words);
    }
}

#[test]
fn mistakes_in_the_options_about_a_worker_say_what_to_write() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--vitals", "0"],
            &["--vitals: '0': expected a duration with a unit, at least 100ms, such as 1s\n"],
        ),
        (&["--vitals", "-1s"], &["--vitals: '-1s': expected a duration"]),
        (&["--vitals"], &["--vitals: a value is missing, such as --vitals 1s\n"]),
        (&["--vitals", "python3", "-c", "pass"], &["--vitals: 'python3': expected a duration"]),
        (&["--lifecycle=off"], &["--lifecycle: 'off': expected no-output, 0, 1, true or false\n"]),
        (&["--lifecycle", "no-output"], &["no-output: unexpected, write --lifecycle=no-output\n"]),
        (&["--export-otlp", "--run-span", "nightly"], &["nightly: unexpected, write --run-span=nightly\n"]),
        (&["nightly"], &["nightly: unexpected, only options go before --"]),
    ];
    for (options, words) in cases {
        expect_words(&(refused(options) + "\n"), words);
    }
}

#[test]
fn options_of_an_exporter_need_the_exporter() {
    let all = "give --export-otlp, --export-prometheus or --export-statsd as well";
    for (options, needed) in [
        (&["--otlp-flat"][..], "--otlp-flat: give --export-otlp as well\n"),
        (&["--otlp-span-timeout", "1s"], "--otlp-span-timeout: give --export-otlp as well\n"),
        (&["--run-span"], "--run-span: give --export-otlp as well\n"),
        (&["--run-span=x"], "--run-span: give --export-otlp as well\n"),
        (&["--run-span-env"], "--run-span-env: give --export-otlp as well\n"),
        (&["--run-span-env", "--export-otlp"], "--run-span-env: give --run-span as well\n"),
        (&["--prometheus-insecure"], "--prometheus-insecure: give --export-prometheus as well\n"),
        (&["--statsd-prefix", "x"], "--statsd-prefix: give --export-statsd as well\n"),
        (&["--statsd-prefix", "x", "--export-prometheus", "127.0.0.1:0"], "give --export-statsd as well\n"),
        (&["--metric-label", "a", "--metric-label", "b"], &format!("--metric-label: {all}\n")),
        (&["--metric-series", "1", "--export-jsonl", "/dev/null"], all),
    ] {
        expect_words(&(refused(options) + "\n"), &[needed]);
        let line = expect_one_line(&run(&[&["replay"], options, &["-"]].concat()), || true);
        expect_words(&(line + "\n"), &[needed]);
    }
    for options in
        [&["--metric-label", "a", "--export-statsd"][..], &["--statsd-prefix", "x", "--export-statsd"]]
    {
        run(&[&["-q"], options, &["--", "true"]].concat()).expect_code(0);
    }
    // Variables may be set for all workers of a host, and one may turn the exporter off.
    for (options, name, value) in [
        (&[][..], "STATSD_PREFIX", "x"),
        (&[], "METRIC_LABEL", "x"),
        (&[], "PROMETHEUS_TARGETS_DIR", "/tmp"),
        (&["--statsd-prefix", "x"], "EXPORT_STATSD", "1"),
        (&["--otlp-flat"], "EXPORT_OTLP", "0"),
    ] {
        let builder = Sidecar::command(&[&["-q"], options, &["--", "true"]].concat());
        builder.env(&format!("TELEMETRY_SIDECAR_{name}"), value).start().finish().expect_code(0);
    }
}

#[test]
fn a_command_needs_two_dashes_before_it() {
    for words in [&["python", "w.py"][..], &["--quiet", "python", "w.py"]] {
        let line = expect_one_line(&run(words), || true);
        expect_words(&line, &["python", "put --", "-- python w.py"]);
    }
    for (words, hint) in [
        (["relpay", "x"], "relpay: did you mean replay? A worker's command needs -- before it"),
        (["tial", "x"], "did you mean tail?"),
        (["--quiet", "decod"], "did you mean decode?"),
        (["sh", "x.sh"], "sh: put -- before the worker's command: telemetry-sidecar -- sh x.sh"),
        (
            ["-q", "two words"],
            "two words: put -- before the worker's command: telemetry-sidecar [OPTIONS] --",
        ),
    ] {
        expect_words(&expect_one_line(&run(&words), || true), &[hint]);
    }
    let missing = [(&[][..], "COMMAND"), (&["--quiet"], "COMMAND"), (&["--"], "COMMAND")];
    for (words, what) in missing {
        expect_words(&expect_one_line(&run(words), || true), &[what, "missing"]);
    }
    let line = expect_one_line(&run(&["--quiet", "replay", "x.log"]), || true);
    expect_words(&line, &["replay", "comes first"]);
}

#[test]
fn files_and_addresses_that_cannot_be_meant_are_explained() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["-listen", "127.0.0.1:0"], &["-listen: no such option, did you mean --listen? (see --help)"]),
        (&["--listen", "@x"], &["--listen: '@x': expected", "such as unix:@x"]),
        (&["--listen", "192.0.2.1:0", "--insecure"], &["'192.0.2.1:0': this host does not have the address"]),
        (&["--auth-token-file", "/tmp"], &["--auth-token-file: '/tmp': it is a directory, expected a file"]),
        (&["--export-jsonl", "/tmp"], &["--export-jsonl: '/tmp': it is a directory, expected a file"]),
        (&["--export-jsonl", "-"], &["--export-jsonl: '-': not standard output: write /dev/stdout"]),
        (
            &["--export-jsonl", "a", "--export-jsonl=b"],
            &["--export-jsonl: given twice, but there can be only one"],
        ),
    ];
    for (options, expected) in cases {
        expect_words(&refused(options), expected);
    }
}

#[test]
fn subcommands_refuse_bad_input_as_well() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["replay"], &["FILE: missing: telemetry-sidecar replay [OPTIONS] FILE..."]),
        (&["install"], &["DIR: missing: telemetry-sidecar install DIR"]),
        (&["replay", "/nonexistent"], &["/nonexistent", "No such file"]),
        (&["expect"], &["GOLDEN: missing: telemetry-sidecar expect [OPTIONS] GOLDEN -- COMMAND [ARGS]..."]),
        (&["expect", "x"], &["COMMAND: missing: telemetry-sidecar expect [OPTIONS] GOLDEN -- COMMAND"]),
        (
            &["expect", "x", "python"],
            &["python: put -- before the worker's command: expect GOLDEN -- COMMAND"],
        ),
        (
            &["expect", "x", "--ignore", "event", "--", "true"],
            &["--ignore: 'event': expected correlation_id"],
        ),
        (&["expect", "x", "--ignore", "metadata.", "--", "true"], &["'metadata.': the key is empty"]),
        (&["expect", "/tmp", "--", "true"], &["/tmp: it is a directory, expected a file"]),
        (
            &["expect", "x", "--listen", "127.0.0.1:0", "--", "true"],
            &["--listen: cannot be used with expect, it is an option of wrapping, replay and gather"],
        ),
        (&["replay", "/tmp"], &["/tmp", "directory"]),
        (&["replay", "--wait-for-subscribers", "129", "-"], &["--wait-for-subscribers", "--max-subscribers"]),
        (&["replay", "--wait-for-subscribers", "-1", "-"], &["--wait-for-subscribers", "'-1'", "from 0 to"]),
        (&["replay", "--pipe-size", "0", "-"], &["--pipe-size", "'0'", "whole number"]),
        (
            &["replay", "--export-otlp", "http://x:1", "-"],
            &["write --export-otlp --otlp-endpoint http://x:1"],
        ),
        (&["replay", "--pace=1", "-"], &["--pace: takes no value"]),
        (&["replay", "--version"], &["--version: no such option (see --help)"]),
        (&["ps", "aux"], &["ps takes no argument: 'aux'"]),
        (&["gather", "foo"], &["gather takes no argument: 'foo'"]),
        (&["completions"], &["SHELL: missing, one of bash, elvish, fish, powershell or zsh"]),
        (&["tail", "--follow"], &["--follow: no such option, tail always follows"]),
        (&["tail", "--since", "5m"], &["--since: no such option (see --help)"]),
        (&["tail", "--dney", "x"], &["--dney: no such option, did you mean --deny?"]),
        (&["tail", "-10"], &["-10: no such option, write -n 10"]),
        (&["--json", "ps"], &["--json: goes after the subcommand: ps --json"]),
        (&["--json", "--", "ps"], &["--json: an option of tail, ps and status"]),
        (&["--listen", "unix:/nonexistent/s", "--", "x"], &["the directory /nonexistent does not exist"]),
        (&["decode", "a\nb"], &["a\\nb: No such file"]),
        (&["decode", "/nonexistent"], &["/nonexistent", "No such file"]),
        (&["decode", "--embedded", "maybe", "-"], &["--embedded", "'maybe'"]),
        (&["replay", "--vitals", "1s", "-"], &["--vitals: cannot be used with replay, only when a worker"]),
        (
            &["gather", "--export-prometheus", "x:1"],
            &["--export-prometheus: gather serves its page at --listen"],
        ),
        (
            &["decode", "--listen", "127.0.0.1:0"],
            &["--listen: cannot be used with decode, it is an option of wrapping"],
        ),
        (&["tail", "127.0.0.1:1", "b"], &["SIDECAR", "'b'", "HOST:PORT, unix:PATH or unix:@NAME"]),
        (&["help", "frob"], &["help: 'frob'", "replay, decode, tail", "completions"]),
        (&["help", "replay", "x"], &["help: 'x': unexpected, help takes one subcommand"]),
        (
            &["tail", "here"],
            &["SIDECAR", "'here': expected a process id, HOST:PORT, unix:PATH or unix:@NAME"],
        ),
        (&["tail", "4194305"], &["4194305: no sidecar, and no worker of one, has this process id"]),
        (&["tail", "0"], &["has this process id (for a port: 127.0.0.1:0)"]),
        (&["tail", "/etc/passwd"], &["SIDECAR: '/etc/passwd': it is a file: decode and top read files"]),
        (&["tail", "127.0.0.1:1"], &["127.0.0.1:1", "cannot connect", "refused", ", ps lists the sidecars"]),
        (
            &["tail", "unix:/nonexistent"],
            &["unix:/nonexistent", "cannot connect", "No such file", ", ps lists the sidecars"],
        ),
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
fn a_stale_ready_file_is_removed_even_if_the_start_fails() {
    let before = ["--ready-file", "{dir}/ready"];
    for (subcommand, rest) in [
        (&[][..], &["--pipe-size", "2147483648", "--", "true"][..]),
        (&[], &["--listen", "unix:/nonexistent/s", "--", "true"]),
        (&["replay"], &["/nonexistent"]),
    ] {
        let words = [subcommand, &before, rest].concat();
        let builder = Sidecar::command(&words);
        fs::write(builder.path("ready"), "50051\n").unwrap();
        refused_without(builder.start(), "ready");
    }
}

#[test]
fn an_address_in_use_prevents_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    expect_words(
        &refused(&["--listen", &address]),
        &["--listen", &address, "address in use: name another port, or port 0"],
    );
}

#[test]
fn help_and_version_go_to_stdout() {
    let help = run(&["--help"]);
    assert!(help.expect_code(0).stdout().contains("telemetry-sidecar [OPTIONS] -- COMMAND"));
    assert_eq!(run(&["help"]).expect_code(0).stdout, help.stdout);
    let help = run(&["replay", "--help"]);
    assert!(help.expect_code(0).stdout().contains("--wait-for-subscribers"));
    assert_eq!(run(&["help", "replay"]).expect_code(0).stdout, help.stdout);
    let help = run(&["completions", "--help"]);
    assert_eq!(run(&["help", "completions"]).expect_code(0).stdout, help.stdout);
    let help = run(&["-h"]).expect_code(0).stdout();
    assert!(help.contains("\n  completions  Print completions for a shell\n"), "{help}");
    // In parentheses are the commit, if it is known, and the target.
    let version = run(&["--version"]).expect_code(0).stdout();
    let start = concat!("telemetry-sidecar ", env!("CARGO_PKG_VERSION"), " (");
    assert!(version.starts_with(start) && version.ends_with(")\n"), "{version}");
    assert!(version.contains(std::env::consts::ARCH), "{version}");
}

#[test]
fn no_option_conflicts_with_those_of_snakepit() {
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
fn the_port_is_announced_only_if_it_was_chosen_automatically() {
    let stderr = run(&["--", "true"]).expect_code(0).stderr();
    let port = stderr.strip_prefix("GRPC_READY:").and_then(|rest| rest.strip_suffix('\n')).expect(&stderr);
    assert!(port.parse::<u16>().unwrap() > 0);

    // No other process uses this loopback address, so the port is free.
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
    fs::write(builder.path("ready"), "50051\n").unwrap();
    let socket = builder.path("s");
    let seen_by_worker = builder.start().finish().expect_code(0).stdout();
    let lines: Vec<_> = seen_by_worker.lines().collect();
    assert_eq!(lines.len(), 2, "{seen_by_worker}");
    assert!(lines[0].parse::<u16>().unwrap() > 0);
    assert_eq!(lines[1], format!("unix:{}", socket.display()));
}

#[test]
fn a_stale_ready_file_is_removed_if_binding_fails() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["--listen", &address, "--ready-file", "{dir}/ready", "--", "true"];
    let builder = Sidecar::command(&words);
    let ready = builder.path("ready");
    fs::write(&ready, "50051\n").unwrap();
    let line = expect_one_line(&builder.start().finish(), || !ready.exists());
    expect_words(&line, &["address in use"]);
}

#[test]
fn a_unix_socket_is_private_replaces_a_stale_one_and_is_removed_at_exit() {
    let builder = Sidecar::command(&["-q", "--listen", "unix:{dir}/s", "--", "stat", "-c", "%a", "{dir}/s"]);
    let socket = builder.path("s");
    // A stale socket: its listener is closed.
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(builder.start().finish().expect_code(0).stdout(), "600\n");
    assert!(!socket.exists());
}

#[test]
fn other_files_at_the_path_of_a_unix_socket_are_kept() {
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
fn what_was_meant_is_suggested() {
    for (option, meant) in [
        ("--port", "did you mean --listen 127.0.0.1:PORT?"),
        ("--otlp", "did you mean --export-otlp?"),
        ("--jsonl", "did you mean --export-jsonl?"),
        ("--label", "did you mean --metric-label?"),
        ("--socket", "did you mean --listen unix:PATH?"),
        ("--strip", "did you mean --embedded strip?"),
        ("--prometheus", "did you mean --export-prometheus?"),
        ("--statsd", "did you mean --export-statsd?"),
        ("--token", "did you mean --auth-token-file?"),
        ("--cert", "did you mean --tls-cert?"),
        ("--series", "did you mean --metric-series?"),
        ("--queue", "did you mean --queue-capacity, --queue-bytes or --total-queue-bytes?"),
        ("--otlp-headers", "did you mean OTEL_EXPORTER_OTLP_HEADERS?"),
        ("--otlp-protocol", "did you mean OTEL_EXPORTER_OTLP_PROTOCOL?"),
        ("--statsd-tags", "did you mean DD_TAGS?"),
        ("--prometheus-port", "did you mean --export-prometheus HOST:PORT?"),
        ("--sampling-rat", "did you mean --sampling-rate?"),
    ] {
        expect_words(&refused(&[option, "x"]), &[option, "no such option", meant]);
    }
    for (address, meant) in
        [("4400", "127.0.0.1:4400"), ("http://a:1", "such as a:1"), ("/run/s", "such as unix:/run/s")]
    {
        expect_words(&refused(&["--listen", address]), &["--listen: '", meant]);
    }
    for (words, meant) in [
        (
            &["run", "--", "x"][..],
            "run: no such subcommand, leave it out: telemetry-sidecar [OPTIONS] -- COMMAND",
        ),
        (&["exec", "--", "x"], "leave it out"),
        (&["version"], "did you mean --version?"),
        (&["127.0.0.1:4400", "--", "x"], "write --listen 127.0.0.1:4400"),
    ] {
        expect_words(&expect_one_line(&run(words), || true), &[meant]);
    }
}

#[test]
fn a_command_in_quotes_is_shown_without_them() {
    let finished = run(&["-q", "--", "python3 train.py"]);
    let expected = "telemetry-sidecar: 'python3 train.py': not found in PATH, write it without quotes: \
        -- python3 train.py\n";
    assert_eq!(finished.expect_code(127).stderr(), expected);
}

#[test]
fn an_option_and_its_value_are_two_words() {
    for words in [
        &["--linger 1s", "--", "true"][..],
        &["--lifecycle --vitals 1s", "--", "true"],
        &["replay", "--fail-after 10", "log"],
    ] {
        let line = expect_one_line(&run(words), || true);
        let word = words.iter().find(|word| word.starts_with("--l") || word.starts_with("--f")).unwrap();
        expect_words(&line, &[&format!("'{word}': one word, remove its quotes")]);
    }
}

#[test]
fn a_line_of_shell_is_no_program() {
    let stderr = run(&["-q", "--", "sh worker.sh && echo ok"]).expect_code(127).stderr();
    assert!(stderr.ends_with(": not found in PATH, run a line of shell with -- sh -c\n"), "{stderr}");
}

#[test]
fn a_file_of_this_directory_is_not_in_the_path() {
    // Tests run in the root of the checkout.
    let stderr = run(&["-q", "--", "Cargo.toml"]).expect_code(127).stderr();
    assert!(
        stderr.ends_with(": not found in PATH, the file of this directory is ./Cargo.toml\n"),
        "{stderr}"
    );
}

#[test]
fn options_behind_the_dashes_are_the_worker_s_command() {
    let stderr = run(&["--listen", "unix:{dir}/s", "--", "-q", "sh"]).expect_code(127).stderr();
    assert_eq!(stderr, "telemetry-sidecar: '-q': not found in PATH, options of the sidecar go before --\n");
}

#[test]
fn help_is_coloured_only_where_it_is_asked_for() {
    let help =
        |name: &str| Sidecar::command(&["--help"]).env(name, "1").start().finish().expect_code(0).stdout();
    assert!(!help("NO_COLOR").contains('\u{1b}'));
    assert!(help("CLICOLOR_FORCE").contains('\u{1b}'));
}
