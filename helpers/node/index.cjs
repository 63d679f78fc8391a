// Prints telemetry for telemetry-sidecar: events, spans and metrics, one line of stderr each.
//
//     const { emit, span } = require("telemetry-sidecar");
//
//     await span("tool.execution", { tool: "predict" }, async (run) => {
//       run.measure({ rows: 200 });
//     });
//     emit("cache.hit", { bytes: 512 }, { key: "user-7" });
//
// Nothing is printed unless a sidecar wraps the process: it sets TELEMETRY_SIDECAR=1. No function here throws
// because of its arguments or because of stderr. This file needs no other one.
"use strict";

const { AsyncLocalStorage } = require("node:async_hooks");
const { randomBytes } = require("node:crypto");
const fs = require("node:fs");

const STDERR = 2;

// PIPE_BUF: a line of up to this many bytes is written at once or not at all.
const MAX_BYTES = 4096;

// Metadata of an event whose line was too long: how many keys are missing.
const DROPPED = "telemetry_sidecar.dropped";

// Of an event's name and its correlation id in a line that is too long, in characters: escaped, both fit
// together.
const MAX_NAME = 128;

// The longest text of a value that JSON cannot express, in characters, and the most items in one container.
const MAX_TEXT = 4096;
const MAX_ITEMS = 256;
// Containers within containers; what is deeper becomes text.
const MAX_DEPTH = 8;

// Of an error's text, in characters.
const MAX_MESSAGE = 500;
const MAX_TRACEBACK = 2000;

// How long a line waits for room on a stderr that does not block, in milliseconds.
const PATIENCE = 1000;

const state = {
  on: false,
  isForced: false,
  dropped: 0,
  // Whether the last line found no room in time: then the next ones do not wait.
  isFull: false,
  // Whether the last line was written in part.
  isTorn: false,
};

// The open span and the correlation id, of the code that runs and of what it has started.
const current = new AsyncLocalStorage();

// ------------------------------------------------------------------------------------------------ values

/** The value as text: names, correlation ids, error messages. */
function text(value) {
  if (typeof value === "string") return value;
  if (value === null || value === undefined) return "";
  try {
    if (value instanceof Uint8Array) return Buffer.from(value).toString();
    return String(value).slice(0, MAX_TEXT);
  } catch {
    return `<${typeof value}>`;
  }
}

/** The value as JSON. Nothing here throws, and no result is large but text is. */
function json(value, depth = MAX_DEPTH) {
  try {
    return jsonOf(value, depth);
  } catch {
    return JSON.stringify(text(value));
  }
}

function jsonOf(value, depth) {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    // The sidecar reads NaN and Infinity, which JSON does not have.
    case "number":
    case "bigint":
    case "boolean":
      return String(value);
    case "undefined":
      return "null";
    case "object":
      break;
    default:
      return JSON.stringify(text(value));
  }
  if (value === null) return "null";
  if (value instanceof Number || value instanceof String || value instanceof Boolean) {
    return jsonOf(value.valueOf(), depth);
  }
  if (Buffer.isBuffer(value) || value instanceof Error || value instanceof RegExp || depth <= 0) {
    return JSON.stringify(text(value));
  }
  if (typeof value.toJSON === "function") return json(value.toJSON(), depth - 1);
  if (Array.isArray(value) || value instanceof Set || ArrayBuffer.isView(value)) {
    const length = value.length ?? value.size ?? value.byteLength;
    if (ArrayBuffer.isView(value) && !(length <= MAX_ITEMS)) {
      return JSON.stringify(`<${value.constructor.name} of ${length}>`);
    }
    return `[${firstOf(value)
      .map((item) => json(item, depth - 1))
      .join(",")}]`;
  }
  return object(entries(value).slice(0, MAX_ITEMS), depth - 1);
}

function firstOf(values) {
  const items = [];
  for (const item of values) {
    if (items.length === MAX_ITEMS) break;
    items.push(item);
  }
  return items;
}

/** Keys, as text, and values. */
function entries(mapping) {
  if (mapping === null || mapping === undefined) return [];
  const isMapping = typeof mapping === "object" && !Array.isArray(mapping);
  const all =
    mapping instanceof Map ? [...mapping] : isMapping ? Object.entries(mapping) : [["value", mapping]];
  return all.filter(([, value]) => value !== undefined).map(([key, value]) => [text(key), value]);
}

function object(pairs, depth) {
  return `{${pairs.map(([key, value]) => `${JSON.stringify(key)}:${json(value, depth)}`).join(",")}}`;
}

// -------------------------------------------------------------------------------------------------- lines

let offset = 0n;

