export type { ByteCall } from "./bytes.js";
export type { Bytes, Carrier, Connection, Ending, Pipe, PipeEvents } from "./carrier.js";
export type { TracedFrame } from "./link.js";
export { type Call, type CallInit, connect, type Session, type SessionEvent, type SessionOptions } from "./session.js";
export { Code, codeName, type Status, StatusError } from "./status.js";
