// The carrier of docs/protocols/http2-duplex.md with a streaming download and batched uploads.

import type { Carrier } from "./carrier.js";
import { connectionOf, createEnding, createRequester, createUploader, download, type HttpOptions } from "./http.js";
import { createMultiplexed } from "./multiplexed.js";

/**
 * createDuplex makes a carrier of plain HTTP requests: one streaming GET, and a POST for what was written meanwhile. It gets
 * through where nothing else does, unless answers are kept until they are whole.
 */
export function createDuplex(options: HttpOptions = {}): Carrier {
	return {
		name: "duplex",
		calls: createMultiplexed,
		connectMs: options.connectMs ?? 5000,
		async connect(endpoint, events, signal) {
			const requester = createRequester(endpoint, options);
			const ending = createEnding(requester, events.closed);
			signal.addEventListener("abort", () => ending.close("cut"), { once: true });
			await download(requester, (b) => ending.over || events.data(b), ending.lost);
			const uploader = createUploader(requester, ending.lost);
			return connectionOf(uploader.write, ending.close);
		},
	};
}
