// A Transport of nice-grpc-web on a session. It has what that library's own have not: client streams and full duplex in every
// browser, and calls that go on when their connection is lost.

import { type Channel, Metadata } from "nice-grpc-web";
import { metadataOf, type SessionSource, sendAll, sessionOf, setStatus, untilEnd } from "./grpc.js";
import { encodeMessage, prefixLength } from "./messages.js";
import type { Session } from "./session.js";
import { Code } from "./status.js";

/** The library has these types, and does not export them. */
type Transport = Channel["transport"];
type Frame = ReturnType<Transport> extends AsyncIterable<infer T> ? T : never;

/** A NiceTransport is a Transport with the session below it, to close it or to change its carrier. */
export type NiceTransport = Transport & { readonly session: Session };

/**
 * createNiceTransport makes a Transport for nice-grpc-web, on a session or on one that it makes. The session knows where the gateway is:
 * the address of the channel is not looked at.
 *
 *     const transport = createNiceTransport({ baseUrl, carriers: createWebSocket() });
 *     const client = createClient(ChatDefinition, createChannel(baseUrl, transport));
 */
export function createNiceTransport(source: SessionSource): NiceTransport {
	const session = sessionOf(source);
	const transport: Transport = async function* ({ metadata, body, signal, method }): AsyncGenerator<Frame> {
		const call = session.call({ path: method.path, headers: metadataOf(fieldsOf(metadata)), signal });
		// Each piece of the body is a message with its prefix.
		const write = (b: Uint8Array) => call.send(b.subarray(prefixLength));
		// The library knows when its messages have failed, and tells that and not what comes of the call.
		void sendAll({ write, closeSend: call.closeSend }, body).catch(() => call.cancel("the client's messages failed"));
		try {
			yield { type: "header", header: niceMetadata(await call.headers) };
			for await (const m of untilEnd(call)) yield { type: "data", data: encodeMessage(m) };
			const status = await call.status;
			if (signal.aborted && status.code === Code.cancelled) throw new DOMException(status.message, "AbortError");
			yield { type: "trailer", trailer: niceMetadata(setStatus(new Headers(), status)) };
		} finally {
			call.cancel("the client has stopped reading"); // unless it is over
		}
	};
	return Object.assign(transport, { session });
}

/** fieldsOf writes metadata as on the wire, where the values of names that end with -bin are base64. */
function* fieldsOf(metadata: Metadata): Generator<[name: string, value: string]> {
	for (const [name, values] of metadata) {
		for (const v of values) yield [name, typeof v === "string" ? v : btoa(String.fromCharCode(...v))];
	}
}

/** niceMetadata reads metadata of the wire. */
function niceMetadata(headers: Headers): Metadata {
	const metadata = new Metadata();
	headers.forEach((value, name) => {
		if (!name.endsWith("-bin")) metadata.set(name, value);
		else
			for (const v of value.split(","))
				metadata.append(
					name,
					Uint8Array.from(atob(v.trim()), (c) => c.charCodeAt(0)),
				);
	});
	return metadata;
}
