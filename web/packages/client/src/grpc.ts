// What libraries that know gRPC want of a call.

import type { ByteCall } from "./bytes.js";
import { type Call, connect, type Session, type SessionOptions } from "./session.js";
import type { Status } from "./status.js";

/** A SessionSource is a session, which others may use too, or what makes one. */
export type SessionSource = Session | SessionOptions;

/** sessionOf returns the session, or makes it. */
export function sessionOf(source: SessionSource): Session {
	return "open" in source ? source : connect(source);
}

/** sendAll sends a request. It rejects only if the application's messages do. */
export async function sendAll(
	call: Pick<ByteCall, "write" | "closeSend">,
	body: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
	for await (const b of body) {
		try {
			await call.write(b);
		} catch {
			return; // the call has ended, which its status tells
		}
	}
	call.closeSend();
}

/** untilEnd has the messages of a call, without an error at the end: the status tells. */
export async function* untilEnd(call: Call): AsyncGenerator<Uint8Array, void, undefined> {
	const messages = call.messages[Symbol.asyncIterator]();
	for (;;) {
		const next = await messages.next().catch(() => undefined);
		if (!next || next.done) return;
		yield next.value;
	}
}

/** setStatus writes trailers as gRPC has them on the wire. */
export function setStatus(trailer: Headers, status: Status): Headers {
	status.trailers.forEach((value, name) => trailer.append(name, value));
	trailer.set("grpc-status", `${status.code}`);
	if (status.message) trailer.set("grpc-message", encodeURIComponent(status.message));
	return trailer;
}

/** metadataOf returns the metadata among the fields of a request of gRPC-Web: some are about how it goes elsewhere. */
export function metadataOf(fields: Iterable<readonly [name: string, value: string]>): Headers {
	const headers = new Headers();
	for (const [name, value] of fields) headers.append(name, value);
	for (const name of ["content-type", "x-grpc-web", "x-user-agent"]) headers.delete(name);
	return headers;
}
