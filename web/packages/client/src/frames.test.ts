import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { encodeFields, type Field, parseFields } from "./fields.js";
import {
	createDecoder,
	decodeCredit,
	encodeCredit,
	encodeFrame,
	type Form,
	Kind,
	kindName,
	type Mark,
	ProtocolError,
} from "./frames.js";

interface VectorFrame {
	readonly kind: string;
	readonly call: number;
	readonly payload?: string;
	readonly credit?: { readonly taken: number; readonly window: number; readonly got: Mark };
}

interface Vector {
	readonly name: string;
	readonly form: Form;
	readonly bytes: string;
	readonly frames: readonly VectorFrame[];
	readonly error?: string;
}

interface Vectors {
	readonly frames: readonly Vector[];
	readonly fields: readonly {
		readonly name: string;
		readonly text: string;
		readonly fields?: Field[];
		readonly error?: string;
	}[];
	readonly conversations: readonly {
		readonly name: string;
		readonly steps: readonly (Partial<Vector> & { from: string })[];
	}[];
}

const vectors: Vectors = JSON.parse(readFileSync(new URL("../../../../testdata/duplex.json", import.meta.url), "utf8"));

const bytesOf = (hex: string) =>
	Uint8Array.from(hex.replaceAll(" ", "").match(/../g) ?? [], (h) => Number.parseInt(h, 16));
const hexOf = (b: Uint8Array) => Buffer.from(b).toString("hex");

interface Decoded {
	readonly kind: string;
	readonly call: number;
	readonly payload: string;
}

/** decode joins neighbouring DATA of a call if asked to, since how it is cut means nothing. */
function decode(form: Form, pieces: Uint8Array[], join: boolean): { frames: Decoded[]; error: unknown } {
	const frames: Decoded[] = [];
	const decoder = createDecoder(form, (call, { kind, payload }) => {
		const before = frames.at(-1);
		if (join && kind === Kind.data && before?.kind === "DATA" && before.call === call) {
			frames[frames.length - 1] = { ...before, payload: before.payload + hexOf(payload) };
		} else {
			frames.push({ kind: kindName(kind), call, payload: hexOf(payload) });
		}
	});
	try {
		for (const p of pieces) decoder.feed(p);
	} catch (error) {
		assert.throws(() => decoder.feed(new Uint8Array(1)), ProtocolError, "an error is final");
		return { frames, error };
	}
	return { frames, error: undefined };
}

const kindOf = (name: string) => Kind[name.toLowerCase() as keyof typeof Kind];
const payloadOf = (f: VectorFrame) => (f.credit ? encodeCredit(f.credit) : bytesOf(f.payload ?? ""));

test("vectors: frames", () => {
	const steps = vectors.conversations.flatMap((c) =>
		c.steps.filter((s) => s.bytes).map((s) => ({ ...s, name: c.name }) as Vector),
	);
	const seen = new Set<string>();
	for (const v of [...vectors.frames, ...steps]) {
		const bytes = bytesOf(v.bytes);
		const want = v.frames.map((f) => ({ kind: f.kind, call: f.call, payload: hexOf(payloadOf(f)) }));
		const { frames, error } = decode(v.form, [bytes], false);
		assert.deepEqual(frames, want, v.name);
		assert.equal(error instanceof ProtocolError, v.error !== undefined, `${v.name}: ${error}`);
		for (const f of v.frames) {
			seen.add(f.kind);
			if (f.credit) assert.deepEqual(decodeCredit(payloadOf(f)), f.credit);
		}
		if (!v.error && !v.name.includes("skipped")) {
			const written = v.frames.map((f) => encodeFrame(v.form, f.call, { kind: kindOf(f.kind), payload: payloadOf(f) }));
			assert.equal(hexOf(Buffer.concat(written)), hexOf(bytes), `${v.name}, written`);
		}
	}
	assert.deepEqual([...seen].sort(), Object.values(Kind).map(kindName).sort(), "there is a vector of each kind");
});

test("vectors: frames cut anywhere", () => {
	for (const v of vectors.frames) {
		const bytes = bytesOf(v.bytes);
		const whole = decode(v.form, [bytes], true);
		for (let i = 0; i <= bytes.length; i++) {
			const cut = decode(v.form, [bytes.subarray(0, i), bytes.subarray(i)], true);
			assert.deepEqual(cut.frames, whole.frames, `${v.name}, cut at ${i}`);
			assert.equal(String(cut.error), String(whole.error), `${v.name}, cut at ${i}`);
		}
		const single = decode(
			v.form,
			Array.from(bytes, (b) => Uint8Array.of(b)),
			true,
		);
		assert.deepEqual(single.frames, whole.frames, `${v.name}, byte by byte`);
	}
});

test("vectors: fields", () => {
	for (const v of vectors.fields) {
		const parse = () => parseFields(new TextEncoder().encode(v.text));
		if (v.error) {
			assert.throws(parse, ProtocolError, v.name);
			continue;
		}
		const fields = parse();
		assert.deepEqual(fields, v.fields, v.name);
		assert.deepEqual(parseFields(encodeFields(fields)), fields, v.name);
	}
});

test("credit: malformed", () => {
	const good = encodeCredit({ taken: 1, window: 2, got: 2 });
	assert.throws(() => decodeCredit(good.subarray(0, 12)), /malformed/);
	assert.throws(() => decodeCredit(Uint8Array.from([...good.subarray(0, 12), 3])), /malformed/);
	assert.throws(() => decodeCredit(Uint8Array.from([255, ...good.subarray(1)])), /more bytes than there can be/);
});

test("fields: what can't be written", () => {
	assert.throws(() => encodeFields([["a b", "c"]]), /not a field name/);
	assert.throws(() => encodeFields([["A", "c"]]), /not a field name/);
	assert.throws(() => encodeFields([["a", "b\r\nc: d"]]), /control character/);
	assert.throws(() => encodeFields([["a", "€"]]), /not ASCII/);
});
