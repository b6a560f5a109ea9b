import assert from "node:assert/strict";
import { test } from "node:test";
import { openDuplex } from "./open-duplex.js";

/** serve is a fetch that keeps what comes up. Uploads wait until they are let go; the first try of each fails. */
function serve() {
	const uploads: Uint8Array[] = [];
	let go = () => {};
	const gone = new Promise<void>((resolve) => {
		go = resolve;
	});
	const tried = new Set<string>();
	let down: ReadableStreamDefaultController<Uint8Array> | undefined;
	const fetch = async (_: unknown, init: RequestInit = {}) => {
		if (init.method === "GET") {
			const body = new ReadableStream<Uint8Array>({
				start(c) {
					down = c;
					c.enqueue(Uint8Array.of(0x2e));
				},
			});
			return new Response(body);
		}
		const { body } = init;
		if (body instanceof Uint8Array) {
			await gone;
			const { "sluice-offset": offset = "" } = init.headers as Record<string, string>;
			if (!tried.has(offset)) {
				tried.add(offset);
				throw new TypeError("fetch failed");
			}
			uploads[Number(offset)] = new Uint8Array(body);
		}
		return new Response(null, { status: 204 });
	};
	return { uploads, go, fetch: fetch as typeof globalThis.fetch, end: () => down?.close() };
}

const text = (parts: Uint8Array[]) => parts.map((b) => new TextDecoder().decode(b)).join("");

test("openDuplex over HTTP: a buffer may be used again once it is written", async () => {
	const { uploads, go, fetch, end } = serve();
	const { readable, writable } = await openDuplex("http://gateway/", { fetch, carriers: ["http"] });
	const writer = writable.getWriter();
	const buffer = new Uint8Array(3);
	for (const word of ["one", "two", "six", "ten"]) {
		new TextEncoder().encodeInto(word, buffer);
		await writer.write(buffer);
	}
	go();
	await writer.close();
	assert.equal(text(uploads), "onetwosixten");
	end();
	assert.equal((await readable.getReader().read()).done, true);
});

test("openDuplex: an ArrayBuffer is bytes, and what is no bytes is refused", async () => {
	const { uploads, go, fetch, end } = serve();
	go();
	const { readable, writable } = await openDuplex("http://gateway/", { fetch, carriers: ["http"] });
	const writer = writable.getWriter() as WritableStreamDefaultWriter<unknown>;
	await writer.write(new Uint8Array(0));
	await writer.write(new TextEncoder().encode("buffer").buffer);
	await writer.close();
	assert.equal(text(uploads), "buffer");
	end();
	await readable.cancel();

	for (const chunk of [new Blob(["a"]), new DataView(new ArrayBuffer(1)), 1, "", undefined]) {
		const other = await openDuplex("http://gateway/", { fetch: serve().fetch, carriers: ["http"] });
		const refused = (other.writable.getWriter() as WritableStreamDefaultWriter<unknown>).write(chunk);
		await assert.rejects(refused, /has to be bytes/);
		await other.readable.cancel();
	}
});
