import assert from "node:assert/strict";
import { test } from "node:test";
import { createEventParser, type EventLimits } from "./event-stream.js";
import { createLines } from "./lines.js";
import { Code } from "./status.js";
import { StreamError } from "./stream-error.js";

const bytes = (text: string) => new TextEncoder().encode(text);

/** pieces cuts at the given places. */
function pieces(b: Uint8Array, at: readonly number[]): Uint8Array[] {
	const cuts = [0, ...[...at].sort((x, y) => x - y), b.length];
	return cuts.slice(1).map((end, i) => b.slice(cuts[i], end));
}

/** everyWay cuts b at each place, at each two places if it is short, everywhere, and into pieces at random. */
function* everyWay(b: Uint8Array): Iterable<Uint8Array[]> {
	yield [b];
	for (let i = 0; i <= b.length; i++) {
		yield pieces(b, [i]);
		if (b.length < 60) for (let j = i; j <= b.length; j++) yield pieces(b, [i, j]);
	}
	yield pieces(
		b,
		Array.from({ length: b.length }, (_, i) => i),
	);
	let seed = 1;
	const random = (n: number) => {
		seed = (seed * 48_271) % 2_147_483_647;
		return seed % n;
	};
	for (let k = 0; k < 50; k++) {
		yield pieces(
			b,
			Array.from({ length: random(8) }, () => random(b.length + 1)),
		);
	}
}

function events(parts: readonly Uint8Array[], limits?: EventLimits) {
	const parser = createEventParser("before", limits);
	const got: (string | undefined)[][] = [];
	for (const part of parts) for (const e of parser.feed(part)) got.push([e.event, e.data, e.id, e.retry?.toString()]);
	return { got, id: parser.lastEventId, retry: parser.retry };
}

const message = (data: string, id = "before") => ["message", data, id, undefined];

// HTML, section 9.2.6, with its own examples first.
const streams: Record<string, { text: string; got: (string | undefined)[][]; id?: string; retry?: number }> = {
	"two lines of data": { text: "data: YHOO\ndata: +2\ndata: 10\n\n", got: [message("YHOO\n+2\n10")] },
	"comments, ids, and a block that does not end": {
		text: ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
		got: [message("first event", "1"), message("second event", "")],
		id: "",
	},
	"data without a value": { text: "data\n\ndata\ndata\n\ndata:", got: [message(""), message("\n")] },
	"one space is dropped": {
		text: "data:test\n\ndata: test\n\ndata:  test\n\n",
		got: [message("test"), message("test"), message(" test")],
	},
	"CR, LF and CR LF": {
		text: "data: a\rdata: b\r\ndata: c\n\r\ndata: d\r\rdata: e\n\n",
		got: [message("a\nb\nc"), message("d"), message("e")],
	},
	"a byte order mark": { text: "\ufeffdata: a\n\n", got: [message("a")] },
	"a mark elsewhere is text": { text: "data: \ufeffa\n\n\ufeffdata: b\n\n", got: [message("\ufeffa")] },
	"an event of another name": {
		text: "event: add\ndata: 1\n\ndata: 2\n\n",
		got: [["add", "1", "before", undefined], message("2")],
	},
	"an id without data counts": { text: "id: 7\n\ndata: a\n\n", got: [message("a", "7")], id: "7" },
	"an id of an event that does not end does not": {
		text: "id: 7\ndata: a\n\nid: 8\ndata: b\n",
		got: [message("a", "7")],
		id: "7",
	},
	"an id with a NUL": { text: "id: a\0b\ndata: x\n\n", got: [message("x")] },
	"times to reconnect": { text: "retry: 12\n\nretry: 1x\nretry:\nretry: -3\n\n", got: [], retry: 12 },
	"a time in an event": {
		text: "event: failure\nretry: 1000\ndata: {}\n\n",
		got: [["failure", "{}", "before", "1000"]],
		retry: 1000,
	},
	"fields that are none": { text: "Data: a\n data: b\ndatas: c\n\ndata: d\n\n", got: [message("d")] },
	"colons in values": { text: 'data: {"a":"b:c"}\n\ndata::\n\n', got: [message('{"a":"b:c"}'), message(":")] },
	"more than ASCII": { text: "event: grüße\ndata: €𝄞\nid: ü\n\n", got: [["grüße", "€𝄞", "ü", undefined]], id: "ü" },
	"the gateway's end": {
		text: ":\n\nid: 1\ndata: {}\n\nevent: EOS\nid: EOS\ndata:\n\n",
		got: [message("{}", "1"), ["EOS", "", "EOS", undefined]],
		id: "EOS",
	},
};

for (const [name, { text, got, id = "before", retry }] of Object.entries(streams)) {
	test(`event stream: ${name}, however it is cut`, () => {
		for (const parts of everyWay(bytes(text))) assert.deepEqual(events(parts), { got, id, retry });
	});
}

test("event stream: what is no UTF-8 is replaced, however it is cut", () => {
	const b = Uint8Array.from([...bytes("data: a"), 0xe2, 0x82, ...bytes("\ndata: "), 0xff, ...bytes("b\n\n")]);
	for (const parts of everyWay(b)) assert.deepEqual(events(parts).got, [message("a\ufffd\n\ufffdb")]);
});

test("event stream: an event is there with the line that ends it", () => {
	const parser = createEventParser("");
	assert.deepEqual([...parser.feed(bytes("data: a\r\n"))], []);
	assert.equal([...parser.feed(bytes("\r"))].length, 1, "the LF that may follow is not waited for");
	assert.equal([...parser.feed(bytes("\ndata: b\n\n"))].length, 1);
});

const tooLarge = (limit: string) => (err: unknown) => {
	assert.ok(err instanceof StreamError);
	assert.equal(err.code, Code.resourceExhausted);
	assert.match(err.message, new RegExp(`\\(${limit}\\)`));
	return true;
};

test("event stream: limits, however it is cut", () => {
	const limits = { maxLineBytes: 10, maxEventBytes: 20 };
	for (const parts of everyWay(bytes("data: 1234\ndata: 1234\n\ndata: 1234\n\n: 12345678\n"))) {
		assert.equal(events(parts, limits).got.length, 2);
	}
	for (const parts of everyWay(bytes("data: 12345\n")))
		assert.throws(() => events(parts, limits), tooLarge("maxLineBytes"));
	for (const parts of everyWay(bytes("data: 12345")))
		assert.throws(() => events(parts, limits), tooLarge("maxLineBytes"));
	for (const parts of everyWay(bytes("data: 1234\ndata: 1234\ndata\n"))) {
		assert.throws(() => events(parts, limits), tooLarge("maxEventBytes"));
	}
});

test("lines: LF only, however they are cut", () => {
	for (const parts of everyWay(bytes('\ufeff{"a":1}\n\n{"b":"\r"}\r\nrest'))) {
		const lines = createLines(100, "limit", "lf");
		const got = parts.flatMap((part) => [...lines.feed(part)]);
		assert.deepEqual(got, ['{"a":1}', "", '{"b":"\r"}\r']);
		assert.equal(lines.rest, 4);
	}
});
