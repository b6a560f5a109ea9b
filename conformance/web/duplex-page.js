// The page that the browser loads; duplex.test.js calls judge in it. It is also what Node
// loads, since the package's client is made for bundlers.
import makeDuplex, { ResponseError } from "http2-duplex/client.js";
import { cases } from "./duplex-cases.js";

/** judge runs a case and says what is wrong, or nothing. */
globalThis.judge = async ({ title, url, batched, fetch = globalThis.fetch.bind(globalThis) }) => {
	const opened = [];
	const open = async (options, suffix = "") => {
		const d = await makeDuplex(url + suffix, { disable_request_streaming: batched, highWaterMark: 100, fetch, ...options });
		opened.push(d);
		return d;
	};
	try {
		await cases[title]({ open, url, batched, fetch, ResponseError });
	} catch (err) {
		return String(err?.stack ?? err) + (err?.cause ? `\ncause: ${err.cause}` : "");
	} finally {
		for (const d of opened) {
			d.on("error", () => {});
			d.destroy();
		}
	}
};
