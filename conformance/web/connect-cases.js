// What Connect-ES has to be able to do through the gateway. The cases run in Node as in
// the browser (browser-page.js), so they use nothing of either.
import { Code, ConnectError, createClient, decodeBinaryHeader, encodeBinaryHeader } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { createSchema, equal, failure, sleep, until } from "./schema.js";

export const protocols = ["connect", "grpc-web"];

/** createJudge returns what the cases below need, for one gateway and protocol. */
export function createJudge(protocol, baseUrl, descriptorSet) {
	const { service, message } = createSchema(descriptorSet);
	const methods = []; // of the requests, in order
	const client = (options) => {
		const createTransport = protocol === "connect" ? createConnectTransport : createGrpcWebTransport;
		const recordingFetch = (url, init) => (methods.push(init.method), fetch(url, init));
		return createClient(service, createTransport({ baseUrl, useBinaryFormat: true, fetch: recordingFetch, ...options }));
	};
	return { client: client(), getClient: client({ useHttpGet: true }), methods, message };
}

const bytes = Uint8Array.of(0, 1, 0xfa, 0xff);

// kept collects the header and trailer fields of a call.
function kept() {
	const k = { header: new Headers(), trailer: new Headers() };
	k.onHeader = (h) => (k.header = h);
	k.onTrailer = (t) => (k.trailer = t);
	return k;
}

async function failing(call) {
	try {
		await call;
	} catch (err) {
		return ConnectError.from(err);
	}
	throw new Error("the call should have failed");
}

function checkFailure(err, message) {
	equal(err.code, Code.FailedPrecondition, "code");
	equal(err.rawMessage, failure.message, "message");
	const details = err.findDetails(message("EchoResponse"));
	equal(details.length, 1, "number of details");
	equal(details[0].text, failure.detail, "detail");
	equal(err.metadata.get("x-echo-trailer"), "end", "trailer of an error");
}

const fail = { "x-fail": String(Code.FailedPrecondition), "x-echo": "start", "x-end": "end" };

// idle waits until the backend has no call that waits, as it has to be soon after a client
// has gone away.
async function idle(client) {
	await until("the backend's calls end", async () => {
		const k = kept();
		await client.echo({}, k);
		return k.header.get("x-running") === "0";
	});
}

async function running(client) {
	await until("the backend's call begins", async () => {
		const k = kept();
		await client.echo({}, k);
		return k.header.get("x-running") === "1";
	});
}

async function collect(stream) {
	const got = [];
	for await (const m of stream) got.push(m);
	return got;
}

