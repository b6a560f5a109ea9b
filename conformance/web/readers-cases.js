// What sse, ndjson and openDuplex have to do, in Node and in pages. A case gets them with the places that it needs: feed, the gateway in
// front of the feed; relay, the same through a relay that cuts connections, and its control; duplexes, by name.

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function assert(ok, text) {
	if (!ok) throw new Error(text);
}

function equal(got, want, what) {
	const [a, b] = [JSON.stringify(got), JSON.stringify(want)];
	assert(a === b, `${what}: ${a}, want ${b}`);
}

let keys = 0;
const run = Math.random().toString(36).slice(2);

/** watch makes the URL of a feed of its own. */
function watch(base, parameters) {
	const key = `${run}-${++keys}`;
	return { url: `${base}/v1/feed?${new URLSearchParams({ key, ...parameters })}`, key };
}

/** calls asks what happened to the calls of a feed. */
async function calls(base, key, cancelled = 0) {
	const { started = 0, cancelled: ended = 0, lastEventIds = [] } = await (await fetch(`${base}/v1/calls/${key}?cancelled=${cancelled}`)).json();
	return { started, cancelled: ended, lastEventIds };
}

/** all reads to the end, which is an error or undefined. */
async function all(iterable) {
	const got = [];
	try {
		for await (const value of iterable) got.push(value);
	} catch (error) {
		return { got, error };
	}
	return { got };
}

const numbers = (count) => Array.from({ length: count }, (_, i) => String(i + 1));

function failed(error, StreamError, code, message) {
	assert(error instanceof StreamError, `the end is ${error}`);
	equal(error.code, code, `the code of ${error}`);
	assert(error.message.includes(message), error.message);
}

const quick = { retryMs: 20, maxRetryMs: 50 };

function randomBytes(n) {
	const b = new Uint8Array(n);
	for (let i = 0; i < n; i += 65536) crypto.getRandomValues(b.subarray(i, Math.min(i + 65536, n)));
	return b;
}

/** hash is FNV-1a, since a page without TLS has no other. */
function hash(h, b) {
	for (let i = 0; i < b.length; i++) h = Math.imul(h ^ b[i], 16777619);
	return h;
}
const start = 2166136261 | 0;

/** echo sends bytes in pieces, and wants the same ones back. */
async function echo({ readable, writable }, total, piece) {
	let sent = start, got = start, count = 0;
	const sending = (async () => {
		const writer = writable.getWriter();
		const block = randomBytes(20 * piece);
		for (let at = 0; at < total; at += piece) {
			const b = block.slice(at % block.length).subarray(0, Math.min(piece, total - at));
			sent = hash(sent, b);
			await writer.write(b);
		}
		await writer.close();
	})();
	for (const reader = readable.getReader(); ;) {
		const { done, value } = await reader.read();
		if (done) break;
		got = hash(got, value);
		count += value.length;
	}
	await sending;
	equal(count, total, "bytes that came back");
	equal(got, sent, "their hash");
}

