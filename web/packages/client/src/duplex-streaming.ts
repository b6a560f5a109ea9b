// The carrier of docs/protocols/http2-duplex.md with a streaming download and one streaming upload.

import type { Bytes, Carrier } from "./carrier.js";
import { concat } from "./frames.js";
import {
	connectionOf,
	createEnding,
	createRequester,
	createUploader,
	download,
	type HttpOptions,
	type Requester,
	type Uploader,
} from "./http.js";
import { messageOf } from "./message-of.js";
import { createMultiplexed } from "./multiplexed.js";

/** How long the first bytes of the upload may take to be taken, and how often the server is asked. */
const probeMs = 2000;
const probePauseMs = 50;

/** Until the upload is proven, so many bytes are kept to send them otherwise. */
const keptBytes = 131_072;

/**
 * canStreamRequests says whether fetch streams the body of a request here. Others make text of the stream.
 */
export function canStreamRequests(): boolean {
	let asked = false;
	try {
		const init = {
			method: "POST",
			body: new ReadableStream(),
			get duplex() {
				asked = true;
				return "half";
			},
		};
		const typed = new Request("http://localhost", init).headers.has("content-type");
		return asked && !typed;
	} catch {
		return false;
	}
}

/**
 * createStreamingDuplex makes a carrier of two HTTP requests: a streaming GET, and a streaming POST. Where the platform has no
 * streaming POST, or something on the way keeps it until it is whole, uploads are requests of their own.
 */
export function createStreamingDuplex(options: HttpOptions = {}): Carrier {
	// A browser that has refused once would refuse, and write it to its console, at each connection: over HTTP/1.1.
	let refused = !canStreamRequests();
	const refuse = () => {
		refused = true;
	};
	return {
		name: "duplex-streaming",
		calls: createMultiplexed,
		connectMs: options.connectMs ?? 5000,
		async connect(endpoint, events, signal) {
			const requester = createRequester(endpoint, options);
			const ending = createEnding(requester, events.closed);
			signal.addEventListener("abort", () => ending.close("cut"), { once: true });
			await download(requester, (b) => ending.over || events.data(b), ending.lost);
			const uploader = refused ? createUploader(requester, ending.lost) : createStream(requester, ending.lost, refuse);
			return connectionOf(uploader.write, ending.close);
		},
	};
}

/**
 * createStream sends what is written in one request, once it is proven that it arrives. It calls refused if such a request
 * can't be made at all.
 */
function createStream(requester: Requester, lost: (reason: string) => void, refused: () => void): Uploader {
	const abort = new AbortController();
	let controller: ReadableStreamDefaultController<Bytes> | undefined;
	let room: (() => void) | undefined;
	let kept: Bytes[] = [];
	let written = 0;
	let proven = false;
	let plain: Uploader | undefined;
	let over = false;

	const wake = () => {
		room?.();
		room = undefined;
	};

	const fail = (why: string) => {
		if (over) return;
		over = true;
		wake();
		lost(why);
	};

	const body = new ReadableStream<Bytes>(
		{
			start(c) {
				controller = c;
			},
			pull: wake,
		},
		{ highWaterMark: 1 },
	);

	/** fallBack sends what was written in requests of their own. What the streaming one still brings is no harm. */
	const fallBack = async () => {
		if (plain || over) return;
		abort.abort();
		const all = concat(kept) as Bytes;
		kept = [];
		plain = createUploader(requester, lost);
		wake();
		if (all.length > 0) await plain.write(all).catch(() => {});
	};

	const run = async () => {
		try {
			const response = await requester.request(
				"POST",
				{ "sluice-offset": "0" },
				{ body, duplex: "half", signal: abort.signal },
			);
			if (proven) fail(`the upload was answered with ${response.status}`);
			else await fallBack();
		} catch (err) {
			if (proven) return fail(`the upload broke: ${messageOf(err)}`);
			const given = abort.signal.aborted; // up, by fallBack
			await fallBack();
			if (given) return;
			const asked = await requester.request("POST", { "sluice-offset": "0" }).catch(() => undefined);
			if (asked?.ok) refused(); // it was not the network
		}
	};

	/** probe asks how much was taken: an upload without content tells. */
	const probe = async () => {
		const until = Date.now() + probeMs;
		const first = written;
		while (!plain && !over && Date.now() < until) {
			const asked = await requester.request("POST", { "sluice-offset": "0" }).catch(() => undefined);
			if (Number(asked?.headers.get("sluice-taken") ?? 0) >= first) {
				proven = true;
				kept = [];
				return wake();
			}
			await new Promise((resolve) => setTimeout(resolve, probePauseMs));
		}
		await fallBack();
	};

	void run();
	return {
		async write(b) {
			if (plain) return plain.write(b);
			const begins = written === 0;
			written += b.length;
			if (!proven) kept.push(b);
			controller?.enqueue(b);
			if (begins) void probe();
			const full = () => !over && !plain && (proven ? (controller?.desiredSize ?? 0) <= 0 : written > keptBytes);
			while (full()) {
				await new Promise<void>((resolve) => {
					room = resolve;
				});
			}
			if (over) throw new Error("the upload is over");
		},
	};
}