/** cases are called with a judge; they fail by throwing. */
export const cases = {
	async unary({ client, methods }) {
		equal((await client.echo({ text: "grüße" })).text, "grüße", "text");
		equal((await client.echo({})).text, "", "text of an empty message");
		equal(methods.join(), "POST,POST", "methods");
	},

	async "unary, 1 MiB"({ client }) {
		const text = "0123456789abcdef".repeat(65536);
		equal((await client.echo({ text })).text === text, true, "same text");
	},

	async "unary, many at once"({ client }) {
		const texts = Array.from({ length: 40 }, (_, i) => `number ${i}`);
		const got = await Promise.all(texts.map((text) => client.echo({ text })));
		equal(got.map((m) => m.text).join(), texts.join(), "texts");
	},

	async "unary, metadata"({ client }) {
		const k = kept();
		await client.echo({}, {
			...k,
			headers: { "x-echo": "a, b", "x-end": "end", "x-echo-bin": encodeBinaryHeader(bytes), "x-end-bin": encodeBinaryHeader(bytes) },
		});
		equal(k.header.get("x-echo"), "a, b", "header");
		equal(k.trailer.get("x-echo-trailer"), "end", "trailer");
		equal(decodeBinaryHeader(k.header.get("x-echo-bin")).join(), bytes.join(), "binary header");
		equal(decodeBinaryHeader(k.trailer.get("x-echo-trailer-bin")).join(), bytes.join(), "binary trailer");
	},

	async "unary, error with details"({ client, message }) {
		const err = await failing(client.echo({}, { headers: fail }));
		checkFailure(err, message);
		equal(err.metadata.get("x-echo"), "start", "header of an error");
	},

	async "unary, deadline reaches the backend"({ client }) {
		const k = kept();
		await client.echo({}, k);
		equal(k.header.get("x-timeout-ms"), null, "without a deadline");
		await client.echo({}, { ...k, timeoutMs: 5000 });
		const left = Number(k.header.get("x-timeout-ms"));
		equal(left > 1000 && left <= 5000, true, `${left} ms left of 5000`);
	},

	async "unary, timeout"({ client }) {
		const err = await failing(client.echo({}, { timeoutMs: 200, headers: { "x-wait": "1" } }));
		equal(err.code, Code.DeadlineExceeded, "code");
		await idle(client);
	},

	async "unary, abort"({ client }) {
		const abort = new AbortController();
		const err = failing(client.echo({}, { signal: abort.signal, headers: { "x-wait": "1" } }));
		await running(client);
		abort.abort();
		equal((await err).code, Code.Canceled, "code");
		await idle(client);
	},

	async "server stream, as it comes"({ client }) {
		const arrived = [];
		for await (const m of client.ticker({ count: 4, everyMs: 200 })) {
			arrived.push(Date.now());
			equal(m.number, arrived.length, "number");
		}
		equal(arrived.length, 4, "messages");
		const took = arrived[3] - arrived[0]; // 600 ms, or nothing if someone kept them back
		equal(took > 150, true, `${took} ms between first and last`);
	},

	async "server stream, 2000 messages"({ client }) {
		const got = await collect(client.ticker({ count: 2000, everyMs: 0 }));
		equal(got.map((m) => m.number).join(), Array.from({ length: 2000 }, (_, i) => i + 1).join(), "numbers");
	},

	async "server stream, metadata"({ client }) {
		const k = kept();
		const headers = { "x-echo": "start", "x-end": "end", "x-end-bin": encodeBinaryHeader(bytes) };
		await collect(client.ticker({ count: 1 }, { ...k, headers }));
		equal(k.header.get("x-echo"), "start", "header");
		equal(k.trailer.get("x-echo-trailer"), "end", "trailer");
		equal(decodeBinaryHeader(k.trailer.get("x-echo-trailer-bin")).join(), bytes.join(), "binary trailer");
	},

	async "server stream, error with details"({ client, message }) {
		let messages = 0;
		const err = await failing((async () => {
			for await (const _ of client.ticker({ count: 3 }, { headers: fail })) messages++;
		})());
		checkFailure(err, message);
		equal(messages, 3, "messages before the error");
	},

	async "server stream, error at once"({ client, message }) {
		checkFailure(await failing(collect(client.ticker({}, { headers: fail }))), message);
	},

	async "server stream, timeout"({ client }) {
		const err = await failing(collect(client.ticker({ count: 1000, everyMs: 50 }, { timeoutMs: 300 })));
		equal(err.code, Code.DeadlineExceeded, "code");
		await idle(client);
	},

	async "server stream, abort"({ client }) {
		const abort = new AbortController();
		const err = await failing((async () => {
			for await (const m of client.ticker({ count: 1000, everyMs: 50 }, { signal: abort.signal })) {
				if (m.number === 2) {
					await running(client);
					abort.abort();
				}
			}
		})());
		equal(err.code, Code.Canceled, "code");
		await idle(client);
	},

	async "server streams, three beside unary calls"({ client }) {
		const streams = [1, 2, 3].map(() => collect(client.ticker({ count: 10, everyMs: 20 })));
		for (let i = 0; i < 10; i++, await sleep(10)) equal((await client.echo({ text: String(i) })).text, String(i), "text");
		for (const got of await Promise.all(streams)) equal(got.length, 10, "messages");
	},
};

/** getCases are those of Connect's GET requests. */
export const getCases = {
	async "GET"({ getClient, methods }) {
		equal((await getClient.echo({ text: "grüße & ?" })).text, "grüße & ?", "text");
		equal(methods.join(), "GET", "methods");
	},

	async "GET, metadata"({ getClient, methods }) {
		const k = kept();
		await getClient.echo({}, { ...k, headers: { "x-echo": "start", "x-end": "end" }, timeoutMs: 5000 });
		equal(k.header.get("x-echo"), "start", "header");
		equal(k.trailer.get("x-echo-trailer"), "end", "trailer");
		equal(Number(k.header.get("x-timeout-ms")) > 0, true, "has a deadline");
		equal(methods.join(), "GET", "methods");
	},

	async "GET, error with details"({ getClient, methods, message }) {
		checkFailure(await failing(getClient.echo({}, { headers: fail })), message);
		equal(methods.join(), "GET", "methods");
	},
};

/** casesOf returns the names and functions of a protocol's cases. */
export const casesOf = (protocol) => ({ ...cases, ...(protocol === "connect" ? getCases : {}) });