export const streams = {
	async "sse: a marked end is no reason to come back"({ sse, feed }) {
		const { url, key } = watch(feed, { count: 3, quiet_ms: 700 }); // two heartbeats
		const { got, error } = await all(sse(url));
		equal([got.map(({ data, event, id }) => [data.number, event, id]), error], [[["1", "message", "1"], ["2", "message", "2"], ["3", "message", "3"]], undefined], "events");
		await sleep(200);
		equal((await calls(feed, key)).started, 1, "calls");
	},
	async "sse: the server's names and ids, and a failure that passes"({ sse, feed }) {
		const { url, key } = watch(feed, { count: 4, cut_after: 3, names: true });
		const reasons = [];
		const { got, error } = await all(sse(url, { ...quick, onReconnect: ({ reason }) => reasons.push(reason.code) }));
		equal([got.map(({ event, id }) => [event, id]), error], [[["odd", "c-1"], ["even", "c-2"], ["odd", "c-3"], ["even", "c-4"]], undefined], "events");
		equal([(await calls(feed, key)).lastEventIds, reasons], [["", "c-3"], [14]], "reconnects");
	},
	async "sse: cut by the network, no event is missing and none doubled"({ sse, feed, relay }) {
		const { url, key } = watch(relay.url, { count: 300, every_ms: 1, size: 100 });
		await relay.control({ cutAfter: 9000 });
		let reconnects = 0;
		const { got, error } = await all(sse(url, { ...quick, onReconnect: () => reconnects++ }));
		await relay.control({});
		equal([got.map(({ data }) => data.number), error], [numbers(300), undefined], "numbers");
		assert(reconnects >= 4, `${reconnects} reconnects`);
		equal((await calls(feed, key)).started, reconnects + 1, "calls");
	},
	async "sse: errors"({ sse, feed, StreamError }) {
		const late = await all(sse(watch(feed, { count: 2, fail: 5 }).url));
		failed(late.error, StreamError, 5, "as asked");
		equal(late.got.length, 2, "messages before it");
		failed((await all(sse(watch(feed, { fail: 3 }).url))).error, StreamError, 3, "as asked");
		failed((await all(sse(`${feed}/v1/feed?nothing=1`))).error, StreamError, 3, "nothing");
		failed((await all(sse(`${feed}/v1/calls/x`, { headers: { accept: "application/json" } }))).error, StreamError, 13, "application/json");
	},
	async "sse: headers, method and body"({ sse, feed, StreamError }) {
		const { url } = watch(feed, { count: 1e6, every_ms: 20 });
		failed((await all(sse(url, { headers: { "grpc-timeout": "200m" } }))).error, StreamError, 4, "");
		const { got, error } = await all(sse(`${feed}/feed.v1.Feed/Watch`, { body: JSON.stringify({ key: `${run}-body`, count: 3 }), headers: () => ({ "x-a": "1" }) }));
		equal([got.map(({ data }) => data.number), error], [numbers(3), undefined], "numbers");
	},
	async "sse and ndjson: leaving the loop, or the signal, cancels the call"({ sse, ndjson, feed, StreamError }) {
		for (const read of [sse, ndjson]) {
			const left = watch(feed, { count: 1e6, every_ms: 5 });
			for await (const message of read(left.url)) if ((message.data ?? message).number === "3") break;
			equal((await calls(feed, left.key, 1)).cancelled, 1, "calls cancelled");
			const aborted = watch(feed, { count: 1e6, every_ms: 5 });
			const abort = new AbortController();
			setTimeout(() => abort.abort(), 100);
			failed((await all(read(aborted.url, { signal: abort.signal }))).error, StreamError, 1, "aborted");
			equal((await calls(feed, aborted.key, 1)).cancelled, 1, "calls cancelled");
		}
	},
	async "ndjson: messages, signs of life, large ones"({ ndjson, feed }) {
		equal((await all(ndjson(watch(feed, { count: 3, quiet_ms: 700 }).url))).got.map((m) => m.number), numbers(3), "numbers");
		const { got, error } = await all(ndjson(watch(feed, { count: 50, size: 200_000 }).url));
		equal([got.map((m) => m.number), got.every((m) => m.filler.length === 200_000), error], [numbers(50), true, undefined], "large ones");
	},
	async "ndjson: a failure, and a cut, are no good ends"({ ndjson, feed, relay, StreamError }) {
		const late = await all(ndjson(watch(feed, { count: 2, fail: 5 }).url));
		failed(late.error, StreamError, 5, "as asked");
		equal(late.got.length, 2, "messages before it");
		failed((await all(ndjson(watch(feed, { fail: 3, head: true, quiet_ms: 400 }).url))).error, StreamError, 3, "as asked");
		await relay.control({ cutAfter: 5000 }); // what has not been read then is lost too: a browser drops it
		const cut = await all(ndjson(watch(relay.url, { count: 1000, every_ms: 10, size: 100 }).url));
		await relay.control({});
		failed(cut.error, StreamError, 14, "the connection broke");
		equal(cut.got.map((m) => m.number), numbers(cut.got.length), "what came before");
		assert(cut.got.length > 5, `${cut.got.length} messages`);
	},
	async "sse and ndjson: who reads slowly slows the server down"({ sse, ndjson, relay }) {
		for (const read of [sse, ndjson]) {
			let taken = 0;
			for await (const _ of read(watch(relay.url, { count: 1e6, size: 10_000 }).url)) if (++taken === 3) {
				let bytes = 1;
				for (let tries = 0; tries < 20 && bytes > 0; tries++) { // buffers on the way fill, and then nothing comes
					await sleep(300);
					({ bytes } = await relay.control({}));
				}
				equal(bytes, 0, "bytes that come while nobody reads");
				break;
			}
		}
	},
};

