// What debug: true writes to the console.

import type { SessionEvent } from "./events.js";
import type { TracedFrame } from "./link.js";

const text = new TextDecoder();

/** A Log writes lines for people. */
export interface Log {
	event(event: SessionEvent): void;
	frame(frame: TracedFrame): void;
}

/** createLog makes a Log. Lines begin with the seconds since then. */
export function createLog(write: (line: string) => void = (line) => console.debug(line)): Log {
	const since = Date.now();
	const line = (what: string) => write(`sluice ${((Date.now() - since) / 1000).toFixed(3)} ${what}`);
	return {
		event: ({ type, ...rest }) => line(`${type} ${describe(Object.entries(rest))}`),
		frame({ direction, carrier, call, kind, payload }) {
			const arrow = direction === "up" ? ">" : "<";
			line(`${carrier} ${arrow} ${call || "-"} ${kind} ${describeFrame(kind, payload)}`);
		},
	};
}

function describe(entries: [string, unknown][]): string {
	return entries
		.filter(([, v]) => v !== undefined)
		.map(([k, v]) => `${k}: ${v}`)
		.join(", ");
}

/** Kinds whose payload is no field block. */
const opaque = new Set(["DATA", "PING", "PONG", "CANCEL"]);

/** describeFrame tells what is in a frame, but for secrets. */
function describeFrame(kind: string, payload: Uint8Array): string {
	if (kind === "CREDIT" && payload.length === 13) {
		const view = new DataView(payload.buffer, payload.byteOffset);
		return `taken ${view.getBigUint64(0)}, window ${view.getUint32(8)}, got ${payload[12]}`;
	}
	if (opaque.has(kind)) return payload.length > 0 ? `${payload.length} bytes` : "";
	const secret = /^(authorization|cookie|:?ticket): .*/gim;
	return text.decode(payload).trim().replace(secret, "$1: …").replaceAll("\r\n", ", ");
}
