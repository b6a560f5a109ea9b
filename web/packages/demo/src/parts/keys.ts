// Keys: each is a message of a bidirectional call, whose server sends it back.

import type { Connection } from "../connection.js";
import { element, make, milliseconds, reasonOf } from "../dom.js";
import { createQueue, type Queue } from "../queue.js";

const shownKeys = 24;
const pauseMs = 50; // between two keys of the button
const sentence = "the quick brown fox jumps over the lazy dog ";

/** startKeys begins the call with the first key. */
export function startKeys({ client }: Connection): void {
	let keys: Queue<{ value: Uint8Array<ArrayBuffer> }> | undefined;
	let waiting: { key: string; at: number }[] = []; // sent, and not back
	let sent = 0;
	let back = 0;
	let wrong = 0;

	const count = () => {
		element("keys-sent").textContent = `${sent}`;
		element("keys-back").textContent = `${back}`;
		element("keys-wrong").textContent = `${wrong}`;
	};

	const show = (key: string, className = "") => {
		const caps = element("keys-caps");
		caps.append(make("kbd", className, key === " " ? "␣" : key));
		while (caps.childElementCount > shownKeys) caps.firstElementChild?.remove();
	};

	const read = async (from: NonNullable<typeof keys>) => {
		try {
			for await (const { value } of client.echoBytes(from)) {
				const key = new TextDecoder().decode(value);
				const expected = waiting.shift();
				back++;
				if (expected?.key !== key) wrong++;
				else element("keys-rtt").textContent = milliseconds(performance.now() - expected.at);
				show(key);
				count();
			}
		} catch (err) {
			show(reasonOf(err), "bad");
		}
		wrong += waiting.length;
		waiting = [];
		if (keys === from) keys = undefined;
		count();
	};

	const send = (key: string) => {
		if (!keys) {
			keys = createQueue();
			void read(keys);
		}
		waiting.push({ key, at: performance.now() });
		keys.push({ value: new TextEncoder().encode(key) });
		sent++;
		count();
	};

	const input = element<HTMLInputElement>("keys-text");
	input.addEventListener("input", (event) => {
		const { data, inputType } = event as InputEvent;
		if (inputType?.startsWith("delete")) send("⌫");
		else for (const key of data ?? "") send(key);
		if (input.value.length > 200) input.value = "";
	});

	let timer: ReturnType<typeof setInterval> | undefined;
	element("keys-run").addEventListener("click", () => {
		if (timer === undefined) {
			timer = setInterval(() => send(sentence[sent % sentence.length] as string), pauseMs);
		} else {
			clearInterval(timer);
			timer = undefined;
		}
		element("keys-run").setAttribute("aria-pressed", `${timer !== undefined}`);
	});
}
