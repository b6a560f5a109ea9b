// The connection as the page shows it: the pipe, the switch of carriers, the button that cuts, the state.

import type { SessionEvent, TracedFrame } from "@sluice-rpc/client";
import { choices, type Connection, titleOf, type Watcher } from "./connection.js";
import { element, make, milliseconds } from "./dom.js";

const pingEveryMs = 2000;
const pulseEveryMs = 70; // at most, in each direction
const pulseMs = 900;
const gateMs = 650; // a gate that is down is seen, however fast the connection is back

/** Wire shows a connection. */
export interface Wire extends Watcher {
	start(connection: Connection): void;
}

/** createWire makes what sees the connection from its first moment on. */
export function createWire(): Wire {
	const pipe = element("pipe");
	const still = matchMedia("(prefers-reduced-motion: reduce)");
	const lastPulse = { up: 0, down: 0 };
	let lostAt: number | undefined;
	let connection: Connection | undefined;

	const pulse = (direction: "up" | "down", kind: string) => {
		const now = performance.now();
		if (document.hidden || still.matches || now - lastPulse[direction] < pulseEveryMs) return;
		lastPulse[direction] = now;
		const drop = make("i", `drop ${direction}${kind === "DATA" ? " data" : ""}`);
		pipe.append(drop);
		const way = [{ left: "0%" }, { left: "100%" }];
		if (direction === "down") way.reverse();
		drop.animate(way, { duration: pulseMs, easing: "linear" }).onfinish = () => drop.remove();
	};

	const show = () => {
		if (!connection) return;
		const { phase, carrier, roundTripMs, reconnects, offline } = connection.transport.state;
		const title = carrier ? titleOf(carrier) : offline ? "no network" : "no connection";
		const state = element("state");
		// A screen reader hears what has changed, and nothing else.
		if (state.dataset.phase !== phase || element("carrier").textContent !== title) {
			state.dataset.phase = phase;
			element("carrier").textContent = title;
			element("phase").textContent = phase;
		}
		for (const label of element("carriers").querySelectorAll("label")) {
			label.classList.toggle("live", label.dataset.carrier === carrier);
		}
		pipe.dataset.phase = phase;
		pipe.dataset.carrier = carrier ?? "";
		element("pipe-name").textContent = carrier ? title : phase;
		element("rtt").textContent = roundTripMs === undefined ? "–" : milliseconds(roundTripMs);
		element("reconnects").textContent = `${reconnects}`;
	};

	const closeGate = () => {
		pipe.classList.remove("shut");
		void pipe.offsetWidth; // begins the animation anew
		pipe.classList.add("shut");
		setTimeout(() => pipe.classList.remove("shut"), gateMs);
	};

	return {
		event(event: SessionEvent) {
			if (event.type === "lost") {
				lostAt ??= performance.now();
				closeGate();
			}
			if (event.type === "open" && lostAt !== undefined) {
				element("took").textContent = milliseconds(performance.now() - lostAt);
				lostAt = undefined;
			}
			show();
		},
		frame: ({ direction, kind }: TracedFrame) => pulse(direction, kind),
		start(made) {
			connection = made;
			const { transport, use } = made;
			transport.addEventListener("state", show);
			const pick = (name: string, title: string, note: string, missing?: string) => {
				const input = make("input");
				input.type = "radio";
				input.name = "carrier";
				input.value = name;
				input.checked = name === "automatic";
				input.disabled = missing !== undefined;
				input.addEventListener("change", () => use(name));
				const label = make("label", "", input, make("b", "", title), make("small", "", missing ?? note));
				label.dataset.carrier = name;
				element("carriers").append(label);
			};
			pick("automatic", "Automatic", "whatever works, best first");
			for (const { name, title, note, missing } of choices) pick(name, title, note, missing);
			element("cut").addEventListener("click", () => transport.session.cut());
			setInterval(() => {
				if (!document.hidden && transport.state.phase === "open") transport.session.ping().then(show, () => {});
			}, pingEveryMs);
			show();
		},
	};
}
