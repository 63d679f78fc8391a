// The same tests for Jest:
//
//     npm install --save-dev jest
//     NODE_OPTIONS=--experimental-vm-modules npx jest --testMatch '**/*.jest.js'
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

let replay;
afterEach(() => replay?.stop());

test("it counts the ends of operations", async () => {
  replay = await startReplay(RECORDING);
  expect(await consume(replay.address)).toEqual(EXPECTED);
  await replay.wait();
}, 30_000);

test("it subscribes again when the stream fails", async () => {
  replay = await startReplay("--fail-after", "10", RECORDING);
  expect(await consume(replay.address)).toEqual(EXPECTED);
  await replay.wait();
}, 30_000);
