import assert from "node:assert/strict";
import { test } from "node:test";
import { type CallOptions, createCall } from "./call.js";
import {
	createDatagramOutlet,
	createOrder,
	type Datagram,
	decodeDatagram,
	encodeDatagram,
	isTaken,
	type Lossy,
} from "./datagrams.js";
import { encodeFields, type Field, parseFields } from "./fields.js";
import { type Frame, Kind } from "./frames.js";
import { encodeMessage } from "./messages.js";

const text = (s: string) => new TextEncoder().encode(s);

test("datagrams of all lengths, and what is none", () => {
	for (const number of [0, 1, 63, 64, 16_383, 16_384, 2 ** 30 - 1, 2 ** 30, 2 ** 50]) {
		const d: Datagram = { number, sequence: number + 1, message: text("m") };
		assert.deepEqual(decodeDatagram(encodeDatagram(d)), d);
	}
	// RFC 9000, appendix A.1.
	const message = new Uint8Array(0);
	assert.deepEqual(decodeDatagram(Uint8Array.of(0x7b, 0xbd, 0x9d, 0x7f, 0x3e, 0x7d)), {
		number: 15_293,
		sequence: 494_878_333,
		message,
	});
	for (const none of [[], [1], [1, 0], [1, 0x40], [0x40], [0xc0, 1, 1]]) {
		assert.equal(decodeDatagram(Uint8Array.from(none)), undefined, `${none}`);
	}
});

test("the order of datagrams", () => {
	const takes = (late: boolean, numbers: number[]) => numbers.filter(createOrder(late));
	assert.deepEqual(takes(false, [1, 3, 2, 3, 4, 1]), [1, 3, 4]);
	assert.deepEqual(takes(true, [1, 3, 2, 3, 2, 4, 1]), [1, 3, 2, 4]);
	assert.deepEqual(takes(true, [100, 37, 36, 99]), [100, 37, 99], "what is too old can't be told from what has come");
});

function rig(options: Partial<CallOptions> = {}) {
	const got: string[] = [];
	const sent: Datagram[] = [];
	const headers: Field[][] = [];
	const call = createCall(
		{ path: "/a.B/C", fields: [], id: "00", datagrams: true, ...options },
		{
			headers: (list) => void headers.push([...list]),
			data: (b) => void got.push(`DATA of ${b.length}`),
			datagram: (m) => void got.push(new TextDecoder().decode(m)),
			end() {},
			room() {},
		},
	);
	const outlet = createDatagramOutlet(call.lossy as Lossy, 7, {
		maxBytes: 1200,
		send: (b) => void sent.push(decodeDatagram(b) as Datagram),
	});
	/** comes is a datagram that has come. */
	const comes = (sequence: number, message: Uint8Array) => {
		if (isTaken(call.lossy as Lossy, sequence)) call.datagram(message);
	};
	const frames = () => {
		const all: Frame[] = [];
		for (let f = call.next(); f; f = call.next()) all.push(f);
		return all;
	};
	const fieldsOf = (f: Frame | undefined) => new Map(parseFields(f?.payload ?? new Uint8Array()));
	const attach = (has = true) => call.attach("ticket", { wake() {}, owe() {}, datagrams: has ? outlet : undefined });
	const say = (kind: Kind, ...fields: Field[]) => call.receive({ kind, payload: encodeFields(fields) });
	return { call, comes, got, sent, attach, frames, fieldsOf, say };
}

test("a call whose messages may be lost", () => {
	const { call, comes, got, sent, attach, frames, fieldsOf, say } = rig();
	attach();
	const [opening] = frames();
	assert.equal(fieldsOf(opening).get(":datagrams"), "7");
	call.write(encodeMessage(text("early")));
	comes(1, text("early"));
	assert.equal(sent.length, 0, "until the server agrees");
	assert.equal(frames()[0]?.kind, Kind.data);
	say(Kind.headers, [":datagrams", "1"]);
	call.write(encodeMessage(text("a")));
	call.write(encodeMessage(new Uint8Array(1084)));
	call.write(encodeMessage(text("compressed"), 1));
	call.write(encodeMessage(new Uint8Array(1085)));
	assert.deepEqual(
		sent.map((d) => [d.number, d.sequence, d.message.length]),
		[
			[7, 1, 1],
			[7, 2, 1084],
		],
	);
	assert.equal(frames()[0]?.payload.length, 15 + 1090, "what does not fit is DATA");
	// In the middle of a message of DATA there is no place for another one.
	call.write(encodeMessage(text("half")).subarray(0, 6));
	call.write(encodeMessage(text("b")));
	assert.equal(sent.length, 2);
	call.receive({ kind: Kind.data, payload: encodeMessage(text("half")).subarray(0, 6) });
	comes(2, text("x"));
	call.receive({ kind: Kind.data, payload: encodeMessage(text("half")).subarray(6) });
	comes(3, text("y"));
	comes(3, text("y"));
	assert.deepEqual(got, ["DATA of 6", "DATA of 3", "y"]);
});

test("what nobody takes of datagrams is bounded", () => {
	const { call, comes, got, attach, frames, say } = rig();
	attach();
	frames();
	say(Kind.headers, [":datagrams", "1"]);
	for (let n = 1; n <= 100; n++) comes(n, new Uint8Array(1000));
	assert.equal(got.length, 65);
	call.takeDatagram(1005);
	comes(101, new Uint8Array(1000));
	assert.equal(got.length, 66);
});

test("a call that goes on elsewhere has datagrams if RESUMED says so", () => {
	const { call, sent, attach, frames, fieldsOf, say } = rig({ datagrams: "late" });
	attach(false);
	const [begin] = frames();
	assert.deepEqual([fieldsOf(begin).get(":datagrams"), fieldsOf(begin).get(":datagrams-late")], ["1", "deliver"]);
	say(Kind.headers);
	call.write(encodeMessage(text("a")));
	assert.equal(sent.length, 0);
	call.detach("lost");
	attach();
	const [resume] = frames();
	assert.deepEqual([resume?.kind, fieldsOf(resume).get(":datagrams")], [Kind.resume, "7"]);
	call.write(encodeMessage(text("b")));
	assert.equal(sent.length, 0);
	say(Kind.resumed, [":state", "live"], [":got", "1"], [":received", "0"], [":datagrams", "1"]);
	call.write(encodeMessage(text("c")));
	assert.deepEqual(
		sent.map((d) => d.sequence),
		[1],
	);
	call.detach("lost");
	attach();
	frames();
	say(Kind.resumed, [":state", "live"], [":got", "1"], [":received", "0"]);
	call.write(encodeMessage(text("d")));
	assert.equal(sent.length, 1);
});
