// Round trips on each carrier, one carrier after the other: a browser has six connections to a gateway over HTTP/1.1, for
// all its windows.

import { connect } from "@sluice-rpc/client";
import { type Choice, choices } from "../connection.js";
import { element, make, milliseconds, reasonOf } from "../dom.js";

const tripsEach = 3; // before the next carrier's turn
const pauseMs = 700; // between two rounds
const connectMs = 4000;
const windowMs = 60_000;
const roundsOff = 10; // for a carrier that failed
const width = 200;
const height = 56;

interface Sample {
	readonly at: number;
	readonly ms: number;
}

interface Chart {
	readonly choice: Choice;
	samples: Sample[];
	/** How many rounds it is left out. */
	off: number;
	readonly figure: HTMLElement;
	readonly value: HTMLElement;
	readonly note: HTMLElement;
	readonly line: SVGElement;
	readonly area: SVGElement;
	readonly dot: SVGElement;
	readonly scale: HTMLElement;
}

/** startTrips measures as long as the page is seen. */
export function startTrips(): void {
	const charts = choices.map(createChart);
	element("trips-charts").append(...charts.map((c) => c.figure));
	const button = element("trips-run");
	let running = true;
	button.addEventListener("click", () => {
		running = !running;
		button.setAttribute("aria-pressed", `${running}`);
	});

	const round = async () => {
		for (const chart of charts) {
			if (!running || document.hidden) return;
			if (chart.choice.missing || chart.off-- > 0) continue;
			try {
				chart.samples.push({ ms: await measure(chart.choice), at: performance.now() });
				draw(charts);
			} catch (err) {
				chart.off = roundsOff;
				chart.note.textContent = chart.note.title = reasonOf(err);
			}
		}
	};
	const run = async () => {
		for (;;) {
			// Windows take turns, where the browser has locks: over HTTPS, and at localhost.
			if (running && !document.hidden) await (navigator.locks?.request("sluice-demo-trips", round) ?? round());
			draw(charts);
			await new Promise((resolve) => setTimeout(resolve, pauseMs));
		}
	};
	void run();
}

/** measure makes a connection, and a call on it whose messages come back. It returns the median of some round trips. */
async function measure(choice: Choice): Promise<number> {
	const session = connect({ baseUrl: location.origin, carriers: choice.carrier, waitMs: connectMs });
	const call = session.call({ path: "/sluice.demo.v1.Demo/EchoBytes", timeoutMs: 2 * connectMs, resumable: false });
	const answers = call.messages[Symbol.asyncIterator]();
	const trips: number[] = [];
	try {
		for (let n = 0; n <= tripsEach; n++) {
			const began = performance.now();
			await call.send(Uint8Array.of(0x0a, 1, n)); // BytesValue: field 1, one byte
			if ((await answers.next()).done) throw new Error("the call has ended");
			if (n > 0) trips.push(performance.now() - began); // the first one has the connecting in it
		}
		call.closeSend();
		await call.status;
		return medianOf(trips);
	} finally {
		session.cut(); // there is nothing to say goodbye to, and the browser's console would tell how the server ends a download
		session.close();
	}
}

function createChart(choice: Choice): Chart {
	const svg = (name: string, attributes: Record<string, string> = {}) => {
		const made = document.createElementNS("http://www.w3.org/2000/svg", name);
		for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
		return made;
	};
	const area = svg("polygon", { class: "area" });
	const line = svg("polyline", { class: "line" });
	const dot = svg("line", { class: "dot" });
	const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
	root.append(area, line, dot);
	const value = make("b", "value", "–");
	const note = make("small", "", choice.missing ?? "");
	const scale = make("span", "scale");
	const figure = make("figure", "", make("figcaption", "", make("span", "name", choice.title), value), root);
	figure.append(make("p", "", note, scale));
	figure.dataset.carrier = choice.name;
	figure.classList.toggle("missing", choice.missing !== undefined);
	return { choice, samples: [], off: 0, figure, value, note, line, area, dot, scale };
}

/** draw shows the last minute of all charts, on one scale. */
function draw(charts: readonly Chart[]): void {
	const now = performance.now();
	for (const chart of charts) chart.samples = chart.samples.filter((s) => now - s.at < windowMs);
	const sorted = charts
		.flatMap((c) => c.samples)
		.map((s) => s.ms)
		.sort((a, b) => a - b);
	// One that is far out would make the others flat.
	const top = niceAbove(1.15 * (sorted[Math.floor(0.95 * (sorted.length - 1))] ?? 1));
	for (const { choice, samples, value, note, line, area, dot, scale } of charts) {
		const points = samples.map(({ at, ms }) => [
			width * (1 - (now - at) / windowMs),
			height - 2 - (height - 6) * Math.min(1, ms / top),
		]);
		const path = points.map((p) => p.map((n) => n?.toFixed(1)).join()).join(" ");
		line.setAttribute("points", path);
		const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)];
		area.setAttribute("points", path && `${first},${height} ${path} ${last?.[0]},${height}`);
		for (const [name, v] of Object.entries({ x1: last?.[0], y1: last?.[1], x2: last?.[0], y2: last?.[1] })) {
			dot.setAttribute(name, `${v ?? -9}`);
		}
		if (samples.length === 0) {
			value.textContent = "–";
			continue;
		}
		value.textContent = milliseconds(medianOf(samples.map((s) => s.ms)));
		note.textContent = choice.missing ?? "median";
		scale.textContent = `0 to ${top} ms`;
	}
}

const medianOf = (all: readonly number[]) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0;

/** niceAbove is the next number of 1, 2, 5, 10, … */
function niceAbove(ms: number): number {
	const ten = 10 ** Math.floor(Math.log10(ms));
	return [1, 2, 5, 10].map((n) => Number((n * ten).toPrecision(1))).find((n) => n >= ms) ?? ms;
}
