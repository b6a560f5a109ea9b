// The page that the browser loads; browser.test.js calls judge in it.
import { casesOf, createJudge } from "./connect-cases.js";

/** judge runs a case and says what is wrong, or nothing. */
globalThis.judge = async ({ protocol, title, baseUrl, descriptorSet }) => {
	try {
		await casesOf(protocol)[title](createJudge(protocol, baseUrl, Uint8Array.from(descriptorSet)));
	} catch (err) {
		return String(err?.stack ?? err) + (err?.cause ? `\ncause: ${err.cause}` : "");
	}
};
