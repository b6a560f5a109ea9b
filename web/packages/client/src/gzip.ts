// gzip of the platform, for messages of Connect-ES.

import { Code, ConnectError } from "@connectrpc/connect";
import type { Compression } from "@connectrpc/connect/protocol";
import type { Bytes } from "./carrier.js";
import { concat } from "./frames.js";

/**
 * createGzip makes the compression of the platform (CompressionStream).
 *
 *     const gzip = createGzip();
 *     createSluiceTransport({ baseUrl, acceptCompression: [gzip], sendCompression: gzip });
 */
export function createGzip(): Compression {
	return {
		name: "gzip",
		compress: (b) => run(b, new CompressionStream("gzip"), Number.POSITIVE_INFINITY),
		async decompress(b, readMaxBytes) {
			try {
				return await run(b, new DecompressionStream("gzip"), readMaxBytes);
			} catch (err) {
				if (err instanceof ConnectError) throw err;
				throw new ConnectError("a message is not what gzip makes", Code.InvalidArgument, undefined, undefined, err);
			}
		},
	};
}

/** run puts bytes through a stream. A few may become many: it stops at the limit. */
async function run(b: Uint8Array, stream: GenericTransformStream, limit: number): Promise<Uint8Array<ArrayBuffer>> {
	const writer = (stream.writable as WritableStream<Uint8Array>).getWriter();
	// What is wrong with the bytes is told by the reader.
	void writer.write(b).catch(() => {});
	void writer.close().catch(() => {});
	const reader = (stream.readable as ReadableStream<Uint8Array>).getReader();
	const parts: Uint8Array[] = [];
	let length = 0;
	for (let part = await reader.read(); !part.done; part = await reader.read()) {
		length += part.value.length;
		if (length > limit) {
			void reader.cancel().catch(() => {});
			throw new ConnectError(`a message is larger than the limit of ${limit} bytes`, Code.ResourceExhausted);
		}
		parts.push(part.value);
	}
	return concat(parts) as Bytes;
}
