// The entry point for streams over REST: no gRPC, no session, no generated code.

export type { EventLimits } from "./event-stream.js";
export { ndjson, type NdjsonOptions } from "./ndjson.js";
export type { RequestOptions } from "./request.js";
export { type EventOptions, type Reconnect, type ServerEvent, sse, type SseOptions } from "./sse.js";
export { Code, codeName } from "./status.js";
export { type Detail, StreamError } from "./stream-error.js";
