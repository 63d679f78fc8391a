import assert from "node:assert/strict";
import { test } from "node:test";
import { consume } from "./counts.js";
import { startReplay } from "./replay.js";

const RECORDING = new URL("../spans.log", import.meta.url).pathname;

// The ends in the recording.
const EXPECTED = {
  "tool.execution stop": 20,
  "tool.execution exception": 4,
  "python.call stop": 6,
  "python.call exception": 2,
};

test("it counts the ends of operations", { timeout: 30_000 }, async (context) => {
  const replay = await startReplay(RECORDING);
  context.after(replay.stop);
  assert.deepEqual(await consume(replay.address), EXPECTED);
  await replay.wait();
});

test("it subscribes again when the stream fails", { timeout: 30_000 }, async (context) => {
  const replay = await startReplay("--fail-after", "10", RECORDING);
  context.after(replay.stop);
  assert.deepEqual(await consume(replay.address), EXPECTED);
  await replay.wait();
});
