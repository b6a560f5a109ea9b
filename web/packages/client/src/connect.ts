// A Transport of Connect-ES: generated clients on a session. Connect brings messages, interceptors, deadlines and errors;
// a session brings bytes both ways, which is all that gRPC needs.

import { createContextKey, type ContextKey, type Interceptor, type Transport } from "@connectrpc/connect";
import type { CommonTransportOptions, UniversalClientFn, UniversalClientRequest } from "@connectrpc/connect/protocol";
import { createTransport, validateTrailer } from "@connectrpc/connect/protocol-grpc-web";
import type { ByteCall } from "./bytes.js";
import type { Bytes } from "./carrier.js";
import type { Listenable, SessionState } from "./events.js";
import { askHeaders, encodeFields } from "./fields.js";
import { concat } from "./frames.js";
import { metadataOf, sendAll, setStatus } from "./grpc.js";
import { encodeMessage, trailerFlag } from "./messages.js";
import { type CallInit, connect, type Session, type SessionOptions } from "./session.js";
import { Code } from "./status.js";

export { createGzip } from "./gzip.js";

/** Way is how a call goes: on the session, which connects if it has to, or by fetch as gRPC-Web. */
export type Way = "session" | "fetch";

/** What Connect's own transports have, under the same names. */
type ConnectOptions = Partial<
	Pick<
		CommonTransportOptions,
		| "useBinaryFormat"
		| "binaryOptions"
		| "jsonOptions"
		| "acceptCompression"
		| "sendCompression"
		| "compressMinBytes"
		| "writeMaxBytes"
	>
>;

/**
 * SluiceTransportOptions say where the gateway is, and how calls go there. Messages are binary and not compressed, unless
 * useBinaryFormat is false or acceptCompression and sendCompression say otherwise: see createGzip. unreadMs is ten minutes if
 * missing, because Connect-ES does not tell when a loop over responses is left.
 */
export interface SluiceTransportOptions extends SessionOptions, ConnectOptions {
	/** How unary calls go. If missing, on the session when it is connected, else by fetch at once. */
	readonly unary?: Way;
	/** How server streams go: on the session if missing. Calls on which the client streams always do. */
	readonly serverStreaming?: Way;
	/** See Connect-ES. The first one is the outermost. */
	readonly interceptors?: Interceptor[];
	/** The deadline of calls that give none. */
	readonly defaultTimeoutMs?: number;
}

/**
 * A SluiceTransport is a Transport with the session below it, to close it or to change its carrier. Its state and events are those
 * of the session.
 */
export interface SluiceTransport extends Transport, Listenable {
	readonly session: Session;
	readonly state: SessionState;
}

/**
 * createSluiceTransport makes a Transport for Connect-ES.
 *
 *     const client = createClient(ChatService, createSluiceTransport({ baseUrl: "https://api.example.com" }));
 */
export function createSluiceTransport(options: SluiceTransportOptions): SluiceTransport {
	const { unary, serverStreaming = "session", interceptors = [], unreadMs = defaultUnreadMs } = options;
	const session = connect({ ...options, unreadMs });
	const common: Omit<CommonTransportOptions, "httpClient"> = {
		useBinaryFormat: true,
		acceptCompression: [],
		sendCompression: null,
		compressMinBytes: 1024,
		readMaxBytes: options.maxMessageBytes ?? 4_194_304,
		writeMaxBytes: 0xffffffff,
		...(options as SluiceTransportOptions & { baseUrl: string }), // it may be a URL as well
		interceptors,
	};
	const ways: Record<Way, Transport> = {
		session: createTransport({ ...common, httpClient: createSessionClient(session) }),
		fetch: createTransport({ ...common, httpClient: createWholeClient(options) }),
	};
	return {
		session,
		get state() {
			return session.state;
		},
		addEventListener: session.addEventListener,
		removeEventListener: session.removeEventListener,
		unary(...args) {
			return ways[unary ?? (session.carrier === undefined ? "fetch" : "session")].unary(...args);
		},
		stream(...args) {
			const [method, signal, timeoutMs, header, input, context] = args;
			const way = method.methodKind === "server_streaming" ? serverStreaming : "session";
			const wanted = context?.get(datagrams);
			if (!wanted || way !== "session") return ways[way].stream(...args);
			const headers = new Headers(header);
			headers.set(datagramsField, `${wanted}`);
			return ways.session.stream(method, signal, timeoutMs, headers, input, context);
		},
	};
}

