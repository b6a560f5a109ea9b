// grpc-websockets, with the clients that speak it as they come from npm: improbable-eng/grpc-web, with
// permessage-deflate and without, and nice-grpc-web. Each makes calls of all kinds. And grpc-websockets-multiplex, whose only
// client is no package: a transport for improbable-eng/grpc-web that does as it does.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import improbable from "@improbable-eng/grpc-web";
import { WebsocketTransport } from "nice-grpc-web";
import { WebSocket } from "ws";
import { cases } from "./call-cases.js";
import { createImprobable, createNice } from "./callers.js";
import { env } from "./env.js";
import { createSchema } from "./schema.js";

const { grpc } = improbable;
const { service } = createSchema(env.descriptorSet);

process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0"; // the certificate is the test's own
globalThis.WebSocket = WebSocket;
class Uncompressed extends WebSocket {
	constructor(url, protocols) {
		super(url, protocols, { perMessageDeflate: false });
	}
}

/**
 * createMultiplexed returns a transport that carries all calls on one WebSocket, as Deephaven's
 * MultiplexedWebsocketTransport does. That one has no cancel of a call; this one closes the
 * WebSocket if told to.
 */
function createMultiplexed() {
	let socket;
	let next = 0;
	let opened;
	after(() => socket.terminate());
	return (options) => {
		const id = next++;
		const { protocol, host, pathname } = new URL(options.url);
		const send = (number, bytes) => {
			const message = Buffer.alloc(4 + bytes.length);
			message.writeUInt32BE(number >>> 0);
			message.set(bytes, 4);
			opened.then((s) => s.send(message));
		};
		return {
			start(metadata) {
				if (!socket || socket.readyState > WebSocket.OPEN) {
					const s = new WebSocket(protocol.replace("http", "ws") + "//" + host + pathname, ["grpc-websockets-multiplex", "grpc-websockets"]);
					s.binaryType = "nodebuffer";
					s.setMaxListeners(0);
					opened = new Promise((resolve) => s.on("open", () => resolve(s)));
					socket = s;
				}
				metadata.append("grpc-websockets-path", pathname.slice(1));
				let block = "";
				metadata.forEach((key, values) => (block += `${key}: ${values.join(", ")}\r\n`));
				send(id, Buffer.from(block, "latin1"));
				const mine = socket;
				let ended = false;
				const end = (err) => {
					if (!ended) options.onEnd(err);
					ended = true;
				};
				mine.on("close", () => end(new Error("the WebSocket was closed")));
				mine.on("message", (data) => {
					assert.equal(mine.protocol, "grpc-websockets-multiplex");
					const number = data.readUInt32BE();
					if ((number & 0x7fffffff) !== id || ended) return;
					options.onChunk(new Uint8Array(data.subarray(4)));
					if (number >>> 31) end();
				});
			},
			sendMessage: (bytes) => send(id, Buffer.concat([Buffer.of(0), bytes])),
			finishSend: () => send(id + 0x80000000, Buffer.of(1)),
			cancel: () => socket.close(),
		};
	};
}

/** over makes WebSockets of a class. */
const over = (socket) => (options) => {
	globalThis.WebSocket = socket; // until start, which is in the same turn
	return grpc.WebsocketTransport()(options);
};

// A method that the backend does not have, for the clients to ask for.
service.method.missing = { ...service.method.echo, name: "Missing" };

for (const [title, base] of Object.entries({ "": env.http, " with TLS": env.https })) {
	for (const [name, client] of Object.entries({
		improbable: createImprobable(service, base, over(WebSocket)),
		"improbable, uncompressed": createImprobable(service, base, over(Uncompressed)),
		nice: createNice(service, base, WebsocketTransport()),
		multiplexed: createImprobable(service, base, createMultiplexed()),
	})) {
		for (const [what, run] of Object.entries(cases)) {
			test(`${name}${title}: ${what}`, { timeout: 15_000 }, () => run(client, !name.includes("uncompressed")));
		}
	}
}
