// The page that adapters.test.js opens.
import { createAdapters, pingPong } from "./adapters.js";

/** judge makes a bidirectional call with each library, over connections that are cut. */
globalThis.judge = async ({ baseUrl, descriptorSet, rounds }) => {
	const { session, callers } = createAdapters(baseUrl, Uint8Array.from(descriptorSet));
	const got = {};
	for (const [name, caller] of Object.entries(callers)) got[name] = await pingPong(caller, session, rounds);
	session.close();
	return got;
};
