// The log of frames and events, in words.

import { fromBinary, toJsonString } from "@bufbuild/protobuf";
import type { TracedFrame } from "@sluice-rpc/client";
import { titleOf, type Watcher } from "./connection.js";
import { element, follow, make } from "./dom.js";
import { Demo } from "./gen/demo_pb.js";

const mostLines = 300;
const mostText = 120; // characters of a line's text
const previewed = 512; // bytes of DATA whose messages are shown

/** startFrames wires the log. */
export function startFrames(): Watcher {
	const list = element("frames-log");
	const began = performance.now();
	const methods = new Map<string, string>(); // of calls, by their id: bounded, as all here
	const numbers = new Map<number, string>(); // the method of each number on the connection
	let pending: Node[] = [];
	let paused = false;
	let drawing = false;

	const draw = () => {
		drawing = false;
		follow(list, mostLines, ...pending);
		pending = [];
	};

	const add = (className: string, ...cells: [mark: string, what: string, call: string, text: string]) => {
		if (paused) return;
		const seconds = ((performance.now() - began) / 1000).toFixed(3);
		const line = make("li", className, make("time", "", seconds));
		for (const [i, cell] of cells.entries()) line.append(make("span", ["mark", "what", "call", "text"][i], cell));
		pending.push(line);
		if (pending.length > mostLines) pending.shift();
		if (drawing) return;
		drawing = true;
		// A page that is hidden draws no frames, but the log goes on.
		if (document.hidden) setTimeout(draw, 100);
		else requestAnimationFrame(draw);
	};

	/** nameOf finds the method of a frame: HEADERS tell it, and RESUME tells which call a new number is. */
	const nameOf = ({ direction, call, kind }: TracedFrame, fields: readonly string[]): string => {
		if (call === 0) return "connection";
		if (direction === "up" && (kind === "HEADERS" || kind === "RESUME")) {
			const id = valueOf(fields, ":call") ?? "";
			const method = valueOf(fields, ":path")?.split("/").pop() ?? methods.get(id) ?? "";
			if (methods.size > 1000) methods.clear();
			if (numbers.size > 1000) numbers.clear();
			methods.set(id, method);
			numbers.set(call, method);
		}
		return `${numbers.get(call) ?? "call"} ${call}`;
	};

	element("frames-pause").addEventListener("click", () => {
		paused = !paused;
		element("frames-pause").setAttribute("aria-pressed", `${paused}`);
	});
	element("frames-clear").addEventListener("click", () => {
		pending = [];
		list.replaceChildren();
	});
	const all = element<HTMLInputElement>("frames-all");
	const filter = () => list.classList.toggle("all", all.checked);
	all.addEventListener("change", filter);
	filter();

	return {
		event(event) {
			if (event.type === "connecting") add("event", "●", "connecting", "", `over ${titleOf(event.carrier)}`);
			if (event.type === "failed") add("event bad", "●", "failed", "", `${titleOf(event.carrier)}: ${event.reason}`);
			if (event.type === "lost") add("event bad", "●", "lost", "", event.reason);
			if (event.type === "goaway") add("event", "●", "goaway", "", `new calls go elsewhere: ${event.reason}`);
			if (event.type !== "open") return;
			numbers.clear();
			const again = event.resuming > 0 ? `, and ${event.resuming} of the calls go on` : "";
			add("event", "●", "open", "", `over ${titleOf(event.carrier)}${again}`);
		},
		frame(frame) {
			const fields = hasFields(frame) ? new TextDecoder().decode(frame.payload).trim().split("\r\n") : [];
			const noise = ["PING", "PONG", "CREDIT"].includes(frame.kind) ? " noise" : "";
			const mark = frame.direction === "up" ? "↑" : "↓";
			const name = nameOf(frame, fields);
			add(`${frame.direction}${noise}`, mark, frame.kind, name, describe(frame, fields, numbers.get(frame.call)));
		},
	};
}

const hasFields = ({ kind }: TracedFrame) => !["DATA", "PING", "PONG", "CREDIT", "CANCEL"].includes(kind);

const valueOf = (fields: readonly string[], name: string) =>
	fields.find((f) => f.startsWith(`${name}: `))?.slice(name.length + 2);

/** describe tells what a frame says, but for secrets. */
function describe({ kind, payload, direction }: TracedFrame, fields: readonly string[], method = ""): string {
	if (kind === "DATA") {
		const size = `${payload.length} bytes`;
		return payload.length > previewed ? size : `${size}  ${shorten(messagesOf(payload, method, direction))}`;
	}
	if (kind === "CREDIT" && payload.length === 13) {
		const view = new DataView(payload.buffer, payload.byteOffset);
		return `took ${view.getBigUint64(0)} bytes, has room for ${view.getUint32(8)}`;
	}
	const secret = /^(authorization|cookie|:?ticket|:call): .*/i;
	return shorten(fields.map((f) => f.replace(secret, "$1: …")).join("  "));
}

/** messagesOf is what gRPC's messages say, if these are whole ones: a frame may also have a piece of one. */
function messagesOf(b: Uint8Array, method: string, direction: "up" | "down"): string {
	const found = Demo.methods.find((m) => m.name === method);
	const schema = direction === "up" ? found?.input : found?.output;
	const messages: string[] = [];
	for (let at = 0; schema && at < b.length;) {
		const length = at + 5 <= b.length ? new DataView(b.buffer, b.byteOffset + at).getUint32(1) : b.length;
		if (at + 5 + length > b.length) return "";
		try {
			messages.push(toJsonString(schema, fromBinary(schema, b.subarray(at + 5, at + 5 + length))));
		} catch {
			return "";
		}
		at += 5 + length;
	}
	return messages.join(" ");
}

const shorten = (text: string) => (text.length > mostText ? `${text.slice(0, mostText - 1)}…` : text);
