// Frames of docs/protocols/duplex.md. No I/O.

/** maxFrame is the most bytes of a frame's payload, whatever its kind. */
export const maxFrame = 65_536;

/** maxData is the most bytes of a DATA frame. */
export const maxData = 16_384;

/** firstWindow is how many bytes of DATA may be sent before the first CREDIT. */
export const firstWindow = 65_536;

/** Kind has the kinds of frames. */
export const Kind = {
	headers: 0x01,
	data: 0x02,
	end: 0x03,
	credit: 0x04,
	cancel: 0x05,
	resume: 0x06,
	resumed: 0x07,
	hello: 0x10,
	welcome: 0x11,
	ping: 0x12,
	pong: 0x13,
	goaway: 0x14,
} as const;

export type Kind = (typeof Kind)[keyof typeof Kind];

const names = new Map<number, string>(Object.entries(Kind).map(([name, kind]) => [kind, name.toUpperCase()]));

/** kindName returns the name that the document has for a kind. */
export function kindName(kind: number): string {
	return names.get(kind) ?? `KIND_0x${kind.toString(16)}`;
}

/** A Form is one of the two forms of frames: a pipe that is one call, or frames that have the number of their call. */
export type Form = "call" | "multiplexed";

/** A Frame is a frame without the form's number of the call. */
export interface Frame {
	readonly kind: Kind;
	readonly payload: Uint8Array;
}

/** A Mark is the highest of the numbered events of a direction: nothing, HEADERS, END. */
export type Mark = 0 | 1 | 2;

/** A Credit is what a CREDIT says. */
export interface Credit {
	readonly taken: number;
	readonly window: number;
	readonly got: Mark;
}

/** A ProtocolError is the peer's; the connection ends with it. */
export class ProtocolError extends Error {
	override name = "ProtocolError";
}

const headerLength = { call: 4, multiplexed: 8 } as const;

/** frameLength is how many bytes a frame has on the wire. */
export function frameLength(form: Form, frame: Frame): number {
	return headerLength[form] + frame.payload.length;
}

/** putFrame writes a frame into bytes, and returns where it ends. */
export function putFrame(into: Uint8Array, at: number, form: Form, call: number, { kind, payload }: Frame): number {
	const n = payload.length;
	into.set([kind, n >>> 16, n >>> 8, n], at);
	at += 4;
	if (form === "multiplexed") {
		into.set([call >>> 24, call >>> 16, call >>> 8, call], at);
		at += 4;
	}
	into.set(payload, at);
	return at + n;
}

/** encodeFrame returns the bytes of a frame. */
export function encodeFrame(form: Form, call: number, frame: Frame): Uint8Array {
	const b = new Uint8Array(frameLength(form, frame));
	putFrame(b, 0, form, call, frame);
	return b;
}

/** encodeCredit returns the payload of a CREDIT. */
export function encodeCredit({ taken, window, got }: Credit): Uint8Array {
	const view = new DataView(new ArrayBuffer(13));
	view.setBigUint64(0, BigInt(taken));
	view.setUint32(8, window);
	view.setUint8(12, got);
	return new Uint8Array(view.buffer);
}

/** decodeCredit reads the payload of a CREDIT. */
export function decodeCredit(b: Uint8Array): Credit {
	const got = b[12];
	if (b.length !== 13 || got === undefined || got > 2) throw new ProtocolError("malformed CREDIT");
	const view = new DataView(b.buffer, b.byteOffset, b.length);
	const taken = Number(view.getBigUint64(0));
	if (!Number.isSafeInteger(taken)) throw new ProtocolError("CREDIT for more bytes than there can be");
	return { taken, window: view.getUint32(8), got: got as Mark };
}

/** A Decoder cuts what comes on a pipe into frames. */
export interface Decoder {
	/** feed takes more bytes. What it throws is final. */
	feed(b: Uint8Array): void;
}

const empty = new Uint8Array(0);

/**
 * createDecoder calls frame for each frame of a known kind. DATA comes in parts, as they arrive; every other frame is
 * whole. Payloads are views of what was fed, or of memory that is theirs.
 */
export function createDecoder(form: Form, frame: (call: number, frame: Frame) => void): Decoder {
	const header = new Uint8Array(headerLength[form]);
	let have = 0; // of header
	let kind = 0;
	let call = 0;
	let left = 0; // of the payload
	let parts: Uint8Array[] = []; // of a payload that is not DATA
	let failed: unknown;

	const begin = () => {
		have = 0;
		const view = new DataView(header.buffer);
		kind = view.getUint8(0);
		left = view.getUint32(0) & 0xff_ffff;
		const known = names.has(kind);
		if (form === "multiplexed") {
			call = view.getUint32(4);
			if (known && kind >= Kind.hello !== (call === 0)) {
				throw new ProtocolError(`${kindName(kind)} with call number ${call}`);
			}
		}
		if (left > maxFrame) {
			throw new ProtocolError(`${kindName(kind)} of ${left} bytes; a frame has at most ${maxFrame}`);
		}
		if (kind === Kind.data && (left === 0 || left > maxData)) {
			throw new ProtocolError(`DATA of ${left} bytes; it has 1 to ${maxData}`);
		}
		if (left === 0 && known) frame(call, { kind: kind as Kind, payload: empty });
	};

	const payload = (b: Uint8Array) => {
		left -= b.length;
		if (kind === Kind.data) return frame(call, { kind, payload: b });
		if (!names.has(kind)) return;
		if (left > 0 || parts.length > 0) {
			parts.push(b.slice());
			if (left > 0) return;
			b = concat(parts);
			parts = [];
		}
		frame(call, { kind: kind as Kind, payload: b });
	};

	return {
		feed(b) {
			if (failed) throw failed;
			try {
				for (let at = 0; at < b.length;) {
					const inside = left > 0;
					const n = Math.min(inside ? left : header.length - have, b.length - at);
					const part = b.subarray(at, at + n);
					at += n;
					if (inside) {
						payload(part);
						continue;
					}
					header.set(part, have);
					have += n;
					if (have === header.length) begin();
				}
			} catch (err) {
				failed = err;
				throw err;
			}
		},
	};
}

/** concat joins pieces of bytes. */
export function concat(parts: readonly Uint8Array[]): Uint8Array {
	if (parts.length === 1 && parts[0]) return parts[0];
	const b = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const p of parts) {
		b.set(p, at);
		at += p.length;
	}
	return b;
}
