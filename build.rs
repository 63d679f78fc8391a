//! Compiles the .proto files with protox, so that no `protoc` has to be installed, links the program so that
//! it starts fast, and gives it a version that says what it was built from.

use prost::Message as _;
use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A build with this environment variable set makes a position-independent executable.
const PIE: &str = "SIDECAR_BUILD_PIE";

/// The environment variable with the commit that `--version` prints.
const COMMIT: &str = "SIDECAR_BUILD_COMMIT";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed={PIE}");
    println!("cargo:rustc-check-cfg=cfg(sanitized)");
    // A sanitizer's run-time library wants to be the first that defines what it replaces, and has variables.
    let is_sanitized = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().contains("sanitizer");
    if is_sanitized {
        println!("cargo:rustc-cfg=sanitized");
    }
    println!("cargo:rustc-env=SIDECAR_VERSION={}", version()?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    if env::var("CARGO_CFG_TARGET_OS")? == "linux"
        && env::var("CARGO_CFG_TARGET_ENV")? == "gnu"
        && !is_sanitized
    {
        link(&out)?;
    }

    // The sidecar writes TelemetryEvents itself, answers StreamTelemetry with a body of its own and only some
    // of the other calls, so only the client (`tail`, tests) is generated for Snakepit's service. BTreeMap
    // makes printed events stable.
    let bridge = protox::compile(["snakepit_bridge.proto"], ["proto"])?;
    fs::write(out.join("snakepit_bridge.bin"), bridge.encode_to_vec())?;
    tonic_prost_build::configure().build_server(false).btree_map(".").compile_fds(bridge)?;

    // `status --json` prints the sidecar's own messages.
    let sidecar = protox::compile(["telemetry_sidecar.proto"], ["proto"])?;
    fs::write(out.join("telemetry_sidecar.bin"), sidecar.encode_to_vec())?;
    tonic_prost_build::configure()
        .btree_map(".")
        .type_attribute(".", "#[derive(serde::Serialize)]")
        .field_attribute(
            "telemetry_sidecar.v1.Worker.end_reason",
            "#[serde(serialize_with = \"super::end_reason\")]",
        )
        .compile_fds(sidecar)?;

    // OTLP's messages; the exporter has its own client. Without comments, whose examples would be taken for
    // doc tests.
    let collector = "opentelemetry/proto/collector";
    let otlp = protox::compile(
        [
            format!("{collector}/trace/v1/trace_service.proto"),
            format!("{collector}/metrics/v1/metrics_service.proto"),
            format!("{collector}/logs/v1/logs_service.proto"),
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .disable_comments(["."])
        .include_file("opentelemetry.rs")
        .compile_fds(otlp)?;
    Ok(())
}

/// The crate's version, and in parentheses the commit and the target. The commit is left out where there is
/// none, as in a crate from a registry, and in builds without optimization, which would be made again after
/// each commit. `SIDECAR_BUILD_COMMIT` overrides it.
fn version() -> Result<String, Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed={COMMIT}");
    let given = env::var(COMMIT).ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| (env::var("PROFILE").as_deref() == Ok("release")).then(commit).flatten());
    let built: Vec<_> = commit.into_iter().chain([env::var("TARGET")?]).collect();
    Ok(format!("{} ({})", env::var("CARGO_PKG_VERSION")?, built.join(" ")))
}

/// The commit of this checkout. It must be this crate's own, not that of a repository around it.
fn commit() -> Option<String> {
    let git = |words: &[&str]| {
        let output =
            Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    let is_own = git(&["rev-parse", "--show-prefix"])?.is_empty();
    // It has a new line after each commit and each checkout.
    println!("cargo:rerun-if-changed={}", git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_own)
}

/// Links the program for a fast start with little memory of its own, where the linker is a C compiler with
/// GCC's libraries.
///
/// - It stays at one address. Otherwise the loader adds an address to 9,000 pointers at each start, in 40
///   pages, which are then this process's own.
/// - The unwinder is part of it: to load a library takes 70 µs at each start.
fn link(out: &Path) -> Result<(), Box<dyn Error>> {
    let linker = env::var("RUSTC_LINKER").unwrap_or_else(|_| "cc".into());
    let asked = Command::new(linker).arg("-print-file-name=libgcc_eh.a").output();
    // Without the library the answer is its name alone.
    let has_unwinder = asked.is_ok_and(|answer| answer.status.success() && answer.stdout.starts_with(b"/"));
    if !has_unwinder {
        return Ok(());
    }
    // The standard library names the shared one. The linker takes this script for it.
    let libraries = out.join("link");
    fs::create_dir_all(&libraries)?;
    fs::write(libraries.join("libgcc_s.so"), "GROUP ( -lgcc_eh -lgcc )\n")?;
    println!("cargo:rustc-link-arg-bins=-L{}", libraries.display());
    if env::var_os(PIE).is_none() {
        println!("cargo:rustc-link-arg-bins=-no-pie");
    }
    Ok(())
}
