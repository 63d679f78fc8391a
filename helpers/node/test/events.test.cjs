"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { decoded, events, printed } = require("./running.cjs");

test("nothing is printed without a sidecar", () => {
  const work =
    'emit("a"); sidecar.gauge("b", 1); console.log(span("c", (run) => [sidecar.enabled(), run.spanId]))';
  for (const env of [
    {},
    { TELEMETRY_SIDECAR: "" },
    { TELEMETRY_SIDECAR: "0" },
    { TELEMETRY_SIDECAR: "true" },
  ]) {
    const { stdout, stderr } = printed(work, env);
    assert.equal(stderr.toString(), "");
    assert.equal(stdout, "[ false, '' ]\n");
  }
});

test("an event has measurements, metadata, a time and a correlation id", () => {
  const before = Date.now();
  const [event] = events(
    'emit("cache.hit", { bytes: 512, ratio: 0.5 }, { key: "é\\n\\ud800", on: true }, "c")',
  );
  assert.deepEqual(
    { ...event, timestamp_ns: 0 },
    {
      event: "cache.hit",
      measurements: { bytes: 512, ratio: 0.5 },
      metadata: { key: "é\n\ufffd", on: "true" },
      timestamp_ns: 0,
      correlation_id: "c",
    },
  );
  const time = event.timestamp_ns / 1e6;
  assert.ok(time > before - 2 && time < Date.now() + 2, `${time}`);
});

test("values that JSON does not have", () => {
  const values = {
    NaN: "NaN",
    "-Infinity": "-Infinity",
    "2n ** 62n": 2 ** 62,
    "2n ** 100n": 2 ** 100,
    true: 1,
    null: null,
    "new Number(5)": 5,
    "new Date(0)": "1970-01-01T00:00:00.000Z",
    "new Date(NaN)": null,
    "Symbol('s')": "Symbol(s)",
    "Buffer.from('text')": "text",
    "new Set([1, [2]])": "[1,[2]]",
    "new Map([['k', new Map([[1, 2]])]])": '{"k":{"1":2}}',
    "new Uint16Array(3)": "[0,0,0]",
    "new Float64Array(1000)": "<Float64Array of 1000>",
    "new TypeError('why')": "TypeError: why",
    "/a/g": "/a/g",
    "({ get x() { throw 1 } })": "[object Object]",
    "Object.create(null, { toString: { value() { throw 1 } }, toJSON: { value() { throw 1 } } })": "<object>",
  };
  for (const [value, expected] of Object.entries(values)) {
    const [event] = events(`emit("a", { v: ${value} })`);
    assert.deepEqual(event.measurements, { v: expected }, value);
  }
  const [cycle] = events('const o = { a: 1 }; o.o = o; emit("a", {}, { o, u: undefined })');
  assert.ok(cycle.metadata.o.startsWith('{"a":1,"o":{'), cycle.metadata.o);
  assert.deepEqual(Object.keys(cycle.metadata), ["o"]);
});

test("arguments of the wrong kind do not throw", () => {
  for (const odd of [
    "5",
    "'text'",
    "[1, 2]",
    "() => 1",
    "null",
    "Symbol()",
    "new Proxy({}, { ownKeys() { throw 1 } })",
  ]) {
    const script = `emit(${odd}, ${odd}, ${odd}, ${odd});
      emit("a", ${odd}, ${odd}, ${odd});
      span(${odd}, ${odd}, (run) => { run.measure(${odd}); run.note(${odd}); });
      sidecar.gauge(${odd}, ${odd}, ${odd});
      sidecar.count(${odd}, ${odd}, ${odd});`;
    const { status, stderr } = printed(script);
    assert.equal(status, 0, stderr.toString());
    decoded(stderr);
  }
});

test("an event without a name is not printed", () => {
  const { stdout, stderr } = printed('emit(""); emit(undefined); console.log(sidecar.dropped())');
  assert.deepEqual([stdout, stderr.toString()], ["2\n", ""]);
});

