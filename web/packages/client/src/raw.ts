// Streams of raw bytes, as the two ways to a server have them in common.

import type { Bytes } from "./carrier.js";

/** A RawStream is an ordered stream of bytes in both directions. What it rejects with is a StatusError. */
export interface RawStream {
	/** read takes what came next. It resolves with nothing at the end. */
	read(): Promise<Uint8Array | undefined>;
	/** write resolves when more may be written: one write at a time. */
	write(b: Bytes): Promise<void>;
	/** end ends our direction, after everything was written. */
	end(): Promise<void>;
	/** leave gives both directions up. It may be called at any time, and again. */
	leave(): void;
	/** failed resolves when nothing can be written any more, because the server has ended the stream, or it is lost. */
	readonly failed: Promise<Error>;
}
