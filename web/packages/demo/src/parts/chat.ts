// A chat of all windows: one bidirectional call in each.

import type { Connection } from "../connection.js";
import { element, follow, make, reasonOf } from "../dom.js";
import { createQueue, type Queue } from "../queue.js";

const mostMessages = 200;
const againMs = 2000;
const birds = ["Heron", "Kingfisher", "Dipper", "Curlew", "Plover", "Osprey", "Grebe", "Avocet", "Teal", "Bittern"];

type Words = Queue<{ name: string; text: string }>;

/** startChat enters the room, and comes back when the call has ended. */
export function startChat({ client }: Connection): void {
	const name = `${birds[Math.floor(Math.random() * birds.length)]} ${Math.floor(Math.random() * 90 + 10)}`;
	element("chat-name").textContent = name;
	const list = element("chat-messages");
	let words: Words = createQueue();
	let heard = { number: 0, unixMs: 0n }; // the last message

	const show = (from: string, text: string, at: bigint) => {
		const own = from === name;
		const time = new Date(Number(at)).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
		const by = make("span", "by", `${own ? "You" : from || "Somebody"} `, make("time", "", time));
		follow(list, mostMessages, make("li", own ? "own" : "", by, make("span", "text", text)));
	};

	const stay = async () => {
		for await (const said of client.room(words)) {
			const { members } = said;
			const others = members === 2 ? "one other window" : `${members - 1} other windows`;
			element("chat-members").textContent = members > 1 ? `You and ${others} are here.` : "You are alone here.";
			// A call that begins anew repeats what was said before; and who comes or goes says nothing.
			if (said.number === 0 || (said.number <= heard.number && said.unixMs <= heard.unixMs)) continue;
			heard = said;
			show(said.name, said.text, said.unixMs);
		}
	};

	const run = async () => {
		for (;;) {
			try {
				await stay();
			} catch (err) {
				element("chat-members").textContent = `The call has ended: ${reasonOf(err)}`;
			}
			await new Promise((resolve) => setTimeout(resolve, againMs));
			words = createQueue();
		}
	};
	void run();

	element("chat-form").addEventListener("submit", (event) => {
		event.preventDefault();
		const input = element<HTMLInputElement>("chat-text");
		const text = input.value.trim();
		if (text) words.push({ name, text });
		input.value = "";
	});
}
