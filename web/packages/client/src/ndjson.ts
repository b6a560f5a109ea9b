// Streams of the gateway in lines of JSON: docs/protocols/rest-streams.md.

import { defaultMaxBytes } from "./event-stream.js";
import { createLines } from "./lines.js";
import { exchange, parsed, reading, type RequestOptions } from "./request.js";
import { Code } from "./status.js";
import { errorOfResponse, errorOfStatus, isObject, StreamError } from "./stream-error.js";

/** NdjsonOptions are those of ndjson. */
export interface NdjsonOptions<T> extends RequestOptions {
	/** What makes a message of a line: JSON.parse if missing. */
	readonly parse?: ((line: string) => T) | undefined;
	/** How many bytes a line may have: 8388608 if missing. */
	readonly maxLineBytes?: number | undefined;
}

/**
 * ndjson reads a stream in lines of JSON. It throws a StreamError if the server says that the call has failed, or if the connection
 * breaks: such a stream can't be continued. Leaving the loop early cancels the call.
 *
 *     for await (const tick of ndjson<Tick>("https://api.example.com/v1/ticker?count=3")) show(tick.number);
 */
export function ndjson<T = unknown>(url: string | URL, options: NdjsonOptions<T> = {}): AsyncIterableIterator<T> {
	return reading((signal) => readLines(url, options, signal), options.signal);
}

async function* readLines<T>(
	url: string | URL,
	options: NdjsonOptions<T>,
	signal: AbortSignal,
): AsyncGenerator<T, void> {
	const lines = createLines(options.maxLineBytes ?? defaultMaxBytes, "maxLineBytes", "lf");
	const { response, content, close } = await exchange(url, options, "application/x-ndjson", {}, signal);
	try {
		if (!response.ok) throw await errorOfResponse(response);
		const type = response.headers.get("content-type") ?? "";
		if (!/^application\/(x-ndjson|jsonl)\s*(;|$)/i.test(type)) {
			throw new StreamError(Code.internal, `the answer is ${type || "of no type"}, and not application/x-ndjson`);
		}
		for await (const b of content) {
			for (const line of lines.feed(b)) {
				if (/^\s*$/.test(line)) continue; // a sign of life
				const failure = failureOf(line);
				if (failure) throw failure;
				yield parsed(line, options.parse);
			}
		}
		if (lines.rest > 0) throw new StreamError(Code.unavailable, "the connection broke: the last line has no end");
	} finally {
		close();
	}
}

/** failureOf reads the mark of a stream that failed. No field of protobuf has that name. */
function failureOf(line: string): StreamError | undefined {
	if (!/^\s*\{\s*"@error"/.test(line)) return undefined;
	const mark = parsed<unknown>(line, undefined);
	return isObject(mark) && "@error" in mark ? errorOfStatus(mark["@error"]) : undefined;
}
