// What the carriers of docs/protocols/http2-duplex.md share: requests of a session, and uploads.

import type { Bytes, Connection, Ending, Pipe } from "./carrier.js";
import { concat } from "./frames.js";
import { messageOf } from "./message-of.js";

/** HttpOptions are those of all carriers over plain HTTP requests. */
export interface HttpOptions {
	/** Instead of the platform's. */
	readonly fetch?: typeof fetch;
	/** Whether cookies are sent to another origin, as fetch has it. */
	readonly credentials?: RequestCredentials;
	/** How long it may take to connect: 5000 ms if missing. */
	readonly connectMs?: number;
}

/** A Requester makes the requests of one session. */
export interface Requester {
	/** request rejects if there was no answer at all. */
	request(method: "GET" | "POST" | "DELETE", fields: Record<string, string>, init?: Upload): Promise<Response>;
	/** abort gives up all requests. */
	abort(): void;
	/** leave tells the server that the client does not come back. It works while a page is closed. */
	leave(): void;
}

/** An Upload is what a request sends. */
export interface Upload {
	readonly body?: Bytes | ReadableStream<Bytes>;
	readonly duplex?: "half";
	readonly signal?: AbortSignal;
}

/** createRequester names a session. */
export function createRequester(endpoint: URL, options: HttpOptions): Requester {
	const send = options.fetch ?? globalThis.fetch.bind(globalThis);
	const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
	const abort = new AbortController();
	const common: RequestInit = { cache: "no-store" };
	if (options.credentials) common.credentials = options.credentials;
	return {
		request(method, fields, { signal, ...upload } = {}) {
			const headers = { "sluice-session": id, ...fields };
			const both = signal ? anyOf(signal, abort.signal) : abort.signal;
			return send(endpoint, { ...common, ...upload, method, headers, signal: both } as RequestInit);
		},
		abort: () => abort.abort(),
		leave() {
			const gone = send(endpoint, { ...common, method: "DELETE", headers: { "sluice-session": id }, keepalive: true });
			gone.catch(() => {});
		},
	};
}

function anyOf(a: AbortSignal, b: AbortSignal): AbortSignal {
	const either = new AbortController();
	for (const s of [a, b]) {
		if (s.aborted) either.abort();
		s.addEventListener("abort", () => either.abort(), { once: true });
	}
	return either.signal;
}

/** reasonOf reads what the server says about a refusal. */
export async function reasonOf(response: Response): Promise<string> {
	const text = (await response.text().catch(() => "")).trim().slice(0, 200);
	return `${response.status}${text ? `: ${text}` : ""}`;
}

/** createEnding makes the close of a connection, and what tells of a loss; the first one counts. */
export function createEnding(requester: Requester, closed: (reason: string) => void) {
	let over = false;
	return {
		get over() {
			return over;
		},
		close(how: Ending) {
			if (over) return;
			over = true;
			if (how === "leave") requester.leave();
			requester.abort();
		},
		lost(reason: string) {
			if (over) return;
			over = true;
			requester.abort();
			closed(reason);
		},
	};
}

/** connectionOf makes a connection of a pipe that is written by write. */
export function connectionOf(write: Pipe["write"], close: Connection["close"]): Connection {
	return { pipe: { write, end: () => close("leave"), abort: () => close("cut") }, close };
}

/** So many uploads are under way, of so many bytes at most: two of them are within what a server holds beyond a gap. */
const maxUploads = 2;
const maxUploadBytes = 131_072;
const queuedBytes = 65_536;

/** An upload without an answer is sent again so often, after a pause that doubles. */
const uploadTries = 6;
const uploadPauseMs = 100;

/** An Uploader sends bytes in requests of their own. */
export interface Uploader {
	/** write resolves when there is room for more. */
	write(b: Bytes): Promise<void>;
}