export const duplexes = {
	async "keys come back one by one"({ open }) {
		const { readable, writable } = await open();
		const reader = readable.getReader(), writer = writable.getWriter();
		for (const key of "hello") {
			await writer.write(new TextEncoder().encode(key));
			equal(new TextDecoder().decode((await reader.read()).value), key, "the key");
		}
		await writer.close();
		equal((await reader.read()).done, true, "the end");
	},
	async "10 MB come back"({ open }) {
		await echo(await open(), 10_000_000, 50_000);
	},
	async "pieces of a few bytes, two at a time"({ open }) { // over HTTP/1.1 each stream wants three connections of the browser's six
		await Promise.all(Array.from({ length: 2 }, async () => echo(await open(), 20_000, 97)));
	},
	async "who does not read is not sent more, and sends no more"({ open }) {
		const { readable, writable } = await open();
		const writer = writable.getWriter();
		let written = 0, moved = Date.now(), over = false;
		const writing = (async () => {
			for (const b = new Uint8Array(50_000); written < 50_000_000 && !over; written += b.length, moved = Date.now()) await writer.write(b);
		})().catch(() => {});
		while (Date.now() - moved < 700 && written < 50_000_000) await sleep(20);
		assert(written < 40_000_000, `${written} bytes were written, and none read`);
		const before = written;
		over = true;
		let read = 0;
		for (const reader = readable.getReader(); read < before;) {
			const { done, value } = await reader.read();
			assert(!done, "it ended");
			read += value.length;
		}
		await writing;
		await writer.abort();
	},
	async "the server's direction goes on after ours has ended"({ open }) {
		const { readable, writable } = await open();
		const writer = writable.getWriter();
		await writer.write(new Uint8Array(50_000));
		await writer.close();
		await sleep(200);
		let count = 0;
		for await (const b of values(readable)) count += b.length;
		equal(count, 50_000, "bytes");
	},
	async "giving up ends both directions"({ open }) {
		for (const how of ["cancel", "abort", "signal"]) {
			const abort = new AbortController();
			const { readable, writable } = await open({ signal: abort.signal });
			const reader = readable.getReader(), writer = writable.getWriter();
			await writer.write(Uint8Array.of(1));
			await reader.read();
			if (how === "cancel") await reader.cancel();
			else if (how === "abort") await writer.abort();
			else abort.abort();
			const ends = await Promise.race([Promise.allSettled([reader.closed, writer.closed]), sleep(5000)]);
			assert(ends, `${how}: a direction is still open`);
			const failed = await writer.write(Uint8Array.of(2)).then(() => undefined, (err) => err ?? "aborted");
			assert(failed, `${how}: more can be written`);
		}
	},
};

/** values reads a stream where streams are not iterable yet. */
async function* values(readable) {
	for (const reader = readable.getReader(); ;) {
		const { done, value } = await reader.read();
		if (done) return;
		yield value;
	}
}

export const choices = {
	async "of raw bytes: WebSocket first, HTTP where there is none, and why not"({ openDuplex, WebSocket, gateway, StreamError }) {
		const url = `${gateway}/sluice/v1/raw/sluice.demo.v1.Demo/EchoBytes`;
		const first = await openDuplex(url, { WebSocket });
		equal(first.carrier, "websocket", "carrier");
		await echo(first, 1000, 10);
		const blocked = class extends WebSocket {
			constructor(u, protocols) {
				super(u.replace("/sluice/v1/raw", "/nothing"), protocols);
			}
		};
		const second = await openDuplex(url, { WebSocket: blocked });
		equal(second.carrier, "http", "carrier");
		await echo(second, 1000, 10);
		const token = await openDuplex(url, { WebSocket, token: "abc" });
		await echo(token, 10, 10);
		const headers = await openDuplex(url, { headers: { "x-a": "1" }, token: "abc" });
		equal(headers.carrier, "http", "carrier");
		await echo(headers, 10, 10);
		const none = await openDuplex(url.replace("EchoBytes", "Nothing"), { WebSocket }).then(() => undefined, (err) => err);
		equal(none?.code, 5, `${none}`);
		assert(/websocket: .*; http: .*the method is not known/.test(none.message), none.message);
		const chat = await openDuplex(url.replace("EchoBytes", "Chat"), { WebSocket }).then(() => undefined, (err) => err);
		equal(chat?.code, 12, `${chat}`);
		assert(!(none instanceof StreamError));
	},
};

export const cases = { ...streams, ...choices };
for (const [title, judge] of Object.entries(duplexes)) {
	cases[title] = ({ openDuplex, WebSocket, duplex }) => {
		const opened = async (options) => {
			const stream = await openDuplex(duplex.url, { carriers: [duplex.carrier], WebSocket, ...options });
			equal(stream.carrier, duplex.carrier, "the way");
			return stream;
		};
		return judge({ open: opened });
	};
}