/** Nanoseconds since the epoch. The system's clock has milliseconds here; the rest is of the other clock. */
function now() {
  const wall = BigInt(Date.now()) * 1_000_000n;
  const fine = process.hrtime.bigint();
  const estimate = fine + offset;
  if (estimate >= wall && estimate < wall + 2_000_000n) return estimate;
  offset = wall - fine;
  return wall;
}

function lineOf(name, measurements, metadata, time, id) {
  return (
    `TELEMETRY:{"event":${JSON.stringify(name)},"measurements":${measurements},"metadata":${metadata},` +
    `"timestamp_ns":${time},"correlation_id":${JSON.stringify(id)}}\n`
  );
}

/** The whole line. */
function encode(name, measurements, metadata, id) {
  const time = now();
  const line = Buffer.from(lineOf(name, object(measurements), object(metadata), time, id));
  return line.length > MAX_BYTES ? cut(name, measurements, metadata, time, id) : line;
}

/** The same without as much of its metadata, from the last key on, as is too long; if that is not enough, of
 * its measurements, too. */
function cut(name, measurements, metadata, time, id) {
  name = name.slice(0, MAX_NAME);
  id = id.slice(0, MAX_NAME);
  const mark = (missing) => `${JSON.stringify(DROPPED)}:"${missing}"`;
  const all = measurements.length + metadata.length;
  const reserved = lineOf(name, "{}", "{}", time, id) + mark(all);
  let room = MAX_BYTES - Buffer.byteLength(reserved) - 1;
  const within = (pairs) => {
    const items = [];
    for (const [key, value] of pairs) {
      const item = `${JSON.stringify(key)}:${json(value)}`;
      const bytes = Buffer.byteLength(item) + 1;
      if (bytes > room) break;
      room -= bytes;
      items.push(item);
    }
    return items;
  };
  const numbers = within(measurements);
  const words = within(metadata);
  const missing = all - numbers.length - words.length;
  if (missing > 0) words.push(mark(missing));
  return Buffer.from(lineOf(name, `{${numbers.join(",")}}`, `{${words.join(",")}}`, time, id));
}

/** Writes a line, or counts it as dropped. `process.stderr` would write it later, or not at all if the
 * process exits before. */
function write(line) {
  let written = 0;
  const bytes = state.isTorn ? Buffer.concat([Buffer.from("\n"), line]) : line;
  try {
    // Descriptor 2 of a process that has closed its stderr may by now be a database.
    const kind = fs.fstatSync(STDERR);
    if (state.isForced || kind.isFIFO() || kind.isCharacterDevice()) {
      written = writeSome(bytes, 0);
      if (written < bytes.length && !(state.isFull && written === 0)) written = writeRest(bytes, written);
      state.isTorn = (written > 0 && written < bytes.length) || (state.isTorn && written === 0);
      state.isFull = written < bytes.length;
    }
  } catch {
    written = 0;
  }
  if (written < bytes.length) state.dropped += 1;
}

function writeSome(bytes, from) {
  try {
    return fs.writeSync(STDERR, bytes, from);
  } catch (error) {
    if (error.code === "EAGAIN") return 0;
    throw error;
  }
}

/** Continues when a stderr that does not block has room again. Returns how much is written then. */
function writeRest(bytes, written) {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  const end = process.hrtime.bigint() + BigInt(PATIENCE) * 1_000_000n;
  while (written < bytes.length && process.hrtime.bigint() < end) {
    Atomics.wait(clock, 0, 0, 1);
    written += writeSome(bytes, written);
  }
  return written;
}

// ------------------------------------------------------------------------------------------------- events

function emit(event, measurements, metadata, correlationId) {
  if (!state.on) return;
  try {
    const name = text(event);
    const scope = current.getStore();
    const id = text(correlationId) || (scope ? scope.correlationId : "");
    const words = entries(metadata);
    // First, so that it is the last to be dropped.
    if (scope && scope.spanId && id === scope.correlationId) words.unshift(["span_id", scope.spanId]);
    print(name, entries(measurements), words, id);
  } catch {
    state.dropped += 1;
  }
}

function gauge(name, value, metadata) {
  if (!state.on) return;
  const words = text(name);
  const dot = words.lastIndexOf(".");
  const isSplit = dot > 0 && dot < words.length - 1;
  emit(
    isSplit ? words.slice(0, dot) : words,
    { [isSplit ? words.slice(dot + 1) : "value"]: value },
    metadata,
  );
}

function count(name, number = 1, metadata = undefined) {
  emit(name, { count: number }, metadata);
}

function print(name, measurements, metadata, id) {
  if (name === "") {
    state.dropped += 1;
  } else {
    write(encode(name, measurements, metadata, id));
  }
}