test("a span without an operation is counted, and its function is called", () => {
  const { stdout, stderr } = printed(`
    const { timed } = sidecar;
    console.log(span(null, () => 1), timed("", {}, (run) => run.spanId), span(undefined, () => 3));
    console.log(sidecar.dropped());`);
  assert.deepEqual([stdout, stderr.toString()], ["1  3\n3\n", ""]);
});

test("a span without a function is an error, with a sidecar and without one", () => {
  const script = `
    for (const call of [() => span("a"), () => span("a", {}, 5), () => sidecar.correlation("a")])
      try { call(); } catch (error) { console.log(error.message); }`;
  const expected = ["span(operation, metadata, function)", "correlation(id, function)"];
  for (const value of ["1", "0"]) {
    const { stdout, stderr } = printed(script, { TELEMETRY_SIDECAR: value });
    const messages = [0, 0, 1].map((index) => `${expected[index]}: the function is missing\n`);
    assert.deepEqual([stdout, stderr.toString()], [messages.join(""), ""]);
  }
});

test("metadata is dropped from the end of a line that is too long", () => {
  for (const unit of ["x", "é", "\\u0000", "\\ud800", "😀"]) {
    const { stderr } = printed(`emit("long", { rows: 5 },
      Object.fromEntries(Array.from({ length: 100 }, (_, index) => ["k" + index, "${unit}".repeat(100)])),
      "c")`);
    const [event] = decoded(stderr);
    const kept = Object.keys(event.metadata).length - 1;
    assert.ok(stderr.length <= 4096 && stderr.length > 2500, `${unit}: ${stderr.length}`);
    assert.equal(event.metadata["telemetry_sidecar.dropped"], `${100 - kept}`);
    assert.ok(event.metadata.k0 && event.metadata[`k${kept - 1}`], unit);
    assert.deepEqual([event.measurements, event.correlation_id], [{ rows: 5 }, "c"]);
  }
});

test("lines are as long as they may be", () => {
  const lengths = printed(
    `for (let length = 3900; length < 4000; length++) emit("a", {}, { k: "x".repeat(length) })`,
  );
  const lines = lengths.stderr
    .toString()
    .split(/(?<=\n)/)
    .map((line) => line.length);
  assert.ok(lines.includes(4096), `${lines}`);
  assert.ok(
    lines.every((length) => length <= 4096),
    `${lines}`,
  );
});

test("whatever is long, the line is not", () => {
  const long = '"\\u0000".repeat(9000)';
  for (const call of [
    `emit(${long}, {}, {}, ${long})`,
    `emit("a", { [${long}]: 1, b: 2 })`,
    `emit("a", { b: ${long} })`,
    `span(${long}, { [${long}]: ${long} }, () => {})`,
  ]) {
    const { stderr } = printed(call);
    const found = decoded(stderr);
    const lines = stderr.toString().trimEnd().split("\n");
    assert.equal(found.length, lines.length);
    assert.ok(lines.length > 0 && lines.every((line) => line.length < 4096), call);
  }
});

test("gauges and counts", () => {
  const found = events(`sidecar.gauge("queue.depth", 5, { queue: "a" });
    sidecar.gauge("loss", 0.5); sidecar.gauge(".x", 1);
    sidecar.gauge("x.", 1); sidecar.count("hit"); sidecar.count("rows.read", 500, { table: "t" })`);
  assert.deepEqual(
    found.map(({ event, measurements, metadata }) => [event, measurements, metadata]),
    [
      ["queue", { depth: 5 }, { queue: "a" }],
      ["loss", { value: 0.5 }, {}],
      [".x", { value: 1 }, {}],
      ["x.", { value: 1 }, {}],
      ["hit", { count: 1 }, {}],
      ["rows.read", { count: 500 }, { table: "t" }],
    ],
  );
});

test("it may be switched on and off", () => {
  const { stdout, stderr } = printed(
    `emit("a"); sidecar.enable(true); emit("b"); sidecar.enable(false); emit("c"); sidecar.enable();
     console.log(sidecar.enabled())`,
    {},
  );
  assert.deepEqual([decoded(stderr).map(({ event }) => event), stdout], [["b"], "false\n"]);
});
