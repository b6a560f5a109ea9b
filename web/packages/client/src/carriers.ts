// The carriers of sessions that name none. A module of its own, which is loaded when it is needed, so that a program that
// names its carriers has those only.

import type { Carrier } from "./carrier.js";
import { discover } from "./discovery.js";
import { createStreamingDuplex } from "./duplex-streaming.js";
import { createLongPoll } from "./long-poll.js";
import { createWebSocket } from "./websocket.js";
import { createWebTransport } from "./webtransport.js";

/** defaultCarriers makes what works on this platform. */
export function defaultCarriers(): readonly Carrier[] {
	const carriers = [createStreamingDuplex(), createLongPoll()];
	if (globalThis.WebTransport) carriers.unshift(createWebTransport({ discover }));
	if (globalThis.WebSocket) carriers.unshift(createWebSocket());
	return carriers;
}
