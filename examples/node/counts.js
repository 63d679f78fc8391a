// A small consumer of telemetry: it counts how operations end.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const proto = new URL("../../proto/snakepit_bridge.proto", import.meta.url).pathname;
const { BridgeService } = grpc.loadPackageDefinition(loader.loadSync(proto)).snakepit.bridge;

/** Counts the events of a worker until it has ended: `{"tool.execution stop": 20}`. It subscribes again if the
 * stream fails. */
export async function consume(address) {
  const client = new BridgeService(address, grpc.credentials.createInsecure());
  const counts = {};
  try {
    for (;;) {
      try {
        await subscribe(client, counts);
        return counts;
      } catch (error) {
        if (error.code !== grpc.status.UNAVAILABLE) throw error;
      }
    }
  } finally {
    client.close();
  }
}

async function subscribe(client, counts) {
  const stream = client.streamTelemetry(new grpc.Metadata({ waitForReady: true }));
  stream.write({ toggle: { enabled: true } });
  for await (const event of stream) {
    const phase = event.eventParts.pop();
    if (phase === "stop" || phase === "exception") {
      const key = `${event.eventParts.join(".")} ${phase}`;
      counts[key] = (counts[key] ?? 0) + 1;
    }
  }
}