/** createUploader sends what is written from an offset on. Everything that waits goes into one request. */
export function createUploader(requester: Requester, lost: (reason: string) => void, from = 0): Uploader {
	let queue: Bytes[] = [];
	let queued = 0;
	let offset = from;
	let under = 0; // way
	const waiters: (() => void)[] = [];
	let failed: Error | undefined;

	const fail = (why: string) => {
		if (failed) return;
		failed = new Error(why);
		for (const w of waiters.splice(0)) w();
		lost(why);
	};

	/** upload sends bytes until the server has taken them: the same bytes at the same offset may come twice. */
	const upload = async (at: number, body: Bytes) => {
		for (let tries = 1, pause = uploadPauseMs; ; tries++, pause *= 2) {
			try {
				const response = await requester.request("POST", { "sluice-offset": `${at}` }, { body });
				if (response.ok) return;
				// A 503 of the server itself, which has no memory, tells what was taken; another one is of something on the way.
				const later = response.status === 409 || (response.status === 503 && response.headers.has("sluice-taken"));
				if (!later || tries === uploadTries) return fail(`an upload was refused with ${await reasonOf(response)}`);
			} catch (err) {
				if (failed) return;
				if (tries === uploadTries) return fail(`an upload failed: ${messageOf(err)}`);
			}
			await new Promise((resolve) => setTimeout(resolve, pause));
		}
	};

	const take = (): Bytes => {
		const parts: Bytes[] = [];
		let n = 0;
		for (let b = queue[0]; b && (n === 0 || n + b.length <= maxUploadBytes); b = queue[0]) {
			parts.push(b);
			n += b.length;
			queue.shift();
		}
		queued -= n;
		return concat(parts) as Bytes;
	};

	const pump = () => {
		while (under < maxUploads && queued > 0 && !failed) {
			const body = take();
			const at = offset;
			offset += body.length;
			under++;
			void upload(at, body).then(() => {
				under--;
				pump();
			});
		}
		if (queued <= queuedBytes || failed) for (const w of waiters.splice(0)) w();
	};

	return {
		async write(b) {
			if (failed) throw failed;
			// In pieces: what is sent beside a larger upload would begin too far ahead of what was taken, and be refused.
			for (let at = 0; at < b.length; at += maxUploadBytes) queue.push(b.subarray(at, at + maxUploadBytes));
			queued += b.length;
			pump();
			while (queued > queuedBytes && !failed) await new Promise<void>((resolve) => waiters.push(resolve));
			if (failed) {
				queue = [];
				throw failed;
			}
		},
	};
}

/** firstByteMs is how long the first byte of a download may take: else something on the way keeps answers until they are whole. */
export const firstByteMs = 2000;

/**
 * openDownload makes the streaming GET. It resolves when its first byte is there, which means nothing, with what came behind it. late is
 * told if that takes too long, and has to abort the requests.
 */
export async function openDownload(
	requester: Requester,
	late: (reason: string) => void,
): Promise<{ reader: ReadableStreamDefaultReader<Uint8Array>; first: Uint8Array }> {
	const timer = setTimeout(() => {
		requester.leave();
		late(
			`no byte came in ${firstByteMs} ms: something on the way keeps answers until they are whole; try createLongPoll`,
		);
	}, firstByteMs);
	try {
		const response = await requester.request("GET", { "sluice-offset": "0" });
		if (response.status !== 200 || !response.body)
			throw new Error(`the download was refused with ${await reasonOf(response)}`);
		const reader = response.body.getReader();
		const first = await reader.read();
		if (first.done) throw new Error("the download was empty");
		return { reader, first: first.value.subarray(1) };
	} finally {
		clearTimeout(timer);
	}
}

/** download reads the streaming GET. It resolves when the pipe is open. */
export async function download(
	requester: Requester,
	data: (b: Uint8Array) => void,
	lost: (reason: string) => void,
): Promise<void> {
	const { reader, first } = await openDownload(requester, lost);
	void readOn(reader, first, data, lost);
}

async function readOn(
	reader: ReadableStreamDefaultReader<Uint8Array>,
	first: Uint8Array,
	data: (b: Uint8Array) => void,
	lost: (reason: string) => void,
): Promise<void> {
	let why = "the server has ended the session";
	try {
		if (first.length > 0) data(first);
		for (let part = await reader.read(); !part.done; part = await reader.read()) data(part.value);
	} catch (err) {
		why = `the download broke: ${messageOf(err)}`;
	}
	lost(why);
}
