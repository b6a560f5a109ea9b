// Sessions in a page, for the programs that cut them, count them and look at them. The backend answers each message with itself.
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { connect } from "../../web/packages/client/src/index.ts";
import { carriers } from "./carriers.js";

const encode = (value) => toBinary(BytesValueSchema, create(BytesValueSchema, { value }));
const decode = (b) => fromBinary(BytesValueSchema, b).value;
const path = "/chaos.Service/Call";

/** randomOf is a number from 0 to below that two others say. */
function randomOf(a, b, below) {
	let x = (Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b)) >>> 0;
	x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d) >>> 0;
	x = Math.imul(x ^ (x >>> 12), 0x297a2d39) >>> 0;
	return ((x ^ (x >>> 15)) >>> 0) % below;
}

/** message is the nth of a call: its number, and bytes that tell what they are. Some are large. */
function message(call, n) {
	const large = randomOf(call, n, 50) === 0;
	const b = Uint8Array.from({ length: 8 + randomOf(n, call, large ? 200_000 : 500) }, (_, i) => n + i);
	new DataView(b.buffer).setUint32(0, n);
	return b;
}

function check(b, call, n) {
	const want = message(call, n);
	if (b.length === want.length && b.every((x, i) => x === want[i])) return;
	const got = b.length >= 4 ? new DataView(b.buffer, b.byteOffset).getUint32(0) : -1;
	throw new Error(`message ${n} has the number ${got} and ${b.length} bytes, want ${want.length} bytes`);
}

/** echo sends messages in a call, and wants each of them back, once and in order. */
async function echo(session, call, count, answered) {
	const { send, closeSend, messages } = session.call({ path });
	const sending = (async () => {
		for (let n = 0; n < count; n++) await send(encode(message(call, n)));
		closeSend();
	})();
	sending.catch(() => {}); // messages says it first
	let n = 0;
	for await (const m of messages) {
		if (n === count) throw new Error(`message ${n} of ${count}`);
		check(decode(m), call, n++);
		answered();
	}
	if (n !== count) throw new Error(`${n} messages of ${count}`);
	await sending;
}

/**
 * chaos has calls while their connection is cut after each fifty messages: by the client, by the network, which does it when it is
 * asked to, and for another carrier. It returns how often a carrier connected.
 */
globalThis.chaos = async ({ baseUrl, cut, calls, count }) => {
	const names = ["websocket", "duplex", "webtransport", "long-poll", "duplex-streaming"];
	const all = names.map((name) => carriers[name]());
	const opened = {};
	let turn = 0, had = false, cuts = 0, answers = 0; // had its turn
	const onEvent = ({ type, carrier }) => {
		if (type !== "open") return;
		opened[carrier] = (opened[carrier] ?? 0) + 1;
		had ||= carrier === all[turn % all.length].name;
	};
	const session = connect({ baseUrl, carriers: all[0], waitMs: 30_000, onEvent });
	const next = () => {
		if (!had) return; // fifty messages may take less time than a connection
		had = false;
		session.use(all[++turn % all.length]);
	};
	const ways = [() => void fetch(cut, { method: "POST", mode: "no-cors" }), () => session.cut(), next];
	const answered = () => {
		if (++answers % 50 === 0 && answers < count - 50) ways[cuts++ % ways.length]();
	};
	const each = count / calls;
	await Promise.all(Array.from({ length: calls }, (_, i) => echo(session, i, each, answered)));
	return { answers, cuts, opened };
};

/** race connects with the carriers that sessions have by themselves, makes calls until WebTransport was tried too, and tells what happened when. */
globalThis.race = async ({ baseUrl }) => {
	localStorage.clear(); // what is remembered of races
	const begun = performance.now();
	const happened = [];
	const session = connect({ baseUrl, onEvent: ({ type, carrier }) => happened.push({ type, carrier, ms: Math.round(performance.now() - begun) }) });
	await echo(session, 0, 20, () => {});
	const { carrier } = session;
	// It waits for what the gateway says of it, and another one may be open before.
	while (!happened.some((e) => e.type === "connecting" && e.carrier === "webtransport")) await echo(session, 0, 20, () => {});
	session.close();
	return { carrier, happened };
};

/** hold opens calls, of which each gets an answer and stays open until release ends them all. */
globalThis.hold = async ({ baseUrl, carrier, calls }) => {
	const session = connect({ baseUrl, carriers: carriers[carrier](), waitMs: 30_000 });
	const held = Array.from({ length: calls }, () => session.call({ path }));
	const answers = await Promise.all(held.map(async ({ send, messages }, i) => {
		const incoming = messages[Symbol.asyncIterator]();
		await send(encode(message(i, 0)));
		check(decode((await incoming.next()).value), i, 0);
		return incoming;
	}));
	globalThis.release = async () => {
		for (const { closeSend } of held) closeSend();
		const ends = await Promise.all(answers.map((incoming) => incoming.next()));
		session.close();
		return ends.filter(({ done }) => done).length;
	};
	return { carrier: session.carrier };
};

/** talk goes on with a call, each message after the answer to the one before. */
globalThis.talk = ({ baseUrl, carrier }) => {
	const now = { answered: 0, wrong: "", connections: 0, seen: [], pauseMs: 0 };
	for (const type of ["freeze", "resume", "visibilitychange"]) document.addEventListener(type, () => now.seen.push(type));
	const session = connect({ baseUrl, carriers: carriers[carrier](), onEvent: (e) => e.type === "open" && now.connections++ });
	const { send, messages } = session.call({ path });
	(async () => {
		const incoming = messages[Symbol.asyncIterator]();
		for (let at = performance.now(); ; now.answered++) {
			now.pauseMs = Math.max(now.pauseMs, Math.round(performance.now() - at));
			at = performance.now();
			await send(encode(message(0, now.answered)));
			check(decode((await incoming.next()).value), 0, now.answered);
			await new Promise((resolve) => setTimeout(resolve, 10));
		}
	})().catch((err) => (now.wrong = String(err)));
	globalThis.talking = () => now;
};

/** sessions makes a call in each of so many. */
globalThis.sessions = async ({ baseUrl, carrier, count }) => {
	let ended = 0;
	for (let i = 0; i < count; i++, ended++) {
		const session = connect({ baseUrl, carriers: carriers[carrier]() });
		await echo(session, i, 5, () => {});
		session.close();
	}
	return ended;
};

/** work makes calls, short and long, given up and not, until it is time, and tells how many. */
globalThis.work = async ({ baseUrl, seconds }) => {
	globalThis.session ??= connect({ baseUrl });
	let calls = 0;
	const worker = async (w) => {
		for (const end = performance.now() + seconds * 1000; performance.now() < end; calls++) {
			if (calls % 10 !== 9) {
				await echo(globalThis.session, w, 1 + (calls % 30), () => {});
				continue;
			}
			const call = globalThis.session.call({ path });
			await call.send(encode(message(w, 0)));
			for await (const m of call.messages) {
				check(decode(m), w, 0);
				break; // which cancels
			}
		}
	};
	await Promise.all([0, 1, 2, 3].map(worker));
	return calls;
};
