// Workers behind the real sidecar, and a stderr of every kind.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import running from "./running.cjs";

const { BINARY, MODULE, decoded, node, printed } = running;
const IMPORT = new URL("../index.mjs", import.meta.url);

function folder(context) {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "telemetry-sidecar-"));
  context.after(() => fs.rmSync(made, { recursive: true }));
  return made;
}

test("`import` and `require` are one module", (context) => {
  const file = path.join(folder(context), "worker.mjs");
  fs.writeFileSync(
    file,
    `import { span, enabled } from ${JSON.stringify(IMPORT.href)};
    import { createRequire } from "node:module";
    const required = createRequire(import.meta.url)(${JSON.stringify(MODULE)});
    required.enable(false);
    console.log(enabled());
    required.enable();
    span("a", () => required.emit("b"));`,
  );
  const { stdout, stderr } = node([file]);
  assert.equal(stdout, "false\n");
  const [start, event] = decoded(stderr);
  assert.equal(event.metadata.span_id, start.metadata.span_id);
});

test("the package is found by its name", (context) => {
  const modules = path.join(folder(context), "node_modules");
  fs.mkdirSync(modules);
  fs.symlinkSync(path.dirname(fileURLToPath(IMPORT)), path.join(modules, "telemetry-sidecar"));
  const cwd = path.dirname(modules);
  for (const [kind, code] of [
    ["commonjs", 'require("telemetry-sidecar").emit("a")'],
    ["module", 'import { emit } from "telemetry-sidecar"; emit("a")'],
  ]) {
    const { stderr } = node([`--input-type=${kind}`, "-e", code], undefined, cwd);
    assert.equal(decoded(stderr).length, 1, stderr.toString());
  }
});

test("behind the sidecar everything arrives, also what is printed before process.exit()", (context) => {
  const golden = path.join(folder(context), "golden.jsonl");
  const script = `const { emit } = require(${JSON.stringify(MODULE)});
    for (let index = 0; index < 3000; index++) emit("event", { index }, { text: "x".repeat(900) });
    process.exit(0)`;
  const words = ["expect", golden, "--", process.execPath, "-e", script];
  const written = spawnSync(BINARY, [words[0], "--update", ...words.slice(1)]);
  assert.match(written.stderr.toString(), /: 3000 events written\n$/);
  const compared = spawnSync(BINARY, words);
  assert.deepEqual([compared.status, compared.stderr.toString()], [0, ""]);
});

test("a file, a socket and a closed stderr get nothing", (context) => {
  const file = path.join(folder(context), "err");
  const code = `const s = require(${JSON.stringify(MODULE)}); s.emit("a"); console.log(s.dropped())`;
  const options = { env: { PATH: process.env.PATH, TELEMETRY_SIDECAR: "1" } };
  const stderr = fs.openSync(file, "w");
  const toFile = spawnSync(process.execPath, ["-e", code], { ...options, stdio: ["ignore", "pipe", stderr] });
  assert.deepEqual([toFile.stdout.toString(), fs.readFileSync(file, "utf8")], ["1\n", ""]);
  const toSocket = spawnSync(process.execPath, ["-e", code], options);
  assert.deepEqual([toSocket.stdout.toString(), toSocket.stderr.toString()], ["1\n", ""]);
  const closing = code.replace("s.emit", 'require("fs").closeSync(2); s.emit');
  assert.deepEqual([node(["-e", closing]).stdout, node(["-e", closing]).stderr.toString()], ["1\n", ""]);
});

test("a full stderr that does not block delays a line for a second, and the next not at all", (context) => {
  const fifo = path.join(folder(context), "fifo");
  spawnSync("mkfifo", [fifo]);
  const stderr = fs.openSync(fifo, "r+");
  context.after(() => fs.closeSync(stderr));
  // Opening process.stderr makes the pipe one that does not block.
  const script = `const s = require(${JSON.stringify(MODULE)}); process.stderr; const began = Date.now();
    for (let index = 0; index < 1000; index++) s.emit("event", { index }, { text: "x".repeat(900) });
    console.log(JSON.stringify({ dropped: s.dropped(), ms: Date.now() - began }));`;
  const env = { PATH: process.env.PATH, TELEMETRY_SIDECAR: "1" };
  const { stdout } = spawnSync(process.execPath, ["-e", script], {
    env,
    stdio: ["ignore", "pipe", stderr],
    timeout: 60_000,
  });
  const { dropped, ms } = JSON.parse(stdout);
  assert.ok(dropped > 800 && dropped < 1000, stdout.toString());
  assert.ok(ms >= 1000 && ms < 10_000, stdout.toString());
  const bytes = Buffer.alloc(1 << 20);
  const length = fs.readSync(stderr, bytes);
  assert.equal(decoded(bytes.subarray(0, length)).length, 1000 - dropped);
});

test("lines of worker threads and of the main thread are not mixed", () => {
  const { stderr } = printed(`const { Worker } = require("node:worker_threads");
    const text = 'text: "x".repeat(3000)';
    const loop = 'for (let index = 0; index < 300; index++) s.emit("e", { index }, { ' + text + ' })';
    const code = 'const s = require(${JSON.stringify(MODULE)}); ' + loop;
    for (let thread = 0; thread < 3; thread++) new Worker(code, { eval: true });
    const s = sidecar; eval(loop);`);
  assert.equal(decoded(stderr).length, 1200);
});
