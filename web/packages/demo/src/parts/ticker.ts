// A ticker: one request, and messages until it is stopped.

import { Code, ConnectError } from "@connectrpc/connect";
import type { Connection } from "../connection.js";
import { element, reasonOf } from "../dom.js";

const everyMs = 250;
const mostTicks = 100_000; // what the server gives at most
const shownBars = 50;
const tallestMs = 1000;

/** startTicker begins the call. */
export function startTicker({ client }: Connection): void {
	const button = element("ticker-run");
	const note = element("ticker-note");
	const gaps: number[] = [];
	let abort: AbortController | undefined;

	const draw = () => {
		const svg = element("ticker-bars") as unknown as SVGElement;
		while (svg.childElementCount < gaps.length) {
			svg.append(document.createElementNS("http://www.w3.org/2000/svg", "rect"));
		}
		const width = 300 / shownBars;
		for (const [i, bar] of [...svg.children].entries()) {
			const height = Math.max(2, Math.min(1, (gaps[i] ?? 0) / tallestMs) * 60);
			const x = (i + shownBars - gaps.length) * width;
			for (const [name, value] of Object.entries({ x, y: 60 - height, width: width - 2, height })) {
				bar.setAttribute(name, `${value.toFixed(1)}`);
			}
			bar.classList.toggle("late", (gaps[i] ?? 0) > 2 * everyMs);
		}
	};

	const read = async (signal: AbortSignal) => {
		let last = 0;
		let missing = 0;
		let at = 0;
		for await (const { number } of client.ticker({ count: mostTicks, everyMs }, { signal })) {
			const now = performance.now();
			missing += number - last - 1;
			last = number;
			if (number > 1) gaps.push(now - at);
			if (gaps.length > shownBars) gaps.shift();
			at = now;
			element("ticker-number").textContent = `${number}`;
			note.textContent = missing === 0 ? "none missing" : `${missing} missing`;
			if (!document.hidden) draw();
		}
	};

	const run = async () => {
		const own = new AbortController();
		abort = own;
		button.textContent = "Stop";
		try {
			await read(own.signal);
			note.textContent = "the server has stopped";
		} catch (err) {
			note.textContent = ConnectError.from(err).code === Code.Canceled ? "stopped" : reasonOf(err);
		}
		abort = undefined;
		button.textContent = "Start";
	};

	button.addEventListener("click", () => {
		if (abort) abort.abort();
		else void run();
	});
	void run();
}
