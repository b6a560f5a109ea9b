import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { watchNetwork } from "./network.js";

/** A page is a window and a document for a while. */
const names = ["document", "addEventListener", "removeEventListener"];
const before = Object.getOwnPropertyDescriptors(globalThis);
afterEach(() => {
	for (const name of names) {
		const was = before[name as keyof typeof before];
		if (was) Object.defineProperty(globalThis, name, was);
		else delete (globalThis as Record<string, unknown>)[name];
	}
});

test("what happens to the network and to the page", () => {
	const window = new EventTarget();
	const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
	Object.assign(globalThis, {
		document,
		addEventListener: window.addEventListener.bind(window),
		removeEventListener: window.removeEventListener.bind(window),
	});
	const seen: string[] = [];
	const stop = watchNetwork({
		wake: () => seen.push("wake"),
		changed: () => seen.push("changed"),
		hide: (kept) => seen.push(`hide ${kept}`),
	});
	const say = (target: EventTarget, type: string, more = {}) =>
		target.dispatchEvent(Object.assign(new Event(type), more));
	say(window, "offline");
	say(window, "online");
	document.visibilityState = "hidden";
	say(document, "visibilitychange");
	document.visibilityState = "visible";
	say(document, "visibilitychange");
	say(document, "resume");
	say(window, "pagehide", { persisted: true });
	say(window, "pageshow", { persisted: true });
	say(window, "pagehide", { persisted: false });
	stop();
	say(window, "online");
	assert.deepEqual(seen, ["changed", "wake", "wake", "wake", "hide true", "wake", "hide false"]);
});
