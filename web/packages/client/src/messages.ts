// gRPC's messages: a flag, a length of four bytes, and so many bytes. No I/O.

import { concat } from "./frames.js";
import { Code, StatusError, statusOf } from "./status.js";

/** prefixLength is how many bytes are in front of a message. */
export const prefixLength = 5;

/** compressedFlag is of a message that is compressed, trailerFlag of gRPC-Web's trailers. */
export const compressedFlag = 0x01;
export const trailerFlag = 0x80;

/** A Scanner follows messages in bytes that are cut anywhere. */
export interface Scanner {
	scan(b: Uint8Array): void;
	/** inside says whether a message has begun and not ended. */
	readonly inside: boolean;
}

/** createScanner makes a Scanner, which keeps nothing of what it sees. */
export function createScanner(): Scanner {
	let have = 0; // of a prefix
	let length = 0;
	let left = 0; // of a message
	return {
		scan(b) {
			for (let at = 0; at < b.length;) {
				if (left > 0) {
					const n = Math.min(left, b.length - at);
					left -= n;
					at += n;
					continue;
				}
				if (have > 0) length = length * 256 + (b[at] as number);
				at++;
				if (++have < prefixLength) continue;
				left = length;
				have = length = 0;
			}
		},
		get inside() {
			return have > 0 || left > 0;
		},
	};
}

/** encodeMessage puts the prefix in front of a message. */
export function encodeMessage(message: Uint8Array, flags = 0): Uint8Array {
	const b = new Uint8Array(prefixLength + message.length);
	b[0] = flags;
	new DataView(b.buffer).setUint32(1, message.length);
	b.set(message, prefixLength);
	return b;
}

/** wholeMessage returns the message without its prefix if bytes are one, whole and not compressed. */
export function wholeMessage(b: Uint8Array): Uint8Array | undefined {
	if (b.length < prefixLength || b[0] !== 0) return undefined;
	const length = new DataView(b.buffer, b.byteOffset).getUint32(1);
	return b.length === prefixLength + length ? b.subarray(prefixLength) : undefined;
}

/** An Assembler puts messages together. */
export interface Assembler {
	/** push takes bytes. */
	push(b: Uint8Array): void;
	/** next returns a message, or undefined if more bytes are needed first. It throws a StatusError. */
	next(): Uint8Array | undefined;
}

/** createAssembler makes an Assembler of messages without compression, of at most so many bytes. */
export function createAssembler(limit: number): Assembler {
	let parts: Uint8Array[] = [];
	let have = 0;

	const cut = (n: number): Uint8Array => {
		const out: Uint8Array[] = [];
		let index = 0;
		have -= n;
		while (n > 0) {
			const p = parts[index] as Uint8Array;
			if (p.length <= n) {
				out.push(p);
				index++;
			} else {
				out.push(p.subarray(0, n));
				parts[index] = p.subarray(n);
			}
			n -= Math.min(n, p.length);
		}
		parts = parts.slice(index);
		return concat(out);
	};

	let length: number | undefined; // of the message whose prefix was read
	return {
		push(b) {
			if (b.length === 0) return;
			parts.push(b);
			have += b.length;
		},
		next() {
			if (length === undefined) {
				if (have < prefixLength) return undefined;
				const prefix = cut(prefixLength);
				if (prefix[0] !== 0)
					throw refuse(Code.internal, `a message has the flags ${prefix[0]}, and no encoding was agreed on`);
				length = new DataView(prefix.buffer, prefix.byteOffset).getUint32(1);
				if (length > limit) throw refuse(Code.resourceExhausted, `a message of ${length} bytes; the limit is ${limit}`);
			}
			if (have < length) return undefined;
			const n = length;
			length = undefined;
			return cut(n);
		},
	};
}

function refuse(code: number, message: string): StatusError {
	return new StatusError(statusOf(code, message));
}
