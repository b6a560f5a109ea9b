// The carrier of docs/protocols/webtransport.md: a stream for each call.

import type { Bytes, Carrier, Connection, Datagrams, Ending, Pipe, PipeEvents } from "./carrier.js";
import type { DiscoveredCarrier, Discovery } from "./discovery.js";
import { messageOf } from "./message-of.js";
import { createStreams } from "./streams.js";

/** A CertificateHash is a certificate that is trusted by its hash. */
export interface CertificateHash {
	readonly algorithm: string;
	readonly value: Bytes;
}

/** WebTransportOptions are those of createWebTransport. */
export interface WebTransportOptions {
	/** Where WebTransport is, if it is not where the session's endpoint is. */
	readonly url?: string | URL;
	/** Certificates that are trusted though no public authority has signed them. They last at most 14 days. */
	readonly serverCertificateHashes?: readonly CertificateHash[];
	/**
	 * Asks the gateway for both, each time: pass the function discover. If there are cookies, it asks for a ticket too, since
	 * WebTransport has none.
	 */
	readonly discover?: (baseUrl: URL, signal: AbortSignal, fetch: typeof globalThis.fetch) => Promise<Discovery>;
	/** As for fetch: "include" sends cookies to another origin. It is about what discover asks. */
	readonly credentials?: RequestCredentials;
	/** The constructor, if it is not the platform's. */
	readonly WebTransport?: typeof WebTransport;
	/** How long it may take to connect: 3000 ms if missing. A network that drops UDP gives no error. */
	readonly connectMs?: number;
}

/** Codes of the document. */
const cancelCode = 1;
const elsewhereCode = 7;

/** streamError makes the error that carries a code. Browsers have one form of the constructor, the newer standard the other. */
function streamError(code: number): unknown {
	const E = globalThis.WebTransportError as unknown as new (...args: unknown[]) => {
		readonly streamErrorCode: number | null;
	};
	if (!E) return undefined;
	const made = new E({ message: "", streamErrorCode: code });
	return made.streamErrorCode === code ? made : new E("", { source: "stream", streamErrorCode: code });
}

/**
 * createWebTransport makes the carrier. It needs a browser that has WebTransport.
 *
 *     connect({ baseUrl: "https://api.example.com", carriers: [createWebTransport({ discover }), createWebSocket()] });
 */
export function createWebTransport(options: WebTransportOptions = {}): Carrier {
	return {
		name: "webtransport",
		calls: createStreams,
		connectMs: options.connectMs ?? 3000,
		eager: true,
		datagrams: true,
		async connect(endpoint, events, signal) {
			const Constructor = options.WebTransport ?? globalThis.WebTransport;
			if (!Constructor) throw new TypeError("there is no WebTransport here, or the page did not come over https");
			let url = options.url ?? endpoint;
			let hashes = options.serverCertificateHashes ?? [];
			if (options.discover) {
				const { credentials } = options;
				const ask: typeof fetch = (to, init) => fetch(to, credentials ? { ...init, credentials } : init);
				const { carriers } = await options.discover(endpoint, signal, ask);
				const found = carriers.find((c) => c.name === "webtransport");
				if (!found) throw new Error("the gateway has no WebTransport");
				url = await admission(found, signal, ask);
				hashes = found.certificates;
			}
			if (signal.aborted) throw new Error("aborted");
			const init = { protocols: ["sluice.v1"], serverCertificateHashes: [...hashes] };
			return open(new Constructor(String(url), init), events, signal);
		},
	};
}

/** admission is where to open a session: with a ticket, if the gateway knows the page by its cookies. */
async function admission({ url, ticket }: DiscoveredCarrier, signal: AbortSignal, ask: typeof fetch): Promise<URL> {
	if (!ticket) return url;
	const response = await ask(ticket, { method: "POST", signal });
	if (response.status === 200) {
		const admitted = new URL(url);
		admitted.searchParams.set("ticket", (await response.json()).ticket);
		return admitted;
	}
	if (![204, 401, 403, 404].includes(response.status))
		throw new Error(`no ticket: ${response.status} ${await response.text()}`);
	return url;
}

