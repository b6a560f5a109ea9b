// A tab of shared.test.js, which asks it to follow a feed, and how far it has come.
import { sharedSse } from "../../web/packages/client/src/shared-sse.ts";

const state = { numbers: [], error: undefined, done: false };

/** follow reads until the end; slowly, if it is told to. */
globalThis.follow = async (url, { slow = 0, ...options } = {}) => {
	try {
		for await (const { data } of sharedSse(url, { shareKey: "all", ...options })) {
			state.numbers.push(Number(data.number));
			if (slow) await new Promise((resolve) => setTimeout(resolve, slow));
		}
		state.done = true;
	} catch (err) {
		state.error = String(err);
	}
};
globalThis.state = () => ({ ...state, count: state.numbers.length });