// -------------------------------------------------------------------------------------------------- spans

class Run {
  spanId = "";
  correlationId = "";

  measure() {}

  note() {}
}

const IDLE = Object.freeze(new Run());

class OpenRun extends Run {
  #operation;
  #measurements = new Map();
  #metadata;
  #began;

  constructor(operation, metadata, printsStart) {
    super();
    const around = current.getStore();
    const words = new Map(entries(metadata));
    const id = text(words.get("correlation_id"));
    words.delete("correlation_id");
    const inherits = around !== undefined && (id === "" || id === around.correlationId);
    this.spanId = randomBytes(8).toString("hex");
    this.correlationId = (inherits ? around.correlationId : id) || randomBytes(16).toString("hex");
    const ids = [["span_id", this.spanId]];
    if (inherits && around.spanId) ids.push(["parent_span_id", around.spanId]);
    // The ids first, so that they are the last to be dropped of a line that is too long.
    this.#metadata = new Map([...ids, ...words]);
    this.#operation = text(operation);
    if (printsStart) this.#print("start", [["system_time", now()]]);
    this.#began = process.hrtime.bigint();
  }

  measure(measurements) {
    this.#add(this.#measurements, measurements);
  }

  note(metadata) {
    this.#add(this.#metadata, metadata);
  }

  end(failed, error) {
    const duration = process.hrtime.bigint() - this.#began;
    try {
      if (failed) this.note(failure(error));
      this.#print(failed ? "exception" : "stop", [["duration", duration], ...this.#measurements]);
    } catch {
      state.dropped += 1;
    }
  }

  #add(to, mapping) {
    try {
      for (const [key, value] of entries(mapping)) to.set(key, value);
    } catch {
      // An object that cannot be read has nothing to add.
    }
  }

  #print(phase, measurements) {
    if (state.on) print(`${this.#operation}.${phase}`, measurements, [...this.#metadata], this.correlationId);
  }
}

/** The metadata that consumers expect of an exception. */
function failure(error) {
  const isError = error instanceof Error;
  return {
    error_type: isError ? text(error.name) : typeof error,
    error_message: text(isError ? error.message : error).slice(0, MAX_MESSAGE),
    traceback: isError ? text(error.stack).slice(0, MAX_TRACEBACK) : "",
  };
}

function measured(operation, metadata, fn, printsStart) {
  if (fn === undefined && typeof metadata === "function") {
    [metadata, fn] = [undefined, metadata];
  }
  callable(fn, `${printsStart ? "span" : "timed"}(operation, metadata, function)`);
  const run = state.on ? begin(operation, metadata, printsStart) : undefined;
  if (run === undefined) return fn(IDLE);
  return current.run(run, () => {
    let result;
    try {
      result = fn(run);
    } catch (error) {
      run.end(true, error);
      throw error;
    }
    if (!isThenable(result)) {
      run.end(false);
      return result;
    }
    const stop = (value) => {
      run.end(false);
      return value;
    };
    const fail = (error) => {
      run.end(true, error);
      throw error;
    };
    return Promise.resolve(result).then(stop, fail);
  });
}

function begin(operation, metadata, printsStart) {
  try {
    if (text(operation) !== "") return new OpenRun(operation, metadata, printsStart);
  } catch {
    // Counted below, as an operation without a name is.
  }
  state.dropped += 1;
  return undefined;
}

/** Throws what the call would throw, with a sidecar and without one. */
function callable(fn, call) {
  if (typeof fn !== "function") throw new TypeError(`${call}: the function is missing`);
}

function isThenable(value) {
  try {
    return typeof value === "object" && value !== null && typeof value.then === "function";
  } catch {
    return false;
  }
}

function span(operation, metadata, fn) {
  return measured(operation, metadata, fn, true);
}

function timed(operation, metadata, fn) {
  return measured(operation, metadata, fn, false);
}

function correlation(id, fn) {
  callable(fn, "correlation(id, function)");
  const around = current.getStore();
  const own = text(id);
  const inherits = around !== undefined && around.correlationId === own;
  return current.run({ correlationId: own, spanId: inherits ? around.spanId : "" }, fn);
}

function correlationId() {
  return current.getStore()?.correlationId ?? "";
}

// ----------------------------------------------------------------------------------------------- switches

function enabled() {
  return state.on;
}

function enable(on) {
  state.isForced = on === true;
  state.on = typeof on === "boolean" ? on : process.env.TELEMETRY_SIDECAR === "1";
}

function dropped() {
  return state.dropped;
}

enable();

module.exports = { correlation, correlationId, count, dropped, emit, enable, enabled, gauge, span, timed };
