// Raw bytes over plain HTTP requests: docs/protocols/http2-duplex.md, one streaming GET down and POSTs up.

import type { Bytes } from "./carrier.js";
import { createRequester, createUploader, type HttpOptions, messageOf, openDownload, Refused } from "./http.js";
import type { RawStream } from "./raw.js";
import { Code, codeName, StatusError, statusOf } from "./status.js";
import { codeOfHTTP } from "./stream-error.js";

/** openRawHttp opens a session of raw bytes. */
export async function openRawHttp(endpoint: URL, options: HttpOptions, signal: AbortSignal): Promise<RawStream> {
	const requester = createRequester(endpoint, options);
	let over = false;
	let clean = false; // the server has ended the stream
	let ending = false; // our direction
	let said: StatusError | undefined; // by the answer to an upload
	let fail: (err: Error) => void = () => {};
	const failed = new Promise<Error>((resolve) => {
		fail = resolve;
	});

	const leave = () => {
		if (over) return;
		over = true;
		requester.leave();
		requester.abort();
		fail(new StatusError(statusOf(Code.cancelled, "the stream was given up")));
	};

	const abort = () => requester.abort();
	if (signal.aborted) abort();
	signal.addEventListener("abort", abort, { once: true });
	let opened: Awaited<ReturnType<typeof openDownload>>;
	let late: string | undefined;
	try {
		opened = await openDownload(requester, (why) => {
			late = why;
			requester.abort();
		});
	} catch (err) {
		if (signal.aborted) leave(); // the server may have begun it
		requester.abort();
		if (late) throw new Error(late);
		throw err instanceof Refused ? new StatusError(statusOf(codeOfRefusal(err.status), err.message)) : err;
	} finally {
		signal.removeEventListener("abort", abort);
	}
	const { reader } = opened;
	let first: Uint8Array | undefined = opened.first.length > 0 ? opened.first : undefined;

	const uploader = createUploader(requester, (why) => {
		if (clean) return; // the session is over, and so is what its uploads say
		said = new StatusError(statusOfUpload(why));
		fail(said);
		requester.abort(); // nothing more can be sent, and the download would not tell
	});

	/** orFailed gives what the stream failed with, and not what its requests did. */
	const orFailed = async (work: Promise<unknown>) => {
		try {
			await work;
		} catch {
			throw await failed;
		}
	};

	return {
		failed,
		async read() {
			if (first) {
				const b = first;
				first = undefined;
				return b;
			}
			try {
				const part = await reader.read();
				if (!part.done) return part.value;
			} catch (err) {
				const broke = said ?? new StatusError(statusOf(Code.unavailable, `the download broke: ${messageOf(err)}`));
				over = true;
				fail(broke);
				requester.abort();
				throw broke;
			}
			over = clean = true;
			if (!ending) fail(new StatusError(statusOf(Code.cancelled, "the server has ended the stream")));
			return undefined;
		},
		write: (b: Bytes) => orFailed(uploader.write(b)),
		async end() {
			ending = true;
			await orFailed(uploader.end().catch((err) => clean || Promise.reject(err)));
		},
		leave,
	};
}

/** codeOfRefusal is what a refused GET means: the gateway tells methods that it does not know, or that are not of bytes. */
function codeOfRefusal(status: number): number {
	return status === 404 ? Code.notFound : status === 501 ? Code.unimplemented : codeOfHTTP(status);
}

/** statusOfUpload reads what the answer to an upload says of a call that has failed: 502, and its status. */
function statusOfUpload(why: string) {
	const [, name, message = ""] = /: ([A-Z_]+): (.*)$/s.exec(why) ?? [];
	const code = Object.values(Code).find((c) => codeName(c) === name);
	return code === undefined ? statusOf(Code.unavailable, why) : statusOf(code, message);
}
