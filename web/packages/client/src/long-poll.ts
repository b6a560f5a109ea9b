// The carrier of docs/protocols/http2-duplex.md for networks that give an answer only when it is whole.

import type { Carrier } from "./carrier.js";
import { connectionOf, createEnding, createRequester, createUploader, type HttpOptions, reasonOf } from "./http.js";
import { messageOf } from "./message-of.js";
import { createMultiplexed } from "./multiplexed.js";

/** A poll without an answer is sent again so often, after a pause that doubles. */
const pollTries = 6;
const pollPauseMs = 100;

/** createLongPoll makes a carrier of short HTTP requests. */
export function createLongPoll(options: HttpOptions = {}): Carrier {
	return {
		name: "long-poll",
		calls: createMultiplexed,
		connectMs: options.connectMs ?? 5000,
		async connect(endpoint, events, signal) {
			const requester = createRequester(endpoint, options);
			const ending = createEnding(requester, events.closed);
			signal.addEventListener("abort", () => ending.close("cut"), { once: true });
			let offset = 0; // what came, which a poll acknowledges

			/** poll takes one batch, and says whether it was the last. */
			const poll = async (): Promise<boolean> => {
				const fields = { "sluice-offset": `${offset}`, "sluice-poll": "1" };
				for (let tries = 1, pause = pollPauseMs; ; tries++, pause *= 2) {
					let refused: string | undefined;
					try {
						const response = await requester.request("GET", fields);
						if (response.status === 200) {
							const b = new Uint8Array(await response.arrayBuffer());
							offset += b.length;
							if (b.length > 0 && !ending.over) events.data(b);
							return response.headers.get("sluice-end") === "1" && b.length === 0;
						}
						refused = await reasonOf(response);
					} catch (err) {
						if (tries === pollTries || ending.over) throw new Error(`a poll failed: ${messageOf(err)}`);
					}
					if (refused) throw new Error(`a poll was refused with ${refused}`);
					await new Promise((resolve) => setTimeout(resolve, pause));
				}
			};

			const pollOn = async () => {
				try {
					while (!ending.over) if (await poll()) return ending.lost("the server has ended the session");
				} catch (err) {
					ending.lost(messageOf(err));
				}
			};

			await poll();
			void pollOn();
			return connectionOf(createUploader(requester, ending.lost).write, ending.close);
		},
	};
}
