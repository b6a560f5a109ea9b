// The page that plays the cases of the matrix of calls; what the words of a script mean stands at
// internal/matrix/matrix.go. matrix.test.js calls play in it.
import { connect, StatusError } from "../../web/packages/client/src/index.ts";
import cases from "../internal/matrix/cases.json";
import { carriers } from "./carriers.js";

const service = "/sluice.matrix.v1.";
const atATime = 50;
const defaultSize = 20;

const sessions = new Map();

/** sessionOf has one session for each carrier and gateway. */
function sessionOf({ carrier, baseUrl, hash }) {
	const key = `${carrier} ${baseUrl}`;
	if (!sessions.has(key)) sessions.set(key, connect({ baseUrl, carriers: carriers[carrier](hash) }));
	return sessions.get(key);
}

/** message is number i of a direction. */
const message = (i, size) => Uint8Array.from({ length: size }, (_, j) => 31 * i + j);

function check(b, i, size) {
	if (b.length !== size) throw new Error(`message ${i} has ${b.length} bytes, want ${size}`);
	const at = b.findIndex((v, j) => v !== ((31 * i + j) & 0xff));
	if (at >= 0) throw new Error(`message ${i} is wrong at byte ${at} of ${size}`);
}

const parse = (script) => script.split(",").map((s) => s.trim().split(" "));

/** Of -bin the padding may differ, and the case has one value where a list is as good. */
const plain = (name, value) => (name.endsWith("-bin") ? value.replaceAll("=", "") : value);

function compare(what, got, want = {}) {
	for (const [name, values] of Object.entries(want)) {
		const wanted = plain(name, values.join(", "));
		const value = plain(name, got.get(name) ?? "");
		if (value !== wanted) throw new Error(`${what} has ${name} ${JSON.stringify(value)}, want ${JSON.stringify(wanted)}`);
	}
}

/** ask calls another method about a call. */
async function ask(session, method, id) {
	const call = session.call({ path: `${service}Judge/${method}`, headers: { "x-id": id } });
	await call.send(new Uint8Array());
	call.closeSend();
	for await (const reply of call.messages) return new TextDecoder().decode(reply);
	throw new Error(`${method}: no answer`);
}

async function playOne(session, one, kind) {
	const { client, server } = one[kind];
	const id = crypto.randomUUID();
	const headers = new Headers({ "x-script": server, "x-id": id });
	for (const [name, values] of Object.entries(one.metadata ?? {})) for (const v of values) headers.append(name, v);
	const call = session.call({ path: `${service}${one.backend ?? "Judge"}/${kind}`, headers, timeoutMs: one.timeoutMs });
	const incoming = call.messages[Symbol.asyncIterator]();
	let sent = 0;
	let received = 0;
	let closed = false;

	const send = async (n, size = defaultSize) => {
		for (let i = 0; i < n; i++, sent++) {
			try {
				await call.send(message(sent, size));
			} catch (err) {
				if (!(err instanceof StatusError)) throw err; // else the end is there, and comes
			}
		}
	};
	const receive = async (n, size = defaultSize) => {
		for (let i = 0; i < n; i++, received++) {
			const { done, value } = await incoming.next();
			if (done) throw new Error(`the end instead of message ${received}`);
			check(value, received, size);
		}
	};
	const half = () => {
		closed = true;
		call.closeSend();
	};
	const verbs = {
		async call(size) {
			await send(1, size);
			half();
			if (!one.want?.code) await receive(1, size);
		},
		send,
		recv: receive,
		async pingpong(n, size) {
			for (let i = 0; i < n; i++) {
				await send(1, size);
				await receive(1, size);
			}
		},
		pump: (n, size) => Promise.all([send(n, size), receive(n, size)]),
		close: half,
		header: () => call.headers,
		release: () => ask(session, "Release", id),
		cancel: () => call.cancel(),
	};
	for (const [verb, ...numbers] of parse(client)) {
		try {
			await verbs[verb](...numbers.map(Number));
		} catch (err) {
			throw new Error(`${verb}: ${err.message}`);
		}
	}

	// Where there is at most one message it does not count unless the status is OK.
	const cut = (kind === "unary" || kind === "client") && one.want?.code;
	try {
		for (;;) {
			const { done } = await incoming.next();
			if (done) break;
			if (!cut) throw new Error(`message ${received} instead of the end`);
		}
	} catch (err) {
		if (!(err instanceof StatusError)) throw err;
	}
	const want = { code: 0, ...one.want };
	const { code, message: text, trailers } = await call.status;
	if (code !== want.code) throw new Error(`it ended with ${code} ${JSON.stringify(text)}, want ${want.code}`);
	if (!one.backend && code !== 0 && !want.gone) {
		if (text !== "no such thing: 100 % ünïcode") throw new Error(`the message is ${JSON.stringify(text)}`);
		if (!atob(trailers.get("grpc-status-details-bin") ?? "").includes("MATRIX")) throw new Error("there are no details");
	}
	compare("the header", await call.headers, want.header);
	compare("the trailer", trailers, want.trailer);
	if (one.backend) return;
	const saw = JSON.parse(await ask(session, "Saw", id));
	if (saw.gone !== Boolean(want.gone)) throw new Error(`the backend saw ${JSON.stringify(saw)}`);
	if (want.code === 0 && (saw.received !== sent || saw.halfClosed !== closed)) throw new Error(`the backend saw ${JSON.stringify(saw)} of ${sent}`);
}

async function playCase(session, one, kind) {
	let left = one[kind].calls ?? 1;
	const work = async () => {
		while (left-- > 0) await playOne(session, one, kind);
	};
	await Promise.all(Array.from({ length: Math.min(left, atATime) }, work));
}

/** stuck bounds a case. */
const stuck = (promise) => {
	let timer;
	const late = new Promise((_, reject) => {
		timer = setTimeout(() => reject(new Error("it is stuck")), 30_000);
	});
	return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** play plays all cases in all kinds of calls, and says by "case, kind" what is wrong, or "". */
globalThis.play = async (where, kinds) => {
	const session = sessionOf(where);
	const results = {};
	const run = (list) => Promise.all(
		list.flatMap((one) => kinds.map(async (kind) => {
			try {
				await stuck(playCase(session, one, kind));
				results[`${one.name}, ${kind}`] = "";
			} catch (err) {
				results[`${one.name}, ${kind}`] = String(err?.message ?? err);
			}
		})),
	);
	await run(cases.filter((one) => !one.timeoutMs));
	await run(cases.filter((one) => one.timeoutMs)); // when nobody is busy
	return results;
};

/** carrierOf is what a session is on. */
globalThis.carrierOf = (where) => sessionOf(where).carrier;
