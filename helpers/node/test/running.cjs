// Runs a script that uses the module, and reads what it has printed.
"use strict";

const { spawnSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const MODULE = path.join(__dirname, "..", "index.cjs");
const BINARY = process.env.TELEMETRY_SIDECAR_BIN ?? "telemetry-sidecar";

// Node gives its children sockets, so a shell makes the pipe.
const PIPED = 'out=$1; shift; { "$@" 2>&1 >"$out/stdout"; echo $? >"$out/status"; } | cat >"$out/stderr"';

/** Runs Node with these arguments and a pipe as stderr, which is returned as bytes. */
function node(words, env = { TELEMETRY_SIDECAR: "1" }, cwd = undefined) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "telemetry-sidecar-"));
  const command = ["-c", PIPED, "sh", folder, process.execPath, ...words];
  const { error } = spawnSync("sh", command, {
    env: { PATH: process.env.PATH, ...env },
    cwd,
    timeout: 60_000,
  });
  if (error) throw error;
  const [status, stdout, stderr] = ["status", "stdout", "stderr"].map((name) =>
    fs.readFileSync(path.join(folder, name)),
  );
  fs.rmSync(folder, { recursive: true });
  return { status: Number(status), stdout: stdout.toString(), stderr };
}

/** Runs a script that uses the module. */
function printed(script, env = undefined) {
  return node(
    ["-e", `const sidecar = require(${JSON.stringify(MODULE)}); const { emit, span } = sidecar;\n${script}`],
    env,
  );
}

/** The events in these bytes, as the sidecar reads them. */
function decoded(bytes) {
  const result = spawnSync(BINARY, ["decode"], { input: bytes, maxBuffer: 64 << 20 });
  if (result.error) throw result.error;
  if (result.status !== 0 || result.stderr.length > 0) throw new Error(result.stderr.toString());
  return result.stdout
    .toString()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
}

/** The events that a script has printed. */
function events(script) {
  const { status, stderr } = printed(script);
  if (status !== 0) throw new Error(stderr.toString());
  return decoded(stderr);
}

module.exports = { BINARY, MODULE, decoded, events, node, printed };
