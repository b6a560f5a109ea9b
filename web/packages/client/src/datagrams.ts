// Datagrams of docs/protocols/duplex.md: messages that may be lost. No I/O.

import type { DatagramOutlet } from "./call.js";
import type { Datagrams } from "./carrier.js";
import { wholeMessage } from "./messages.js";

/** A Datagram is one message. */
export interface Datagram {
	/** Which the client has given to the call. */
	readonly number: number;
	/** Of its direction, from 1. */
	readonly sequence: number;
	readonly message: Uint8Array;
}

/** maxDatagram fits into the smallest packet of QUIC, with what is around it. */
export const maxDatagram = 1100;

/** maxOverhead is how long a datagram may be without its message. */
export const maxOverhead = 16;

/** encodeDatagram returns the bytes of one. */
export function encodeDatagram({ number, sequence, message }: Datagram): Uint8Array<ArrayBuffer> {
	const head = [...varint(number), ...varint(sequence)];
	const b = new Uint8Array(head.length + message.length);
	b.set(head);
	b.set(message, head.length);
	return b;
}

/** decodeDatagram reads one. What is none is undefined. */
export function decodeDatagram(b: Uint8Array): Datagram | undefined {
	let at = 0;
	const next = () => {
		const first = b[at] ?? 0;
		const end = at + 2 ** (first >> 6);
		let n = first & 0x3f;
		while (++at < end) n = n * 256 + (b[at] ?? Number.NaN);
		return n;
	};
	const number = next();
	const sequence = next();
	// One that is cut short has no number.
	return at <= b.length && number >= 0 && sequence > 0 ? { number, sequence, message: b.subarray(at) } : undefined;
}

/** varint is of RFC 9000, section 16. */
function varint(n: number): number[] {
	const [bytes, mark] = n < 2 ** 6 ? [1, 0] : n < 2 ** 14 ? [2, 0x40] : n < 2 ** 30 ? [4, 0x80] : [8, 0xc0];
	const b: number[] = [];
	for (let i = bytes - 1; i >= 0; i--) b.push(Math.floor(n / 2 ** (8 * i)) % 256);
	b[0] = (b[0] as number) | mark;
	return b;
}

/** An Order says which datagrams are taken. */
export type Order = (sequence: number) => boolean;

/** So many numbers behind the newest one are remembered. */
const seenNumbers = 64;

/** createOrder takes what is newer than the newest, and with late also what is older and has not come before. */
export function createOrder(late: boolean): Order {
	let newest = 0;
	let seen: number[] = [];
	return (sequence) => {
		if (sequence <= newest - seenNumbers || seen.includes(sequence)) return false;
		if (sequence < newest && !late) return false;
		newest = Math.max(newest, sequence);
		seen = [...seen.filter((n) => n > newest - seenNumbers), sequence];
		return true;
	};
}

/** Lossy is what a call keeps of its datagrams. It goes along to other connections. */
export interface Lossy {
	/** Whether messages that come late are delivered. */
	readonly late: boolean;
	/** Of the last one that was sent. */
	sequence: number;
	order?: Order;
}

/** createDatagramOutlet gives a call the datagrams of a connection. */
export function createDatagramOutlet(lossy: Lossy, number: number, { maxBytes, send }: Datagrams): DatagramOutlet {
	const most = Math.min(maxBytes, maxDatagram) - maxOverhead;
	return {
		number,
		offer(b) {
			const message = wholeMessage(b);
			if (!message || message.length > most) return false;
			send(encodeDatagram({ number, sequence: ++lossy.sequence, message }));
			return true;
		},
	};
}

/** isTaken says whether a call takes a datagram, and remembers it. */
export function isTaken(lossy: Lossy, sequence: number): boolean {
	lossy.order ??= createOrder(lossy.late);
	return lossy.order(sequence);
}
