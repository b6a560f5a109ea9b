// Raw bytes over plain HTTP requests: docs/protocols/http2-duplex.md, one streaming GET down and POSTs up.

import type { Bytes } from "./carrier.js";
import { createRequester, createUploader, type HttpOptions, openDownload, reasonOf, type Requester } from "./http.js";
import { messageOf } from "./message-of.js";
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
		const [, status] = /refused with (\d+)/.exec(messageOf(err)) ?? [];
		throw status ? new StatusError(statusOf(codeOfRefusal(Number(status)), messageOf(err))) : err;
	} finally {
		signal.removeEventListener("abort", abort);
	}
	const { reader } = opened;
	let first: Uint8Array | undefined = opened.first.length > 0 ? opened.first : undefined;

	let written = 0;
	const lost = (why: string) => {
		if (clean) return; // the session is over, and so is what its uploads say
		said = new StatusError(statusOfUpload(why));
		fail(said);
		requester.abort(); // nothing more can be sent, and the download would not tell
	};
	let taken = 0; // of what was written
	let wake: (() => void) | undefined;
	const uploader = createUploader(
		{
			...requester,
			async request(method, fields, init) {
				const response = await requester.request(method, fields, init);
				if (response.ok && init?.body instanceof Uint8Array) taken += init.body.length;
				if (taken === written) wake?.();
				return response;
			},
		},
		lost,
	);

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
		write(b: Bytes) {
			written += b.length;
			// A copy, because it may have to be sent again when the caller's buffer has something else in it.
			return orFailed(uploader.write(b.slice()));
		},
		async end() {
			ending = true;
			// Not before: where there are few connections it would hold the one that its bytes need.
			if (taken < written) await Promise.race([failed, new Promise<void>((resolve) => (wake = resolve))]);
			if (over && !clean) throw await failed;
			try {
				await endUp(requester, written);
			} catch (err) {
				if (clean) return;
				lost(messageOf(err));
				throw await failed;
			}
		},
		leave,
	};
}

/** An end without an answer is sent again so often, after a pause. */
const endTries = 6;
const endPauseMs = 200;

/** endUp ends the direction behind so many bytes, and resolves when the server has taken them all. */
async function endUp(requester: Requester, written: number): Promise<void> {
	const fields = { "sluice-offset": `${written}`, "sluice-end": "1" };
	for (let tries = 1; ; tries++) {
		let why: string;
		try {
			const response = await requester.request("POST", fields);
			if (response.ok) return;
			why = `the end was refused with ${await reasonOf(response)}`;
			tries = endTries;
		} catch (err) {
			why = `the end of the upload failed: ${messageOf(err)}`;
		}
		if (tries >= endTries) throw new Error(why);
		await new Promise((resolve) => setTimeout(resolve, endPauseMs));
	}
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
