// Raw bytes on a WebSocket: the subprotocol sluice.raw of docs/protocols/websocket.md.

import type { RawStream } from "./raw.js";
import { Code, StatusError, statusOf } from "./status.js";
import { closedWith, openSocket, type WebSocketOptions } from "./websocket.js";

/** So many bytes may be on their way that the server has not taken. It reads on, and would close for more. */
const windowBytes = 65_536;

/** So many bytes that were read are told at once: fewer than the smallest window. */
const toldBytes = 8192;

/** A server has a window of 1 MiB at most on its way; one that sends more than this does not heed it. */
const maxQueuedBytes = 4_194_304;

/** openRawWebSocket opens a WebSocket. It rejects if that fails, with whatever a platform tells, which is little. */
export async function openRawWebSocket(
	endpoint: URL,
	options: WebSocketOptions,
	signal: AbortSignal,
): Promise<RawStream> {
	const ws = openSocket(endpoint, "sluice.raw", options);
	const queue: Uint8Array[] = [];
	let queued = 0;
	let untold = 0;
	let ended = false;
	let failure: StatusError | undefined;
	let untaken = 0; // of what was sent
	let wake: (() => void) | undefined; // the reader
	let room: (() => void) | undefined; // the writer
	let fail: (err: Error) => void = () => {};
	const failed = new Promise<Error>((resolve) => {
		fail = resolve;
	});

	const over = (err: StatusError | undefined) => {
		if (ended) return;
		ended = true;
		failure = err;
		fail(err ?? new StatusError(statusOf(Code.cancelled, "the server has ended the stream")));
		wake?.();
		room?.();
	};

	const leave = () => {
		over(new StatusError(statusOf(Code.cancelled, "the stream was given up")));
		queue.length = 0;
		ws.close(1000);
	};

	ws.addEventListener("message", ({ data }) => {
		if (typeof data === "string") {
			untaken -= Number(data);
			room?.();
		}
		if (!(data instanceof ArrayBuffer) || ended) return;
		queue.push(new Uint8Array(data));
		queued += data.byteLength;
		if (queued > maxQueuedBytes) {
			over(new StatusError(statusOf(Code.resourceExhausted, `the server sent ${queued} bytes that nobody has read`)));
			ws.close(4000);
		}
		wake?.();
	});

	await new Promise<void>((resolve, reject) => {
		const abort = () => {
			ws.close(1000);
			reject(signal.reason);
		};
		if (signal.aborted) abort();
		signal.addEventListener("abort", abort, { once: true });
		ws.addEventListener("open", () => {
			signal.removeEventListener("abort", abort);
			resolve();
		});
		ws.addEventListener("error", () => {}); // close follows
		ws.addEventListener("close", ({ code, reason }) => {
			reject(new Error(closedWith(code, reason)));
			over(code === 1000 ? undefined : new StatusError(statusOfClose(code, reason)));
		});
	});

	return {
		failed,
		async read() {
			while (queue.length === 0 && !ended) {
				await new Promise<void>((resolve) => {
					wake = resolve;
				});
			}
			const b = queue.shift();
			if (b) {
				queued -= b.length;
				untold += b.length;
				if (untold >= toldBytes && !ended) {
					ws.send(`${untold}`);
					untold = 0;
				}
				return b;
			}
			if (failure) throw failure;
			return undefined;
		},
		async write(b) {
			for (let at = 0; at < b.length;) {
				while (untaken >= windowBytes && !ended) {
					await new Promise<void>((resolve) => {
						room = resolve;
					});
				}
				if (ended) throw await failed;
				const part = b.subarray(at, at + windowBytes - untaken);
				ws.send(part);
				untaken += part.length;
				at += part.length;
			}
		},
		async end() {
			if (ended) throw await failed;
			ws.send("end");
		},
		leave,
	};
}

/** statusOfClose is the table of docs/protocols/websocket.md. */
function statusOfClose(code: number, reason: string) {
	if (code > 4000 && code <= 4016) return statusOf(code - 4000, reason);
	const message = closedWith(code, reason);
	switch (code) {
		case 1001:
		case 1006:
		case 1012:
		case 1013:
		case 1014:
		case 1015:
			return statusOf(Code.unavailable, message);
		case 1002:
		case 1010:
		case 1011:
			return statusOf(Code.internal, message);
		case 1003:
		case 1007:
			return statusOf(Code.invalidArgument, message);
		case 1008:
			return statusOf(Code.permissionDenied, message);
		case 1009:
			return statusOf(Code.resourceExhausted, message);
	}
	return statusOf(Code.unknown, message);
}
