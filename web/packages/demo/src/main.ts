// The page of sluice demo: one bidirectional call, which outlives its connections.

import {
	type Call,
	type Carrier,
	canStreamRequests,
	codeName,
	connect,
	createDuplex,
	createLongPoll,
	createStreamingDuplex,
	createWebSocket,
	createWebTransport,
	discover,
	type SessionEvent,
	type TracedFrame,
} from "@sluice-rpc/client";
import { decodeResponse, encodeRequest } from "./chat.js";

const element = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T;

interface Choice {
	readonly carrier: Carrier;
	readonly title: string;
	readonly note: string;
	readonly missing: string | undefined;
}

const choices: readonly Choice[] = [
	{
		carrier: createWebSocket(),
		title: "WebSocket",
		note: "all calls on one",
		missing: undefined,
	},
	{
		carrier: createWebTransport({ discover }),
		title: "WebTransport",
		note: "HTTP/3, a stream for each call",
		missing: "WebTransport" in globalThis ? undefined : "not in this browser, or not on this page",
	},
	{
		carrier: createStreamingDuplex(),
		title: "HTTP/2 duplex",
		note: canStreamRequests() ? "a streaming GET and POST" : "a streaming GET, and POSTs",
		missing: undefined,
	},
	{ carrier: createDuplex(), title: "HTTP duplex, batched", note: "a streaming GET, and POSTs", missing: undefined },
	{ carrier: createLongPoll(), title: "Long poll", note: "where answers come whole", missing: undefined },
];

// The log.

const logLines = 300;
const began = performance.now();

function log(kind: "up" | "down" | "event" | "bad", text: string): void {
	const list = element("log");
	const follows = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
	const line = document.createElement("li");
	line.className = kind;
	const mark = { up: "→", down: "←", event: "●", bad: "●" }[kind];
	line.textContent = `${((performance.now() - began) / 1000).toFixed(3).padStart(9)}  ${mark} ${text}`;
	list.append(line);
	while (list.childElementCount > logLines) list.firstElementChild?.remove();
	if (follows) list.scrollTop = list.scrollHeight;
}

function onFrame({ direction, carrier, call, kind, payload }: TracedFrame): void {
	const text =
		kind === "DATA" || kind === "CREDIT" || kind === "PING" || kind === "PONG" ? "" : new TextDecoder().decode(payload);
	const fields = text.trim().split("\r\n").filter(Boolean).map(shorten).join(" · ");
	log(
		direction,
		`${carrier.padEnd(16)} ${call === 0 ? "-" : call} ${kind.padEnd(8)} ${fields || `${payload.length} bytes`}`,
	);
}

const shorten = (field: string) => (field.length > 60 ? `${field.slice(0, 57)}…` : field);

// The connection.

let connections = 0;

function onEvent(event: SessionEvent): void {
	const state = element("state");
	switch (event.type) {
		case "connecting":
			log("event", `connecting over ${event.carrier}`);
			break;
		case "open":
			state.textContent = event.carrier;
			state.dataset.state = "open";
			element("connections").textContent = `${++connections}`;
			log("event", `open over ${event.carrier}${event.resuming > 0 ? ", and the call goes on" : ""}`);
			break;
		case "lost":
			if (!session.carrier) {
				state.textContent = "lost";
				state.dataset.state = "lost";
			}
			log("bad", `lost: ${event.reason}`);
			break;
		case "goaway":
			log("event", `the gateway wants new calls elsewhere: ${event.reason}`);
	}
}

const session = connect({ baseUrl: location.origin, carriers: (choices[0] as Choice).carrier, onEvent, onFrame });

// The call.

let call: Call | undefined;
let sent = 0;
let answered = 0;
let wrong = 0;

function show(text: string, className = ""): void {
	const list = element("messages");
	const item = document.createElement("li");
	item.textContent = text;
	item.className = className;
	list.append(item);
	while (list.childElementCount > logLines) list.firstElementChild?.remove();
	list.scrollTop = list.scrollHeight;
}

function counts(): void {
	element("sent").textContent = `${sent}`;
	element("answered").textContent = `${answered}`;
	element("wrong").textContent = `${wrong}`;
}

/** begin makes the call, if there is none. */
function begin(): Call {
	if (call) return call;
	const made = session.call({ path: "/sluice.demo.v1.Demo/Chat" });
	call = made;
	sent = answered = wrong = 0;
	void read(made);
	return made;
}

async function read(from: Call): Promise<void> {
	try {
		for await (const message of from.messages) {
			const { text, number } = decodeResponse(message);
			answered++;
			if (number !== answered) wrong++;
			counts();
			show(`${number}  ${text}`);
		}
	} catch (err) {
		show(String(err), "bad");
	}
	const status = await from.status;
	show(`the call has ended: ${codeName(status.code)}`, status.code === 0 ? "event" : "bad");
	if (call === from) call = undefined;
}

async function send(text: string): Promise<void> {
	const to = begin();
	sent++;
	counts();
	await to.send(encodeRequest(text)).catch(() => {}); // read says why
}

// The page.

for (const [i, { carrier, title, note, missing }] of choices.entries()) {
	const label = document.createElement("label");
	const input = document.createElement("input");
	const small = document.createElement("small");
	input.type = "radio";
	input.name = "carrier";
	input.value = carrier.name;
	input.checked = i === 0;
	input.disabled = missing !== undefined;
	input.addEventListener("change", () => session.use(carrier));
	small.textContent = missing ?? note;
	const name = document.createElement("span");
	name.textContent = title;
	label.append(input, name, small);
	element("carriers").append(label);
}

element("form").addEventListener("submit", (event) => {
	event.preventDefault();
	void send(element<HTMLInputElement>("text").value);
});

element("cut").addEventListener("click", () => session.cut());

element("end").addEventListener("click", () => call?.closeSend());

let running = false;
element("run").addEventListener("click", async () => {
	running = !running;
	element("run").setAttribute("aria-pressed", `${running}`);
	while (running) {
		await send(`message ${sent + 1}`);
		await new Promise((resolve) => setTimeout(resolve, 50));
	}
});

setInterval(async () => {
	if (document.hidden || !session.carrier) return;
	try {
		element("rtt").textContent = `${(await session.ping(5000)).toFixed(1)} ms`;
	} catch {
		element("rtt").textContent = "–";
	}
}, 2000);

void send("hello");
