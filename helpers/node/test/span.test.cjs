"use strict";

const assert = require("node:assert/strict");
const { test } = require("node:test");
const { events, printed } = require("./running.cjs");

const names = (found) => found.map(({ event }) => event);

test("a span has a start and a stop", () => {
  const [start, stop] = events(`const result = span("tool.execution", { tool: "add" }, (run) => {
    run.measure({ rows: 3 }); run.note({ cached: true }); return 7; });
    if (result !== 7) throw new Error(String(result));`);
  assert.deepEqual(names([start, stop]), ["tool.execution.start", "tool.execution.stop"]);
  assert.equal(typeof start.measurements.system_time, "number");
  assert.ok(stop.measurements.duration > 0 && stop.measurements.rows === 3);
  const { span_id } = start.metadata;
  assert.match(span_id, /^[0-9a-f]{16}$/);
  assert.deepEqual(start.metadata, { span_id, tool: "add" });
  assert.deepEqual(stop.metadata, { span_id, tool: "add", cached: "true" });
  assert.match(start.correlation_id, /^[0-9a-f]{32}$/);
  assert.equal(stop.correlation_id, start.correlation_id);
});

test("what happens within a span belongs to it", () => {
  const [outer, inner, event, other] = events(`span("outer", () => span("inner", () => {
    emit("event"); emit("other", {}, {}, "own"); }))`);
  assert.equal(inner.metadata.parent_span_id, outer.metadata.span_id);
  assert.equal(event.metadata.span_id, inner.metadata.span_id);
  assert.deepEqual(new Set([outer, inner, event].map((one) => one.correlation_id)).size, 1);
  assert.deepEqual([other.correlation_id, other.metadata], ["own", {}]);
});

test("an exception ends the span and goes on", () => {
  const found = events(`
    try { span("a", () => { throw new RangeError("why") }) } catch (error) { emit(error.name) }
    try { span("b", () => { throw undefined }) } catch (error) { emit(typeof error) }
    span("c", async () => { throw new TypeError("x".repeat(900)) }).catch((error) => emit(error.name))`);
  assert.deepEqual(names(found), [
    "a.start",
    "a.exception",
    "RangeError",
    "b.start",
    "b.exception",
    "undefined",
    "c.start",
    "c.exception",
    "TypeError",
  ]);
  const { error_type, error_message, traceback } = found[1].metadata;
  assert.deepEqual([error_type, error_message], ["RangeError", "why"]);
  assert.match(traceback, /^RangeError: why\n +at /);
  assert.equal(found[4].metadata.error_type, "undefined");
  assert.equal(found[7].metadata.error_message.length, 500);
});

test("asynchronous functions at the same time", () => {
  const found = events(`const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
    span("all", () => Promise.all(["a", "b"].map((name) => span(name, async (run) => {
      await sleep(name === "a" ? 20 : 5);
      emit("in." + name);
      run.measure({ done: 1 });
      return name;
    })))).then((all) => emit("end", {}, { all }))`);
  const by = (name) => found.find(({ event }) => event === name);
  assert.deepEqual(names(found), [
    "all.start",
    "a.start",
    "b.start",
    "in.b",
    "b.stop",
    "in.a",
    "a.stop",
    "all.stop",
    "end",
  ]);
  for (const name of ["a", "b"]) {
    assert.equal(by(`in.${name}`).metadata.span_id, by(`${name}.start`).metadata.span_id);
    assert.equal(by(`${name}.stop`).metadata.parent_span_id, by("all.start").metadata.span_id);
    assert.equal(by(`${name}.stop`).measurements.done, 1);
  }
  assert.deepEqual(by("end").metadata, { all: '["a","b"]' });
  assert.equal(by("end").correlation_id, "");
});

test("correlation ids", () => {
  const found = events(`sidecar.correlation("r1", () => {
      emit("a");
      span("b", (run) => {
        if (run.correlationId !== "r1") throw 1;
        span("c", { correlation_id: "r2" }, () => emit("d"));
      });
      span("e", () => sidecar.correlation("r3", () => emit("f")));
      if (sidecar.correlationId() !== "r1") throw 1;
    });
    if (sidecar.correlationId() !== "") throw 1;`);
  const ids = Object.fromEntries(found.map((event) => [event.event, event.correlation_id]));
  assert.deepEqual(ids, {
    a: "r1",
    "b.start": "r1",
    "c.start": "r2",
    d: "r2",
    "c.stop": "r2",
    "b.stop": "r1",
    "e.start": "r1",
    f: "r3",
    "e.stop": "r1",
  });
  const by = (name) => found.find(({ event }) => event === name).metadata;
  assert.ok(!("parent_span_id" in by("c.start")) && !("correlation_id" in by("c.start")));
  assert.deepEqual(by("f"), {});
});

test("timed prints the end alone", () => {
  assert.deepEqual(names(events('sidecar.timed("a", () => sidecar.timed("b", { k: 1 }, () => emit("c")))')), [
    "c",
    "b.stop",
    "a.stop",
  ]);
});

test("a thenable is waited for", () => {
  const found = events(`span("a", () => ({ then(done) { setTimeout(() => { emit("b"); done(5) }, 1) } }))
    .then((value) => emit("c", { value }))`);
  assert.deepEqual(names(found), ["a.start", "b", "a.stop", "c"]);
});

test("without a sidecar a function is called as it is", () => {
  const { stdout, status } = printed(
    `const promise = Promise.resolve(1);
     console.log(span("a", () => promise) === promise, sidecar.timed("a", {}, (run) => run.correlationId));
     span("a", (run) => { run.measure({ a: 1 }); run.note({ b: 2 }) });
     span("b", () => { throw new Error("why") })`,
    {},
  );
  assert.deepEqual([stdout, status], ["true \n", 1]);
});
