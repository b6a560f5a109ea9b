// What a client of npm http2-duplex can see of a server that echoes its bytes: the assertions of the
// package's own tests (test/runner.cjs) that need nothing but the client, and echoes of some sizes. They run in Node and in a page.

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function assert(ok, text) {
	if (!ok) throw new Error(text);
}

function equal(got, want, what) {
	assert(Object.is(got, want), `${what}: ${got}, want ${want}`);
}

function randomBytes(n) {
	const b = new Uint8Array(n);
	for (let i = 0; i < n; i += 65536) crypto.getRandomValues(b.subarray(i, Math.min(i + 65536, n)));
	return b;
}

const hex = (b) => Array.from(new Uint8Array(b), (x) => x.toString(16).padStart(2, "0")).join("");

async function sha256(chunks) {
	const all = new Uint8Array(chunks.reduce((n, c) => n + c.length, 0));
	let at = 0;
	for (const c of chunks) {
		all.set(c, at);
		at += c.length;
	}
	return hex(await crypto.subtle.digest("SHA-256", all));
}

/** once waits for an event, or for an error if that is not what is waited for. */
const once = (d, event) =>
	new Promise((resolve, reject) => {
		const done = (value) => {
			d.removeListener("error", reject);
			resolve(value);
		};
		d.once(event, done);
		if (event !== "error") d.on("error", reject);
	});

/** collect takes all that comes until the end. */
function collect(d) {
	const chunks = [];
	d.on("data", (b) => chunks.push(Uint8Array.from(b)));
	return once(d, "end").then(() => chunks);
}

/** echo sends chunks as they are written and wants the same bytes back. */
async function echo(d, chunks, write) {
	const back = collect(d);
	await write(d, chunks);
	equal(await sha256(await back), await sha256(chunks), "SHA-256 of what came back");
}

const end = (d, chunk) => new Promise((resolve, reject) => {
	d.once("error", reject);
	d.end(chunk, resolve);
});

/** patiently writes as Node's streams ask for it. */
async function patiently(d, chunks) {
	for (const [i, c] of chunks.entries()) {
		if (!d.write(c) && i < chunks.length - 1) await once(d, "drain");
	}
	await end(d);
}

/** flowing writes without looking. */
async function flowing(d, chunks) {
	for (const c of chunks) d.write(c);
	await end(d);
}

/** pieces cuts n random bytes into random pieces of at most most bytes. */
function pieces(n, most) {
	const chunks = [];
	while (n > 0) {
		const size = Math.min(1 + Math.floor(Math.random() * most), n);
		chunks.push(randomBytes(size));
		n -= size;
	}
	return chunks;
}

const backpressure = (drainsWanted) => async ({ open }) => {
	const d = await open({ highWaterMark: drainsWanted === 66 ? 50 : 100 });
	const chunks = Array.from({ length: 100 }, (_, i) => randomBytes(i));
	let drains = 0;
	d.on("drain", () => ++drains);
	await echo(d, chunks, patiently);
	equal(drains, drainsWanted, "drain events");
};

/**
 * Each case gets open(options), which makes a duplex; fetch and url, of the echo; batched, which
 * says that the client makes a POST of each chunk; and ResponseError.
 */
