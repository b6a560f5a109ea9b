// A call of messages, made of one of bytes.

import { type ByteCall, iterate, type Pull } from "./bytes.js";
import { createAssembler, encodeMessage } from "./messages.js";
import { StatusError } from "./status.js";

/** A Call is a call whose directions are messages, as bytes without a prefix. */
export interface Call extends Omit<ByteCall, "write" | "bytes"> {
	/** send sends a message. It resolves when there is room for more, and rejects with a StatusError if the call has ended. */
	send(message: Uint8Array): Promise<void>;
	/** The messages of the server. It throws a StatusError at its end unless the status is OK. Leaving a loop early cancels. */
	readonly messages: AsyncIterable<Uint8Array>;
}

/** messagesOf makes a call of messages of one of bytes. */
export function messagesOf({ write, ...call }: ByteCall, pull: Pull, limit: number): Call {
	const assembler = createAssembler(limit);
	const next = async () => {
		try {
			for (;;) {
				const message = assembler.next();
				if (message) return message;
				const b = pull.pull();
				if (b) assembler.push(b);
				else if (!(await pull.wait())) return undefined;
			}
		} catch (err) {
			if (err instanceof StatusError) pull.fail(err.status); // unless it is what has ended the call
			throw err;
		}
	};
	return {
		...call,
		send: (message) => write(encodeMessage(message)),
		messages: iterate(next, call.cancel),
	};
}
