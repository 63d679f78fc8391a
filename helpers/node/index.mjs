// The same module for `import`: both kinds of code share one state.
import sidecar from "./index.cjs";

export const { correlation, correlationId, count, dropped, emit, enable, enabled, gauge, span, timed } =
  sidecar;
