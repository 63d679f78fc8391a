// Serves recordings to the consumer under test. It is one file, to be copied, for node:test, Jest and others.
import { spawn } from "node:child_process";
import { once } from "node:events";

const PROGRAM = process.env.TELEMETRY_SIDECAR_BIN || "telemetry-sidecar";

/**
 * Starts a telemetry-sidecar that serves recorded stderr as if a worker wrote it. It waits for a subscriber
 * before the first event, and waits until everything is delivered.
 *
 * The words are options of the program, such as "--fail-after", "10", and recordings. What is returned has the
 * `address`, `wait()`, which rejects if not everything was delivered, and `stop()`.
 */
export async function startReplay(...words) {
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
    closed.then(() => reject(new Error(stderr)), (error) => reject(missing(error)));
  });
  return { address: `127.0.0.1:${port}`, wait, stop };
}

function missing(error) {
  return new Error(`${error.message}: put telemetry-sidecar in PATH or set TELEMETRY_SIDECAR_BIN`);
}
