// Serves recordings to the consumer under test. It is one file, to be copied, for node:test, Jest and others.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { inspect } from "node:util";

const PROGRAM = process.env.TELEMETRY_SIDECAR_BIN || "telemetry-sidecar";

// Options that say what an event is.
const DECODING = ["--embedded", "--max-line-bytes"];

/**
 * Starts a telemetry-sidecar that serves recorded stderr as if a worker wrote it. It waits for a subscriber
 * before the first event, and waits until everything is delivered.
 *
 * The words are options of the program, such as "--fail-after", "10", and a recording, which is the last one.
 * It rejects a recording without events, with which a test would check nothing. What is returned has the
 * `address`, `wait()`, which rejects if not everything was delivered, and `stop()`.
 */
export async function startReplay(...words) {
  for (const word of words)
    if (typeof word !== "string") throw new TypeError(`startReplay: each word is a string, not ${inspect(word)}`);
  checkEvents(words);
  const options = ["replay", "--no-stderr", "--timeout", "60s", "--listen", "127.0.0.1:0"];
  const child = spawn(PROGRAM, [...options, ...words], { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => (stderr += text));
  const closed = once(child, "close");
  const wait = async () => {
    const [status, signal] = await closed;
    if (status !== 0) throw new Error(`telemetry-sidecar: ${signal ?? `exit status ${status}`}\n${stderr}`);
  };
  const stop = async () => {
    child.kill();
    await closed.catch(() => {});
  };
  const port = await new Promise((resolve, reject) => {
    child.stderr.on("data", () => {
      const ready = /^GRPC_READY:(\d+)$/m.exec(stderr);
      if (ready) resolve(ready[1]);
    });
    closed.then(() => reject(new Error(stderr)), reject);
  });
  return { address: `127.0.0.1:${port}`, wait, stop };
}

// Only what decode says is read: it ends with status 0 also if there is no event.
function checkEvents(words) {
  const options = words.flatMap((word, index) => (DECODING.includes(word) ? [word, words[index + 1]] : []));
  const { error, status, stdout, stderr } = spawnSync(PROGRAM, ["decode", ...options, words.at(-1) ?? ""]);
  if (error && error.code !== "ENOBUFS")
    throw new Error(`${error.message}: put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN`);
  if (status === 0 && stdout.length === 0) throw new Error(`the recording has no event: ${stderr}`);
}
