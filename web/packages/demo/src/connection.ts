// The one connection of the page, and the client on it that protoc-gen-es has made.

import { type Client, createClient } from "@connectrpc/connect";
import {
	type Carrier,
	canStreamRequests,
	createDuplex,
	createLongPoll,
	createStreamingDuplex,
	createWebSocket,
	createWebTransport,
	defaultCarriers,
	discover,
	type SessionEvent,
	type TracedFrame,
} from "@sluice-rpc/client";
import { createSluiceTransport, type SluiceTransport } from "@sluice-rpc/client/connect";
import { Demo } from "./gen/demo_pb.js";

/** A Choice is a carrier as the page shows it. */
export interface Choice {
	readonly name: string;
	readonly title: string;
	readonly note: string;
	/** Why it can't be had, if so. */
	readonly missing?: string | undefined;
	readonly carrier: Carrier;
}

/** The carriers by name, best first. */
export const choices: readonly Choice[] = [
	{
		name: "webtransport",
		title: "WebTransport",
		note: "HTTP/3, a stream for each call",
		missing: "WebTransport" in globalThis ? undefined : "not in this browser, or not on this address",
		carrier: createWebTransport({ discover }),
	},
	{ name: "websocket", title: "WebSocket", note: "all calls on one socket", carrier: createWebSocket() },
	{
		name: "duplex-streaming",
		title: "HTTP duplex",
		note: canStreamRequests() ? "a streaming GET, a streaming POST" : "a streaming GET, and POSTs",
		carrier: createStreamingDuplex(),
	},
	{ name: "duplex", title: "HTTP, batched", note: "a streaming GET, and POSTs", carrier: createDuplex() },
	{ name: "long-poll", title: "Long poll", note: "where answers come whole", carrier: createLongPoll() },
];

/** What Automatic chooses from. */
const automatic = defaultCarriers();

/** titleOf is what the page calls a carrier. */
export function titleOf(carrier: string): string {
	return choices.find((c) => c.name === carrier)?.title ?? carrier;
}

/** A Connection is what the parts of the page share. */
export interface Connection {
	readonly transport: SluiceTransport;
	readonly client: Client<typeof Demo>;
	/** use takes a carrier by its name, or any if there is none of that name. */
	use(name: string): void;
}

/** Watcher sees what happens on the connection. */
export interface Watcher {
	event(event: SessionEvent): void;
	frame(frame: TracedFrame): void;
}

/** createConnection makes the connection, with whatever carrier works. */
export function createConnection(watcher: Watcher): Connection {
	const transport = createSluiceTransport({
		baseUrl: location.origin,
		carriers: automatic,
		unary: "session",
		onEvent: watcher.event,
		onFrame: watcher.frame,
	});
	return {
		transport,
		client: createClient(Demo, transport),
		use: (name) => transport.session.use(choices.find((c) => c.name === name)?.carrier ?? automatic),
	};
}
