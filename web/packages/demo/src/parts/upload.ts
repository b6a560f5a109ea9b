// An upload: pieces of a file as the messages of one call, as fast as the server takes them.

import { Code, ConnectError } from "@connectrpc/connect";
import type { Connection } from "../connection.js";
import { element, reasonOf } from "../dom.js";

const randomBytes = 4_000_000;
const pieceBytes = 32_768;
const mostBytes = 268_435_456; // what the server takes

/** startUpload wires the form. */
export function startUpload({ client }: Connection): void {
	const file = element<HTMLInputElement>("upload-file");
	const note = element("upload-note");
	const button = element("upload-run");
	const progress = element<HTMLProgressElement>("upload-progress");
	let abort: AbortController | undefined;

	const upload = async (signal: AbortSignal) => {
		const bytes = await bytesOf(file.files?.[0]);
		const bytesPerSecond = Number(element<HTMLSelectElement>("upload-pace").value);
		const began = performance.now();
		// Connect asks for the next piece when the connection has room for it: so this is what has left, but for a buffer.
		async function* pieces() {
			yield { bytesPerSecond };
			for (let at = 0; at < bytes.length; at += pieceBytes) {
				yield { chunk: bytes.subarray(at, at + pieceBytes) };
				progress.value = at / bytes.length;
				const rate = at / ((performance.now() - began) / 1000);
				note.textContent = `${megabytes(at)} of ${megabytes(bytes.length)}, ${megabytes(rate)}/s`;
			}
		}
		const { size, sha256 } = await client.upload(pieces(), { signal });
		const seconds = ((performance.now() - began) / 1000).toFixed(1);
		const own = await digestOf(bytes);
		progress.value = 1;
		note.ariaLive = "polite"; // the end is said, and not each step
		const same = own === undefined ? "" : own === sha256 ? ", the same SHA-256" : ", but another SHA-256";
		note.textContent = `${megabytes(size)} in ${seconds} s${same}`;
		note.title = `SHA-256 ${sha256}`;
		note.classList.toggle("good", own === sha256 && size === bytes.length);
	};

	const run = async () => {
		const own = new AbortController();
		abort = own;
		button.textContent = "Stop";
		progress.value = 0;
		note.className = "note";
		note.ariaLive = "off";
		try {
			await upload(own.signal);
		} catch (err) {
			note.classList.add("bad");
			note.textContent = ConnectError.from(err).code === Code.Canceled ? "stopped" : reasonOf(err);
		}
		abort = undefined;
		button.textContent = "Upload";
	};

	file.addEventListener("change", () => {
		element("upload-name").textContent = file.files?.[0]?.name ?? "4 MB of random bytes";
	});
	element("upload-form").addEventListener("submit", (event) => {
		event.preventDefault();
		if (abort) abort.abort();
		else void run();
	});
}

async function bytesOf(file: File | undefined): Promise<Uint8Array<ArrayBuffer>> {
	if (file && file.size > mostBytes) throw new Error(`the demo takes ${megabytes(mostBytes)} at most`);
	if (file) return new Uint8Array(await file.arrayBuffer());
	const bytes = new Uint8Array(randomBytes);
	// No more are given at once.
	for (let at = 0; at < bytes.length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, at + 65_536));
	return bytes;
}

/** digestOf is undefined where the page has no crypto.subtle: over HTTP from another machine. */
async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string | undefined> {
	if (!globalThis.crypto.subtle) return undefined;
	const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
	return [...digest].map((b) => b.toString(16).padStart(2, "0")).join("");
}

const megabytes = (n: number) => `${(n / 1e6).toFixed(1)} MB`;
