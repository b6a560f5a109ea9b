// The two directions of a call: what may be sent, what is kept for the peer, what was taken. No I/O.

import { concat, firstWindow } from "./frames.js";
import { Code, StatusError, statusOf } from "./status.js";

/** A Sender is the sending half of a direction. */
export interface Sender {
	/** write adds bytes, which must not change afterwards. */
	write(b: Uint8Array): void;
	/** next returns bytes that may be sent now, at most so many, and takes them as sent. */
	next(most: number): Uint8Array | undefined;
	/** credit takes a CREDIT. A peer that has taken what was not sent is a StatusError. */
	credit(taken: number, window: number): void;
	/** rewind goes on from what the peer says that it has received. */
	rewind(received: number): void;
	/** free drops everything that is kept. */
	free(): void;
	/** unsent is how many bytes were never sent. */
	readonly unsent: number;
	/** drained says whether everything written was sent on this pipe. */
	readonly drained: boolean;
	/** buffered is how many bytes are kept, sent or not. */
	readonly buffered: number;
}

/** createSender makes a Sender. With keep it keeps bytes until they were taken, for a resumption. */
export function createSender(keep: boolean): Sender {
	let chunks: Uint8Array[] = []; // from offset base on
	let base = 0;
	let end = 0;
	let sent = 0; // on this pipe
	let high = 0; // on any
	let taken = 0;
	let limit = firstWindow;
	// Where sent is.
	let index = 0;
	let offset = 0; // in chunks[index]

	const forget = () => {
		// What is to be sent again is kept even if it was taken: the peer counts it.
		const to = keep ? Math.min(sent, taken) : sent;
		let n = 0;
		for (let c = chunks[n]; c && base + c.length <= to; c = chunks[n]) {
			base += c.length;
			n++;
		}
		if (n === 0) return;
		chunks.splice(0, n);
		index -= n;
	};

	return {
		write(b) {
			if (b.length === 0) return;
			chunks.push(b);
			end += b.length;
		},
		next(most) {
			let n = Math.min(most, limit - sent, end - sent);
			if (n <= 0) return undefined;
			sent += n;
			high = Math.max(high, sent);
			const parts: Uint8Array[] = [];
			while (n > 0) {
				const c = chunks[index] as Uint8Array;
				const part = c.subarray(offset, offset + n);
				parts.push(part);
				n -= part.length;
				offset += part.length;
				if (offset === c.length) {
					index++;
					offset = 0;
				}
			}
			forget();
			return concat(parts);
		},
		credit(to, window) {
			if (to > high) throw dataLoss(`${to} bytes were taken, and ${high} were sent`);
			limit = Math.max(limit, to + window);
			taken = Math.max(taken, to);
			forget();
		},
		rewind(received) {
			if (received < (keep ? taken : sent) || received < base || received > high) {
				throw dataLoss(`${received} bytes were received, which is outside of what is kept`);
			}
			sent = received;
			index = 0;
			offset = received - base;
			for (let c = chunks[0]; c && offset >= c.length; c = chunks[index]) {
				offset -= c.length;
				index++;
			}
		},
		free() {
			chunks = [];
			base = end;
			sent = end;
			index = 0;
			offset = 0;
		},
		get unsent() {
			return end - Math.max(high, base);
		},
		get drained() {
			return sent === end;
		},
		get buffered() {
			return end - base;
		},
	};
}

/** A Receiver is the receiving half of a direction. */
export interface Receiver {
	/** receive counts DATA, and says whether the peer was allowed to send it. */
	receive(n: number): boolean;
	/** take counts what is out of our hands, and says whether a CREDIT is due. */
	take(n: number): boolean;
	/** credit returns what a CREDIT says now. */
	credit(): { readonly taken: number; readonly window: number };
	/** received is the offset up to which DATA came. */
	readonly received: number;
	/** owes says whether something was taken since the last CREDIT. */
	readonly owes: boolean;
}

/** createReceiver makes a Receiver that lets the peer have so many bytes under way. */
export function createReceiver(window = firstWindow): Receiver {
	let received = 0;
	let taken = 0;
	let told = 0; // of taken
	let limit = firstWindow;
	return {
		receive(n) {
			if (received + n > limit) return false;
			received += n;
			return true;
		},
		take(n) {
			taken += n;
			// Of a window larger than the first, half may be more than the peer may send.
			return limit - taken <= window / 2;
		},
		credit() {
			told = taken;
			limit = Math.max(limit, taken + window);
			return { taken, window };
		},
		get received() {
			return received;
		},
		get owes() {
			return told < taken;
		},
	};
}

/** dataLoss is the error of a peer that wants bytes which are gone, or has some that were never sent. */
function dataLoss(message: string): StatusError {
	return new StatusError(statusOf(Code.dataLoss, message));
}
