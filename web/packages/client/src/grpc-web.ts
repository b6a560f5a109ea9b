// A TransportFactory of @improbable-eng/grpc-web on a session: calls of all kinds, which share a connection and go on when it is lost.

import type { grpc } from "@improbable-eng/grpc-web";
import { encodeFields, type Field } from "./fields.js";
import { metadataOf, type SessionSource, sessionOf, setStatus, untilEnd } from "./grpc.js";
import { encodeMessage, prefixLength, trailerFlag } from "./messages.js";
import type { Call, Session } from "./session.js";

/** A SessionTransportFactory is a TransportFactory with the session below it, to close it or to change its carrier. */
export type SessionTransportFactory = grpc.TransportFactory & { readonly session: Session };

/**
 * createTransportFactory makes a TransportFactory for @improbable-eng/grpc-web, on a session or on one that it makes. The session knows where
 * the gateway is: host is not looked at.
 *
 *     grpc.setDefaultTransport(createTransportFactory({ baseUrl, carriers: createWebSocket() }));
 *
 * The library has no way to tell its user to wait: what is sent faster than it leaves is kept.
 */
export function createTransportFactory(source: SessionSource): SessionTransportFactory {
	const session = sessionOf(source);
	const factory: grpc.TransportFactory = (options) => {
		const { methodName, service, requestStream } = options.methodDefinition;
		let call: Call | undefined;
		return {
			start(metadata) {
				call = session.call({ path: `/${service.serviceName}/${methodName}`, headers: metadataOf(fieldsOf(metadata)) });
				const { cancel } = call;
				receive(call, options, metadata.constructor as typeof grpc.Metadata).catch((err) => {
					cancel("the client's callback failed");
					throw err; // to who looks after errors that nobody has caught
				});
			},
			sendMessage(b) {
				call?.send(b.subarray(prefixLength)).catch(() => {}); // the call has ended, which onEnd tells
				if (!requestStream) call?.closeSend(); // as over fetch, where nothing waits for finishSend
			},
			finishSend: () => call?.closeSend(),
			cancel: () => call?.cancel(),
		};
	};
	return Object.assign(factory, { session });
}

/**
 * receive gives a client what comes, as gRPC-Web: it takes the status from a frame of trailers. The class of its metadata comes
 * from its own, so that this module does not load the library, of which there might be two then.
 */
async function receive(call: Call, options: grpc.TransportOptions, Metadata: typeof grpc.Metadata): Promise<void> {
	const headers = new Metadata();
	(await call.headers).forEach((value, name) => headers.append(name, value));
	options.onHeaders(headers, 200);
	for await (const m of untilEnd(call)) options.onChunk(encodeMessage(m));
	options.onChunk(encodeMessage(encodeFields(setStatus(new Headers(), await call.status)), trailerFlag));
	options.onEnd();
}

function* fieldsOf(metadata: grpc.Metadata): Generator<Field> {
	for (const [name, values] of Object.entries(metadata.headersMap)) for (const v of values) yield [name, v];
}
