/** Numbers, of which exporters make metrics: `duration` is in nanoseconds, `duration_ms` in milliseconds. */
export type Measurements = Record<string, unknown> | Map<unknown, unknown> | null;

/** Text; other values become the text of their JSON. */
export type Metadata = Record<string, unknown> | Map<unknown, unknown> | null;

/** One execution of a span. Without a sidecar its methods do nothing, and its ids are empty. */
export interface Run {
  readonly spanId: string;
  readonly correlationId: string;
  /** Adds measurements to the event at the end. */
  measure(measurements: Measurements): void;
  /** Adds metadata to the event at the end. */
  note(metadata: Metadata): void;
}

/**
 * Prints an event. It never throws.
 *
 * Without a correlation id the event has the one in force, and it belongs to the open span. A line longer
 * than 4,096 bytes loses its last metadata; `telemetry_sidecar.dropped` there is the number of keys that are
 * missing.
 */
export function emit(
  event: string,
  measurements?: Measurements,
  metadata?: Metadata,
  correlationId?: string | null,
): void;

/**
 * Prints the value of a metric: `gauge("queue.depth", 5)` is an event `queue` with the measurement `depth`. A
 * name without a dot has the measurement `value`. It never throws.
 */
export function gauge(name: string, value: unknown, metadata?: Metadata): void;

/**
 * Prints that something happened, `number` times: an event with the measurement `count`. Exporters count
 * events by name; for the sum of the numbers use `--metric-kind 'NAME.count=counter'`. It never throws.
 */
export function count(name: string, number?: number | bigint, metadata?: Metadata): void;

/**
 * Measures a function, also an asynchronous one, and returns what it returns.
 *
 * Prints `OPERATION.start`, and at the end `OPERATION.stop` or `OPERATION.exception` with the `duration` in
 * nanoseconds; an exception goes on. All have a `span_id` in their metadata, and a `parent_span_id` within
 * another span. A `correlation_id` in the metadata is that of the span and of everything within it; the
 * outermost span without one gets a random one.
 */
export function span<T>(operation: string, fn: (run: Run) => T): T;
export function span<T>(operation: string, metadata: Metadata | undefined, fn: (run: Run) => T): T;

/** The same as `span` without the event `OPERATION.start`. */
export function timed<T>(operation: string, fn: (run: Run) => T): T;
export function timed<T>(operation: string, metadata: Metadata | undefined, fn: (run: Run) => T): T;

/** Runs a function whose events and spans have this correlation id. Another id than the one in force starts a
 * new trace; a W3C `traceparent` continues the caller's. */
export function correlation<T>(id: string, fn: () => T): T;

/** The correlation id in force, empty if there is none. */
export function correlationId(): string;

/** Whether events are printed. Use it to skip work that only telemetry needs. */
export function enabled(): boolean;

/** Prints events whatever the environment says (`true`), or none (`false`). Without an argument events are
 * printed if `TELEMETRY_SIDECAR` is `1` and stderr is a pipe or a terminal. */
export function enable(on?: boolean | null): void;

/** How many events this process could not print. */
export function dropped(): number;
