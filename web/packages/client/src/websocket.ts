// The carrier of docs/protocols/websocket.md: the subprotocol sluice.v1.

import type { Bytes, Carrier, Connection } from "./carrier.js";
import { createMultiplexed } from "./multiplexed.js";

/** WebSocketLike is what is needed of a WebSocket; that of npm ws has it too. */
export interface WebSocketLike {
	binaryType: string;
	readonly bufferedAmount: number;
	send(b: Bytes | string): void;
	close(code?: number, reason?: string): void;
	addEventListener(type: "open" | "error", listener: () => void): void;
	addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
	addEventListener(type: "close", listener: (event: { code: number; reason: string }) => void): void;
}

/** WebSocketOptions are those of createWebSocket. */
export interface WebSocketOptions {
	/** The constructor, for platforms that have none, such as Node before 22: that of npm ws. */
	readonly WebSocket?: new (url: string, protocols: string[]) => WebSocketLike;
	/** A token that becomes authorization of all calls, for proxies that look at the handshake. Others see it in their logs. */
	readonly token?: string;
	/** How long it may take to connect: 5000 ms if missing. */
	readonly connectMs?: number;
}

/** The platform keeps what was sent: above this write waits. */
const highBytes = 262_144;

/** openSocket begins to open a WebSocket that offers a subprotocol. */
export function openSocket(endpoint: URL, protocol: string, options: WebSocketOptions): WebSocketLike {
	const Constructor = options.WebSocket ?? (globalThis.WebSocket as unknown as WebSocketOptions["WebSocket"]);
	if (!Constructor) throw new TypeError("there is no WebSocket: give one");
	const url = new URL(endpoint);
	url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
	const ws = new Constructor(
		url.href,
		options.token === undefined ? [protocol] : [protocol, `bearer.${options.token}`],
	);
	ws.binaryType = "arraybuffer";
	return ws;
}

/** closedWith tells people of a Close. */
export function closedWith(code: number, reason: string): string {
	return `closed with ${code}${reason ? `, ${reason}` : ""}`;
}

/** What any code but 1000 and 1001 is: the connection was lost, and the calls wait. */
const lostCode = 4000;

/**
 * createWebSocket makes the carrier. All calls share one WebSocket.
 *
 *     const session = connect({ baseUrl: "https://api.example.com", carriers: createWebSocket() });
 */
export function createWebSocket(options: WebSocketOptions = {}): Carrier {
	return {
		name: "websocket",
		calls: createMultiplexed,
		connectMs: options.connectMs ?? 5000,
		eager: true,
		connect(endpoint, events, signal) {
			const ws = openSocket(endpoint, "sluice.v1", options);
			let closed = false;

			const close: Connection["close"] = (how, reason = "") => {
				if (closed) return;
				closed = true;
				ws.close(how === "leave" ? 1000 : lostCode, reason.replace(/[^ -~]/g, "?").slice(0, 100));
			};

			const write = async (b: Bytes) => {
				ws.send(b);
				// There is no event for it.
				for (let ms = 1; ws.bufferedAmount > highBytes && !closed; ms = Math.min(2 * ms, 50)) {
					await new Promise((resolve) => setTimeout(resolve, ms));
				}
			};

			return new Promise((resolve, reject) => {
				signal.addEventListener("abort", () => close("cut"), { once: true });
				ws.addEventListener("open", () =>
					resolve({ pipe: { write, end: () => close("leave"), abort: () => close("cut") }, close }),
				);
				ws.addEventListener("message", ({ data }) => {
					if (data instanceof ArrayBuffer && !closed) events.data(new Uint8Array(data));
				});
				ws.addEventListener("error", () => {}); // close follows
				ws.addEventListener("close", ({ code, reason }) => {
					const why = closedWith(code, reason);
					reject(new Error(why));
					if (closed) return;
					closed = true;
					events.closed(why);
				});
			});
		},
	};
}