export const cases = {
	"single byte": async ({ open }) => {
		const d = await open();
		const back = collect(d);
		await end(d, Uint8Array.of(0x6b));
		equal(hex(new Uint8Array((await back).flatMap((c) => [...c]))), "6b", "what came back");
	},
	"keys typed come back one by one": async ({ open }) => {
		const d = await open();
		for (const key of "hello") {
			const came = once(d, "data");
			d.write(key);
			equal(String.fromCharCode(...(await came)), key, "the key");
		}
		const over = once(d, "end");
		d.end();
		await over;
	},
	"multiple bytes": async ({ open }) => echo(await open(), pieces(20 * 1024, 200), patiently),
	"flow": async ({ open }) => echo(await open(), pieces(20 * 1024, 200), flowing),
	"echo of 1 B": async ({ open }) => echo(await open(), pieces(1, 1), patiently),
	"echo of 100 kB": async ({ open }) => echo(await open(), pieces(100_000, 2048), flowing),
	"pipe of 1 MB": async ({ open }) => echo(await open(), pieces(1024 * 1024, 65535), patiently),
	"write backpressure": backpressure(34),
	"write backpressure (different hwm)": backpressure(66),
	"five at a time": async ({ open }) => {
		await Promise.all(Array.from({ length: 5 }, async () => echo(await open(), pieces(20_000, 2000), patiently)));
	},
	"read by little": async ({ open }) => {
		const d = await open();
		const sent = pieces(300_000, 30_000);
		const chunks = [];
		const over = once(d, "end");
		const written = flowing(d, sent);
		await sleep(300); // the window fills
		d.on("readable", () => {
			for (let b; (b = d.read(Math.min(1000, d.readableLength || 1))) !== null; ) chunks.push(Uint8Array.from(b));
		});
		await Promise.all([written, over]);
		equal(await sha256(chunks), await sha256(sent), "SHA-256 of what came back");
	},
	"emit client read error": async ({ open }) => {
		const d = await open();
		const read = d.reader.read;
		d.reader.read = () => {
			throw new Error("foo");
		};
		const failed = once(d, "error");
		d.resume();
		equal((await failed).message, "foo", "the error");
		d.reader.read = read;
	},
	"emit client write error": async ({ open, batched, ResponseError }) => {
		if (!batched) return; // its only upload goes on
		const d = await open();
		const id = d.id;
		d.id += "x";
		d.on("error", () => {});
		const err = await new Promise((resolve) => d.write("hello", resolve));
		d.id = id;
		assert(err instanceof ResponseError, String(err));
		equal(err.response.status, 404, "status");
	},
	"emit client end error": async ({ open, batched, ResponseError }) => {
		if (!batched) return;
		const d = await open();
		const id = d.id;
		d.id += "x";
		const failed = once(d, "error");
		d.end();
		const err = await failed;
		d.id = id;
		assert(err instanceof ResponseError, String(err));
		equal(err.response.status, 404, "status");
	},
	"emit client make error": async ({ open, ResponseError }) => {
		const err = await open({}, "_does_not_exist").then(() => null, (e) => e);
		assert(err instanceof ResponseError, String(err));
		equal(err.response.status, 404, "status");
	},
	"the server's error": async ({ open }) => {
		const d = await open({ headers: { "x-fail": "7" } });
		const failed = once(d, "error");
		d.resume();
		d.end();
		assert((await failed) instanceof Error, "no error");
	},
	"metadata": async ({ fetch, url }) => {
		const response = await fetch(url, { headers: { "x-echo": "1" } });
		equal(response.status, 200, "status");
		equal(atob(response.headers.get("http2-duplex-id")).length, 64, "bytes of the id");
		const reader = response.body.getReader();
		const { value } = await reader.read();
		equal(value.length, 1, "bytes before the pipe's");
		await reader.cancel();
	},
	"unknown method": async ({ fetch, url }) => {
		equal((await fetch(url, { method: "HEAD" })).status, 405, "status");
	},
	"end when client-side destroyed": async ({ open, fetch, url }) => {
		const d = await open();
		d.on("error", () => {});
		d.resume();
		const closed = new Promise((resolve) => d.once("close", resolve));
		d.destroy();
		await closed;
		for (let n = 0; ; n++) {
			const { status } = await fetch(url, { method: "POST", headers: { "http2-duplex-id": d.id, "content-type": "application/octet-stream" }, body: Uint8Array.of(1) });
			if (status === 404) return;
			assert(n < 50, `an upload after the end is still ${status}`);
			await sleep(100);
		}
	},
	"should not error if _final called twice": async ({ open, batched }) => {
		const d = await open();
		d.resume();
		const over = once(d, "end");
		d.end();
		await over;
		const err = await new Promise((resolve) => d._final(resolve));
		if (batched) equal(err.response.status, 404, "status");
		else equal(/close/i.test(err.message), true, err.message);
	},
	"uploads on many connections": async ({ open, fetch, url, batched }) => {
		if (!batched) return;
		const d = await open();
		const back = collect(d);
		for (let i = 0; i < 20; i++) {
			const response = await fetch(`${url}?${i % 7}`, {
				method: "POST", headers: { "http2-duplex-id": d.id, "content-type": "application/octet-stream" }, body: Uint8Array.of(i),
			});
			equal(response.status, 200, "status");
		}
		await end(d);
		equal(hex(new Uint8Array((await back).flatMap((c) => [...c]))), hex(Uint8Array.from({ length: 20 }, (_, i) => i)), "what came back");
	},
};