/** open waits for a session. */
async function open(wt: WebTransport, events: PipeEvents, signal: AbortSignal): Promise<Connection> {
	let closed = false;
	const pipes = new Set<Pipe>();

	const end = (how: Ending, reason: string) => {
		try {
			wt.close({ closeCode: how === "leave" ? 0 : elsewhereCode, reason: reason.slice(0, 256) });
		} catch {
			// it was not open yet, or is not any more
		}
	};

	const close: Connection["close"] = (how, reason = "") => {
		if (closed) return;
		closed = true;
		if (pipes.size === 0) return end(how, reason);
		// Chromium 156 dies of a session that is closed while its streams are busy. What the server has to know of the calls
		// leaves at once, also from a page that has no time left.
		for (const pipe of pipes) pipe.abort(how === "leave" ? "cancel" : "elsewhere");
		setTimeout(() => end(how, reason));
	};

	const ended = (why: string) => {
		if (closed) return;
		closed = true;
		events.closed(why);
	};

	wt.closed.then(
		({ closeCode, reason }) => ended(`closed with ${closeCode ?? 0}${reason ? `, ${reason}` : ""}`),
		(err) => ended(messageOf(err)),
	);
	signal.addEventListener("abort", () => close("cut"), { once: true });
	await wt.ready;

	/** control reads the stream of the server, which is the first one, and refuses others. */
	const control = async () => {
		const reader = wt.incomingUnidirectionalStreams.getReader();
		const first = await reader.read();
		if (first.done) return;
		void readAll(first.value, { data: events.data, closed: () => ended("the server has ended its stream") });
		for (let next = await reader.read(); !next.done; next = await reader.read()) {
			void next.value.cancel().catch(() => {});
		}
	};
	control().catch(() => {}); // closed says why

	return {
		close,
		datagrams: (received) => datagramsOf(wt, received),
		async open(callEvents) {
			const { readable, writable } = await wt.createBidirectionalStream();
			const writer = writable.getWriter();
			const reader = readable.getReader();
			writer.closed.catch(() => {}); // the reader says why
			const pipe: Pipe = {
				write: (b) => writer.write(b),
				end: () => void writer.close().catch(() => {}),
				abort(why) {
					// Firefox sends nothing for cancel, Chromium nothing for abort after FIN.
					const error = streamError(why === "cancel" ? cancelCode : elsewhereCode);
					writer.abort(error).catch(() => {});
					reader.cancel(error).catch(() => {});
				},
			};
			pipes.add(pipe);
			void readAll(reader, callEvents).finally(() => pipes.delete(pipe));
			return pipe;
		},
	};
}

/** So many datagrams wait to be sent. More are dropped. */
const maxUnsent = 64;

/** datagramsOf reads datagrams from now on. A session that nobody wants them of is left alone: reading them has ended some in Safari. */
function datagramsOf({ datagrams }: WebTransport, received: (b: Uint8Array) => void): Datagrams {
	// The newer standard makes writables, of which there may be several.
	const made = datagrams as { createWritable?(): WritableStream<Bytes>; readonly writable?: WritableStream<Bytes> };
	const writer = (made.createWritable?.() ?? made.writable)?.getWriter();
	let unsent = 0;
	void readAll(datagrams.readable, { data: received, closed: () => {} }); // closed of the session says why
	return {
		maxBytes: datagrams.maxDatagramSize,
		send(b) {
			if (!writer || unsent === maxUnsent) return;
			unsent++;
			const sent = () => void unsent--;
			writer.write(b).then(sent, sent);
		},
	};
}

/** readAll reads a stream, always: what is not read would stop other streams. */
async function readAll(
	from: ReadableStream<Uint8Array> | ReadableStreamDefaultReader<Uint8Array>,
	events: PipeEvents,
): Promise<void> {
	const reader = "getReader" in from ? from.getReader() : from;
	let why = "the stream has ended";
	try {
		for (let part = await reader.read(); !part.done; part = await reader.read()) events.data(part.value);
	} catch (err) {
		why = messageOf(err);
	}
	events.closed(why);
}
