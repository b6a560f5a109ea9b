// What a page or Node loads: the readers and openDuplex, and what judges them. readers.test.js calls judge with the title of a case.
import { openDuplex } from "../../web/packages/client/src/index.ts";
import { ndjson, sse, StreamError } from "../../web/packages/client/src/readers.ts";
import { cases } from "./readers-cases.js";

/** judge runs a case and says what is wrong, or nothing. */
globalThis.judge = async ({ title, ...where }) => {
	try {
		await cases[title]({ sse, ndjson, openDuplex, StreamError, WebSocket: globalThis.WebSocket, ...where });
	} catch (err) {
		return String(err?.stack ?? err) + (err?.cause ? `\ncause: ${err.cause}` : "");
	}
};