/** After so long a call whose messages nobody takes is taken for one whose loop was left. */
const defaultUnreadMs = 600_000;

/** The field by which the context value gets through Connect. It does not leave the browser. */
const datagramsField = "sluice-datagrams";

/**
 * datagrams is a context value: messages of a call may be lost, and go in datagrams where the carrier has them.
 *
 *     client.moves(positions, { contextValues: createContextValues().set(datagrams, true) });
 */
export const datagrams: ContextKey<CallInit["datagrams"]> =
	/* @__PURE__ */ createContextKey<CallInit["datagrams"]>(undefined);

/**
 * createSessionClient makes what looks like an HTTP client to Connect, whose calls go on the session. What comes is given as gRPC-Web, which
 * calls by fetch need anyway, so that a page has one protocol of Connect's and not two.
 */
function createSessionClient(session: Session): UniversalClientFn {
	// Whoever leaves a loop over responses does not tell: Connect-ES has no return of its iterables.
	const forgotten = new FinalizationRegistry<ByteCall>((call) => call.cancel("forgotten"));

	return async ({ url, header, body, signal }) => {
		const path = /\/[^/]+\/[^/?]+(?![^?])/.exec(url)?.[0] ?? "";
		const headers = metadataOf(header);
		if (header.get("content-type")?.endsWith("+json")) headers.set("content-type", "application/grpc+json");
		const wanted = headers.get(datagramsField);
		headers.delete(datagramsField);
		// The deadline is in grpc-timeout already, and Connect's signal is aborted when it is over. It is also aborted after
		// a call that went well, which changes nothing.
		const call = session.open({ path, headers, signal, datagrams: wanted === "late" ? wanted : !!wanted });
		let failure: unknown; // of the application's messages
		void sendAll(call, body ?? []).catch((err) => {
			failure = err || new Error();
			call.cancel("the client's messages failed");
		});
		const answered = await call.headers;

		const receive = async function* () {
			try {
				yield* call.bytes;
			} catch {
				// status says it
			}
			if (failure) throw failure;
			const status = await call.status;
			const trailer = setStatus(new Headers(), status);
			// Connect makes an error of it. In a frame, it would be taken for the rest of a message that was cut off.
			if (status.code !== Code.ok) validateTrailer(trailer, answered);
			yield encodeMessage(encodeFields(trailer), trailerFlag);
		};
		const messages = receive();
		forgotten.register(messages, call);
		return { status: 200, header: answered, body: messages, trailer: new Headers() };
	};
}

/** createWholeClient makes an HTTP client of fetch. Requests go as a whole: few browsers can stream them. */
function createWholeClient({ fetch, headers }: SluiceTransportOptions): UniversalClientFn {
	// Connect always gives a signal, which is aborted at the deadline too.
	return (async ({ url, method, header, body, signal }: UniversalClientRequest & { signal: AbortSignal }) => {
		if (signal.aborted) throw signal.reason;
		const all = await askHeaders(headers, signal);
		header.forEach((value, name) => all.set(name, value));
		const parts: Uint8Array[] = [];
		for await (const b of body ?? []) parts.push(b);
		const init: RequestInit = { method, headers: all, body: concat(parts) as Bytes, signal };
		const answer = await (fetch ?? globalThis.fetch)(url, init);
		return { status: answer.status, header: answer.headers, body: read(answer.body), trailer: new Headers() };
	}) as UniversalClientFn;
}

/** read has the bytes of a stream, which is not iterable in every browser. Leaving early cancels it. */
async function* read(stream: ReadableStream<Uint8Array> | null): AsyncGenerator<Uint8Array, void, undefined> {
	const reader = stream?.getReader();
	try {
		for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) yield next.value;
	} finally {
		reader?.cancel().catch(() => {}); // unless it is over
	}
}
