// What clients must find in streams over REST. A client says how its functions are called:
// call(function, argument) runs one of rest-clients.js where the client is. It may have no
// id for an event that had none on the wire, as the package eventsource; HTML says that it
// is the last one that came.
import assert from "node:assert/strict";
import { abort, follow, run, talk, whole } from "./rest-clients.js";
import { env, snippet } from "./rest-env.js";

let keys = 0;

/** feed makes the URL of a feed of its own. */
function feed(base, parameters) {
	const key = `${process.pid}-${++keys}`;
	return { url: `${base}/v1/feed?${new URLSearchParams({ key, ...parameters })}`, key };
}

/** calls asks what happened to the calls of a feed. */
async function calls(key, cancelled = 0) {
	const response = await fetch(`${env.http}/v1/calls/${key}?cancelled=${cancelled}`);
	const { started = 0, cancelled: ended = 0, lastEventIds = [] } = await response.json();
	return { started, cancelled: ended, lastEventIds };
}

const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => String(from + i));
const parse = (event) => JSON.parse(event.data);
const unavailable = { code: 14, message: "cut", details: [] };

const websocket = (url) => url.replace(/^http/, "ws");

export const cases = {
	async "a WebSocket is a call of each kind, with envelopes and without"({ call, base, sockets = base }) {
		const demo = websocket(env.demo);
		const good = { code: 1000, reason: "", protocol: "", clean: true };
		assert.deepEqual(await call(talk, { url: `${demo}/v1/echo`, frames: ['{"text":"a"}'] }), { seen: [{ text: "a" }], ...good });
		assert.deepEqual(await call(talk, { url: `${demo}/v1/sum`, frames: ['{"number":40}', '{"number":2}', ""] }), { seen: [{ sum: "42", count: 2 }], ...good });
		const { url } = feed(sockets, { count: 3 });
		const { seen, ...end } = await call(talk, { url: websocket(url) });
		assert.deepEqual([seen.map((m) => m.number), end], [numbers(1, 3), good]);
		assert.deepEqual(
			await call(talk, {
				url: `${demo}/v1/chat`, protocols: ["sluice.json", "bearer.abc"],
				frames: ['{"@head":{"timeout":"9s"}}', '{"@message":{"text":"a"}}', '{"@end":true}'],
			}),
			{ seen: [{ "@message": { text: "you said: a", number: 1 } }, { "@end": { status: { code: 0 } } }], ...good, protocol: "sluice.json" },
		);
		const failed = feed(sockets, { count: 1, fail: 3 });
		assert.deepEqual(await call(talk, { url: websocket(failed.url) }), {
			seen: [seen[0], { "@error": { code: 3, message: "as asked", details: [] } }], ...good, code: 4003, reason: "as asked",
		});
	},

	async "a feed that is cut ten times has no event missing and none doubled"({ call, base, noLastId }) {
		const { url, key } = feed(base, { count: 107, cut_after: 10 });
		const { seen, reconnects } = await call(follow, { url });
		const messages = seen.filter((e) => e.name === "message");
		assert.deepEqual(messages.map((e) => parse(e).number), numbers(1, 107));
		assert.deepEqual(messages.map((e) => e.id), numbers(1, 107));
		const failures = seen.filter((e) => e.name === "failure");
		assert.deepEqual(failures.map(parse), Array(10).fill(unavailable));
		const ids = numbers(1, 10).map((n) => n + "0");
		assert.deepEqual(failures.map((e) => e.id), noLastId ? ids.map(() => "") : ids);
		assert.deepEqual(seen.at(-1), { name: "EOS", id: "EOS", data: "" });
		assert.equal(seen.length, 107 + 10 + 1);
		assert.equal(reconnects, 11); // the last one got 204
		assert.deepEqual((await calls(key)).lastEventIds, ["", ...ids]);
	},

	async "the server's names and ids"({ call, base, noLastId }) {
		const { url, key } = feed(base, { count: 4, cut_after: 3, names: true });
		const { seen } = await call(follow, { url, names: ["odd", "even"] });
		assert.deepEqual(seen.map((e) => [e.name, e.id]), [
			["odd", "c-1"], ["even", "c-2"], ["odd", "c-3"], ["failure", noLastId ? "" : "c-3"], ["even", "c-4"], ["EOS", "EOS"],
		]);
		assert.deepEqual((await calls(key)).lastEventIds, ["", "c-3"]);
	},

	async "a failure that would happen again ends an EventSource"({ call, base }) {
		const { url, key } = feed(base, { count: 2, fail: 3 });
		const { seen } = await call(follow, { url });
		assert.deepEqual(seen.map((e) => e.name), ["message", "message", "failure", "EOS"]);
		assert.deepEqual(parse(seen[2]), { code: 3, message: "as asked", details: [] });
		assert.equal((await calls(key)).started, 1);
	},

	async "a failure before the head ends an EventSource"({ call, base }) {
		const { url, key } = feed(base, { fail: 3 });
		const { seen, reconnects } = await call(follow, { url });
		assert.deepEqual({ seen, reconnects }, { seen: [], reconnects: 0 });
		assert.equal((await calls(key)).started, 1);
	},

	async "an EventSource comes back after a failure before the head that may pass"({ call, base }) {
		const { url, key } = feed(base, { count: 1, refuse: 2 });
		const { seen } = await call(follow, { url });
		assert.deepEqual(seen.filter((e) => e.name !== "failure").map((e) => [e.name, e.id]), [["message", "1"], ["EOS", "EOS"]]);
		assert.equal((await calls(key)).started, 3);
	},

	async "the call of an EventSource that was closed is cancelled"({ call, base }) {
		const { url, key } = feed(base, { count: 1e6, every_ms: 20 });
		const { seen } = await call(follow, { url, closeAfter: 2 });
		assert.deepEqual(seen.slice(0, 2).map((e) => e.id), ["1", "2"]);
		assert.equal((await calls(key, 1)).cancelled, 1);
	},

	async "the call of a fetch that was given up is cancelled"({ call, base }) {
		for (const accept of ["application/x-ndjson", "application/json"]) {
			const { url, key } = feed(base, { count: 1e6, every_ms: 20 });
			assert.ok(await call(abort, { url, accept }));
			assert.equal((await calls(key, 1)).cancelled, 1, accept);
		}
	},

	async "the page's EventSource, with the demo"({ call }) {
		const { printed } = await call(run, { program: snippet("const events = new EventSource", env.demo), lines: 3 });
		assert.deepEqual(printed.map(([id, { number }]) => [id, number]), [["1", 1], ["2", 2], ["3", 3]]);
	},

	async "the page's reader of NDJSON, with the demo"({ call }) {
		const { printed, error } = await call(run, { program: snippet("// NDJSON", env.demo) });
		assert.equal(error, undefined);
		assert.deepEqual(printed.map(([m]) => m.number), [1, 2, 3]);
	},

	async "the page's reader of NDJSON, failure and heartbeats"({ call, base }) {
		const program = (parameters) => {
			const text = snippet("// NDJSON", "").replace("/v1/ticker?count=3", feed(base, parameters).url);
			assert.match(text, /v1\/feed/);
			return text;
		};
		const failed = await call(run, { program: program({ count: 3, fail: 3 }) });
		assert.equal(failed.error, "as asked");
		assert.deepEqual(failed.printed.map(([m]) => m.number), ["1", "2", "3"]);
		const quiet = await call(run, { program: program({ count: 3, quiet_ms: 700 }) }); // two heartbeats
		assert.deepEqual(quiet.printed.map(([m]) => m.number), ["1", "2", "3"]);
		const large = await call(run, { program: program({ count: 50, size: 50_000 }) });
		assert.deepEqual(large.printed.map(([m]) => m.number), numbers(1, 50));
		assert.ok(large.printed.every(([m]) => m.filler.length === 50_000));
	},

	async "arrays"({ call, base }) {
		const accept = "application/json";
		const good = await call(whole, { url: feed(base, { count: 3, quiet_ms: 700 }).url, accept });
		assert.equal(good.type, accept);
		assert.deepEqual(good.document.map((m) => m.number), ["1", "2", "3"]);
		assert.deepEqual((await call(whole, { url: feed(base, { quiet_ms: 700 }).url, accept })).document, []);
		const failed = await call(whole, { url: feed(base, { count: 2, fail: 3 }).url, accept });
		assert.equal(failed.error, "SyntaxError");
		assert.deepEqual(JSON.parse(failed.text + "]").at(-1), { "@error": { code: 3, message: "as asked", details: [] } });
	},
};
