// What the judges of the demo's page share.
import assert from "node:assert/strict";

/** variable is what page_test.go says. */
export function variable(name) {
	const value = process.env[name];
	if (!value) throw new Error(`${name} is not set: page_test.go runs this`);
	return value;
}

export const carriers = ["websocket", "webtransport", "duplex-streaming", "duplex", "long-poll"];

// What follows runs in the page.

export const state = () => {
	const text = (id) => document.getElementById(id).textContent;
	const messages = [...document.querySelectorAll("#chat-messages .text")].map((e) => e.textContent);
	return {
		carrier: document.getElementById("pipe").dataset.carrier,
		phase: document.getElementById("state").dataset.phase,
		reconnects: Number(text("reconnects")),
		sent: Number(text("keys-sent")),
		back: Number(text("keys-back")),
		wrong: Number(text("keys-wrong")),
		tick: Number(text("ticker-number")),
		note: text("ticker-note"),
		answer: text("unary-answer"),
		members: text("chat-members"),
		messages,
		last: messages.at(-1) ?? "",
		uploaded: document.getElementById("upload-progress").value,
		upload: text("upload-note"),
		log: [...document.querySelectorAll("#frames-log li")].slice(-12).map((e) => e.textContent),
	};
};
export const choose = ({ name, value }) => document.querySelector(`input[name="${name}"][value="${value}"]`).click();
export const press = (id) => document.getElementById(id).click();

/** untilOf makes what waits for a page to be as it should. */
export function untilOf(page) {
	return async (what, good) => {
		let now;
		for (const end = Date.now() + 15_000; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 20))) {
			now = await page.evaluate(state);
			if (good(now)) return now;
		}
		assert.fail(`${what}: ${JSON.stringify(now, undefined, 1)}`);
	};
}
