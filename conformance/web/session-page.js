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
	const session = connect({
		baseUrl, carriers: all[0], waitMs: 30_000, onEvent: (e) => e.type === "open" && (opened[e.carrier] = (opened[e.carrier] ?? 0) + 1),
	});
	const ways = [
		() => void fetch(cut, { method: "POST", mode: "no-cors" }),
		() => session.cut(),
		() => session.use(all[++turn % all.length]),
	];
	let turn = 0, cuts = 0, answers = 0;
	const answered = () => {
		if (++answers % 50 === 0 && answers < count - 50) ways[cuts++ % ways.length]();
	};
	const each = count / calls;
	await Promise.all(Array.from({ length: calls }, (_, i) => echo(session, i, each, answered)));
	return { answers, cuts, opened };
};
