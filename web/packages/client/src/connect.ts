// A Transport of Connect-ES: generated clients on a session. Connect brings messages, interceptors, deadlines and errors;
// a session brings bytes both ways, which is all that gRPC needs.

import type { Interceptor, Transport } from "@connectrpc/connect";
import type { UniversalClientFn } from "@connectrpc/connect/protocol";
import { createTransport, validateTrailer } from "@connectrpc/connect/protocol-grpc-web";
import type { Bytes } from "./carrier.js";
import type { Listenable, SessionState } from "./events.js";
import { encodeFields } from "./fields.js";
import { concat } from "./frames.js";
import { metadataOf, sendAll, setStatus } from "./grpc.js";
import { encodeMessage, trailerFlag } from "./messages.js";
import { connect, type Session, type SessionOptions } from "./session.js";
import { Code } from "./status.js";

/** Way is how a call goes: on the session, which connects if it has to, or by fetch as gRPC-Web. */
export type Way = "session" | "fetch";

/** SluiceTransportOptions say where the gateway is, and how calls go there. */
export interface SluiceTransportOptions extends SessionOptions {
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
	const { unary, serverStreaming = "session", defaultTimeoutMs } = options;
	const session = connect(options);
	const common = {
		baseUrl: `${options.baseUrl}`.replace(/\/$/, ""),
		useBinaryFormat: true,
		interceptors: options.interceptors ?? [],
		acceptCompression: [],
		sendCompression: null,
		compressMinBytes: 1024,
		readMaxBytes: options.maxMessageBytes ?? 4_194_304,
		writeMaxBytes: 0xffffffff,
		...(defaultTimeoutMs === undefined ? {} : { defaultTimeoutMs }),
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
			const [method] = args;
			return ways[method.methodKind === "server_streaming" ? serverStreaming : "session"].stream(...args);
		},
	};
}

/**
 * createSessionClient makes what looks like an HTTP client to Connect, whose calls go on the session. What comes is given as gRPC-Web, which
 * calls by fetch need anyway, so that a page has one protocol of Connect's and not two.
 */
function createSessionClient(session: Session): UniversalClientFn {
	return async ({ url, header, body, signal }) => {
		const path = /\/[^/]+\/[^/]+$/.exec(new URL(url).pathname)?.[0] ?? "";
		// The deadline is in grpc-timeout already, and Connect's signal is aborted when it is over. It is also aborted after
		// a call that went well, which changes nothing.
		const call = session.open({ path, headers: metadataOf(header), signal });
		let failure: unknown; // of the application's messages
		void sendAll(call, body ?? []).catch((err) => {
			failure = err ?? new Error("the request failed");
			call.cancel("the client's messages failed");
		});
		const answered = await call.headers;
		return { status: 200, header: answered, body: receive(), trailer: new Headers() };

		async function* receive() {
			try {
				yield* call.bytes;
			} catch {
				// status says it
			}
			if (failure !== undefined) throw failure;
			const status = await call.status;
			const trailer = setStatus(new Headers(), status);
			// Connect makes an error of it. In a frame, it would be taken for the rest of a message that was cut off.
			if (status.code !== Code.ok) validateTrailer(trailer, answered);
			yield encodeMessage(encodeFields(trailer), trailerFlag);
		}
	};
}

/** createWholeClient makes an HTTP client of fetch. Requests go as a whole: few browsers can stream them. */
function createWholeClient({ fetch, headers }: SluiceTransportOptions): UniversalClientFn {
	return async ({ url, method, header, body, signal }) => {
		const all = new Headers(typeof headers === "function" ? await headers() : headers);
		header.forEach((value, name) => all.set(name, value));
		const parts: Uint8Array[] = [];
		for await (const b of body ?? []) parts.push(b);
		const init: RequestInit = { method, headers: all, body: concat(parts) as Bytes, signal: signal ?? null };
		const answer = await (fetch ?? globalThis.fetch)(url, init);
		return { status: answer.status, header: answer.headers, body: read(answer.body), trailer: new Headers() };
	};
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
